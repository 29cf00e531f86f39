"""End a run cleanly on a signal, with the exit code of the signal."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from unblur.errors import ExitCode

SHOW_CURSOR = b"\x1b[?25h"
"""DECTCEM, set (DEC VT510 Programmer Information, 5: Text Cursor Enable Mode)."""


class _StopSignal(KeyboardInterrupt):
    """Raised by a signal, like KeyboardInterrupt by Ctrl-C; holds the exit code."""


@contextlib.contextmanager
def orderly_signals() -> Iterator[None]:
    """End the run cleanly on the first signal, and at once on the second."""
    codes = _codes_of_signals()

    def stop(number: int, frame: FrameType | None) -> None:
        for name in codes:
            signal.signal(name, lambda number, frame: _exit_at_once(codes[number]))
        raise _StopSignal(codes[number])

    before = {name: signal.signal(name, stop) for name in codes}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _codes_of_signals() -> dict[int, ExitCode]:
    """Return the signals that end a run, with their exit codes."""
    codes: dict[int, ExitCode] = {
        signal.SIGINT: ExitCode.INTERRUPTED,
        signal.SIGTERM: ExitCode.TERMINATED,
    }
    if sys.platform == "win32":
        codes[signal.SIGBREAK] = ExitCode.INTERRUPTED  # Ctrl-Break
    hang_up = getattr(signal, "SIGHUP", None)  # missing on Windows
    if hang_up and signal.getsignal(hang_up) is not signal.SIG_IGN:  # by nohup
        codes[hang_up] = ExitCode.HUNG_UP
    return codes


def _exit_at_once(code: int) -> None:
    """End the program at once."""
    stderr = 2
    if os.isatty(stderr):
        os.write(stderr, SHOW_CURSOR)  # progress bars hide it
    os._exit(code)


def interrupted_code(interrupt: KeyboardInterrupt) -> ExitCode:
    """Return the exit code for the signal that ended the run."""
    return interrupt.args[0] if isinstance(interrupt, _StopSignal) else ExitCode.INTERRUPTED
