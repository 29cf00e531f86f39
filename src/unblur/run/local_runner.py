"""Run jobs on this machine; decoding, deblurring and encoding overlap.

Threads decode photos ahead of the network, and write results after it. A GPU gets the next photo
before it has returned the last result. `unblur.run.memory_queue` limits the number of photos and
their memory.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unblur.errors import DeviceError
from unblur.run import load_step, network_step, write_step
from unblur.run.jobs import Job
from unblur.run.load_ahead import Load, load_ahead, result_of, wait_for
from unblur.run.load_step import LoadedPhoto
from unblur.run.memory_queue import MemoryQueue, Slot, photos_ahead
from unblur.run.network_step import StartedPhoto
from unblur.run.report import NOTHING_USED, LeftAlone, outcome_of_error
from unblur.run.runner import DONE_MEANWHILE, Session
from unblur.run.threads import ThreadPool
from unblur.storage.waiting import waiting

if TYPE_CHECKING:
    from unblur.network.deblurrer import NetworkDeblurrer
    from unblur.network.photo_rows import Pixels


class LocalRunner:
    """Runs jobs in this process, on one device.

    Args:
        make_deblurrer: Loads the network; called once, and only if there is a job to do.
    """

    def __init__(self, make_deblurrer: Callable[[], NetworkDeblurrer]) -> None:
        self._make_deblurrer = make_deblurrer

    def __enter__(self) -> LocalRunner:
        self._deblurrer = self._make_deblurrer()
        del self._make_deblurrer  # and the bytes of the weights that it holds
        return self

    def __exit__(self, *unused: object) -> None:
        pass

    def do(self, jobs: list[Job], session: Session) -> None:
        """Run jobs; deblurred photos are written even if the run is interrupted.

        Raises:
            DeviceError: If the device that the user named is lost.
        """
        from unblur.network.device_kinds import CPU
        from unblur.network.devices import available_cores

        on_cpu = self._deblurrer.kind is CPU
        ahead = photos_ahead(session.options, on_cpu, available_cores())
        most_started = 2 if ahead and not on_cpu else 1
        with _Batch(self._deblurrer, session, ahead, most_started) as batch:
            batch.do(jobs)


@dataclass(frozen=True)
class _Photo:
    """A photo in flight."""

    job: Job
    slot: Slot
    """The photo's slot in the memory queue."""


@dataclass(frozen=True)
class _Started:
    """A photo that the network deblurs now."""

    photo: _Photo
    run: StartedPhoto


class _Batch:
    """The photos of one run: some are being decoded, one or two deblurred, and some written.

    Args:
        deblurrer: The network.
        session: The run.
        ahead: See `photos_ahead`.
        most_started: Largest number of photos that the network deblurs at the same time.
    """

    def __init__(
        self, deblurrer: NetworkDeblurrer, session: Session, ahead: int, most_started: int
    ) -> None:
        self._deblurrer, self._session = deblurrer, session
        self._ahead, self._most_started = ahead, most_started
        self._memory = MemoryQueue()
        warn = functools.cache(session.ui.say)  # once, whatever the number of threads
        self._decoding = ThreadPool(max(1, ahead), "decode", warn)
        self._writing = ThreadPool(max(1, ahead), "write", warn)
        self._started: deque[_Started] = deque()
        self._writes: deque[Future[None]] = deque()
        self._over = threading.Event()

    def __enter__(self) -> _Batch:
        return self

    def __exit__(self, *unused: object) -> None:
        """Write the deblurred photos, and stop decoding."""
        self._memory.end()
        self._over.set()
        self._decoding.shutdown(wait=False, cancel_futures=True)
        wait_for(*self._writes)
        self._writing.shutdown()
        self._decoding.shutdown()

    def do(self, jobs: list[Job]) -> None:
        """Run jobs, in order, until all are done or the run is over."""
        photos = (_Photo(job, self._memory.join()) for job in jobs)
        loads = load_ahead(
            self._decoding, photos, self._load, self._ahead, lambda photo: photo.job.source is None
        )
        for load in loads:
            if not load.is_ready:  # it may wait for the memory of those that the network has
                self._finish_all_but(0)
            self._start(load)
            del load  # and the photo
            self._finish_all_but(self._most_started - 1)
            while len(self._writes) > self._ahead:
                result_of(self._writes.popleft())
            if self._session.is_over:
                break
        self._finish_all_but(0)
        while self._writes:
            result_of(self._writes.popleft())

    def _load(self, photo: _Photo) -> LoadedPhoto:
        """Load a photo like `unblur.run.load_step.load`; raise `LeftAlone` if it is done, too."""
        with waiting(over=self._over):  # for a server, but not beyond the end of the run
            return self._load_now(photo)

    def _load_now(self, photo: _Photo) -> LoadedPhoto:
        job, session = photo.job, self._session
        if session.is_done_meanwhile(job):
            raise LeftAlone(DONE_MEANWHILE)
        with contextlib.suppress(OSError):  # reading it says what is wrong
            photo.slot.hold_file(job.source.stat().st_size if isinstance(job.source, Path) else 0)
        with photo.slot.decoding():
            loaded = load_step.load(job, session.options, self._ahead <= 1)
        # The photo may be a result that was renamed or re-tagged, or that another run has just
        # put in place of its photo.
        session.refuse_result(job, loaded.state)
        return loaded

    def _start(self, load: Load[_Photo, LoadedPhoto]) -> None:
        """Wait until a photo is loaded, and start to deblur it."""
        photo = load.photo
        try:
            loaded = load.result()
            progress = None if loaded.unchanged else self._session.ui.photo_progress(photo.job)
            run = network_step.start(loaded, self._deblurrer, progress)
            self._started.append(_Started(photo, run))
        except Exception as error:  # a bug with one photo must not lose the others
            self._fail(photo, error)

    def _finish_all_but(self, count: int) -> None:
        """Wait for the oldest photos in the network, and write their results.

        Args:
            count: Number of photos that may stay in the network.
        """
        while len(self._started) > count:
            started = self._started.popleft()
            try:
                pixels, used = started.run.result()
            except DeviceError:  # no photo can be deblurred any more
                raise
            except Exception as error:  # a bug with one photo must not lose the others
                self._fail(started.photo, error, self._deblurrer.used)
            else:
                write = self._writing.submit(self._store, started, pixels, used)
                self._writes.append(write)

    def _store(self, started: _Started, pixels: Pixels, used: dict[str, Any]) -> None:
        """Write, record and publish a result, and settle its job."""
        session, loaded = self._session, started.run.loaded
        options, settings = session.options, session.settings
        try:
            with write_step.finish(loaded, pixels, options, settings, session.stdout) as finished:
                session.record(finished.outcome)
                outcome = replace(write_step.publish(finished), used=used)
            if outcome.written_states != finished.outcome.written_states:
                session.record_published(outcome)
        except Exception as error:  # a bug with one photo must not lose the others
            outcome = replace(outcome_of_error(loaded.job, error), used=used)
        started.photo.slot.leave()
        session.settle(outcome)

    def _fail(self, photo: _Photo, error: Exception, used: dict[str, Any] | None = None) -> None:
        photo.slot.leave()
        self._session.settle(replace(outcome_of_error(photo.job, error), used=used or NOTHING_USED))
