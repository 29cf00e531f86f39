"""Names and marks where the user's locale is not UTF-8, such as Latin-1 or EUC-JP."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import PseudoTerminal, make_jpeg

from unblur.user_text import encoded, printable


@pytest.fixture(params=["latin-1", "euc-jp", "ascii", "utf-8"])
def encoding(request, monkeypatch):
    """The encoding of file names, simulated since the system may lack the locale."""
    name = request.param
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode(name, "surrogateescape"))
    monkeypatch.setattr(os, "fsdecode", lambda data: data.decode(name, "surrogateescape"))
    return name


@pytest.mark.parametrize("name", ["Straße é.jpg", "あい.jpg", "a\udcffb"])
def test_a_name_is_shown_alike_in_every_locale(encoding, name):
    assert printable(name) == name.replace("\udcff", "\ufffd")


def test_what_a_locale_cannot_write_is_escaped_beside_the_bytes_of_names(encoding):
    wanted = {
        "latin-1": b"\\u2713 Stra\xdfe \xff \\ufffd",
        "euc-jp": b"\\u2713 Stra\x8f\xa9\xcee \xff \\ufffd",
        "ascii": b"\\u2713 Stra\\xdfe \xff \\ufffd",
        "utf-8": "✓ Straße ".encode() + b"\xff " + "\ufffd".encode(),
    }
    assert encoded("✓ Straße \udcff \ufffd") == wanted[encoding]


@pytest.mark.posix
@pytest.mark.parametrize("command", [["score"], ["--dry-run"]], ids=" ".join)
def test_a_terminal_without_letters_beyond_ascii_gets_them_escaped(tmp_path, command):
    (tmp_path / "é.jpg").write_bytes(make_jpeg())
    terminal = PseudoTerminal()
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERM": "dumb"}
    run = subprocess.run(
        [sys.executable, "-m", "unblur", *command, "é.jpg".encode()],
        cwd=tmp_path, stdout=terminal.descriptor, stderr=terminal.descriptor,
        env=os.environ | locale,
    )  # fmt: skip
    terminal.close()
    assert run.returncode == 0
    shown = b"\\xe9.jpg" if sys.platform == "linux" else "é.jpg".encode()  # macOS has only UTF-8
    assert shown in terminal.shown
