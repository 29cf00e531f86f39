"""Move jobs through decoding, deblurring and encoding, which overlap.

Threads decode ahead of the network and write behind it, never more than
``Options.jobs`` photos each, so memory does not grow with the number of photos.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from unblur.run import work
from unblur.run.jobs import Job
from unblur.run.report import Outcome
from unblur.run.runner import Session
from unblur.run.work import Loaded, attempt

if TYPE_CHECKING:
    from unblur.network.deblurrer import Deblurrer
    from unblur.network.photo_rows import Pixels

T = TypeVar("T")


class LocalRunner:
    """Does jobs in this process, on one device.

    Args:
        make_deblurrer: Called once, and only if a job can be tried at all.
    """

    def __init__(self, make_deblurrer: Callable[[], Deblurrer]) -> None:
        self._make_deblurrer = make_deblurrer

    def __enter__(self) -> LocalRunner:
        self._deblurrer = self._make_deblurrer()
        del self._make_deblurrer  # and the bytes of the weights that it holds
        return self

    def __exit__(self, *unused: object) -> None:
        pass

    def do(self, jobs: list[Job], session: Session) -> None:
        """Do jobs; photos that are through the network are written however it ends."""
        ahead = 0 if session.options.engine.max_memory else session.options.jobs
        decoding = ThreadPoolExecutor(session.options.jobs, "decode")
        writing = ThreadPoolExecutor(session.options.jobs, "write")
        pending: deque[Future[None]] = deque()
        try:
            for loaded in load_ahead(decoding, jobs, lambda job: _load(job, session), ahead):
                result = self._through_network(loaded, session)
                if isinstance(result, Outcome):
                    session.settle(result)
                else:
                    assert isinstance(loaded, Loaded)
                    pending.append(writing.submit(_store, loaded, result, session))
                while len(pending) > ahead:
                    pending.popleft().result()
                if session.is_over:
                    break
        finally:
            decoding.shutdown(cancel_futures=True)
            writing.shutdown()
        for future in pending:
            future.result()

    def _through_network(self, loaded: Loaded | Outcome, session: Session) -> Pixels | Outcome:
        """Deblur a photo; one that already has its outcome keeps it."""
        if isinstance(loaded, Outcome):
            return loaded
        follow = session.ui.follow(loaded.job)
        return attempt(loaded.job, lambda: self._deblurrer(loaded.photo.pixels, follow))


def load_ahead(
    executor: ThreadPoolExecutor, jobs: list[Job], load: Callable[[Job], T], depth: int
) -> Iterator[T]:
    """Load jobs in threads and yield them in order, never more than ``depth`` ahead."""
    futures: deque[Future[T]] = deque()
    for job in jobs:
        futures.append(_begin(executor, job, load))
        if len(futures) > depth:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _begin(executor: ThreadPoolExecutor, job: Job, load: Callable[[Job], T]) -> Future[T]:
    """Begin to load a job in a thread, or load it in this one if it is standard input.

    Signals interrupt the main thread alone, and standard input may stay silent for ever.
    """
    if job.source is not None:
        return executor.submit(load, job)
    loaded: Future[T] = Future()
    loaded.set_result(load(job))
    return loaded


def _load(job: Job, session: Session) -> Loaded | Outcome:
    if done := session.done_meanwhile(job):
        return done
    loaded = attempt(job, lambda: work.load(job, session.options))
    if isinstance(loaded, Loaded):
        # It may have another name or other tags than when it was made; or another run has just
        # put it where its photo was.
        return session.recognised(job, loaded.state) or loaded
    return loaded


def _store(loaded: Loaded, pixels: Pixels, session: Session) -> None:
    """Write a result to its place and settle the job."""

    def act() -> Outcome:
        options, settings = session.options, session.settings
        with work.finish(loaded, pixels, options, settings, session.stdout) as finished:
            session.remember(finished.result)
            result = work.publish(finished)
        if result.states != finished.result.states:
            session.remember_published(result)
        return result.outcome

    session.settle(attempt(loaded.job, act))
