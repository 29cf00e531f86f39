"""Completion in bash, zsh and fish: what the program suggests, and what the scripts make of it."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from unblur.cli import main
from unblur.cli.completion import _joined

needs = {
    shell: pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")
    for shell in ("bash", "zsh", "fish")
}
SHELLS = [pytest.param(shell, marks=mark) for shell, mark in needs.items()]


def suggestions(*words):
    """Values and types that are suggested for the last word."""
    *args, incomplete = words
    complete = ShellComplete(main, {}, "unblur", "_UNBLUR_COMPLETE")
    return [(item.value, item.type) for item in complete.get_completions(args, incomplete)]


def parameters(command, path=()):
    """Every option and argument of a command and the commands below it, with its place."""
    for name, below in getattr(command, "commands", {}).items():
        yield from parameters(below, (*path, name))
    context = click.Context(command)
    for param in command.params:
        yield " ".join((*path, param.opts[-1])), param, context


def test_whatever_may_be_a_file_is_completed_as_one():
    named = ("FILE", "DIR", "PATH", "PHOTO")
    missing, count = [], 0
    for place, param, context in parameters(main):
        if any(word in param.make_metavar(context) for word in named):
            count += 1
            types = [item.type for item in param.shell_complete(context, "x")]
            missing += [place] * (types.count("file") != 1)
    assert count > 15
    assert not missing


def test_whatever_names_a_model_is_completed_with_the_models():
    places = {
        place
        for place, param, context in parameters(main)
        if "srn-compact" in [item.value for item in param.shell_complete(context, "srn-c")]
    }
    with_name = {
        place
        for place, param, context in parameters(main)
        if "NAME" in param.make_metavar(context) and param.name != "name"
    }
    assert places == with_name
    assert {"--model", "try --model", "models info model"} <= places


def test_a_command_is_suggested_only_as_the_first_word():
    assert suggestions("mod") == [("models", "plain"), ("mod", "file")]
    for earlier in ("a.jpg", "--recursive", "--device=cpu"):
        assert suggestions(earlier, "mod") == [("mod", "file")]


def test_the_options_of_photos_complete_after_a_photo():
    assert suggestions("a.jpg", "--suf") == [("--suffix", "plain")]


def test_the_value_of_compare_is_suggested_beside_photos():
    assert suggestions("--compare", "") == [("strengths", "plain"), ("", "file")]
    assert suggestions("--compare", "b") == [("b", "file")]


@pytest.mark.parametrize("words", [["--completion", "bash"], ["--version"], ["--tile", "wrong"]])
def test_options_on_the_line_are_not_carried_out(words):
    assert suggestions(*words, "--dev") == [("--device", "plain")]


@pytest.mark.parametrize(
    ("split", "joined"),
    [
        (["--device", "=", "c"], ["--device=c"]),
        (["--device", "="], ["--device="]),
        (["--suffix", "=", "a", "=", "b", "x.jpg"], ["--suffix=a=b", "x.jpg"]),
        (["a", "=", "b.jpg", "--dev"], ["a", "=", "b.jpg", "--dev"]),
    ],
)
def test_words_that_bash_splits_at_an_equals_sign_are_joined(split, joined):
    assert _joined(split) == joined


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with photos, and with the program on the path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "unblur"
    call = 'from unblur.cli import main; main(prog_name="unblur")'
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{call}' \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("modern.jpg", "with space.jpg"):
        (photos / name).touch()
    monkeypatch.chdir(photos)
    return photos


@pytest.fixture
def script(tmp_path):
    """The script for a shell, in a file."""

    def write(shell):
        path = tmp_path / f"unblur.{shell}"
        path.write_bytes(CliRunner().invoke(main, ["--completion", shell]).stdout_bytes)
        return path

    return write


@pytest.mark.posix
@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_accepted_by_their_shells(script, shell):
    assert "_UNBLUR_COMPLETE" in script(shell).read_text()
    subprocess.run([shell, "-n", script(shell)], check=True)


@pytest.mark.posix
@needs["bash"]
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["mod"], ["compopt -o filenames", "models", "modern.jpg"]),
        (["wi"], ["compopt -o default"]),
        (["--mask", "="], ["compopt -o default"]),
        (["--device", "=", "c"], ["cuda", "cpu"]),
        (["models", "im"], ["import"]),
        (["--model", "srn-com"], ["compopt -o filenames", "srn-compact"]),
    ],
)
def test_bash_completes(folder, script, words, answer):
    ask = (
        'compopt() { echo compopt "$@"; }; source "$1"; shift; '
        'COMP_WORDS=(unblur "$@"); COMP_CWORD=$#; '
        '_unblur_completion unblur "${@: -1}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "-c", ask, "bash", script("bash"), *words]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line for line in said.splitlines() if line] == answer


@pytest.mark.posix
@needs["fish"]
@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("unblur mod", ["models", "modern.jpg"]),
        ("unblur --device=c", ["--device=cpu", "--device=cuda"]),
        ("unblur --mask=wi", ["--mask=with space.jpg"]),
        ("unblur models im", ["import"]),
    ],
)
def test_fish_completes(folder, script, line, answer):
    ask = "source $argv[1]; complete --do-complete $argv[2]"
    command = ["fish", "--no-config", "-c", ask, script("fish"), line]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert sorted(row.split("\t")[0] for row in said.splitlines()) == answer


@pytest.mark.posix
@needs["zsh"]
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("unblur mode", "models"),
        ("unblur modern", "unblur modern.jpg"),
        ("unblur --device=cp", "unblur --device=cpu"),
        ("unblur --mask=wi", "unblur --mask=with\\ space.jpg"),
        ("unblur models im", "unblur models import"),
    ],
)
def test_zsh_completes(folder, script, typed, line):
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "dumb", "COLUMNS": "200"}
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        setup = f"autoload -Uz compinit; compinit -u -D; source {script('zsh')}; PS1='rea''dy '\r"
        os.write(terminal, setup.encode())
        read_until(terminal, "ready ")
        os.write(terminal, f"{typed}\t".encode())
        read_until(terminal, line)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)


def read_until(terminal, text, seconds=30):
    """Read what a shell shows until a text appears."""
    shown, stop = "", time.monotonic() + seconds
    while text not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, stop - time.monotonic()))
        assert ready, f"not shown: {text!r} in {shown!r}"
        shown += os.read(terminal, 4096).decode().replace("\a", "")  # the bell
