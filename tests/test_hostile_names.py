"""Control characters in file names, tags and errors never reach the terminal."""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata

import pytest
from click.testing import CliRunner
from conftest import PseudoTerminal, make_jpeg
from hypothesis import given
from hypothesis import strategies as st

from unblur.cli import main
from unblur.cli.console import Ui
from unblur.user_text import JOINERS, printable

HOSTILE = "a\x1b]0;owned\x07\x1b[31m\x9b2J\n\r\x7f\u202egpj\u2066\u2028b"
"""Control sequences that set a title, turn text red, clear the screen, begin a line, and reverse
the writing direction."""


@given(st.text(st.characters()))  # lone surrogates among them
def test_any_text_becomes_printable_and_stays_so(text):
    shown = printable(text)
    assert shown.translate(dict.fromkeys(map(ord, JOINERS))).isprintable()
    assert printable(shown) == shown


@pytest.mark.parametrize("name", ["نیم\u200cروز", "ക്\u200dഷ", "👩\u200d🚀"])
def test_a_name_keeps_the_joiners_that_its_script_needs(name):
    assert printable(name) == name


@given(st.text().filter(str.isprintable))
def test_printable_text_stays_as_it_is(text):
    assert printable(text) == text


def test_bytes_of_names_that_are_no_text_are_shown_as_such():
    assert printable(os.fsdecode(b"\xff\xc3\xa9")) == "\ufffdé"
    assert printable("\ud800") == "\\ud800"


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A folder with a photo, a result and other files of hostile names."""
    pytest.importorskip("pty", reason="pseudo-terminals are POSIX's")
    folder = tmp_path / HOSTILE
    folder.mkdir()
    for name in (HOSTILE + ".jpg", f"done{HOSTILE}.jpg", f"{HOSTILE}-unblurred.jpg"):
        (folder / name).write_bytes(make_jpeg())
    (folder / f"done{HOSTILE}-unblurred.jpg").write_bytes(b"in the way")
    (folder / f"broken{HOSTILE}.jpg").write_bytes(make_jpeg()[:500])
    (folder / f"{HOSTILE}.txt").touch()
    (folder / f"lost{HOSTILE}.jpg.orig").write_bytes(make_jpeg())
    (folder / f"{HOSTILE}.toml").write_text(json.dumps({HOSTILE: 1}))
    models = folder / "models"
    models.mkdir()
    for name in (HOSTILE, "srn-color"):
        (models / f"{name}.safetensors").write_bytes(b"damaged")
    monkeypatch.setenv("UNBLUR_MODELS_DIR", str(models))
    return folder


@pytest.fixture
def on_terminal(monkeypatch, identity_weights):
    """Run the tool in this process, with a terminal for standard output and error."""

    def run(*arguments, term="dumb"):
        terminal = PseudoTerminal()
        monkeypatch.setenv("TERM", term)
        monkeypatch.setenv("COLUMNS", "1000")
        before = [os.dup(1), os.dup(2)]
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(terminal.descriptor, descriptor)
            stream = io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), "utf-8")
            monkeypatch.setattr(sys, name, stream)
        try:
            with pytest.raises(SystemExit) as stopped:
                main([os.fspath(argument) for argument in arguments])
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            if (own := sys.stderr.fileno()) > 2:
                os.close(own)  # the tool's own copy of the terminal
            for descriptor, old in enumerate(before, 1):
                os.dup2(old, descriptor)
                os.close(old)
            terminal.close()
        return stopped.value.code, terminal.shown.decode()

    return run


def assert_harmless(shown):
    """Check that the only control characters are line ends and tabs; no name begins a line."""
    for line in shown.split("\r\n"):
        assert not [
            c
            for c in line
            if unicodedata.category(c) in ("Cc", "Cs", "Cf", "Zl", "Zp") and c != "\t"
        ]
        assert not line.startswith(("\\r", "gpj"))


COMMANDS = {
    "deblur": ["-r", "{folder}", "-vv"],
    "again": ["-r", "{folder}", "--on-existing", "skip", "-v"],
    "dry run": ["-r", "{folder}", "--dry-run", "--in-place", "--backup"],
    "json": ["-r", "{folder}", "--dry-run", "--json"],
    "named": ["{folder}/broken{hostile}.jpg", "{folder}/none{hostile}.jpg"],
    "compare": ["{folder}/{hostile}.jpg", "--compare", "--report", "{folder}/{hostile}.html"],
    "output": ["-r", "{folder}", "-o", "{folder}/{hostile}.jpg"],
    "report": ["{folder}/{hostile}.jpg", "--report", "{folder}/{hostile}.txt"],
    "store": ["{hostile}://x/y.jpg"],
    "url": ["memory://{hostile}/{hostile}.jpg"],
    "no option": ["--{hostile}"],
    "choice": ["--on-existing", "{hostile}", "a.jpg"],
    "tile": ["--tile", "{hostile}", "a.jpg"],
    "suffix": ["--suffix", "/{hostile}", "a.jpg"],
    "model": ["{folder}/{hostile}.jpg", "--model", "{folder}/models/{hostile}.safetensors"],
    "no model": ["{folder}/{hostile}.jpg", "--model", "{hostile}"],
    "config": ["--config", "{folder}/{hostile}.toml", "a.jpg"],
    "no config": ["--config", "{folder}/none{hostile}.toml", "a.jpg"],
    "folder as config": ["--config", "{folder}", "a.jpg"],
    "list": ["--files-from", "{folder}/none{hostile}.txt"],
    "score": ["score", "-r", "{folder}", "-v"],
    "score, NUL": ["score", "-r", "{folder}", "-0"],
    "score as json": ["score", "-r", "{folder}", "--json"],
    "restore": ["restore", "-r", "{folder}", "{folder}/none{hostile}.jpg"],
    "restore as json": [
        "restore",
        "--json",
        "{folder}/none{hostile}.jpg",
        "{folder}/{hostile}.jpg",
    ],
    "models list": ["models", "list"],
    "models info": ["models", "info", "{folder}/models/{hostile}.safetensors"],
    "models path": ["models", "path"],
    "models verify": ["models", "verify"],
    "models import": ["models", "import", "{folder}/{hostile}.txt"],
    "models import name": ["models", "import", "{folder}/{hostile}.txt", "--name", "{hostile}"],
    "models remove": ["models", "remove", "{hostile}"],
    "models download": ["models", "download", "{hostile}"],
    "no such command": ["models", "{hostile}"],
    "too many words": ["doctor", "{hostile}"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_no_command_hands_a_hostile_name_to_a_terminal(
    hostile, on_terminal, identity_weights, command
):
    words = [word.format(folder=hostile, hostile=HOSTILE) for word in command]
    if command[0] not in ("score", "models", "doctor", "restore"):
        words += ["--device", "cpu"]
        words += [] if "--model" in command else ["--model", identity_weights]
    _, shown = on_terminal(*words)
    assert "owned" in shown or "json" in str(command)
    assert_harmless(shown)


def test_doctor_hands_no_hostile_name_to_a_terminal(on_terminal, monkeypatch):
    monkeypatch.setenv("UNBLUR_SUFFIX", HOSTILE)
    _, shown = on_terminal("doctor")
    assert "owned" in shown
    assert_harmless(shown)


def test_a_progress_bar_shows_a_hostile_name_escaped(hostile, on_terminal, identity_weights):
    options = ["--model", identity_weights, "--device", "cpu"]
    _, shown = on_terminal("-r", hostile, *options, term="xterm-256color")
    assert "\x1b[" in shown  # the bar's own
    for part in ("\x1b]0;owned", "\x1b[31m", "\x9b2J", "\u202e", "\u2066"):
        assert part in HOSTILE
        assert part not in shown


def test_an_error_that_nobody_foresaw_is_escaped_too(on_terminal, monkeypatch):
    def fail(*unused):
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr("unblur.run.plan.make_plan", fail)
    for more in ([], ["-vv"]):
        code, shown = on_terminal("a.jpg", *more)
        assert code == 1
        assert "owned" in shown
        assert_harmless(shown)


def test_standard_error_is_escaped_where_it_is_no_terminal_too(hostile, unblur):
    told = unblur("-r", hostile, "-v", "--tile", "128").stderr
    assert "owned" in told
    assert_harmless(told.replace("\n", "\r\n"))


def test_scripts_get_names_as_they_are(hostile, unblur):
    photo = hostile / f"{HOSTILE}.jpg"
    listed = unblur(photo, "-0", "-o", f"{hostile}/new/").stdout
    assert listed == os.fsencode(hostile / "new" / f"{HOSTILE}-unblurred.jpg") + b"\0"
    scored = CliRunner().invoke(main, ["score", "-0", str(photo)]).stdout_bytes
    assert scored.split(b"\t", 2)[2] == os.fsencode(photo) + b"\0"


def test_columns_are_aligned_by_what_is_shown(on_terminal, monkeypatch):
    monkeypatch.setattr("unblur.cli.models.imported_models", lambda: [])
    monkeypatch.setattr("unblur.cli.models._row", lambda name: (name, HOSTILE[:4], "end"))
    _, shown = on_terminal("models", "list")
    assert len({line.index("end") for line in shown.split("\r\n") if line}) == 1


def test_columns_are_aligned_beside_wide_letters(on_terminal, monkeypatch):
    names = {"照片": 4, "photo": 5, "e\u0301": 1}
    monkeypatch.setattr("unblur.cli.models.MODELS", {})
    monkeypatch.setattr("unblur.cli.models.imported_models", lambda: list(names))
    monkeypatch.setattr("unblur.cli.models._row", lambda name: (name, "end"))
    _, shown = on_terminal("models", "list")
    rows = [line for line in shown.split("\r\n") if line]
    assert {names[row.split()[0]] + row.count(" ") for row in rows} == {len("photo  ")}


def test_a_note_of_a_photo_is_escaped(capsys):
    Ui().say(f"a.jpg: camera {HOSTILE}")
    assert_harmless(capsys.readouterr().err.replace("\n", "\r\n"))
