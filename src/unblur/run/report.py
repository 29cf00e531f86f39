"""Define the outcome of a photo, and collect the outcomes of a run."""

from __future__ import annotations

import json
import os
import threading
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from unblur.errors import ExitCode, UnblurError, UnflushedError, describe_unexpected
from unblur.run.jobs import Job
from unblur.storage.addresses import without_any_secret
from unblur.storage.places import FileState

if TYPE_CHECKING:
    from unblur.blur import Blur
    from unblur.pictures.compare import Pictures
    from unblur.pictures.preview import Preview
    from unblur.pictures.verdict import Verdict


MOST_PICTURE_BYTES = 96 << 20
"""Most bytes of pictures in a page. They make a page of 130 MB, which browsers can show."""
NOTHING_USED: dict[str, Any] = {"device": None, "engine": None, "tile": None}
"""Device and tile for a photo that was not deblurred."""


class LeftAlone(Exception):  # noqa: N818 (no error: the photo is skipped)
    """Raised for a skipped photo, with the reason as its text."""


class Status(Enum):
    """Status of a job."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    PLANNED = "planned"
    """Not done yet; final only in a dry run."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one job: its status, and the states of its files."""

    job: Job
    status: Status
    reason: str = ""
    """Reason of a failed or skipped job."""
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    """Time from reading to publishing, including waits."""
    notes: tuple[str, ...] = ()
    """Sentences that are always printed."""
    details: tuple[str, ...] = ()
    """Sentences that only --verbose prints."""
    is_written: bool = False
    """Whether a failed job has written its result."""
    trace: str = ""
    """Traceback of an unexpected error."""
    pictures: Pictures | None = None
    preview: Preview | None = None
    """Small picture for the terminal, which is dropped once it was shown."""
    verdict: Verdict | None = None
    """The photo's blur and the changed share; ``None`` unless the photo is done and this is
    wanted."""
    source_state: FileState | None = None
    """State of the photo when it was read; ``None`` for standard input."""
    target_state: FileState | None = None
    """State of the written result; ``None`` for standard output."""
    comparison_state: FileState | None = None
    """State of the written comparison."""
    used: dict[str, Any] = field(default_factory=NOTHING_USED.copy)
    """Device, engine and tile that were used; ``None`` values if the photo was not deblurred."""

    @property
    def written_states(self) -> tuple[FileState | None, FileState | None]:
        """The states of the result and of the comparison."""
        return self.target_state, self.comparison_state

    def published(self, target: FileState | None, comparison: FileState | None) -> Outcome:
        """Return the outcome with the states of published files, and the known hashes."""
        target, comparison = (
            state and replace(state, content=known.content if known else None)
            for state, known in zip((target, comparison), self.written_states, strict=True)
        )
        return replace(self, target_state=target, comparison_state=comparison)

    def to_json(self, settings: dict[str, Any]) -> str:
        """Return the line of JSON that ``--json`` prints.

        Args:
            settings: Further values for the line: the options of the network. The device, engine
                and tile that were used replace the options.
        """
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
        found = self.verdict
        judged = blur_to_json(found.blur if found else None)
        judged["changed"] = found.changed if found else None
        return json.dumps(values | judged | settings | self.used)


def blur_to_json(blur: Blur | None) -> dict[str, Any]:
    """Return the fields about a photo's blur for a line of JSON."""
    if blur is None:
        return dict.fromkeys(("blur", "blur_length", "blur_angle"))
    return {"blur": blur.kind.value, "blur_length": blur.length, "blur_angle": blur.angle}


def planned_outcome(job: Job) -> Outcome:
    """Return the outcome of a job before it is run: failed, skipped or planned."""
    if job.problem:
        return Outcome(job, Status.FAILED, job.problem)
    if job.skip:
        return Outcome(job, Status.SKIPPED, job.skip)
    return Outcome(job, Status.PLANNED)


def outcome_of_error(job: Job, error: Exception) -> Outcome:
    """Return the outcome of a job that ended with an exception: skipped or failed."""
    match error:
        case LeftAlone():
            return Outcome(job, Status.SKIPPED, str(error))
        case UnblurError():
            is_written = isinstance(error, UnflushedError)
            reason = job.reason_of(error)
            return Outcome(job, Status.FAILED, reason, is_written=is_written)
        case MemoryError():
            reason = "out of memory; a smaller --tile or --jobs 1 needs less"
            return Outcome(job, Status.FAILED, reason)
    trace = "".join(traceback.format_exception(error))
    reason = without_any_secret(describe_unexpected(error))
    return Outcome(job, Status.FAILED, reason, trace=trace)


def _text(path: os.PathLike[str] | None) -> str | None:
    # Bytes that are not UTF-8 become lone surrogates, which os.fsencode converts back.
    return None if path is None else os.fspath(path)


@dataclass(kw_only=True)
class Report:
    """The outcomes of a run: the number of each status, and the failures.

    Other outcomes are dropped, so that a large run takes no memory. With ``keeps_outcomes``, all
    outcomes are kept, and the first outcomes keep their pictures, up to `MOST_PICTURE_BYTES`.
    """

    keeps_outcomes: bool = False
    """Whether to keep all outcomes, for the web page of ``--report``."""
    picture_bytes: int = 0
    """Bytes of the pictures that are kept."""
    left_out: int = 0
    """Number of photos whose pictures were dropped because there were too many."""
    in_cloud: int = 0
    """Number of files whose content is in the cloud only."""
    outcomes: list[Outcome] = field(default_factory=list)
    counts: Counter[Status] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    last: Outcome | None = None
    """The latest outcome, without pictures."""
    interrupted_by: KeyboardInterrupt | None = None
    ended_by: UnblurError | None = None
    """Error that ended the run, such as a lost device."""
    not_reached: int = 0
    """Number of photos that were not tried because of ``ended_by``."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Lock for settling jobs, which several threads do."""

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of one photo."""
        self.counts[outcome.status] += 1
        self.last = replace(outcome, preview=None, pictures=None)
        if self.keeps_outcomes:
            self.outcomes.append(self._kept(outcome))
        if outcome.status is Status.FAILED:
            self.failures.append(outcome)

    def _kept(self, outcome: Outcome) -> Outcome:
        """Return an outcome for the page; without pictures if there are too many."""
        pictures = outcome.pictures
        if pictures and not self.takes(sum(map(len, pictures.coded))):
            pictures = pictures.uncoded()
        states: dict[str, Any] = dict.fromkeys(("source_state", "target_state", "comparison_state"))
        return replace(outcome, preview=None, pictures=pictures, **states)

    def takes(self, size: int) -> bool:
        """Count a photo's pictures of ``size`` bytes; return whether the page has room.

        Once the page is full, smaller pictures are dropped, too, because the page names the first
        photo without pictures.
        """
        has_room = not self.left_out and self.picture_bytes + size <= MOST_PICTURE_BYTES
        self.picture_bytes += size * has_room
        self.left_out += not has_room
        return has_room

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of the program."""
        if self.ended_by:
            return self.ended_by.exit_code
        if not self.counts:
            return ExitCode.NOTHING_TO_DO
        return ExitCode.FAILED if self.failures else ExitCode.OK

    def summary(self) -> str:
        """Return the totals in one line."""
        shown = [Status.DONE, Status.SKIPPED, Status.FAILED]
        if self.counts[Status.PLANNED]:
            shown[0] = Status.PLANNED
        totals = ", ".join(f"{self.counts[status]} {status.value}" for status in shown)
        if self.not_reached:
            totals += f", {self.not_reached} not reached"
        return f"{totals}. {self.cloud_note}" if self.cloud_note else totals

    @property
    def cloud_note(self) -> str:
        """Sentence about files in the cloud; empty if there are none."""
        if not self.in_cloud:
            return ""
        subject = "1 file is" if self.in_cloud == 1 else f"{self.in_cloud} files are"
        return f"{subject} in the cloud only: download the photos to deblur, and run again."
