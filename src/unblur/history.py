"""What earlier runs have done, so that a second run does only the rest.

A result counts as done when the file is the one that was written, its original
has not changed since, and the settings are the same. This is kept in one SQLite
file in the user's cache folder: it can be deleted at any time, SQLite lets
several runs share it, and nothing is added to the photos or their folders.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from unblur.files import FileState

WAIT_SECONDS = 60.0
"""How long to wait for another run that is writing."""

_TABLE = """
CREATE TABLE IF NOT EXISTS results (
    target TEXT, target_size INTEGER, target_time INTEGER,
    source TEXT, source_size INTEGER, source_time INTEGER, settings TEXT,
    PRIMARY KEY (target, target_size, target_time)
) WITHOUT ROWID
"""


class History:
    """The record of results; safe to use from several threads.

    Args:
        path: The SQLite file, created when missing. If it cannot be used, nothing
            counts as done and nothing is recorded.
    """

    def __init__(self, path: Path) -> None:
        self._database: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        with contextlib.suppress(OSError, sqlite3.Error):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=WAIT_SECONDS, check_same_thread=False)
            self._database.execute(_TABLE)

    def __enter__(self) -> History:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._database:
            self._database.close()

    def is_ours(self, target: Path) -> bool:
        """Tell whether a file is a result, unchanged since it was written."""
        return self._row(target) is not None

    def is_done(self, source: Path, target: Path, settings: str) -> bool:
        """Tell whether a result is there and what it was made from is as it was."""
        row = self._row(target)
        if row is None or row.settings != settings:
            return False
        # A photo that was replaced by its result is its own original now.
        same_file = source.resolve() == target.resolve()
        return same_file or (row.source == _key(source) and row.state == FileState.at(source))

    def record(
        self, source: Path, before: FileState, target: Path, after: FileState, settings: str
    ) -> None:
        """Remember a result; called just before it gets its name.

        Called after, a crash in between would leave a result that nobody
        knows; called before, it leaves a record of a file that is not there.
        """
        if self._database is None:
            return
        row = (_key(target), after.size, after.time_ns, _key(source), before.size, before.time_ns)
        with contextlib.suppress(sqlite3.Error), self._lock, self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, settings)
            )

    def _row(self, target: Path) -> _Row | None:
        """Return what is recorded of a result as it is now."""
        state = FileState.at(target)
        if self._database is None or state is None:
            return None
        query = (
            "SELECT source, source_size, source_time, settings FROM results "
            "WHERE target = ? AND target_size = ? AND target_time = ?"
        )
        try:
            with self._lock:
                found = self._database.execute(query, (_key(target), state.size, state.time_ns))
                row = found.fetchone()
        except sqlite3.Error:
            return None
        return _Row(row[0], FileState(row[1], row[2]), row[3]) if row else None


@dataclass(frozen=True)
class _Row:
    """What a result was made from, and how."""

    source: str
    state: FileState
    settings: str


def _key(path: Path) -> str:
    """Return a path's text; SQLite takes no lone surrogates, which odd names hold."""
    return os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")
