"""Draw progress bars below the messages of a terminal, and print the messages above them.

A program in a terminal can be stopped at any moment (Ctrl-Z, ``kill -STOP``), be continued in the
background, or be killed. Therefore the cursor is never hidden, bars are drawn only in the
foreground, and after a stop they are drawn at a new place: the shell has written where they were.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import IO, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from unblur.cli.signals import was_continued
from unblur.cli.terminal import has_foreground
from unblur.user_text import ZERO_WIDTH_JOINER

DRAWING_SECONDS = 0.1
"""Time between two drawings of the bars."""
LONGEST_TICK_SECONDS = 1.0
"""Time between two looks at the clock of which more is a stop."""


class Terminal(Console):
    """A console that leaves the cursor visible: a stopped program could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        """Do nothing, and say so."""
        return False


class RunningTime:
    """A clock that stands still while the program is stopped, or the computer sleeps.

    It is read at each drawing, so that a longer time between two readings is a stop.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds, self._read = 0.0, time.monotonic()

    def __call__(self) -> float:
        """Return the seconds that have passed since the clock was made."""
        with self._lock:
            now = time.monotonic()
            self._seconds += min(now - self._read, LONGEST_TICK_SECONDS)
            self._read = now
            return self._seconds


class Bars:
    """Progress bars, drawn while the context lasts.

    Args:
        stream: The terminal.
        columns: Columns of Rich between the bar and the remaining time.
    """

    def __init__(self, stream: IO[str], *columns: ProgressColumn) -> None:
        name = TextColumn("{task.description}", markup=False)
        left = TimeRemainingColumn(table_column=Column(no_wrap=True))  # only the bar shrinks
        self._stream = stream
        self.progress = Progress(
            name, BarColumn(), *columns, left, console=self._console(), get_time=RunningTime()
        )
        """The values of the bars; it draws nothing itself."""
        self._drawn: Live | None = None
        """The bars on the terminal."""
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._draw_until_over, daemon=True)

    def __enter__(self) -> Bars:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        """Remove the bars from the terminal."""
        self._over.set()
        self._thread.join()
        with self._lock:
            if drawn := self._find():
                drawn.stop()
                self._drawn = None

    @property
    def name_room(self) -> int:
        """The number of characters for a name; the rest is for the bar and the numbers."""
        return self.progress.console.width // 3

    def print(self, *values: object, **options: Any) -> None:  # noqa: ANN401 (as Rich has it)
        """Print like `rich.console.Console.print`, above the bars."""
        with self._lock:
            drawn = self._find()
            console = drawn.console if drawn else self._console()
            console.print(*values, **options)

    def _draw_until_over(self) -> None:
        while not self._over.wait(DRAWING_SECONDS):
            with self._lock:
                if drawn := self._find():
                    drawn.refresh()

    def _find(self) -> Live | None:
        """Return the bars on the terminal; ``None`` in the background."""
        is_shown, is_displaced = _may_draw_on(self._stream), was_continued()
        if self._drawn and (is_displaced or not is_shown):
            self._drawn.console.quiet = True  # they are among other text now, and stay there
            self._drawn.stop()
            self._drawn = None
        if is_shown and self._drawn is None:
            self._drawn = Live(
                get_renderable=self.progress.get_renderable,
                console=self._console(),
                auto_refresh=False,
                transient=True,
            )
            self._drawn.start(refresh=True)
        return self._drawn

    def _console(self) -> Console:
        return Terminal(file=self._stream)


def _may_draw_on(stream: IO[str]) -> bool:
    with contextlib.suppress(OSError):  # a terminal that controls nothing
        return has_foreground(stream.fileno())
    return True


def short_name(name: str, room: int) -> str:
    """Return a name that takes at most ``room`` characters of a terminal, with its end.

    Joined emoji are parted, because terminals do not agree on their width.
    """
    name = name.replace(ZERO_WIDTH_JOINER, "")
    if cell_len(name) <= room:
        return name
    dots, end = "..."[:room], ""
    for character in reversed(name):
        if cell_len(character + end) > (room - len(dots)) // 2:  # Chinese letters take two
            break
        end = character + end
    return set_cell_size(name, room - len(dots) - cell_len(end)) + dots + end
