"""A run ends on the first signal, at whatever moment it comes, and without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import PseudoTerminal, make_jpeg

from unblur.cli.signals import orderly_signals

pytestmark = pytest.mark.posix

MORE_THAN_A_PIPE_HOLDS = b"\xff\xd8" + bytes(1 << 20)
MOST_SECONDS = 30.0
"""Limit in seconds, for a busy machine; an idle one takes a tenth of a second."""


@pytest.fixture
def start(identity_weights, monkeypatch):
    """Start the tool with an open standard input."""
    processes = []

    def start(*arguments, stdin=subprocess.PIPE, program=("-m", "unblur")):
        command = [sys.executable, *program, *map(str, arguments)]
        process = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        processes.append(process)
        return process

    monkeypatch.setenv("UNBLUR_MODEL", str(identity_weights))
    monkeypatch.setenv("UNBLUR_DEVICE", "cpu")
    monkeypatch.setenv("UNBLUR_QUIET", "1")
    yield start
    for process in processes:
        process.kill()
        process.communicate()


def end(process, number, code):
    """Send a signal, and expect the end at once, in one line."""
    process.send_signal(number)
    process.wait(timeout=MOST_SECONDS)  # standard input stays open
    assert (process.returncode, process.stderr.read()) == (code, b"unblur: error: interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (["-"], signal.SIGTERM, 143),
        (["-"], signal.SIGINT, 130),
        (["score", "-"], signal.SIGTERM, 143),
        (["--files-from", "-"], signal.SIGINT, 130),
        (["score", "--files-from", "-"], signal.SIGTERM, 143),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_silent_standard_input_ends_on_the_first_signal(start, arguments, number, code):
    process = start(*arguments)
    # Returns when it is being read.
    process.stdin.write(MORE_THAN_A_PIPE_HOLDS)
    process.stdin.flush()
    end(process, number, code)


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (["--files-from", "PIPE"], signal.SIGTERM, 143),
        (["--config", "PIPE", "a.jpg"], signal.SIGINT, 130),
        (["models", "import", "PIPE"], signal.SIGTERM, 143),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_silent_pipe_ends_on_the_first_signal(start, tmp_path, arguments, number, code):
    os.mkfifo(tmp_path / "pipe")
    process = start(*(word.replace("PIPE", f"{tmp_path}/pipe") for word in arguments))
    with (tmp_path / "pipe").open("wb") as pipe:  # opened when it is read
        pipe.write(b"  ")
        pipe.flush()
        time.sleep(0.1)
        end(process, number, code)


def test_a_silent_terminal_ends_on_the_first_signal(start):
    terminal = PseudoTerminal()
    process = start("--files-from", "-", stdin=terminal.descriptor)
    time.sleep(1.0)  # nobody tells when it is read
    end(process, signal.SIGTERM, 143)
    terminal.close()


LOOK_UP_FOR_AN_HOUR = """
import hashlib, socket, sys
from unblur.cli import main

def look_up(*unused, **unused_too):
    print("looking up", file=sys.stderr, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # like the system's, heeds no signal

socket.getaddrinfo = look_up
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "arguments",
    [("models", "download", "-q", "srn-color"), ("http://nowhere.example/a.jpg", "-o", "a.jpg")],
    ids=["a model", "a photo"],
)
def test_an_address_that_is_being_looked_up_ends_on_the_first_signal(
    start, tmp_path, monkeypatch, arguments
):
    monkeypatch.setenv("UNBLUR_MIRROR", "http://nowhere.example")
    monkeypatch.setenv("UNBLUR_MODELS_DIR", str(tmp_path / "models"))
    process = start(*arguments, program=("-c", LOOK_UP_FOR_AN_HOUR))
    assert process.stderr.readline() == b"looking up\n"
    end(process, signal.SIGINT, 130)
    assert list(tmp_path.rglob("*.tmp")) == []


def test_photos_before_a_silent_standard_input_are_not_waited_for_either(start, tmp_path):
    (tmp_path / "a.jpg").write_bytes(make_jpeg())
    process = start("score", tmp_path / "a.jpg", "-")
    process.stdin.write(MORE_THAN_A_PIPE_HOLDS)
    process.stdin.flush()
    end(process, signal.SIGTERM, 143)


RAISE = "import signal; signal.raise_signal(signal.SIGINT)"


def run(program):
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_signal_while_a_module_is_imported_comes_after_the_import(tmp_path, monkeypatch):
    (tmp_path / "signalled.py").write_text(f"{RAISE}\nis_whole = True")
    monkeypatch.syspath_prepend(tmp_path)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), orderly_signals():
        _ = __import__("signalled"), time.sleep(60)
    assert time.monotonic() - began < 30
    assert sys.modules.pop("signalled").is_whole


def test_a_second_signal_does_not_wait_for_the_end_of_an_import(tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text(f"{RAISE}\n{RAISE}\nimport time\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    program = "from unblur.cli.signals import orderly_signals\nwith orderly_signals(): import slow"
    assert run(program) == (130, "", "")


def test_a_signal_in_a_destructor_is_not_lost():
    class Signalled:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), orderly_signals():
        _ = Signalled().__class__, time.sleep(60)
    assert time.monotonic() - began < 30


def test_a_signal_in_a_destructor_is_not_lost_on_a_machine_that_starts_threads_slowly(monkeypatch):
    times_slow = [0.5]  # how long the first start takes: far longer than until the signal comes

    class Slow(threading.Timer):
        def start(self):
            super().start()
            time.sleep(times_slow.pop() if times_slow else 0)

    monkeypatch.setattr("unblur.cli.signals.threading.Timer", Slow)

    class Signalled:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), orderly_signals():
        _ = Signalled().__class__, time.sleep(20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_the_caller_ignores_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with orderly_signals():
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_a_signal_while_the_program_starts_ends_it_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "click.py").write_text(RAISE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    program = "from unblur.cli import main; main()"
    assert run(program) == (130, "", "unblur: error: interrupted\n")


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("try: main(['--version'])\nfinally: signal.raise_signal(signal.SIGINT)", 130),
        ("atexit.register(signal.raise_signal, signal.SIGINT); main(['--version'])", 0),
    ],
    ids=["after the command", "while Python deletes its modules"],
)
def test_a_signal_while_the_program_exits_prints_no_traceback(program, code):
    start = "import atexit, signal; from unblur.cli import main\n"
    returned, _, errors = run(start + program)
    assert (returned, errors) == (code, "")
