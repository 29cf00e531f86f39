"""The groups of options in ``unblur --help``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from unblur.cli.parameters import Option

GROUPS = {
    "Most used": "--recursive --output --in-place --overwrite --dry-run --only-blurry --strength "
    "--compare --quiet --verbose",
    "Input": "--files-from --include --exclude --only --blur-level --mask --max-pixels",
    "Output": "--suffix --on-existing --backup",
    "Results and metadata": "--format --quality --strip-metadata --preserve-times "
    "--sidecars --refresh-thumbnail",
    "Before and after": "--report --preview",
    "Network and device": "--model --device --engine --tile --views --threads --max-memory",
    "Running": "--jobs --fail-fast --history --config --ray --workers",
    "Messages": "--json --null --completion --version --help",
}
"""Long names of all options, in the order of the help; each option is in one group only."""

SPELLING_COLUMNS = 28
"""Width of the column of names; after a longer name, the help starts on the next line."""


class PlainOption(Option):
    """An option whose metavar shows its range, so that the help does not repeat it."""

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """Return the default, without the range."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


def long_spelling(option: click.Option) -> str:
    """Return the longest name of an option, such as ``--output`` for ``-o``."""
    return max(option.opts, key=len)


def in_order(params: Sequence[click.Parameter]) -> list[click.Parameter]:
    """Return arguments first, then options in the order of the help."""
    names = " ".join(GROUPS.values()).split()

    def rank(param: click.Parameter) -> int:
        name = long_spelling(param) if isinstance(param, click.Option) else ""
        return names.index(name) if name in names else -1

    return sorted(params, key=rank)


def write_groups(
    params: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Write the help of options, under the headings of their groups."""
    options = {long_spelling(o): o for o in params if isinstance(o, click.Option)}
    for heading, names in GROUPS.items():
        records = [options[name].get_help_record(ctx) for name in names.split()]
        # Padding aligns the texts of all groups in one column.
        rows = [(left.ljust(SPELLING_COLUMNS), text) for left, text in filter(None, records)]
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=SPELLING_COLUMNS)
