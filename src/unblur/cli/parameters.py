"""Options and arguments of all commands: an empty value is refused, wherever it comes from."""

from __future__ import annotations

import functools
import re
from typing import Any

import click

from unblur.errors import UsageError, refuse_empty


class Filled(click.Parameter):
    """An option or an argument that must not be empty.

    ``--model "$MODEL"`` is empty if the variable is not set; paths would mean the current folder.
    An empty environment variable counts as not set, which Click decides.
    """

    def process_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401 (as Click)
        """Read the value of the command line, or of another source."""
        try:
            refuse_empty(self.shown, value)
        except UsageError as error:
            raise click.UsageError(str(error), ctx) from error
        return super().process_value(ctx, value)

    @property
    def shown(self) -> str:
        """Name in messages: ``--output``, ``PATH``."""
        if isinstance(self, click.Option):
            return max(self.opts, key=len)
        return re.sub(r"[\[\].]", "", self.human_readable_name)


class Option(Filled, click.Option):
    """An option that must not be empty."""


class Argument(Filled, click.Argument):
    """An argument that must not be empty."""


option = functools.partial(click.option, cls=Option)
argument = functools.partial(click.argument, cls=Argument)
