"""Workers of a cluster as the driver knows them, and the photos that they have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from unblur.run.jobs import Job
from unblur.run.ray_worker import Shape
from unblur.run.report import Outcome
from unblur.run.work import Result
from unblur.storage.places import FileState


@dataclass(eq=False)
class Try:
    """A photo on its way through the cluster."""

    job: Job
    number: int
    lost_workers: int = 0
    source: FileState | None = None
    """What its original must be: set when a result of it may have been published."""
    result: Result | None = None
    """Finished and recorded, and being published."""

    @property
    def recorded(self) -> tuple[FileState | None, ...]:
        """What its result is known by."""
        return self.result.states if self.result else ()


@dataclass(eq=False)
class Member:
    """A worker as the driver knows it."""

    shape: Shape
    actor: Any = None
    settings: dict[str, Any] | None = None
    """What it said when it was ready."""
    failed_starts: int = 0
    tries: set[Try] = field(default_factory=set)
    """What it is doing."""

    @property
    def is_examining(self) -> bool:
        """Whether it is alone with a photo that may have killed a worker."""
        return any(photo.lost_workers for photo in self.tries)


Said = tuple[Member, Try, Result | Outcome]
"""Who says what of a photo."""
