"""The groups of options that ``unblur --help`` shows, in its order."""

from __future__ import annotations

from collections.abc import Sequence

import click

GROUPS = {
    "Most used": "--recursive --output --in-place --overwrite --dry-run --only-blurry --strength "
    "--compare --quiet --verbose",
    "Input": "--files-from --include --exclude --blur-level --max-pixels",
    "Output": "--suffix --on-existing --backup",
    "Results and metadata": "--format --quality --strip-metadata --preserve-times "
    "--refresh-thumbnail",
    "Before and after": "--report --preview",
    "Network and device": "--model --device --tile --views --threads --max-memory",
    "Running": "--jobs --fail-fast --history --config --ray --workers",
    "Messages": "--json --null --completion --version --help",
}
"""Each option by its long spelling, in one group only; the ten most used come first."""

SPELLING_COLUMNS = 28
"""Width of the column of spellings; the help of a longer spelling begins on the next line."""


class PlainOption(click.Option):
    """An option whose metavar tells its range, which its help need not repeat."""

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """Return the default, without the range."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


def long_spelling(option: click.Option) -> str:
    """Return the name of an option that says most, such as ``--output`` for ``-o``."""
    return max(option.opts, key=len)


def in_order(params: Sequence[click.Parameter]) -> list[click.Parameter]:
    """Sort arguments first, then options by their groups."""
    names = " ".join(GROUPS.values()).split()

    def rank(param: click.Parameter) -> int:
        name = long_spelling(param) if isinstance(param, click.Option) else ""
        return names.index(name) if name in names else -1

    return sorted(params, key=rank)


def write_groups(
    params: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Write the help of options, each under the heading of its group."""
    options = {long_spelling(o): o for o in params if isinstance(o, click.Option)}
    for heading, names in GROUPS.items():
        records = [options[name].get_help_record(ctx) for name in names.split()]
        # Padded, so that the texts of all groups begin in one column.
        rows = [(left.ljust(SPELLING_COLUMNS), text) for left, text in filter(None, records)]
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=SPELLING_COLUMNS)
