"""What a run will do: a job for each photo."""

from __future__ import annotations

from dataclasses import dataclass, field

from unblur.run.ignored import IN_THE_CLOUD
from unblur.storage.places import FileState, Place


@dataclass(frozen=True)
class Job:
    """One photo to deblur."""

    source: Place | None
    """The photo; ``None`` is standard input."""
    target: Place | None
    """Where the result goes; ``None`` is standard output."""
    replaces: bool = False
    """Whether a file that is there may be replaced."""
    replaced: FileState | None = None
    """The state that file must be in, so that nobody's newer work is lost; ``None`` is any."""
    problem: str | None = None
    """Why it cannot be done, found before work starts."""
    skip: str | None = None
    """Why it need not be done."""
    comparison: Place | None = None
    """Where before and after are shown side by side; ``None`` is nowhere."""
    replaces_comparison: bool = False
    """Whether a comparison that is there may be replaced."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return "standard input" if self.source is None else str(self.source)


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    jobs: list[Job] = field(default_factory=list)
    passed_over: list[tuple[Place, str]] = field(default_factory=list)
    """What was found below a folder and is left alone, with the reason."""

    @property
    def in_cloud(self) -> int:
        """How many files were passed over because their content is in the cloud only."""
        return sum(reason == IN_THE_CLOUD for _, reason in self.passed_over)
