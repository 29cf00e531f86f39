"""No option and no argument of any command takes an empty value: a variable was not set."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from unblur.cli import main
from unblur.cli.parameters import Filled
from unblur.cli.shared import options_with_defaults
from unblur.errors import UsageError, refuse_empty
from unblur.options import NetworkOptions, Options


def commands(group, words=()):
    """The commands of a group and its subgroups, each with the words that call it."""
    yield words, group
    for name, command in getattr(group, "commands", {}).items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


CASES = {
    " ".join([*words, max(param.opts, key=len)]): (words, param)
    for words, command in commands(main)
    for param in command.params
    if not (isinstance(param, click.Option) and (param.is_flag or param.count))
}


@pytest.mark.parametrize(("words", "param"), CASES.values(), ids=CASES.keys())
def test_an_empty_value_is_refused_by_each_command(words, param):
    assert isinstance(param, Filled)
    word = f"{max(param.opts, key=len)}=" if isinstance(param, click.Option) else ""
    result = CliRunner().invoke(main, [*words, word])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Error: {param.shown} is empty: was a variable not set?" in result.stderr


@pytest.mark.parametrize(
    "words",
    [["--output", ""], ["-o", ""], ["--include", "*.jpg", "--include", ""], ["--compare", ""]],
)
def test_the_other_spellings_are_refused_too(words):
    result = CliRunner().invoke(main, ["photo.jpg", *words])
    assert result.exit_code == 2
    assert "is empty: was a variable not set?" in result.stderr


@pytest.mark.parametrize("name", options_with_defaults(main))
def test_an_empty_value_in_the_configuration_is_refused(name, tmp_path):
    config = tmp_path / "unblur.toml"
    is_list = options_with_defaults(main)[name]
    config.write_text(f"{name.replace('_', '-')} = {json.dumps([''] if is_list else '')}")
    result = CliRunner().invoke(main, ["--config", str(config), "photo.jpg"])
    assert result.exit_code == 2
    assert f"{config}: {name} is empty: was a variable not set?" in result.stderr


@pytest.mark.parametrize("name", options_with_defaults(main))
def test_an_empty_environment_variable_counts_as_not_set(name, monkeypatch):
    monkeypatch.delenv("UNBLUR_HISTORY")
    usual = main.make_context("unblur", ["photo.jpg"]).params
    monkeypatch.setenv(f"UNBLUR_{name.upper()}", "")
    assert main.make_context("unblur", ["photo.jpg"]).params == usual


@pytest.mark.parametrize("name", ["output", "mask", "suffix", "format"])
def test_the_python_interface_refuses_empty_values(name):
    with pytest.raises(UsageError, match=f"--{name} is empty: was a variable not set"):
        Options(**{name: ""})


def test_a_model_without_a_name_is_refused_in_python():
    with pytest.raises(UsageError, match="--model is empty"):
        NetworkOptions(model="")


@pytest.mark.parametrize("value", [None, 0, 0.0, False, (), ("a",), " ", "-"])
def test_what_is_not_empty_text_is_no_empty_value(value):
    refuse_empty("it", value)
