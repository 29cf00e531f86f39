"""The dispatcher's data: photos as tasks, workers, and the answers of workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from unblur.run.jobs import Job
from unblur.run.ray_worker import Shape
from unblur.run.report import Outcome, Status
from unblur.storage.places import FileState


@dataclass(eq=False)
class Task:
    """A job that waits for a worker, or that a worker processes."""

    job: Job
    number: int
    """Number by which workers know the task."""
    lost_workers: int = 0
    """Number of workers that died during the task. If any did, the task is a suspect."""
    source_state: FileState | None = None
    """State that the photo must still have: an earlier try may have published a result."""
    recorded: Outcome | None = None
    """Outcome of the finished result, which is recorded and being published."""


@dataclass(eq=False)
class RemoteWorker:
    """A worker as the driver sees it; a replacement of a lost worker reuses the object."""

    shape: Shape
    actor: Any = None
    """Ray's handle of the `unblur.run.ray_worker.Worker`."""
    settings: dict[str, Any] | None = None
    """Device and tile; ``None`` until the worker is ready."""
    failed_starts: int = 0
    """Failed starts in a row."""
    tasks: set[Task] = field(default_factory=set)
    """Tasks that the worker has not finished."""

    @property
    def has_suspect(self) -> bool:
        """Whether the worker processes a suspect, which is its only task."""
        return any(task.lost_workers for task in self.tasks)


@dataclass(eq=False)
class Answer:
    """The outcome of a task, as a worker reports it."""

    worker: RemoteWorker
    task: Task
    outcome: Outcome

    @property
    def is_unpublished(self) -> bool:
        """Whether the result is finished, but not yet recorded and published."""
        return self.outcome.status is Status.DONE and self.task.recorded is None

    @property
    def has_new_states(self) -> bool:
        """Whether the states of the written files are not recorded yet."""
        recorded = self.task.recorded
        return recorded is None or recorded.written_states != self.outcome.written_states
