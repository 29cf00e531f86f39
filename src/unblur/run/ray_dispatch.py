"""Hand photos to workers of a cluster, and take what comes back.

A worker does with a photo what a run on one machine does, in two calls: the
first finishes the result under a name of its own, the second publishes it when
the driver has recorded it. So whatever dies, and whenever, a result is either
published and known, or it is not there and its photo is tried again.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from unblur.errors import DeviceError, PhotoError, UnblurError
from unblur.run.jobs import Job
from unblur.run.ray_members import Member, Said, Try
from unblur.run.ray_worker import Shape, Worker
from unblur.run.report import Outcome, Status
from unblur.run.runner import Session
from unblur.run.watcher import VERBOSE
from unblur.run.work import Result
from unblur.storage import objects
from unblur.storage.places import FileState, Place
from unblur.storage.temporaries import has_unfinished, sweep
from unblur.version import __version__

if TYPE_CHECKING:
    from unblur.network.srn import SRN

TRIES = 3
"""Workers that a photo may lose before it is given up, and that may fail in a row to start."""
PATIENCE_SECONDS = 30.0
"""How long to wait for a first worker without a word, and after an interrupt for results."""
SWEEP_SECONDS = 5.0
"""How long workers may take to die; what they leave later is left to the next run."""


class Dispatch:
    """The photos of a run, and the workers that do them.

    A worker has few photos at a time, so that those that wait take no memory
    anywhere. One that is lost is replaced, and its photos are tried again, each
    alone with a worker: one that kills it can then be told from the others, and
    has failed after `TRIES`.

    Args:
        jobs: What to do.
        session: What all photos share.
        network: The network's place in Ray's object store.
        shapes: What each worker takes of a node.
    """

    def __init__(
        self,
        jobs: list[Job],
        session: Session,
        network: ray.ObjectRef[SRN],
        shapes: list[Shape],
    ) -> None:
        self._session, self._network = session, network
        self._depth = 1 if session.options.engine.max_memory else 1 + 2 * session.options.jobs
        self._waiting = deque(Try(job, number) for number, job in enumerate(jobs))
        self._suspects: deque[Try] = deque()
        self._pending: dict[Any, tuple[Member, Try | None]] = {}
        """Who is to answer; without a photo, that a worker is ready."""
        self._samples = _sample(job.source for job in jobs)
        self._actors = ray.remote(Worker)
        self._names = (f"unblur-{secrets.token_hex(3)}-{number}" for number in count(1))
        self._members = [Member(shape) for shape in shapes]
        self._folders = {job.target.parent for job in jobs if isinstance(job.target, Path)}
        self._discards: list[Any] = []
        """What workers were told to throw away."""
        self._has_litter = False
        self._is_ending = False

    def work_off(self) -> None:
        """Do all jobs.

        Raises:
            UnblurError: If no worker can be used.
        """
        for member in self._members:
            self._hire(member)
        patience_ends = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._hand_out()
            if not self._is_more and not any(member.tries for member in self._members):
                return
            self._take_answers(timeout=1.0)
            if time.monotonic() > patience_ends:
                patience_ends = float("inf")
                if not any(member.settings for member in self._members):
                    self._session.ui.say("waiting for the cluster to have room for a worker")

    def end(self) -> None:
        """Publish what is finished, and let the workers go."""
        self._is_ending = True
        self._has_litter |= any(member.tries for member in self._members)
        ends = time.monotonic() + PATIENCE_SECONDS
        while self._publishing and time.monotonic() < ends:
            self._take_answers(timeout=1.0, of=self._publishing)
        if self._discards:  # a worker that is let go before leaves its files
            ray.wait(self._discards, num_returns=len(self._discards), timeout=PATIENCE_SECONDS)
        for member in self._members:
            _kill(member)

    @property
    def _is_more(self) -> bool:
        """Whether there is a photo to hand out."""
        return bool(self._waiting or self._suspects) and not self._session.is_over

    @property
    def _publishing(self) -> list[Any]:
        return [ref for ref, (_, photo) in self._pending.items() if photo and photo.result]

    def _hire(self, member: Member) -> None:
        """Ask the cluster for a worker; it comes when there is room."""
        options: dict[str, Any] = {
            "name": next(self._names),
            "max_concurrency": self._depth,
            "scheduling_strategy": "SPREAD",
        }
        actor = self._actors.options(**member.shape, **options)
        member.settings = None
        member.actor = actor.remote(
            [self._network],
            self._session.options,
            member.shape,
            self._session.settings,
        )
        answer = member.actor.prepare.remote(__version__, self._samples)
        self._pending[answer] = (member, None)

    def _hand_out(self) -> None:
        """Give photos to the workers that have fewest, as long as there are both."""
        while takers := [member for member in self._members if self._may_take(member)]:
            member = min(takers, key=lambda member: len(member.tries))
            queue = self._suspects if self._suspects and not member.tries else self._waiting
            photo = queue.popleft()
            expected = photo.source or self._state_in_place(photo.job)
            # Elsewhere it shows when the worker looks: its result would be in the way.
            done = self._session.done_meanwhile(photo.job) if photo.job.replaces else None
            if done:
                self._session.settle(done)
                continue
            member.tries.add(photo)
            job = _absolute(photo.job)
            answer = member.actor.start.remote(photo.number, job, expected)
            self._pending[answer] = (member, photo)

    def _state_in_place(self, job: Job) -> FileState | None:
        """Return the state of a photo that is to be replaced, in which it is no result yet."""
        if not self._session.options.in_place or job.source is None:
            return None
        try:
            return objects.state_of(job.source)
        except PhotoError:  # of a store that does not tell: the worker will, if it goes on
            return None

    def _may_take(self, member: Member) -> bool:
        if member.settings is None or member.is_examining or self._session.is_over:
            return False
        if self._suspects and not member.tries:
            return True
        return bool(self._waiting) and len(member.tries) < self._depth

    def _take_answers(self, timeout: float, of: Iterable[Any] | None = None) -> None:
        """Wait for an answer, and act on it and on all others that are there.

        Their results are recorded together: each record by itself waits for the disk.
        """
        answers, others = ray.wait(list(of or self._pending), num_returns=1, timeout=timeout)
        if answers and others:
            answers += ray.wait(others, num_returns=len(others), timeout=0)[0]
        said = [heard for answer in answers if (heard := self._receive(answer))]
        for member, photo, what in self._remember(said):
            if photo not in member.tries:
                continue  # its worker was lost meanwhile
            if isinstance(what, Result) and photo.result is None:
                self._publish(member, photo, what)
            else:
                self._settle(member, photo, what)

    def _remember(self, said: list[Said]) -> list[Said]:
        """Record results; those that must not be published become outcomes."""
        said = [self._unless_known(*one) for one in said]
        results = ((photo, what) for _, photo, what in said if isinstance(what, Result))
        try:
            self._session.remember(*(r for photo, r in results if r.states != photo.recorded))
        except PhotoError as error:
            failed = partial(Outcome, status=Status.FAILED, reason=str(error))
            return [self._instead_of_result(*one, failed(one[1].job)) for one in said]
        return said

    def _unless_known(self, member: Member, photo: Try, what: Result | Outcome) -> Said:
        """Return what was said of a photo; that it is left alone, if it is a result itself."""
        if isinstance(what, Outcome) or photo.result:
            return member, photo, what
        known = self._session.recognised(photo.job, what.source)
        return (
            self._instead_of_result(member, photo, what, known) if known else (member, photo, what)
        )

    def _instead_of_result(
        self, member: Member, photo: Try, what: Result | Outcome, outcome: Outcome
    ) -> Said:
        """Discard a result that is not published yet, and return the outcome in its place."""
        if isinstance(what, Outcome) or photo.result:
            return member, photo, what
        self._discards.append(member.actor.discard.remote(photo.number))
        return member, photo, outcome

    def _receive(self, answer: Any) -> Said | None:  # noqa: ANN401
        """Return what a worker said of a photo; act on what it said of itself."""
        if answer not in self._pending:
            return None  # its worker was lost meanwhile
        member, photo = self._pending.pop(answer)
        try:
            said = ray.get(answer)
        except RayError as error:
            self._lose(member, error)
            return None
        if photo is None:
            self._welcome(member, said)
            return None
        return member, photo, _of(photo.job, said)

    def _welcome(self, member: Member, said: dict[str, Any] | UnblurError) -> None:
        """Let a worker take photos, or let it go if it cannot.

        Raises:
            UnblurError: If it was the last.
        """
        if isinstance(said, UnblurError):
            self._dismiss(member, said)
            return
        member.settings, member.failed_starts = said, 0
        ready = sum(member.settings is not None for member in self._members)
        self._session.ui.say(f"{ready} of {len(self._members)} workers are ready", VERBOSE)

    def _publish(self, member: Member, photo: Try, result: Result) -> None:
        """Let a worker publish a result that is finished and recorded."""
        photo.result = result
        self._pending[member.actor.publish.remote(photo.number)] = (member, photo)

    def _settle(self, member: Member, photo: Try, said: Result | Outcome) -> None:
        """Tell what became of a photo."""
        member.tries.discard(photo)
        self._session.ui.settings |= member.settings or {}
        self._session.settle(said.outcome if isinstance(said, Result) else said)

    def _lose(self, member: Member, error: RayError) -> None:
        """Settle what a lost worker had published, try its other photos again, and replace it."""
        self._has_litter = True
        _kill(member)
        self._pending = {ref: who for ref, who in self._pending.items() if who[0] is not member}
        reason = _last_line(error)
        if member.settings is None:
            member.failed_starts += 1
        self._session.ui.say(f"a worker was lost: {reason}", VERBOSE)
        for photo in tuple(member.tries):
            self._try_again(member, photo, error)
        if member.failed_starts == TRIES:
            self._dismiss(member, DeviceError(f"no worker can be started: {reason}"))
        elif not self._is_ending:
            self._hire(member)

    def _try_again(self, member: Member, photo: Try, error: RayError) -> None:
        if photo.result:
            published = _published(photo.result)
            if published:
                self._session.remember_published(published)
                self._settle(member, photo, published)
                return
            photo.source, photo.result = photo.result.source, None
            # What may be there of the first try is ours.
            photo.job = replace(photo.job, replaces_comparison=True)
        member.tries.discard(photo)
        photo.lost_workers += 1
        if photo.lost_workers < TRIES:
            self._suspects.append(photo)
            return
        reason = (
            f"{TRIES} workers died while they processed it, perhaps for lack of memory; "
            "try a smaller --tile or --max-memory, -vv shows more"
        )
        self._session.settle(Outcome(photo.job, Status.FAILED, reason, trace=str(error)))

    def _dismiss(self, member: Member, reason: UnblurError) -> None:
        """Go on without a worker.

        Raises:
            UnblurError: The reason, if it was the last.
        """
        _kill(member)
        self._members.remove(member)
        if not self._members:
            raise reason
        self._session.ui.say(f"continues with fewer workers: {reason}")

    def sweep(self) -> None:
        """Remove unfinished files of lost workers as soon as those are dead, which unlocks them."""
        ends = time.monotonic() + SWEEP_SECONDS
        for folder in self._folders if self._has_litter else ():
            sweep(folder)
            while has_unfinished(folder) and time.monotonic() < ends:
                time.sleep(0.1)
                sweep(folder)


def _sample(sources: Iterable[Place | None]) -> list[Path]:
    """Return a few files, which a node must see to be of use."""
    paths = [source.absolute() for source in sources if isinstance(source, Path)]
    return [paths[0], paths[len(paths) // 2], paths[-1]] if paths else []


def _absolute(job: Job) -> Job:
    """Return a job for a process that runs in another folder."""
    source, target, comparison = (
        place.absolute() if isinstance(place, Path) else place
        for place in (job.source, job.target, job.comparison)
    )
    return replace(job, source=source, target=target, comparison=comparison)


def _of(job: Job, said: Result | Outcome) -> Result | Outcome:
    """Return what a worker said, as said of the job that the user knows."""
    outcome = said if isinstance(said, Outcome) else said.outcome
    if outcome.job.comparison is None:  # or none any more: it could not be drawn
        job = replace(job, comparison=None)
    outcome = replace(outcome, job=job)
    return outcome if isinstance(said, Outcome) else replace(said, outcome=outcome)


def _published(result: Result) -> Result | None:
    """Return a result with its state if it is in its place, although nobody said so."""
    target = result.outcome.job.target
    assert target is not None
    assert result.target is not None
    try:
        if objects.holds(target, result.target):
            place = result.outcome.job.comparison  # published before, if there is one
            comparison = objects.state_of(place) if place and result.comparison else None
            return result.written(result.outcome, objects.state_of(target), comparison)
    except PhotoError:  # of a store that does not tell; whoever tries again will
        pass
    return None


def _kill(member: Member) -> None:
    if member.actor is not None:
        ray.kill(member.actor)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
