"""Print messages, progress and results: the only module that prints.

Standard output gets the list for scripts: paths of results, or lines of JSON. Messages go to
standard error, without passwords and other secrets of addresses. Control characters are escaped in
messages, and in the list if it goes to a terminal: see `unblur.user_text.printable`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from unblur.errors import UnblurError
from unblur.run.jobs import Job, Plan
from unblur.run.report import Outcome, Report, Status
from unblur.run.watcher import DEBUG, NORMAL, VERBOSE
from unblur.storage.addresses import without_any_secret, without_secrets
from unblur.storage.drafts import write_all
from unblur.user_text import (
    describe_os_error,
    duration,
    encoded,
    megapixels,
    printable,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

    from unblur.cli.bars import Bars
    from unblur.pictures.preview import Preview

ListFormat = Literal["lines", "nul", "json", "none"]
"""Format of the list of results on standard output."""


@contextlib.contextmanager
def output_errors_as_unblur_errors() -> Iterator[None]:
    """Raise `UnblurError` for errors of standard output; a closed pipe stays `BrokenPipeError`."""
    try:
        yield
    except OSError as error:
        _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise UnblurError(f"cannot write to standard output: {describe_os_error(error)}") from error


def _discard(stream: TextIO) -> None:
    """Drop the buffered text of a stream; Python would try to write it again at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Log:
    """Standard error that ignores errors: a full disk or closed terminal must not stop a photo."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, text: str) -> int:
        """Write text, ignoring errors."""
        with self._failures_ignored():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write the buffered text, ignoring errors."""
        with self._failures_ignored():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (what Rich asks of a stream)
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _failures_ignored(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _discard(self._stream)


class _LibraryLog(logging.Handler):
    """Tells what libraries log, at verbosity DEBUG; Python would print it, secrets and all."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one message."""
        self._tell(self.format(record))


@contextlib.contextmanager
def libraries_logged(ui: Ui) -> Iterator[None]:
    """Give what libraries log, and their warnings, to a `Ui`."""
    handler = _LibraryLog(ui.trace)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)


def _make_console() -> Console:
    """Return the console of Rich for pictures."""
    from rich.console import Console

    return Console(file=cast(TextIO, _Log()))


def _target(job: Job) -> str:
    return "standard output" if job.target is None else str(job.target)


class Ui:
    """Prints messages, progress bars and the list of results; used by one thread at a time.

    Args:
        verbosity: NORMAL, VERBOSE or DEBUG; a lower number prints only errors.
        listing: Format of the list of results.
        stdout: File descriptor of standard output.
    """

    def __init__(
        self,
        verbosity: int = NORMAL,
        listing: ListFormat = "none",
        stdout: int = 1,
    ) -> None:
        self.verbosity = verbosity
        self._listing, self._stdout = listing, stdout
        self.settings: dict[str, Any] = {}
        """Options of the network for each line of JSON; a runner adds to them."""
        self._bars: Bars | None = None
        self._pixels = 0
        self._lock = threading.Lock()

    def say(self, text: str, level: int = NORMAL) -> None:
        """Print a line on standard error, if the verbosity is at least ``level``."""
        if self.verbosity < level:
            return
        line = printable(without_secrets(text))
        with self._lock:
            if bars := self._bars:
                # Without markup and emoji codes: a name may contain brackets and colons.
                bars.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
            else:
                print(line, file=_Log(), flush=True)

    def answer(self, *cells: str, end: str = "\n") -> None:
        """Print a line of a command's output on standard output.

        Args:
            cells: Texts, which are separated by tabs. Scripts get them unchanged, including bytes
                of names that are not UTF-8.
            end: End of the line, unless standard output is a terminal.
        """
        if sys.stdout.isatty():
            cells, end = tuple(map(printable, cells)), "\n"
        with output_errors_as_unblur_errors():
            line = encoded("\t".join(cells) + end)
            binary = getattr(sys.stdout, "buffer", None)
            if binary:
                binary.write(line)
            else:  # text only, as in Jupyter's notebooks
                sys.stdout.write(line.decode("utf-8", "backslashreplace"))
            sys.stdout.flush()

    def table(self, rows: Sequence[tuple[str, ...]]) -> None:
        """Print rows on standard output: aligned in a terminal, separated by tabs for scripts."""
        if not sys.stdout.isatty():
            for row in rows:
                self.answer(*row)
            return
        from rich.cells import cell_len

        shown = [tuple(map(printable, row)) for row in rows]
        widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
        for row in shown:
            missing = (width - cell_len(cell) for cell, width in zip(row, widths, strict=True))
            padded = (cell + " " * count for cell, count in zip(row, missing, strict=True))
            self.answer("  ".join(padded).rstrip())

    def error(self, text: str) -> None:
        """Print an error, at any verbosity."""
        self.say(f"unblur: error: {text}", level=self.verbosity)

    def trace(self, text: str) -> None:
        """Print a traceback at verbosity DEBUG."""
        for line in without_any_secret(text).splitlines():
            self.say(line, DEBUG)

    def passed_over(self, plan: Plan) -> None:
        """Print files and folders that the search skipped, with the reasons, if VERBOSE."""
        for path, reason in plan.passed_over:
            self.say(f"{path}: passed over: {reason}", VERBOSE)

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[None]:
        """Show progress bars while the context lasts, if standard error is a terminal."""
        if not self._shows_bars:
            yield
            return
        from rich.progress import TextColumn

        count = TextColumn("{task.fields[count]}", markup=False, justify="right")
        speed = TextColumn("{task.fields[speed]}", markup=False)
        with self._drawn_bars(count, speed) as bars:
            add = bars.progress.add_task
            add("photos", total=total, count=f"0/{total}", speed="")
            add("", total=1, count="", speed="", visible=False)  # until a photo starts
            yield

    @contextlib.contextmanager
    def transfer(self, name: str) -> Iterator[Callable[[int, int | None], None]]:
        """Show the progress bar of a download, if standard error is a terminal.

        Yields:
            A function that sets the bar to the bytes received, and the total if it is known.
        """
        if not self._shows_bars:
            yield lambda done, total: None
            return
        from rich.progress import DownloadColumn, TransferSpeedColumn

        from unblur.cli.bars import short_name

        with self._drawn_bars(DownloadColumn(), TransferSpeedColumn()) as bars:
            shown = short_name(printable(name), bars.name_room)
            task = bars.progress.add_task(shown, total=None)
            yield lambda done, total: bars.progress.update(task, completed=done, total=total)

    @property
    def _shows_bars(self) -> bool:
        """Whether the terminal can draw over lines, and the system starts the thread of the bars.

        With ``TERM=dumb``, as in Emacs and for screen readers, each line is written once.
        """
        from unblur.network.thread_limit import starts_threads

        if self.verbosity < NORMAL or not sys.stderr.isatty():
            return False
        console = _make_console()
        return console.is_terminal and not console.is_dumb_terminal and starts_threads(1)

    @contextlib.contextmanager
    def _drawn_bars(self, *columns: ProgressColumn) -> Iterator[Bars]:
        """Show bars with these columns; while they last, messages appear above them."""
        from unblur.cli.bars import Bars

        with Bars(cast(TextIO, _Log()), *columns) as self._bars:
            try:
                yield self._bars
            finally:
                self._bars = None

    def photo_progress(self, job: Job) -> Callable[[float], None]:
        """Show a progress bar for one photo; return a function that sets it, from 0 to 1."""
        if self._bars is None:
            return lambda share: None
        from unblur.cli.bars import short_name

        progress = self._bars.progress
        photo = progress.task_ids[1]
        name = short_name(printable(Path(job.name).name), self._bars.name_room)
        progress.reset(photo, description=name, visible=True, count="0%", speed="")
        return lambda share: progress.update(photo, completed=share, count=f"{int(100 * share)}%")

    def outcome(self, outcome: Outcome) -> None:
        """Print the outcome of one photo."""
        job, name = outcome.job, outcome.job.name
        if self._bars:
            self._advance(outcome, self._bars.progress)
        self.trace(outcome.trace)
        if outcome.status is Status.FAILED:
            self.error(f"{name}: {outcome.reason}")
        elif outcome.status is Status.SKIPPED:
            self.say(_skipped(outcome), VERBOSE)
        elif outcome.status is Status.PLANNED:
            self.say(f"{name} -> {_target(job)} (planned)")
        elif job.target is not None:
            size = f"{outcome.width}x{outcome.height}, {duration(outcome.seconds)}"
            self.say(f"{name} -> {job.target} ({size})")
        if outcome.verdict:
            self.say(f"{name}: {outcome.verdict}")
        if outcome.status is Status.DONE and job.comparison is not None:
            self.say(f"{name} -> {job.comparison} (comparison)")
        for note in outcome.notes:
            self.say(f"{name}: {note}")
        for detail in outcome.details:
            self.say(f"{name}: {detail}", VERBOSE)
        if outcome.preview is not None and self.verbosity >= NORMAL:
            self._show(outcome.preview)
        self._list(outcome)

    def _show(self, preview: Preview) -> None:
        """Print a picture."""
        from unblur.cli.terminal import Printed

        with self._lock:
            (self._bars or _make_console()).print(Printed(preview), crop=False)

    def _advance(self, outcome: Outcome, progress: Progress) -> None:
        self._pixels += outcome.width * outcome.height
        task = progress.tasks[0]
        rate = megapixels(round(self._pixels / (task.elapsed or 1)))
        # Photos that were skipped or only scored have no size.
        speed = f"{rate} megapixels/s" if self._pixels else ""
        count = f"{task.completed + 1:.0f}/{task.total or 0:.0f}"
        progress.update(task.id, advance=1, count=count, speed=speed)

    def _list(self, outcome: Outcome) -> None:
        """Write one result to standard output."""
        if self._listing == "json":
            line = outcome.to_json(self.settings).encode() + b"\n"
        elif (
            self._listing != "none"
            and outcome.job.target
            and (outcome.status in (Status.DONE, Status.PLANNED))
        ):
            end = b"\0" if self._listing == "nul" else b"\n"
            line = os.fsencode(outcome.job.target) + end
        else:
            return
        with output_errors_as_unblur_errors():
            write_all(self._stdout, line)

    def summary(self, report: Report) -> None:
        """Print the totals and all failures, if there was more than one photo."""
        if report.counts.total() + report.not_reached <= 1 and not report.in_cloud:
            if report.counts[Status.SKIPPED] and report.last and self.verbosity < VERBOSE:
                self.say(_skipped(report.last))  # the only photo: say why nothing was done
            return
        self.say(report.summary())
        for outcome in report.failures:
            self.say(f"  failed: {outcome.job.name}: {outcome.reason}")


def _skipped(outcome: Outcome) -> str:
    return f"{outcome.job.name}: skipped: {outcome.reason}"
