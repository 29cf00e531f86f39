"""What earlier runs have done, so that a second run does only the rest.

A result counts as done when the file or object is the one that was written, its
original has not changed since, and the settings are the same. This is kept in one SQLite
file in the user's cache folder: it can be deleted at any time, SQLite lets
several runs share it, and nothing is added to the photos or their folders.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from unblur import stores
from unblur.filesystems import identity
from unblur.places import FileState, Place, Url

Look = Callable[[Place], FileState | None]
"""Tells the state of what lies at a place."""

FORGOTTEN = Path(":memory:")
"""A history that knows nothing, and is gone when it is closed."""
WAIT_SECONDS = 60.0
"""How long to wait for another run that is writing."""

_TABLE = """
CREATE TABLE IF NOT EXISTS results (
    target TEXT, target_size INTEGER, target_time INTEGER,
    source TEXT, source_size INTEGER, source_time INTEGER, settings TEXT,
    PRIMARY KEY (target, target_size, target_time)
) WITHOUT ROWID
"""
_KNOWN = (
    "SELECT source, source_size, source_time, settings, target_time FROM results "
    "WHERE target = ? AND target_size = ? AND target_time = ?"
)
_PROMISED = _KNOWN.replace("target_time = ?", "target_time LIKE ?")
_RECORD = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?)"
_FORGET_PROMISES = "DELETE FROM results WHERE target = ? AND target_time LIKE ?"


@dataclass(frozen=True)
class Record:
    """A result, what it was made from, and how."""

    source: Place
    before: FileState
    target: Place
    after: FileState
    settings: str

    def to_row(self) -> tuple[str | int, ...]:
        """Return the values of its row in the table."""
        target = (_key(self.target), self.after.size, self.after.mark)
        return *target, _key(self.source), self.before.size, self.before.mark, self.settings


class History:
    """The record of results; safe to use from several threads.

    Args:
        path: The SQLite file, created when missing. If it cannot be used, nothing
            counts as done, nothing is recorded, and `problem` tells why.
    """

    def __init__(self, path: Path) -> None:
        self.problem: str | None = None
        self._database: sqlite3.Connection | None = None
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=WAIT_SECONDS, check_same_thread=False)
            self._database.execute(_TABLE)
            self._database.execute("BEGIN IMMEDIATE")  # fails if nothing can be written
            self._database.rollback()
        except (OSError, sqlite3.Error) as error:
            self._note(error)

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

    def is_ours(self, target: Place, source: Place | None, look: Look = stores.state_of) -> bool:
        """Tell whether a file is what a photo became, unchanged since it was written."""
        row = self._row(target, look)
        return row is not None and source is not None and row.source == _key(source)

    def is_done(
        self, source: Place, target: Place, settings: str, look: Look = stores.state_of
    ) -> bool:
        """Tell whether a result is there and what it was made from is as it was."""
        row = self._row(target, look)
        if row is None:
            return False
        if _key(source) == _key(target):
            return True  # Its original is gone: no settings could make anything but worse of it.
        return row.settings == settings and row.source == _key(source) and row.state == look(source)

    def record(self, *records: Record) -> None:
        """Remember results in one transaction; called just before they are published.

        Called after, a crash in between would leave a result that nobody
        knows; called before, it leaves a record of a file that is not there.
        An object's version is known only after, so it is recorded twice, first
        by its content.
        """
        if self._database is None:
            return
        promised = [
            (_key(record.target), stores.DIGEST + "%")
            for record in records
            if isinstance(record.target, Url)
        ]
        rows = [record.to_row() for record in records]
        try:
            with self._lock, self._database:
                self._database.executemany(_FORGET_PROMISES, promised)
                self._database.executemany(_RECORD, rows)
        except (sqlite3.Error, OverflowError) as error:
            self._note(error)

    def _row(self, target: Place, look: Look) -> _Row | None:
        """Return what is recorded of a result as it is now."""
        state = look(target)
        if self._database is None or state is None:
            return None
        key = (_key(target), state.size)
        row = self._fetch(_KNOWN, (*key, state.mark))
        if row is None and isinstance(target, Url):
            # A run may have been killed between writing it and learning its version.
            row = self._fetch(_PROMISED, (*key, stores.DIGEST + "%"))
            if row and not stores.holds(target, FileState(state.size, row[4])):
                return None
        return _Row(row[0], FileState(row[1], row[2]), row[3]) if row else None

    def _fetch(self, query: str, values: tuple[str | int, ...]) -> Any:  # noqa: ANN401
        assert self._database
        try:
            with self._lock:
                return self._database.execute(query, values).fetchone()
        except (sqlite3.Error, OverflowError) as error:  # such as of a time in the year 2300
            self._note(error)
            return None

    def _note(self, error: Exception) -> None:
        self.problem = self.problem or f"{self._path}: {error}"


@dataclass(frozen=True)
class _Row:
    """What a result was made from, and how."""

    source: str
    state: FileState
    settings: str


def _key(place: Place) -> str:
    """Return a place's text; SQLite takes no lone surrogates, which odd names hold."""
    text = place if isinstance(place, Url) else identity(place)
    return os.fsencode(text).decode("utf-8", "backslashreplace")
