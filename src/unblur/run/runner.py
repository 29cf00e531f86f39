"""A run: the jobs of a plan are done somewhere, and settled and remembered here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from unblur.errors import PhotoError
from unblur.options import Options
from unblur.run.done import KnownResults
from unblur.run.history import History, Record
from unblur.run.jobs import Job, Plan
from unblur.run.report import LeftAlone, Outcome, Report, Status, planned_outcome
from unblur.run.watcher import Watcher
from unblur.storage.places import FileState
from unblur.storage.temporaries import sweep

DONE_MEANWHILE = "done by another run meanwhile"


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

    def is_done_meanwhile(self, job: Job, reads: bool = False) -> bool:
        """Tell whether another run has done a job since it was planned.

        Args:
            job: The job.
            reads: Whether files may be read. Of two runs that made the same result at the same
                time, the record holds the time of one, and the other's is known by its content.
        """
        try:
            return KnownResults(self.history, self.settings, reads=reads).is_done(job, self.options)
        except PhotoError:  # of a store that does not tell: the job itself will, if it goes on
            return False

    def refuse_result(self, job: Job, state: FileState | None) -> None:
        """Look whether a photo that was read is itself a result.

        Args:
            job: The job.
            state: The photo's, with its content.

        Raises:
            LeftAlone: If it is.
        """
        if job.source and job.target and state:
            memory = KnownResults(self.history, self.settings)
            if reason := memory.recognise(job.source, state, self.options):
                raise LeftAlone(reason)

    def record(self, *outcomes: Outcome) -> None:
        """Record results that are to be published next.

        Raises:
            PhotoError: If that is not possible, and the results would replace their photos.
        """
        self.record_published(*outcomes)
        if self.history.problem and self.options.in_place:
            raise PhotoError(
                "was not replaced, because the result could not be recorded: "
                f"{self.history.problem}"
            )

    def record_published(self, *outcomes: Outcome) -> None:
        """Record results as they are in their places."""
        self.history.record(*self._records(outcomes))

    def _records(self, outcomes: Iterable[Outcome]) -> Iterator[Record]:
        for outcome in outcomes:
            job, before = outcome.job, outcome.source_state
            places = job.target, job.comparison
            for place, state in zip(places, outcome.written_states, strict=True):
                if job.source and place and before and state:
                    yield Record(job.source, before, place, state, self.settings)

    def settle(self, outcome: Outcome) -> None:
        """Take in what became of a photo, and tell it."""
        job, has_failed = outcome.job, outcome.status is Status.FAILED
        if has_failed and not job.problem and self.is_done_meanwhile(job, reads=True):
            outcome = Outcome(job, Status.SKIPPED, DONE_MEANWHILE)
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
        outcome = planned_outcome(job)
        if outcome.status is Status.PLANNED:
            yield job
        else:
            session.settle(outcome)
