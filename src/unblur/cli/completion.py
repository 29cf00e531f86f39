"""Complete what is typed in bash, zsh and fish: the scripts, and the suggestions.

Click reads the words before the cursor and asks the option or argument for suggestions. Its own
scripts are not used: in bash they offer no command where a file may stand, and in zsh they replace
all of ``--device=c`` by ``cpu``.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.core import ParameterSource
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
)


class _OwnScript(ShellComplete):
    """Has its script in ``templates``."""

    def source(self) -> str:
        """Return the script."""
        from importlib import resources  # not for each command

        template = resources.files("unblur.cli") / "templates" / f"completion.{self.name}"
        return template.read_text("utf-8")


@add_completion_class
class _Bash(_OwnScript, BashComplete):
    """Completion in bash, which splits ``--device=cpu`` into three words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the word at the cursor."""
        args, incomplete = super().get_completion_args()
        *args, incomplete = _joined([*args, incomplete])
        return args, incomplete


def _joined(words: Sequence[str]) -> list[str]:
    """Return words; an option, a sign of equality and a value become one word."""
    joined: list[str] = []
    for word in words:
        last = joined[-1] if joined else ""
        if last.startswith("--") and (word == "=" or last.endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


@add_completion_class
class _Zsh(_OwnScript, ZshComplete):
    """Completion in zsh."""


@add_completion_class
class _Fish(_OwnScript, FishComplete):
    """Completion in fish."""


def print_script(ctx: click.Context, param: click.Parameter, shell: str | None) -> None:
    """Print the script for a shell, and end the program."""
    if shell is None or ctx.resilient_parsing:  # a command line that is being completed
        return
    completion = get_completion_class(shell)
    assert completion is not None
    script = completion(ctx.command, {}, "unblur", "_UNBLUR_COMPLETE").source()
    click.echo(script.encode(), nl=False)  # bytes, since Windows would change the ends of lines
    ctx.exit()


def complete_command(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the commands that the first word may be, beside the name of a file."""
    sources = (ctx.get_parameter_source(name) for name in ctx.params)
    if not incomplete or ParameterSource.COMMANDLINE in sources:
        return []
    commands = ctx.command.commands if isinstance(ctx.command, click.Group) else {}
    return [name for name in sorted(commands) if name.startswith(incomplete)]


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of models."""
    from unblur.models.catalog import MODELS, imported_models

    names = [*MODELS, *imported_models()]
    return [name for name in names if name.startswith(incomplete)]
