"""What a run tells whoever watches it, and how much of that is said."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from unblur.run.jobs import Job
from unblur.run.report import Outcome

NORMAL, VERBOSE, DEBUG = 0, 1, 2
"""How much is said; below NORMAL only errors."""


class Watcher(Protocol):
    """Is told how a run goes; `unblur.cli.console.Ui` shows it to the user."""

    settings: dict[str, Any]
    """How photos are deblurred, by the option's name; a runner may add what it finds out."""

    def say(self, text: str, level: int = NORMAL) -> None:
        """Take in a sentence of so much interest."""

    def outcome(self, outcome: Outcome) -> None:
        """Take in what became of a photo."""

    def progress(self, total: int) -> AbstractContextManager[None]:
        """Show how far the run is while the context lasts.

        Args:
            total: How many photos there are to do.
        """

    def photo_progress(self, job: Job) -> Callable[[float], None]:
        """Begin a photo, and return what is to be called with the share that is done, 0 to 1."""
