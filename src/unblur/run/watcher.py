"""Define the interface through which a run reports messages, progress and outcomes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from unblur.run.jobs import Job
from unblur.run.report import Outcome

NORMAL, VERBOSE, DEBUG = 0, 1, 2
"""Verbosity levels; below NORMAL, only errors are printed."""


class Watcher(Protocol):
    """Receives the messages and outcomes of a run; `unblur.cli.console.Ui` prints them."""

    settings: dict[str, Any]
    """Options of the network, by name; a runner adds the device and the tile size."""

    def say(self, text: str, level: int = NORMAL) -> None:
        """Print a sentence if the verbosity is at least ``level``."""

    def outcome(self, outcome: Outcome) -> None:
        """Print the outcome of a photo."""

    def progress(self, total: int) -> AbstractContextManager[None]:
        """Show a progress bar while the context lasts.

        Args:
            total: Number of photos to do.
        """

    def photo_progress(self, job: Job) -> Callable[[float], None]:
        """Show a progress bar for a photo; return a function that sets the bar's share, 0 to 1."""
