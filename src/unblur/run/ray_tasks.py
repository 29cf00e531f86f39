"""Define the dispatcher's data: tasks, workers, and the workers' answers."""

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
    """Number of the task in calls of workers."""
    lost_workers: int = 0
    """Number of workers that died during the task. A task with a lost worker is a suspect."""
    source_state: FileState | None = None
    """State that the photo must still have, because an earlier try may have replaced it."""
    recorded: Outcome | None = None
    """Outcome of the recorded result while it is being published."""


@dataclass(eq=False)
class RemoteWorker:
    """The driver's data about a worker; a worker's replacement reuses the object."""

    shape: Shape
    actor: Any = None
    """Ray's handle of the `unblur.run.ray_worker.Worker`."""
    settings: dict[str, Any] | None = None
    """Device, engine and tile; ``None`` until the worker is ready."""
    failed_starts: int = 0
    """Failed starts in a row."""
    tasks: set[Task] = field(default_factory=set)
    """Unfinished tasks of the worker."""

    @property
    def has_suspect(self) -> bool:
        """Whether the worker's only task is a suspect."""
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
