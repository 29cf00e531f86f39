"""The only place that prints: everything goes to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.plan import Job
from unblur.report import Outcome, Report, Status

if TYPE_CHECKING:
    from rich.progress import Progress

NORMAL, VERBOSE, DEBUG = 0, 1, 2
"""How much is said; below NORMAL only errors."""


def printable(text: str | Path) -> str:
    """Return text that a terminal shows as it is, whatever bytes a file name holds."""
    decoded = os.fsencode(text).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)


class Ui:
    """Tells the user what happens.

    Args:
        verbosity: One of NORMAL, VERBOSE, DEBUG, or below NORMAL to be quiet.
        total: Number of photos.
    """

    def __init__(self, verbosity: int, total: int) -> None:
        self.verbosity = verbosity
        self._total = total
        self._progress: Progress | None = None

    def say(self, text: str, level: int = NORMAL) -> None:
        """Print a line, unless fewer words were asked for."""
        if self.verbosity < level:
            return
        if self._progress:
            # Not as markup: a name may hold brackets.
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def error(self, text: str) -> None:
        """Print an error, however quiet."""
        self.say(f"unblur: error: {text}", level=self.verbosity)

    def note(self, job: Job, text: str, level: int = NORMAL) -> None:
        """Print what the user should know of one photo."""
        self.say(f"{printable(job.name)}: {text}", level)

    @contextlib.contextmanager
    def progress(self, job: Job) -> Iterator[Callable[[float], None]]:
        """Show a bar for one photo while it lasts, if standard error is a terminal.

        Yields:
            A function to be told the share that is done, from 0 to 1.
        """
        if self.verbosity < NORMAL or not sys.stderr.isatty():
            yield lambda share: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.text import Text

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            self._progress = bar
            task = bar.add_task(Text(printable(Path(job.name).name)).plain, total=1.0)
            try:
                yield lambda share: bar.update(task, completed=share)
            finally:
                self._progress = None

    def outcome(self, outcome: Outcome) -> None:
        """Print what became of one photo."""
        if outcome.status is Status.FAILED:
            self.error(f"{printable(outcome.job.name)}: {outcome.reason}")
        elif outcome.job.target is not None:
            size = f"{outcome.width}x{outcome.height}, {outcome.seconds:.1f} s"
            self.note(outcome.job, f"-> {printable(outcome.job.target)} ({size})")

    def summary(self, report: Report) -> None:
        """Print the totals, when there is more than one photo."""
        if self._total > 1:
            self.say(report.summary())
