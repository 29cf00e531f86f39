"""Load the next photos in threads while earlier photos are processed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from unblur.run.threads import ThreadPool
from unblur.storage.waiting import SIGNALS_SECONDS

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Load(Generic[S, T]):
    """A photo that a thread loads; without a thread, the caller of `result` loads it."""

    photo: S
    _load: Callable[[S], T]
    _future: Future[T] | None

    @property
    def is_ready(self) -> bool:
        """Whether `result` returns without waiting."""
        return self._future is not None and self._future.done()

    def result(self) -> T:
        """Wait until the photo is loaded; return the value of ``load``, or raise its exception."""
        return result_of(self._future) if self._future else self._load(self.photo)


def load_ahead(
    threads: ThreadPool,
    photos: Iterable[S],
    load: Callable[[S], T],
    depth: int,
    is_stream: Callable[[S], bool],
) -> Iterator[Load[S, T]]:
    """Load photos in threads, never more than ``depth`` ahead.

    Args:
        threads: The threads; if none can be started, the caller of `Load.result` loads photos.
        photos: The photos, in order.
        load: Loads one photo.
        depth: Largest number of photos to load ahead.
        is_stream: Returns whether a photo is standard input. The caller's thread loads it, because
            signals interrupt only the main thread, and standard input may never send a byte.

    Yields:
        Each photo, in order.
    """
    loads: deque[Load[S, T]] = deque()
    for photo in photos:
        future = None if is_stream(photo) else threads.submit_to_thread(load, photo)
        loads.append(Load(photo, load, future))
        if len(loads) > depth:
            yield loads.popleft()
    yield from loads


def result_of(future: Future[T]) -> T:
    """Wait for a future; return its result, or raise its exception."""
    wait_for(future)
    return future.result()


def wait_for(*futures: Future[Any]) -> None:
    """Wait for futures; on Windows, a wait without a timeout would ignore Ctrl-C."""
    while wait(futures, SIGNALS_SECONDS).not_done:
        pass
