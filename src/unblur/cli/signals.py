"""End a run cleanly on a signal, with the exit code of the signal."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType

from unblur.errors import ExitCode

REPEAT_SECONDS = 0.01
"""Seconds after which a signal is repeated that came at a bad moment."""
_STDERR = 2


class _StopSignal(KeyboardInterrupt):
    """Raised by a signal, like KeyboardInterrupt by Ctrl-C; holds exit code and signal."""


@contextlib.contextmanager
def orderly_signals() -> Iterator[None]:
    """End the run cleanly on the first signal, and at once on the second."""
    stop, hook = _Stop(), sys.unraisablehook
    with _kept_handlers(), _held_continuations():
        for number in stop.codes:
            signal.signal(number, stop)
        sys.unraisablehook = stop.ask_again
        try:
            yield
        finally:
            sys.unraisablehook = hook
            stop.timer.cancel()


class _Stop:
    """Handler that raises `_StopSignal` at the first signal, and ends the program at the second.

    If the first one comes at a bad moment, it is repeated until it does not. While PyTorch is
    imported, an exception can abort the program. In callbacks, such as those that delete an object,
    Python ignores exceptions, and hands them to `ask_again`.
    """

    def __init__(self) -> None:
        self.codes = _codes_of_signals()
        self.timer = threading.Timer(0, str)
        """Repeats the signal."""
        self._imports = _running_imports(sys._getframe())
        self._is_asked = self._is_repeating = False
        self._other_errors = sys.unraisablehook

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._is_asked and not self._is_repeating:
            _end(self.codes[number])
        self._is_asked, self._is_repeating = True, False
        if _running_imports(frame) > self._imports or _is_running(self.ask_again.__code__, frame):
            self.repeat(number)
        else:
            raise _StopSignal(self.codes[number], number)

    def ask_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Take an exception that Python ignores; repeat the signal that raised it."""
        if isinstance(unraisable.exc_value, _StopSignal):
            self.repeat(unraisable.exc_value.args[1])
        else:
            self._other_errors(unraisable)

    def repeat(self, number: int) -> None:
        """Let a signal come again in a moment."""
        main = threading.get_ident()

        def send() -> None:
            self._is_repeating = True
            send_to = getattr(signal, "pthread_kill", None)  # missing on Windows
            if send_to:
                send_to(main, number)  # so that a call that blocks the main thread ends
            else:
                signal.raise_signal(number)

        self.timer = threading.Timer(REPEAT_SECONDS, send)
        try:
            self.timer.start()
        except RuntimeError:  # the system starts no more threads
            _end(self.codes[number])


def _running_imports(frame: FrameType | None) -> int:
    """Return how many imports are running at a frame."""
    count = 0
    while frame:
        count += frame.f_globals.get("__name__") == "importlib._bootstrap"
        frame = frame.f_back
    return count


def _is_running(code: CodeType, frame: FrameType | None) -> bool:
    """Return whether a frame belongs to a call of the function with this code."""
    while frame and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


@contextlib.contextmanager
def imports_ended_at_once() -> Iterator[None]:
    """End the program on the first signal while its modules are imported."""
    with _kept_handlers():
        _end_on_signals("unblur: error: interrupted\n")
        yield


def end_at_once_while_exiting() -> None:
    """Let signals that come while Python exits end the program without a traceback."""
    _end_on_signals()
    if signal.SIGINT in _codes_of_signals():
        # At last, Python deletes its handlers. Then Ctrl-C would change the exit code.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _end_on_signals(message: str = "") -> None:
    codes = _codes_of_signals()
    for number in codes:
        signal.signal(number, lambda number, frame: _end(codes[number], message))


def _end(code: ExitCode, message: str = "") -> None:
    """End the program at once, with a line on standard error."""
    with contextlib.suppress(OSError):  # the terminal was closed
        os.write(_STDERR, message.encode())
    os._exit(code)


@contextlib.contextmanager
def _kept_handlers() -> Iterator[None]:
    """Set the signals' present handlers again when the context ends."""
    before = {number: signal.getsignal(number) for number in _codes_of_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _codes_of_signals() -> dict[int, ExitCode]:
    """Return the signals that end a run, with their exit codes.

    Signals that the caller ignores are left out: nohup ignores SIGHUP, and shells ignore SIGINT for
    commands that a script starts in the background. Only the main thread handles signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    codes: dict[int, ExitCode] = {
        signal.SIGINT: ExitCode.INTERRUPTED,
        signal.SIGTERM: ExitCode.TERMINATED,
    }
    if sys.platform == "win32":
        codes[signal.SIGBREAK] = ExitCode.INTERRUPTED  # Ctrl-Break
    hang_up = getattr(signal, "SIGHUP", None)  # missing on Windows
    if hang_up:
        codes[hang_up] = ExitCode.HUNG_UP
    return {number: codes[number] for number in codes if signal.getsignal(number) != signal.SIG_IGN}


@contextlib.contextmanager
def _held_continuations() -> Iterator[None]:
    """Keep SIGCONT, which continues the program in any case, until `was_continued` asks for it."""
    if sys.platform == "win32":
        yield
        return
    # Threads that start later inherit this: a signal that one thread takes is kept for none. So
    # this comes before NumPy and PyTorch, which start threads when they are imported.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def was_continued() -> bool:
    """Return whether the program was stopped and continued since the last call.

    Not for several threads at the same time.
    """
    if sys.platform == "win32":
        return False
    has_come = signal.SIGCONT in signal.sigpending()
    if has_come:
        signal.sigwait({signal.SIGCONT})
    return has_come


def interrupted_code(interrupt: KeyboardInterrupt) -> ExitCode:
    """Return the exit code for the signal that ended the run."""
    return interrupt.args[0] if isinstance(interrupt, _StopSignal) else ExitCode.INTERRUPTED
