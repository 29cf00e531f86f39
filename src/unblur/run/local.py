"""The runner on this machine: decoding, deblurring and encoding overlap.

Threads decode photos ahead of the network and write results behind it. Each side holds at most
``Options.jobs`` photos, so memory does not grow with the number of photos.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from unblur.run import steps
from unblur.run.jobs import Job
from unblur.run.report import LeftAlone, outcome_of_error
from unblur.run.runner import DONE_MEANWHILE, Session
from unblur.run.steps import LoadedPhoto
from unblur.storage.files import SIGNALS_SECONDS

if TYPE_CHECKING:
    from unblur.network.deblurrer import Deblurrer
    from unblur.network.photo_rows import Pixels

T = TypeVar("T")


class LocalRunner:
    """Does jobs in this process, on one device.

    Args:
        make_deblurrer: Loads the network; called once, and only if there is a job to do.
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
        """Do jobs; deblurred photos are written even if the run is interrupted."""
        ahead = 0 if session.options.engine.max_memory else session.options.jobs
        decoding = ThreadPoolExecutor(session.options.jobs, "decode")
        writing = ThreadPoolExecutor(session.options.jobs, "write")
        pending: deque[Future[None]] = deque()
        load = partial(_load, session=session)
        try:
            for job, get in zip(jobs, load_ahead(decoding, jobs, load, ahead), strict=True):
                try:
                    loaded = self._with_new_companions(get())
                    pixels = self._deblur(loaded, session)
                    used = self._deblurrer.used
                except Exception as error:  # a bug with one photo must not lose the others
                    session.settle(outcome_of_error(job, error))
                else:
                    pending.append(writing.submit(_store, loaded, pixels, used, session))
                while len(pending) > ahead:
                    result_of(pending.popleft())
                if session.is_over:
                    break
        finally:
            decoding.shutdown(wait=False, cancel_futures=True)
            _wait(*pending)
            writing.shutdown()
            decoding.shutdown()
        for future in pending:
            future.result()

    def _with_new_companions(self, loaded: LoadedPhoto) -> LoadedPhoto:
        from unblur.formats.companions import with_new_companions

        return replace(loaded, photo=with_new_companions(loaded.photo, self._deblurrer))

    def _deblur(self, loaded: LoadedPhoto, session: Session) -> Pixels:
        from unblur.formats.panorama import deblurred

        progress = session.ui.photo_progress(loaded.job)
        return deblurred(loaded.photo, lambda pixels: self._deblurrer(pixels, progress))


def result_of(future: Future[T]) -> T:
    """Wait for a future, then return, or raise, as it does."""
    _wait(future)
    return future.result()


def _wait(*futures: Future[Any]) -> None:
    """Wait for futures; on Windows a wait without a timeout would not notice Ctrl-C."""
    while wait(futures, SIGNALS_SECONDS).not_done:
        pass


def load_ahead(
    executor: ThreadPoolExecutor, jobs: list[Job], load: Callable[[Job], T], depth: int
) -> Iterator[Callable[[], T]]:
    """Load jobs in threads, never more than ``depth`` ahead.

    Yields:
        For each job, in order, a function that waits and then returns, or raises, as ``load``
        does.
    """
    loads: deque[Callable[[], T]] = deque()
    for job in jobs:
        # Signals interrupt only the main thread, and standard input may stay silent for ever.
        is_stream = job.source is None
        begun = partial(load, job) if is_stream else partial(result_of, executor.submit(load, job))
        loads.append(begun)
        if len(loads) > depth:
            yield loads.popleft()
    yield from loads


def _load(job: Job, session: Session) -> LoadedPhoto:
    """Load a photo as `unblur.run.steps.load` does; raise `LeftAlone` if it is done, too."""
    if session.is_done_meanwhile(job):
        raise LeftAlone(DONE_MEANWHILE)
    loaded = steps.load(job, session.options)
    # The photo may be a result that was renamed or re-tagged, or that another run has just
    # put in place of its photo.
    session.refuse_result(job, loaded.state)
    return loaded


def _store(loaded: LoadedPhoto, pixels: Pixels, used: dict[str, Any], session: Session) -> None:
    """Write, record and publish a result, and settle its job."""
    options, settings = session.options, session.settings
    try:
        with steps.finish(loaded, pixels, options, settings, session.stdout) as finished:
            session.record(finished.outcome)
            outcome = replace(steps.publish(finished), used=used)
        if outcome.written_states != finished.outcome.written_states:
            session.record_published(outcome)
    except Exception as error:  # a bug with one photo must not lose the others
        outcome = outcome_of_error(loaded.job, error)
    session.settle(outcome)
