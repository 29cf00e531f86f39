"""Options and arguments of all commands: an empty value is refused, wherever it comes from."""

from __future__ import annotations

import functools
import re
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from unblur.errors import UsageError, refuse_empty

CONFIG = "unblur.configuration"
"""Key of the configuration's path in `click.Context.meta`."""
_NAMES_FILE = re.compile("FILE|DIR|PATH|PHOTO")


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
        if isinstance(value, bool) and not self.is_switch:  # TOML's true, which would become 1
            raise click.BadParameter(f"takes a value, not {str(value).lower()}", ctx, self)
        if isinstance(value, int | float) and not isinstance(value, bool):  # a number of TOML
            if self.takes_any_text:
                raise click.BadParameter(f"takes a text in quotes, not {value}", ctx, self)
            value = str(value)  # Click reads switches from text, not from numbers
        return super().process_value(ctx, value)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return suggestions; files are among them if the help says that the value may be one."""
        items = super().shell_complete(ctx, incomplete)
        if _NAMES_FILE.search(self.metavar or "") and "file" not in [item.type for item in items]:
            items.append(CompletionItem(incomplete, type="file"))
        return items

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, or may be."""
        return isinstance(self, click.Option) and (self.is_flag or self.count)

    @property
    def takes_any_text(self) -> bool:
        """Whether any text is a value, such as a path."""
        kinds = click.types.StringParamType, click.Path
        return isinstance(self.type, kinds) and not self.is_switch

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return where a value was given, for messages: ``'--tile'``, ``UNBLUR_TILE``."""
        return (origin(self, ctx) if ctx else None) or super().get_error_hint(ctx)

    @property
    def shown(self) -> str:
        """Name in messages: ``--output``, ``PATH``."""
        if isinstance(self, click.Option):
            return max(self.opts, key=len)
        return re.sub(r"[\[\].]", "", self.human_readable_name)


def origin(param: click.Parameter, ctx: click.Context) -> str | None:
    """Return where a parameter was set: a variable, or a name and a file.

    Returns:
        ``None`` if it was set on the command line, or nowhere.
    """
    source = ctx.get_parameter_source(param.name or "")
    if source is ParameterSource.ENVIRONMENT and isinstance(param, click.Option):
        prefix = ctx.auto_envvar_prefix
        return param.envvar if isinstance(param.envvar, str) else f"{prefix}_{param.name}".upper()
    if source is ParameterSource.DEFAULT_MAP:
        return f"{(param.name or '').replace('_', '-')} in {ctx.meta[CONFIG]}"
    return None


def origins(text: str, ctx: click.Context) -> str:
    """Return where options that a message names were set, unless on the command line.

    A message names an option by its spelling, ``--device``, or by its value: ``device cuda``, or
    ``mine.safetensors:`` at its start.

    Args:
        text: The message.
        ctx: The context of the command.
    """
    names = set(re.findall(r"(?<![\w-])--[a-z-]+", text))

    def is_named(param: click.Parameter) -> bool:
        value = ctx.params.get(param.name or "")
        by_value = text.startswith(f"{value}:") or f"{param.name} {value} " in text
        return by_value or not names.isdisjoint(param.opts)

    found = [(param, origin(param, ctx)) for param in ctx.command.params if is_named(param)]
    return "".join(f"; {max(param.opts, key=len)} comes from {o}" for param, o in found if o)


class Option(Filled, click.Option):
    """An option that must not be empty."""


class Argument(Filled, click.Argument):
    """An argument that must not be empty."""


option = functools.partial(click.option, cls=Option)
argument = functools.partial(click.argument, cls=Argument)
