"""What became of each photo, and of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from unblur.errors import ExitCode
from unblur.plan import Job


class Status(Enum):
    """How a photo ended."""

    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    job: Job
    status: Status
    reason: str = ""
    """Why it failed."""
    width: int = 0
    height: int = 0
    seconds: float = 0.0


@dataclass
class Report:
    """What became of all photos."""

    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take in one photo."""
        self.outcomes.append(outcome)

    def count(self, status: Status) -> int:
        """Return how many photos ended in a way."""
        return sum(outcome.status is status for outcome in self.outcomes)

    @property
    def exit_code(self) -> ExitCode:
        """What the program returns to the shell."""
        if not self.outcomes:
            return ExitCode.NOTHING_TO_DO
        return ExitCode.FAILED if self.count(Status.FAILED) else ExitCode.OK

    def summary(self) -> str:
        """Return the totals in one line."""
        return f"{self.count(Status.DONE)} deblurred, {self.count(Status.FAILED)} failed"
