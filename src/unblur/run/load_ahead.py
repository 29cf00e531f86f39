"""Load photos in threads ahead of the work on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from unblur.storage.files import SIGNALS_SECONDS

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Load(Generic[S, T]):
    """A photo that a thread loads, or that its caller will."""

    photo: S
    _load: Callable[[S], T]
    _future: Future[T] | None

    @property
    def is_ready(self) -> bool:
        """Whether `result` will not wait."""
        return self._future is not None and self._future.done()

    def result(self) -> T:
        """Wait until the photo is loaded, then return, or raise, as ``load`` does."""
        return result_of(self._future) if self._future else self._load(self.photo)


def load_ahead(
    executor: ThreadPoolExecutor,
    photos: Iterable[S],
    load: Callable[[S], T],
    depth: int,
    is_stream: Callable[[S], bool],
) -> Iterator[Load[S, T]]:
    """Load photos in threads, never more than ``depth`` ahead.

    Args:
        executor: The threads.
        photos: The photos, in order.
        load: Loads one.
        depth: How many photos may be loaded before they are asked for.
        is_stream: Tells whether a photo is standard input. The caller's thread loads it: signals
            interrupt only the main thread, and standard input may stay silent for ever.

    Yields:
        Each photo, in order.
    """
    loads: deque[Load[S, T]] = deque()
    for photo in photos:
        future = None if is_stream(photo) else executor.submit(load, photo)
        loads.append(Load(photo, load, future))
        if len(loads) > depth:
            yield loads.popleft()
    yield from loads


def result_of(future: Future[T]) -> T:
    """Wait for a future, then return, or raise, as it does."""
    wait_for(future)
    return future.result()


def wait_for(*futures: Future[Any]) -> None:
    """Wait for futures; on Windows a wait without a timeout would not notice Ctrl-C."""
    while wait(futures, SIGNALS_SECONDS).not_done:
        pass
