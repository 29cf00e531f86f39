"""A run: the jobs of a plan are done somewhere, and settled and remembered here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from unblur.errors import PhotoError
from unblur.options import Options
from unblur.run.done import Memory
from unblur.run.history import History, Record
from unblur.run.jobs import Job, Plan
from unblur.run.report import Outcome, Report, Status, settled_beforehand
from unblur.run.watcher import Watcher
from unblur.run.work import Result
from unblur.storage.places import FileState
from unblur.storage.temporaries import sweep


@dataclass(frozen=True)
class Session:
    """What all photos of a run share."""

    options: Options
    history: History
    settings: str
    """What a result depends on besides its photo; see `History`."""
    ui: Watcher
    stdout: int
    """Descriptor for a photo that goes to standard output."""
    report: Report = field(default_factory=Report)

    @property
    def is_over(self) -> bool:
        """Whether no further photo is to be begun."""
        return self.options.fail_fast and bool(self.report.failures)

    def done_meanwhile(self, job: Job, reads: bool = False) -> Outcome | None:
        """Return the outcome of a job that another run has done since it was planned.

        Args:
            job: The job.
            reads: Whether files may be read. Of two runs that made the same result at the same
                time, the record holds the time of one, and the other's is known by its content.
        """
        try:
            if not Memory(self.history, self.settings, reads=reads).is_done(job, self.options):
                return None
        except PhotoError:  # of a store that does not tell: the job itself will, if it goes on
            return None
        return Outcome(job, Status.SKIPPED, "done by another run meanwhile")

    def recognised(self, job: Job, state: FileState | None) -> Outcome | None:
        """Return the outcome of a job whose photo turns out to be a result, now that it is read.

        Args:
            job: The job.
            state: The photo's, with its content.
        """
        if job.source is None or job.target is None or state is None:
            return None
        memory = Memory(self.history, self.settings)
        reason = memory.recognise(job.source, state, self.options)
        return Outcome(job, Status.SKIPPED, reason) if reason else None

    def remember(self, *results: Result) -> None:
        """Record results that are to be published next.

        Raises:
            PhotoError: If that is not possible, and the results would replace their photos.
        """
        self.remember_published(*results)
        if self.history.problem and self.options.in_place:
            raise PhotoError(
                "was not replaced, because the result could not be recorded: "
                f"{self.history.problem}"
            )

    def remember_published(self, *results: Result) -> None:
        """Record results as they are in their places."""
        self.history.record(*self._records(results))

    def _records(self, results: Iterable[Result]) -> Iterator[Record]:
        for result in results:
            job = result.outcome.job
            for file, state in zip((job.target, job.comparison), result.states, strict=True):
                if job.source and file and result.source and state:
                    yield Record(job.source, result.source, file, state, self.settings)

    def settle(self, outcome: Outcome) -> None:
        """Take in what became of a photo, and tell it."""
        if outcome.status is Status.FAILED and not outcome.job.problem:
            outcome = self.done_meanwhile(outcome.job, reads=True) or outcome
        with self.report.lock:
            self.report.add(outcome)
            self.ui.outcome(outcome)


class Runner(Protocol):
    """Does jobs, wherever that is."""

    def __enter__(self) -> object:
        """Get ready: called once, and only if a job can be tried at all.

        Raises:
            UnblurError: If no photo can be done.
        """

    def __exit__(self, *unused: object) -> None:
        """Let go of what was taken."""

    def do(self, jobs: list[Job], session: Session) -> None:
        """Settle each job as soon as it is done, until there is none or the run is over.

        A result is remembered by the run before it is published. However it
        ends, no temporary file is left.
        """


def run_plan(plan: Plan, runner: Runner, session: Session) -> None:
    """Do the jobs; one that fails does not stop the rest, unless asked for.

    Args:
        plan: What to do.
        runner: Who does it.
        session: What all photos share. Its report takes in what became of each photo, on an
            interrupt of those until then.

    Raises:
        UnblurError: If the runner can do no photo.
    """
    todo = list(_settle_beforehand(plan.jobs, session))
    if not todo or session.is_over:
        return
    with runner:
        for folder in {job.target.parent for job in todo if isinstance(job.target, Path)}:
            sweep(folder)
        with session.ui.progress(len(todo)):
            try:
                runner.do(todo, session)
            except KeyboardInterrupt as interrupt:
                session.report.interrupted_by = interrupt


def _settle_beforehand(jobs: Iterable[Job], session: Session) -> Iterator[Job]:
    """Settle the jobs that need no work, and yield the others."""
    for job in jobs:
        if outcome := settled_beforehand(job):
            session.settle(outcome)
        else:
            yield job
