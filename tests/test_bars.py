"""Progress bars share a terminal with a shell that stops and continues programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import PseudoTerminal

from unblur.cli import bars
from unblur.cli.bars import RunningTime
from unblur.cli.signals import orderly_signals, was_continued

ERASE_LINE = "\x1b[2K"
CTRL_Z = "\x1a"
MOST_SECONDS = 30.0
"""Limit in seconds, for a busy machine; an idle one takes a second."""
DRAWING_SECONDS = 0.5
"""Time between two drawings: a stop while one is being written would displace that one."""
SHOW_BARS = f"""
import time
from unblur.cli.console import Ui
from unblur.cli.signals import orderly_signals

with orderly_signals():  # before NumPy, whose threads would take the signals
    from unblur.cli import bars
    bars.DRAWING_SECONDS = {DRAWING_SECONDS}
    with Ui().progress(9):
        time.sleep(60)
"""
SAY = """
import time
from unblur.cli.console import Ui
from unblur.cli.signals import orderly_signals

ui = Ui()
with orderly_signals(), ui.progress(9):
    for number in range(600):
        ui.say(f"message {number} of {ui.verbosity + 600}")
        time.sleep(0.1)
"""


class Shell:
    """An interactive shell in a terminal."""

    def __init__(self):
        import fcntl
        import termios

        self.terminal = PseudoTerminal()
        self._seen = 0

        def begin():
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have started the tests
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "--noediting", "-i"],
            stdin=self.terminal.descriptor,
            stdout=self.terminal.descriptor,
            stderr=self.terminal.descriptor,
            start_new_session=True,
            preexec_fn=begin,
            env=os.environ | {"PS1": "ready>", "TERM": "dumb"},
        )
        self.wait_for("ready>")

    @property
    def shown(self):
        """All that the terminal has shown."""
        return self.terminal.shown.decode()

    def type(self, text):
        """Type text; `wait_for` looks for what is shown from now on."""
        self._seen = len(self.shown)
        os.write(self.terminal.controller, text.encode())

    def wait_for(self, text):
        """Return what has been shown since the last typing, as soon as it contains a text."""
        end = time.monotonic() + MOST_SECONDS
        while text not in self.shown[self._seen :]:
            assert time.monotonic() < end, self.shown
            time.sleep(0.02)
        return self.shown[self._seen :]

    def close(self):
        """End the shell, which ends what it started, as when its window is closed."""
        self.process.send_signal(signal.SIGHUP)
        self.process.wait(timeout=MOST_SECONDS)
        self.terminal.close()


@pytest.fixture
def shell(monkeypatch):
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    shell = Shell()
    yield shell
    shell.close()


@pytest.fixture
def started(tmp_path):
    """Return the command line that runs a program."""

    def started(program):
        (tmp_path / "program.py").write_text(program)
        return f"TERM=xterm {sys.executable} {tmp_path}/program.py"

    return started


@pytest.mark.posix
def test_continued_bars_are_drawn_below_what_the_shell_wrote(shell, started):
    shell.type(f"{started(SHOW_BARS)}\n")
    shell.wait_for("photos")
    below = 0
    for _ in range(5):
        shell.type(CTRL_Z)
        shell.wait_for("ready>")
        shell.type("fg\n")
        continued = shell.wait_for("photos")
        below += ERASE_LINE not in continued.partition("photos")[0]
        shell.wait_for(f"{ERASE_LINE}photos")  # later in the same place
    assert below >= 2  # a stop in the middle of a drawing displaces that one


@pytest.mark.posix
def test_the_cursor_stays_visible_so_that_a_stopped_or_killed_program_leaves_it(shell, started):
    shell.type(f"{started(SHOW_BARS)}\n")
    shell.wait_for("photos")
    assert "\x1b[?25l" not in shell.shown  # DECTCEM, reset: hides the cursor


@pytest.mark.posix
def test_a_run_in_the_background_draws_no_bars_over_the_command_line(shell, started):
    shell.type(f"{started(SAY)} &\n")
    shell.wait_for("message 4")
    assert ERASE_LINE not in shell.shown
    shell.type("fg\n")
    shell.wait_for("photos")
    shell.type(CTRL_Z)
    shell.wait_for("ready>")
    shell.type("bg\n")
    shell.wait_for("message ")  # the stop may have come while this one was being written
    shell.type("")
    assert ERASE_LINE not in shell.wait_for("message ")


@pytest.mark.posix
def test_a_stop_is_noticed_once_however_short_it_was():
    with orderly_signals():
        assert not was_continued()
        signal.raise_signal(signal.SIGCONT)
        assert was_continued()
        assert not was_continued()


def test_a_stop_takes_no_time_from_the_remaining_time(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    clock = RunningTime()
    for passed in (0.1, 0.2, 3600.0, 0.1):
        now[0] += passed
        clock()
    assert clock() == pytest.approx(0.1 + 0.2 + bars.LONGEST_TICK_SECONDS + 0.1)
