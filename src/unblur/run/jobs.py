"""Define a run's plan, which has one job per photo."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from unblur.errors import UnblurError
from unblur.run.ignored import IN_THE_CLOUD
from unblur.storage.folders import SeenFolder
from unblur.storage.places import FileState, Place


@dataclass(frozen=True)
class MaskFile:
    """The place of a mask, and the hash of its content when the run was planned."""

    place: Place
    digest: str
    """See `unblur.run.mask_files.digest_of`."""


@dataclass(frozen=True)
class Job:
    """One photo to deblur."""

    source: Place | None
    """The photo; ``None`` is standard input."""
    target: Place | None
    """Path or address of the result; ``None`` is standard output."""
    replaces: bool = False
    """Whether an existing file at the target may be replaced."""
    replaced: FileState | None = None
    """State that the existing target must still have; ``None``: not checked."""
    problem: str | None = None
    """Why the job is impossible, so that it fails without being tried."""
    skip: str | None = None
    """Why the job is unnecessary, so that it is skipped."""
    comparison: Place | None = None
    """Path or address of the comparison picture; ``None``: no picture."""
    replaces_comparison: bool = False
    """Whether an existing comparison may be replaced."""
    twins: tuple[Path, ...] = ()
    """Results of other photos whose names may be the target's on this disk."""
    folder: SeenFolder | None = None
    """The deepest folder of the target that exists; ``None`` for objects and streams."""
    mask: MaskFile | None = None
    """Mask of the areas to deblur; ``None``: the whole photo."""

    @property
    def settings(self) -> str:
        """Settings of this photo only, as text; the history's key has them after the run's."""
        return f" mask={self.mask.digest}" if self.mask else ""

    @property
    def name(self) -> str:
        """Name of the photo in messages."""
        return "standard input" if self.source is None else str(self.source)

    def reason_of(self, error: UnblurError) -> str:
        """Return an error's message, with the name of its place if that is not the photo."""
        place, text = getattr(error, "place", None), str(error)
        is_named = place in (None, self.source) or str(place) in text
        return text if is_named else f"{place}: {text}"


@dataclass(frozen=True)
class Plan:
    """All jobs of a run."""

    jobs: list[Job] = field(default_factory=list)
    passed_over: list[tuple[Place, str]] = field(default_factory=list)
    """Files and folders that were skipped, each with the reason."""

    @property
    def in_cloud(self) -> int:
        """Number of files whose content is in the cloud only."""
        return sum(reason == IN_THE_CLOUD for _, reason in self.passed_over)
