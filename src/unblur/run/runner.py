"""Run a plan: a runner runs the jobs, and the session records results and reports outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from unblur.errors import DeviceError, PhotoError
from unblur.options import Options
from unblur.run.history import History, Record
from unblur.run.jobs import Job, Plan
from unblur.run.known_results import ALREADY_DONE, KnownResults
from unblur.run.report import LeftAlone, Outcome, Report, Status, planned_outcome
from unblur.run.watcher import Watcher
from unblur.storage.places import FileState
from unblur.storage.temporaries import sweep

DONE_MEANWHILE = "done by another run meanwhile"


@dataclass(frozen=True)
class Session:
    """The shared state of a run: options, record and report."""

    options: Options
    history: History
    settings: str
    """Checksum of the weights, and the options that change results; part of the history's key."""
    ui: Watcher
    stdout: int
    """File descriptor of standard output, for a result that is written there."""
    report: Report = field(default_factory=Report)

    @property
    def is_over(self) -> bool:
        """Whether to start no more photos."""
        return (self.options.fail_fast and bool(self.report.failures)) or self.cannot_replace

    @property
    def cannot_replace(self) -> bool:
        """Whether results cannot replace their photos, because they cannot be recorded."""
        return self.options.in_place and self.history.problem is not None

    def is_done_meanwhile(self, job: Job, reads: bool = False) -> bool:
        """Return whether another run has done a job since it was planned.

        Args:
            job: The job.
            reads: Whether to read files. If two runs write the same result at the same time, the
                record has only one of the time stamps, and the content shows that the file is a
                result.
        """
        try:
            return KnownResults(self.history, self.settings, reads=reads).is_done(job, self.options)
        except PhotoError:  # a store does not answer; if this persists, the job reports it
            return False

    def refuse_result(self, job: Job, state: FileState | None) -> None:
        """Raise `LeftAlone` if the hashes of a photo show that it is a result, or has one."""
        if job.source and job.target and state:
            known = KnownResults(self.history, self.settings)
            if reason := known.recognise(job.source, state, self.options):
                raise LeftAlone(reason)
            if known.is_made_of(job, state, self.options):
                raise LeftAlone(ALREADY_DONE)

    def record(self, *outcomes: Outcome) -> None:
        """Record finished results before they are published.

        Raises:
            PhotoError: If the record cannot be written, and the results would replace photos.
        """
        self.record_published(*outcomes)
        if self.cannot_replace:
            raise PhotoError(
                "was not replaced, because the result could not be recorded: "
                f"{self.history.problem}"
            )

    def record_published(self, *outcomes: Outcome) -> None:
        """Record results with the states of their published files."""
        self.history.record(*self._records(outcomes))

    def _records(self, outcomes: Iterable[Outcome]) -> Iterator[Record]:
        for outcome in outcomes:
            job, before = outcome.job, outcome.source_state
            places = job.target, job.comparison
            for place, state in zip(places, outcome.written_states, strict=True):
                if job.source and place and before and state:
                    settings = self.settings + job.settings
                    yield Record(job.source, before, place, state, settings)

    def settle(self, outcome: Outcome) -> None:
        """Add the final outcome of a photo to the report, and print it."""
        job, has_failed = outcome.job, outcome.status is Status.FAILED
        may_be_done = has_failed and not (job.problem or outcome.is_written)
        if may_be_done and self.is_done_meanwhile(job, reads=True):
            outcome = Outcome(job, Status.SKIPPED, DONE_MEANWHILE)
        with self.report.lock:
            self.report.add(outcome)
            self.ui.outcome(outcome)


class Runner(Protocol):
    """Runs jobs on this machine, or on a cluster."""

    def __enter__(self) -> object:
        """Load the network, or join the cluster; called once, and only if there is a job.

        Raises:
            UnblurError: If no photo can be deblurred.
        """

    def __exit__(self, *unused: object) -> None:
        """Release processes and connections."""

    def do(self, jobs: list[Job], session: Session) -> None:
        """Run jobs, and settle each as soon as it is done, until all are done or the run is over.

        The session records each result before it is published. No temporary file is left, even
        after an interrupt.

        Raises:
            DeviceError: If no device is left to deblur photos.
        """


def run_plan(plan: Plan, runner: Runner, session: Session) -> None:
    """Run the jobs of a plan; a failed job stops the others only with ``--fail-fast``.

    The session's report gets the outcomes; after an interrupt or a lost device, the outcomes so
    far.

    Raises:
        UnblurError: If the runner cannot start.
    """
    todo = list(_settle_beforehand(plan.jobs, session))
    for folder in {job.target.parent for job in plan.jobs if isinstance(job.target, Path)}:
        sweep(folder)  # also where all is done: a run may have been killed at its very end
    if not todo or session.is_over:
        return
    with runner, session.ui.progress(len(todo)):
        try:
            runner.do(todo, session)
            if session.cannot_replace:
                session.report.not_reached = len(plan.jobs) - session.report.counts.total()
        except KeyboardInterrupt as interrupt:
            session.report.interrupted_by = interrupt
        except DeviceError as error:
            session.report.ended_by = error
            session.report.not_reached = len(plan.jobs) - session.report.counts.total()


def _settle_beforehand(jobs: Iterable[Job], session: Session) -> Iterator[Job]:
    """Settle jobs that are impossible or unnecessary, and yield the others."""
    for job in jobs:
        outcome = planned_outcome(job)
        if outcome.status is Status.PLANNED:
            yield job
        else:
            session.settle(outcome)
