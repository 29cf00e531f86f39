"""What became of each photo, and of all of them."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from unblur.errors import ExitCode
from unblur.run.jobs import Job

if TYPE_CHECKING:
    from unblur.pictures.compare import Pictures
    from unblur.pictures.preview import Preview


class Status(Enum):
    """How a photo ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    PLANNED = "planned"
    """Would be done, had this been no dry run."""


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    job: Job
    status: Status
    reason: str = ""
    """Why it failed or was skipped."""
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    """From the first byte read to the last one written, waiting included."""
    notes: tuple[str, ...] = ()
    """What the user should know of it."""
    details: tuple[str, ...] = ()
    """What only the curious want to know."""
    trace: str = ""
    """Where an error came from that nobody foresaw."""
    pictures: Pictures | None = None
    preview: Preview | None = None
    """What a terminal shows of it; not kept once it is shown."""

    def to_json(self, settings: dict[str, Any]) -> str:
        """Return one line of JSON, the form of ``--json``."""
        values = {
            "input": _text(self.job.source),
            "output": _text(self.job.target),
            "comparison": _text(self.job.comparison),
            "status": self.status.value,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "width": self.width,
            "height": self.height,
            "notes": [*self.notes, *self.details],
        }
        return json.dumps(values | settings)


def settled_beforehand(job: Job) -> Outcome | None:
    """Return the outcome of a job that the plan has found impossible or needless."""
    if job.problem:
        return Outcome(job, Status.FAILED, job.problem)
    return Outcome(job, Status.SKIPPED, job.skip) if job.skip else None


def _text(path: os.PathLike[str] | None) -> str | None:
    # Bytes of a name that are no text come out as lone surrogates, as os.fsencode takes them.
    return None if path is None else os.fspath(path)


@dataclass
class Report:
    """What became of all photos; its size does not grow with those that went well.

    Unless outcomes are kept, which a page needs.
    """

    keeps_outcomes: bool = False
    in_cloud: int = 0
    """Files that were passed over because their content is in the cloud only."""
    outcomes: list[Outcome] = field(default_factory=list)
    counts: Counter[Status] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    last: Outcome | None = None
    """The latest one, without its pictures."""
    interrupted_by: KeyboardInterrupt | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Held while a photo is settled, which threads do."""

    def add(self, outcome: Outcome) -> None:
        """Take in one photo."""
        self.counts[outcome.status] += 1
        self.last = replace(outcome, preview=None, pictures=None)
        if self.keeps_outcomes:
            self.outcomes.append(replace(outcome, preview=None))
        if outcome.status is Status.FAILED:
            self.failures.append(outcome)

    @property
    def exit_code(self) -> ExitCode:
        """What the program returns to the shell."""
        if not self.counts:
            return ExitCode.NOTHING_TO_DO
        return ExitCode.FAILED if self.failures else ExitCode.OK

    def summary(self) -> str:
        """Return the totals in one line."""
        told = [Status.DONE, Status.SKIPPED, Status.FAILED]
        if self.counts[Status.PLANNED]:
            told[0] = Status.PLANNED
        totals = ", ".join(f"{self.counts[status]} {status.value}" for status in told)
        return f"{totals}. {self.cloud_note}" if self.cloud_note else totals

    @property
    def cloud_note(self) -> str:
        """A sentence about the files in the cloud; empty if there were none."""
        if not self.in_cloud:
            return ""
        subject = "1 file is" if self.in_cloud == 1 else f"{self.in_cloud} files are"
        return f"{subject} in the cloud only: download the photos to deblur, and run again."
