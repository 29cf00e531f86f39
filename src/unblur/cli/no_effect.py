"""Refuse options that would have no effect together: the user expects something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import click
from click.core import ParameterSource

from unblur.cli.parameters import Option
from unblur.errors import UsageError
from unblur.options import STREAM

Flags: TypeAlias = dict[str, Any]
"""The values of all options."""


def _to_stdout(flags: Flags) -> bool:
    output = flags["output"]
    return bool(output == STREAM or (output is None and set(flags["paths"]) == {STREAM}))


_IN_PLACE = "with --in-place: {}"
_ON_STDOUT = "on standard output: the result is no file"
ROWS: tuple[tuple[str, Callable[[Flags], bool], str], ...] = (
    ("suffix", lambda flags: flags["in_place"], _IN_PLACE.format("results keep the photo's name")),
    ("suffix", _to_stdout, _ON_STDOUT),
    ("on_existing", _to_stdout, _ON_STDOUT),
    ("sidecars", lambda flags: flags["in_place"], _IN_PLACE.format("they have the name already")),
    ("sidecars", _to_stdout, _ON_STDOUT),
    ("preserve_times", _to_stdout, _ON_STDOUT),
    (
        "backup",
        lambda flags: not flags["in_place"],
        "without --in-place: originals are never changed",
    ),
    (
        "refresh_thumbnail",
        lambda flags: flags["strip_metadata"],
        "with --strip-metadata: the result has no thumbnails",
    ),
    (
        "blur_level",
        lambda flags: not (flags["only_blurry"] or flags["only"]),
        "without --only-blurry or --only",
    ),
    (
        "workers",
        lambda flags: flags["ray"] is None,
        "without --ray: this machine does all the work",
    ),
)
"""Options for photos that have no effect with others: each name, whether it is so, and the words
after "has no effect"."""
SEARCH_ROWS = tuple(
    (name, lambda flags: not flags["recursive"], "without --recursive: named photos are all tried")
    for name in ("include", "exclude")
)
"""The same for commands that search folders."""
LIST_ROWS = (
    (
        "null",
        lambda flags: flags["json"] and not flags.get("files_from"),
        "with --json: each object is on a line of its own",
    ),
)
"""The same for commands that list results."""


def refuse_no_effect(flags: Flags) -> None:
    """Raise `UsageError` if an option was typed that has no effect with the others.

    Options of the environment and of the configuration are defaults, which need not apply.

    Args:
        flags: The values of all options of the running command.
    """
    for name, is_so, why in (*ROWS, *SEARCH_ROWS, *LIST_ROWS):
        if name in flags and is_typed(name) and is_so(flags):
            raise UsageError(f"{_spelling(name)} has no effect {why}")


def is_typed(name: str) -> bool:
    """Return whether an option was typed, not only set by the environment or the configuration."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _spelling(name: str) -> str:
    """Return an option as the user may have typed it."""
    value = click.get_current_context().params[name]
    for option in click.get_current_context().command.params:
        if isinstance(option, Option) and option.name == name:
            spellings = option.secondary_opts if value is False else option.opts
            return max(spellings or option.opts, key=len)
    return name
