"""A thread pool that goes on with fewer threads if the system refuses to start more.

Systems limit the number of threads and processes of a user (``ulimit -u``) or of a container.
Beyond the limit, Python raises `RuntimeError`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from unblur.errors import START_LIMIT, is_thread_limit

FEWER_THREADS = f"this takes longer: {START_LIMIT}"

P = ParamSpec("P")
T = TypeVar("T")


class ThreadPool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` that raises no error if threads cannot be started.

    The running threads do all tasks. Without threads, the caller does the tasks. Tasks have the
    context variables of their caller.

    Args:
        most: Largest number of threads.
        name: Prefix of the threads' names.
        warn: Called with `FEWER_THREADS` each time that a thread cannot be started.
    """

    def __init__(self, most: int, name: str, warn: Callable[[str], object] = str) -> None:
        super().__init__(most, name)
        self._warn = warn
        self._has_threads = False

    def submit(self, do: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a thread do a task; without threads, do the task before returning."""
        task = _Task(partial(copy_context().run, do, *args, **kwargs))
        future = self._give_to_thread(task)
        if future is None:
            task()
            future = task.future
        return future

    def submit_to_thread(self, do: Callable[..., T], *args: Any) -> Future[T] | None:  # noqa: ANN401
        """Let a thread do a task; without threads, drop the task and return ``None``."""
        task = _Task(partial(copy_context().run, do, *args))
        future = self._give_to_thread(task)
        if future is None:
            task.claim()
        return future

    def _give_to_thread(self, task: _Task[T]) -> Future[T] | None:
        try:
            super().submit(task)
        except RuntimeError as error:
            if not is_thread_limit(error):
                raise
            self._warn(FEWER_THREADS)
        else:
            self._has_threads = True
        # If starting a thread fails, the task is in the queue already: other threads find it there.
        return task.future if self._has_threads else None


class _Task(Generic[T]):
    """A task that runs once, even if both the queue and the caller have it."""

    def __init__(self, do: Callable[[], T]) -> None:
        self.future: Future[T] = Future()
        self._do: Callable[[], T] | None = do
        self._lock = threading.Lock()

    def claim(self) -> Callable[[], T] | None:
        """Return the task's function at the first call; ``None`` at later calls."""
        with self._lock:
            do, self._do = self._do, None
        return do

    def __call__(self) -> None:
        """Do the task and set its future, unless the task is claimed."""
        do = self.claim()
        if do is None:
            return
        try:
            result = do()
        except BaseException as error:
            self.future.set_exception(error)
            del self, do  # the error's traceback would keep the photo in memory
            if not isinstance(error, Exception):
                raise
        else:
            self.future.set_result(result)
