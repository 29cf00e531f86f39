"""Wait for servers: repeat requests that failed, and stop waiting when the run ends."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TypeVar

from unblur.errors import PhotoError, is_thread_limit
from unblur.forks import PerProcess
from unblur.user_text import duration

SIGNALS_SECONDS = 0.2
"""Seconds after which a wait checks for signals, and for the end of the run."""
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Waiting times for a server, and the number of retries."""

    retries: int = 4
    backoff_seconds: float = 0.5
    """Unit of the waits between retries: 0, then 2, 4 and 8 units, plus a random time of up to
    2."""
    longest_seconds: float = 60.0
    """Longest wait that a server can ask for; one that asks for more is given up."""
    connect_seconds: float = 10.0
    silence_seconds: float = 30.0
    """Time without a byte after which a server counts as stalled."""

    def waits(self) -> Iterator[float]:
        """Yield the seconds to wait before each retry."""
        for number in range(self.retries):
            if number == 0:
                yield 0.0
            else:
                # Random, so that many clients do not ask at the same moment.
                yield self.backoff_seconds * (2**number + random.uniform(0, 2))


PATIENCE = Patience()


class PassingError(PhotoError):
    """A failure of a server after which the same request may succeed.

    Args:
        text: The failure, for the user.
        seconds: Time that the server asks to wait.
    """

    def __init__(self, text: str, seconds: float = 0.0) -> None:
        super().__init__(text)
        self.seconds = seconds


@dataclass(frozen=True)
class Waiting:
    """Settings that all waits of a command share."""

    tell: Callable[[str], object] = str
    """Takes a sentence about a failure after which the request is repeated."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when nothing is worth a wait any more."""


_CURRENT: ContextVar[Waiting] = ContextVar("waiting")
_USUAL = Waiting(logging.getLogger("unblur").info)
_given_up: set[str] = set()
"""Servers that failed at the last retry; until they answer, they get no retries."""


@contextmanager
def waiting(
    tell: Callable[[str], object] | None = None, over: threading.Event | None = None
) -> Iterator[None]:
    """Apply settings to all waits inside the context; see `Waiting`."""
    outer = _CURRENT.get(_USUAL)
    token = _CURRENT.set(Waiting(tell or outer.tell, over or outer.over))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def tell(text: str) -> None:
    """Tell the user of the command how a server behaves."""
    _CURRENT.get(_USUAL).tell(text)


class Retries:
    """The retries of one request.

    Args:
        name: The file, in messages.
        server: The server, of which all files share the fate.
    """

    def __init__(self, name: str, server: str) -> None:
        self._name, self._server = name, server
        self.renew()

    def renew(self) -> None:
        """Allow as many retries as at first."""
        self._waits = iter(()) if self._server in _given_up else PATIENCE.waits()

    def wait_after(self, error: PassingError) -> None:
        """Wait for the next try; raise the error if it was the last one."""
        seconds = next(self._waits, None)
        if seconds is None or error.seconds > PATIENCE.longest_seconds:
            _given_up.add(self._server)
            raise error
        seconds = max(seconds, error.seconds)
        current, failure = _CURRENT.get(_USUAL), f"{self._name}: {error}"
        soon = f"{failure}; trying again in {duration(seconds)}"
        current.tell(soon if seconds else f"{failure}; trying again")
        _pause(seconds, current.over)

    def succeeded(self) -> None:
        """Allow further requests to this server all retries."""
        _given_up.discard(self._server)


def persist(retries: Retries, ask: Callable[[], T]) -> T:
    """Call a function until it raises no `PassingError`, or there are no more retries."""
    while True:
        try:
            answer = ask()
        except PassingError as error:
            retries.wait_after(error)
        else:
            retries.succeeded()
            return answer


class _Helper:
    """A daemon thread that does the tasks of one other thread, and ends with it.

    Each thread has one helper, because libraries keep a connection for each thread.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        # At exit, Python waits for no daemon.
        threading.Thread(target=self._work, args=(self._tasks,), daemon=True).start()
        self.submit = self._tasks.put

    @staticmethod
    def _work(tasks: SimpleQueue[Callable[[], object] | None]) -> None:
        while task := tasks.get():
            task()
            del task

    def __del__(self) -> None:
        """End the thread, once its present task ends."""
        self._tasks.put(None)


_own = PerProcess(threading.local)
"""The helper of each thread; a fork copies no helpers."""


def in_thread(do: Callable[[], T]) -> T:
    """Call a function in another thread, and wait for its result.

    A signal, or the end of the run, ends the wait and leaves the other thread alone: a server may
    never answer, and on Windows Ctrl-C does not interrupt a call that blocks.
    """
    future: Future[T] = Future()
    context, over = copy_context(), _CURRENT.get(_USUAL).over

    def work() -> None:
        try:
            future.set_result(context.run(do))
        except BaseException as error:
            future.set_exception(error)

    # While it works, it is nobody's, so that an interrupted wait leaves no busy helper behind.
    own = vars(_own.get())
    helper = own.pop("helper", None)
    try:
        helper = helper or _Helper()
        helper.submit(work)
    except RuntimeError as error:
        if not is_thread_limit(error):
            raise
        work()
    while wait((future,), SIGNALS_SECONDS).not_done:
        _end_if(over.is_set())
    own["helper"] = helper
    return future.result()


def _pause(seconds: float, over: threading.Event) -> None:
    """Wait, unless the run ends; in short parts, because on Windows Ctrl-C ends no part."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _end_if(over.wait(min(left, SIGNALS_SECONDS)))


def _end_if(is_over: bool) -> None:
    if is_over:
        raise KeyboardInterrupt
