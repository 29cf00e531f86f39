"""Send photos to the workers of a Ray cluster, and record and report the results.

Each photo takes two calls of a worker. `Worker.start` writes the result to a temporary file. Then
the driver records the result, and `Worker.publish` gives the file its name. So only recorded
results are published, and after a crash, photos without a result are tried again.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from unblur.errors import DeviceError, PhotoError, UnblurError
from unblur.run.jobs import Job
from unblur.run.memory_queue import photos_ahead
from unblur.run.ray_tasks import Answer, RemoteWorker, Task
from unblur.run.ray_worker import Shape, Worker, uses_gpu
from unblur.run.report import LeftAlone, Outcome, Status, outcome_of_error
from unblur.run.runner import DONE_MEANWHILE, Session
from unblur.run.watcher import VERBOSE
from unblur.storage import objects
from unblur.storage.places import FileState, Place
from unblur.storage.temporaries import has_unfinished, sweep
from unblur.version import __version__

if TYPE_CHECKING:
    from unblur.network.srn import SRN

TRIES = 3
"""Most workers that may die with one photo, and most failed starts of a worker in a row."""
PATIENCE_SECONDS = 30.0
"""Seconds to wait for the first worker before a message, and for results at the end."""
ANSWER_SECONDS = 1.0
"""Longest wait for the next answer, before new photos can be sent."""
SWEEP_SECONDS = 5.0
"""Seconds to wait until lost workers are dead; the next run removes their later files."""


class Dispatcher:
    """Sends the photos of a run to workers.

    A worker has few photos at a time, so that waiting photos take no memory. A lost worker is
    replaced. Its photos become suspects: each suspect is tried again alone on a worker, to find the
    photo that kills workers. That photo fails after `TRIES`.

    Args:
        jobs: The photos.
        session: The run's options, record and report.
        network: The network in Ray's object store.
        shapes: The cores and GPUs of each worker.
    """

    def __init__(
        self,
        jobs: list[Job],
        session: Session,
        network: ray.ObjectRef[SRN],
        shapes: list[Shape],
    ) -> None:
        self._session, self._network = session, network
        self._waiting = deque(Task(job, number) for number, job in enumerate(jobs))
        self._suspects: deque[Task] = deque()
        self._calls: dict[Any, tuple[RemoteWorker, Task | None]] = {}
        """Unanswered calls, each with its worker and task; a call without a task prepares a
        worker."""
        self._samples = _sample(job.source for job in jobs)
        self._actors = ray.remote(Worker)
        self._names = (f"unblur-{secrets.token_hex(3)}-{number}" for number in count(1))
        self._workers = [RemoteWorker(shape) for shape in shapes]
        self._folders = {job.target.parent for job in jobs if isinstance(job.target, Path)}
        self._discards: list[Any] = []
        """Calls that delete unpublished results."""
        self._may_have_leftovers = False
        self._is_ending = False

    def run(self) -> None:
        """Process all photos.

        Raises:
            UnblurError: If no worker can be used.
        """
        for worker in self._workers:
            self._start_worker(worker)
        patience_ends = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._hand_out()
            if not self._is_more and not any(worker.tasks for worker in self._workers):
                return
            self._take_answers()
            if time.monotonic() > patience_ends:
                patience_ends = float("inf")
                if not any(worker.settings for worker in self._workers):
                    self._session.ui.say("waiting for the cluster to have room for a worker")

    def end(self) -> None:
        """Publish finished results, and stop the workers."""
        self._is_ending = True
        self._may_have_leftovers |= any(worker.tasks for worker in self._workers)
        ends = time.monotonic() + PATIENCE_SECONDS
        while self._publishing and time.monotonic() < ends:
            self._take_answers(self._publishing)
        if self._discards:  # a worker that is stopped too early leaves its files behind
            ray.wait(self._discards, num_returns=len(self._discards), timeout=PATIENCE_SECONDS)
        for worker in self._workers:
            _kill(worker)

    @property
    def _is_more(self) -> bool:
        """Whether a photo waits for a worker."""
        return bool(self._waiting or self._suspects) and not self._session.is_over

    @property
    def _publishing(self) -> list[Any]:
        """The calls that publish results."""
        return [call for call, (_, task) in self._calls.items() if task and task.recorded]

    def _start_worker(self, worker: RemoteWorker) -> None:
        """Ask the cluster for a worker; it starts when there is room."""
        options: dict[str, Any] = {
            "name": next(self._names),
            "max_concurrency": self._depth(worker),
            "scheduling_strategy": "SPREAD",
        }
        actor = self._actors.options(**worker.shape, **options)
        worker.settings = None
        worker.actor = actor.remote(
            [self._network],
            self._session.options,
            worker.shape,
            self._session.settings,
        )
        call = worker.actor.prepare.remote(__version__, self._samples)
        self._calls[call] = (worker, None)

    def _hand_out(self) -> None:
        """Send waiting photos to the least busy workers, while a worker has room."""
        while takers := [worker for worker in self._workers if self._may_take(worker)]:
            worker = min(takers, key=lambda worker: len(worker.tasks))
            queue = self._suspects if self._suspects and not worker.tasks else self._waiting
            task = queue.popleft()
            expected = task.source_state or self._state_in_place(task.job)
            # If the job may not replace a file, the worker finds the other run's result.
            if task.job.replaces and self._session.is_done_meanwhile(task.job):
                self._session.settle(Outcome(task.job, Status.SKIPPED, DONE_MEANWHILE))
                continue
            worker.tasks.add(task)
            call = worker.actor.start.remote(task.number, _absolute(task.job), expected)
            self._calls[call] = (worker, task)

    def _state_in_place(self, job: Job) -> FileState | None:
        """Return the state of a photo that its result replaces; ``None`` for other photos."""
        if not self._session.options.in_place or job.source is None:
            return None
        try:
            return objects.state_of(job.source)
        except PhotoError:  # a store does not answer; if this persists, the worker reports it
            return None

    def _may_take(self, worker: RemoteWorker) -> bool:
        if worker.settings is None or worker.has_suspect or self._session.is_over:
            return False
        if self._suspects and not worker.tasks:
            return True
        return bool(self._waiting) and len(worker.tasks) < self._depth(worker)

    def _depth(self, worker: RemoteWorker) -> int:
        """Return the number of photos for a worker at a time: one is deblurred, the others wait."""
        options, cores = self._session.options, int(worker.shape["num_cpus"])
        on_cpu = not uses_gpu(options.network, worker.shape)
        return 1 + 2 * photos_ahead(options, on_cpu, cores)

    def _take_answers(self, calls: Iterable[Any] | None = None) -> None:
        """Wait for an answer, then process all answers that have arrived.

        The results are recorded together, because each write to the record waits for the disk.
        """
        ready, others = ray.wait(list(calls or self._calls), num_returns=1, timeout=ANSWER_SECONDS)
        if ready and others:
            ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
        received = [answer for call in ready if (answer := self._receive(call))]
        # Another call may have found out that the worker of an answer is lost.
        answers = [answer for answer in received if answer.task in answer.worker.tasks]
        self._record(answers)
        for answer in answers:
            if answer.is_unpublished:
                self._publish(answer)
            else:
                self._settle(answer.worker, answer.task, answer.outcome)

    def _record(self, answers: list[Answer]) -> None:
        """Record results before they are published; discard results that must not be published."""
        for answer in answers:
            if answer.is_unpublished:
                try:
                    self._session.refuse_result(answer.task.job, answer.outcome.source_state)
                except LeftAlone as error:
                    self._discard(answer, error)
        try:  # record again if publishing changed the states of the files
            self._session.record(*(a.outcome for a in answers if a.has_new_states))
        except PhotoError as error:
            for answer in answers:
                if answer.is_unpublished:
                    self._discard(answer, error)

    def _discard(self, answer: Answer, reason: Exception) -> None:
        """Delete an unpublished result, and report the reason as the outcome."""
        self._discards.append(answer.worker.actor.discard.remote(answer.task.number))
        answer.outcome = outcome_of_error(answer.task.job, reason)

    def _receive(self, call: Any) -> Answer | None:  # noqa: ANN401
        """Return an answer about a task; process an answer about the worker itself."""
        if call not in self._calls:
            return None  # the worker was lost meanwhile
        worker, task = self._calls.pop(call)
        try:
            value = ray.get(call)
        except RayError as error:
            cause = getattr(error, "cause", None)  # the exception that the worker raised
            if isinstance(cause, DeviceError):
                self._abandon(worker, cause)
                self._remove(worker, cause)
            else:
                self._lose(worker, error)
            return None
        if task is None:
            self._admit(worker, value)
            return None
        return Answer(worker, task, _with_job(value, task.job))

    def _admit(self, worker: RemoteWorker, settings: dict[str, Any] | UnblurError) -> None:
        """Let a ready worker take photos; remove a worker that cannot be used, see `_remove`."""
        if isinstance(settings, UnblurError):
            self._remove(worker, settings)
            return
        worker.settings, worker.failed_starts = settings, 0
        ready = sum(worker.settings is not None for worker in self._workers)
        self._session.ui.say(f"{ready} of {len(self._workers)} workers are ready", VERBOSE)

    def _publish(self, answer: Answer) -> None:
        """Let a worker publish a finished and recorded result."""
        answer.task.recorded = answer.outcome
        call = answer.worker.actor.publish.remote(answer.task.number)
        self._calls[call] = (answer.worker, answer.task)

    def _settle(self, worker: RemoteWorker, task: Task, outcome: Outcome) -> None:
        """Report the outcome of a task, and remove the task from its worker."""
        worker.tasks.discard(task)
        self._session.ui.settings |= worker.settings or {}
        self._session.settle(outcome)

    def _lose(self, worker: RemoteWorker, error: RayError) -> None:
        """Replace a worker that has died."""
        reason = _last_line(error)
        if worker.settings is None:
            worker.failed_starts += 1
        self._session.ui.say(f"a worker was lost: {reason}", VERBOSE)
        self._abandon(worker, error)
        if worker.failed_starts == TRIES:
            self._remove(worker, DeviceError(f"no worker can be started: {reason}"))
        elif not self._is_ending:
            self._start_worker(worker)

    def _abandon(self, worker: RemoteWorker, error: Exception) -> None:
        """End a worker: settle its published results, and retry its other photos."""
        self._may_have_leftovers = True
        _kill(worker)
        self._calls = {call: of for call, of in self._calls.items() if of[0] is not worker}
        for task in tuple(worker.tasks):
            self._try_again(worker, task, error)

    def _try_again(self, worker: RemoteWorker, task: Task, error: Exception) -> None:
        """Settle a lost worker's task if its result is published; otherwise make it a suspect."""
        if task.recorded:
            published = _published(task.recorded)
            if published:
                self._session.record_published(published)
                self._settle(worker, task, published)
                return
            task.source_state, task.recorded = task.recorded.source_state, None
            # An existing comparison is from the first try.
            task.job = replace(task.job, replaces_comparison=True)
        worker.tasks.discard(task)
        task.lost_workers += 1
        if task.lost_workers < TRIES:
            self._suspects.append(task)
            return
        reason = (
            f"{TRIES} workers died while they processed it, perhaps for lack of memory; "
            "try a smaller --tile or --max-memory, -vv shows more"
        )
        self._session.settle(Outcome(task.job, Status.FAILED, reason, trace=str(error)))

    def _remove(self, worker: RemoteWorker, reason: UnblurError) -> None:
        """Go on without a worker; raise the reason if it was the last worker."""
        _kill(worker)
        self._workers.remove(worker)
        if not self._workers:
            raise reason
        self._session.ui.say(f"continues with fewer workers: {reason}")

    def sweep(self) -> None:
        """Delete the temporary files of lost workers; files are unlocked once a worker is dead."""
        ends = time.monotonic() + SWEEP_SECONDS
        for folder in self._folders if self._may_have_leftovers else ():
            sweep(folder)
            while has_unfinished(folder) and time.monotonic() < ends:
                time.sleep(0.1)
                sweep(folder)


def _sample(sources: Iterable[Place | None]) -> list[Path]:
    """Return a few photos, so that a worker can check that its node sees the same files."""
    paths = [source.absolute() for source in sources if isinstance(source, Path)]
    return [paths[0], paths[len(paths) // 2], paths[-1]] if paths else []


def _absolute(job: Job) -> Job:
    """Return a job with absolute paths, for a process that runs in another folder."""
    source, target, comparison = (
        place.absolute() if isinstance(place, Path) else place
        for place in (job.source, job.target, job.comparison)
    )
    mask = job.mask
    if mask and isinstance(mask.place, Path):
        mask = replace(mask, place=mask.place.absolute())
    folder = job.folder and replace(job.folder, path=job.folder.path.absolute())
    return replace(
        job, source=source, target=target, comparison=comparison, folder=folder, mask=mask
    )


def _with_job(outcome: Outcome, job: Job) -> Outcome:
    """Return a worker's outcome with the driver's job, whose paths are as the user typed them."""
    if outcome.job.comparison is None:  # not wanted, or drawing it failed
        job = replace(job, comparison=None)
    return replace(outcome, job=job)


def _published(recorded: Outcome) -> Outcome | None:
    """Return the outcome of a lost worker's task if its result is published, or ``None``."""
    target = recorded.job.target
    assert target is not None
    assert recorded.target_state is not None
    try:
        if objects.holds(target, recorded.target_state):
            place = recorded.job.comparison  # published before the result
            state = objects.state_of(place) if place and recorded.comparison_state else None
            return recorded.published(objects.state_of(target), state)
    except PhotoError:  # a store does not answer; if this persists, the next worker reports it
        pass
    return None


def _kill(worker: RemoteWorker) -> None:
    if worker.actor is not None:
        ray.kill(worker.actor)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
