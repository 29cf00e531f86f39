from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from unblur.cli import main
from unblur.cli.option_groups import GROUPS, PlainOption, long_spelling

COLUMNS = 80
"""The width of the narrowest usual terminal; Click formats for it."""
MOST_LINES = 2


def contexts(command=main, parent=None):
    """Contexts of a command and of those inside."""
    ctx = click.Context(command, parent=parent, info_name=command.name)
    yield ctx
    for inner in getattr(command, "commands", {}).values():
        yield from contexts(inner, ctx)


def shown_options(ctx):
    params = ctx.command.get_params(ctx)
    return [o for o in params if isinstance(o, click.Option) and not o.hidden]


def help_of(*words):
    result = CliRunner().invoke(main, [*words, "--help"], terminal_width=COLUMNS)
    assert result.exit_code == 0
    return result.output


def lines_of_options(text):
    """Return for each option on a help page its lines of text, spellings left out."""
    lines, option = {}, ""
    for line in text.splitlines():
        if match := re.match(r"  (-\S, )?(--[a-z-]+)", line):
            option = match[2]
            _, *explanation = re.split(r"\s{2,}", line.strip(), maxsplit=1)
            lines[option] = explanation
        elif option and line.startswith(" " * 10):
            lines[option].append(line.strip())
        else:
            option = ""
    return lines


def test_every_option_is_in_exactly_one_group():
    options = [long_spelling(option) for option in shown_options(click.Context(main))]
    assert sorted(" ".join(GROUPS.values()).split()) == sorted(options)


def test_the_ten_most_used_options_come_first():
    heading, names = next(iter(GROUPS.items()))
    assert (heading, len(names.split())) == ("Most used", 10)


def test_help_shows_each_option_once_and_below_its_heading():
    text = help_of()
    shown = {}
    for line in text.splitlines():
        if re.match(r"\w.*:$", line):
            heading = line[:-1]
        elif match := re.match(r"  (?:-\S, )?(--[a-z-]+)", line):
            shown.setdefault(heading, []).append(match[1])
    assert shown == {heading: names.split() for heading, names in GROUPS.items()}


def test_the_texts_of_all_groups_begin_in_one_column():
    first_lines = [line for line in help_of().splitlines() if re.match(r"  -.*\s{2,}\w", line)]
    assert len({re.search(r"\S\s{2,}(?=\w)", line).end() for line in first_lines}) == 1


@pytest.mark.parametrize("ctx", list(contexts()), ids=lambda ctx: ctx.command.name)
def test_every_help_text_has_at_most_two_lines_in_a_terminal_of_80_columns(ctx):
    words = ctx.command_path.split()[1:]
    lines = lines_of_options(help_of(*words))
    assert set(lines) == {long_spelling(option) for option in shown_options(ctx)}
    assert {name: text for name, text in lines.items() if not 1 <= len(text) <= MOST_LINES} == {}


@pytest.mark.parametrize("ctx", list(contexts()), ids=lambda ctx: ctx.command.name)
def test_every_command_begins_with_a_sentence_that_the_list_of_commands_shows_whole(ctx):
    assert not ctx.command.get_short_help_str(limit=60).endswith("...")


@pytest.mark.parametrize("ctx", list(contexts()), ids=lambda ctx: ctx.command.name)
def test_no_help_text_begins_with_a_riddle(ctx):
    for option in shown_options(ctx):
        assert not re.match(r"(What|Whatever|Those|Of|As|How much) (?!to )", option.help), option


def test_ranges_are_told_by_metavars_alone():
    option = PlainOption(["--many"], type=click.IntRange(1, 9), default=1, show_default=True)
    assert option.get_help_extra(click.Context(main)) == {"default": "1"}
    assert "<=" not in help_of()
