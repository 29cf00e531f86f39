"""Keep the record of results: the photo, the settings and the paths of each result.

A result is recognised by its path, size and time stamp without reading it, or at any path by the
hash of its coded pixels; see `unblur.run.hashes`. The record is one SQLite file in the user's data
folder. Several runs and machines may share it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from unblur.config import NO_HOME
from unblur.errors import PhotoError
from unblur.formats.photo import Format
from unblur.run import history_tables as tables
from unblur.run.hashes import format_of_hash
from unblur.storage import objects
from unblur.storage.files import certainly, exists, read_header
from unblur.storage.filesystems import identity
from unblur.storage.places import Content, FileState, Place, Url
from unblur.storage.targets import problem_of_file
from unblur.user_text import describe_os_error

IN_MEMORY = Path(":memory:")
"""Path of a history that starts empty and is never written to disk."""
WAIT_SECONDS = 60.0
"""Longest wait for another run that is writing, in seconds."""
LEARNED_AT_ONCE = 1000
"""Number of moved results per transaction, because each transaction waits for the disk."""

T = TypeVar("T")
Row: TypeAlias = dict[str, str | int]
"""Values of a row of the database, by column."""


@dataclass(frozen=True)
class Record:
    """A result, its photo, and its settings."""

    source: Place | str
    """The photo; the photo's key if the record comes from the database; empty if unknown."""
    before: FileState
    """State of the photo."""
    target: Place | str
    """The result, or the result's key."""
    after: FileState
    """State of the result."""
    settings: str
    """See `unblur.run.runner.Session`."""

    @property
    def replaced_its_photo(self) -> bool:
        """Whether the result is at the place of its photo."""
        return key_of(self.source) == key_of(self.target) != ""

    @property
    def is_recorded(self) -> bool:
        """Whether the record comes unchanged from the database."""
        return isinstance(self.source, str) and isinstance(self.target, str)

    @property
    def is_changed(self) -> bool:
        """Whether the result's pixels are known to differ from the photo's."""
        return pixels_in(self.after) not in ("", pixels_in(self.before))

    def to_row(self) -> Row:
        """Return the values of a row, by column."""
        return {
            "target": key_of(self.target),
            "size": self.after.size,
            "mark": str(self.after.mark),
            "pixels": pixels_in(self.after),
            "whole": whole_in(self.after),
            "source": key_of(self.source),
            "source_size": self.before.size,
            "source_mark": str(self.before.mark),
            "source_pixels": pixels_in(self.before),
            "source_whole": whole_in(self.before),
            "settings": self.settings,
        }

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Record:
        """Return the record in a row.

        Raises:
            sqlite3.DatabaseError: If a value has another type than `to_row` gives.
        """
        for name in row.keys():  # noqa: SIM118 (iterating over a row yields its values)
            if not isinstance(row[name], int if name in ("size", "source_size") else str):
                raise sqlite3.DatabaseError(f"odd value in {name}")
        after, before = (
            FileState(
                row[f"{prefix}size"],
                _read_mark(row[f"{prefix}mark"]),
                Content(row[f"{prefix}pixels"], row[f"{prefix}whole"]),
            )
            for prefix in ("", "source_")
        )
        return cls(row["source"], before, row["target"], after, row["settings"])


@dataclass
class _Transaction:
    """Rows to be written together."""

    rows: list[Row] = field(default_factory=list)
    is_written: bool = False


class History:
    """The record of results; safe to use from several threads.

    Args:
        path: The SQLite file, created if it is missing. If it cannot be used, the history is
            empty, nothing is recorded, and `problem` has the reason. If it can only be read,
            `problem` has the reason, too.
        writes: Whether to record results. If not, nothing is written, and no file is created.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.problem: str | None = None
        """Why the record could not be read or written, for the user."""
        self._database: sqlite3.Connection | None = None
        self._path = path
        self._lock = threading.Lock()
        """Held while the database is read or written."""
        self._turn, self._joining = threading.Lock(), threading.Lock()
        self._next = _Transaction()
        """Transaction to which threads add rows while another transaction is written."""
        self._learned: list[Record] = []
        self._writes = writes
        self.is_new = False
        """Whether there was no record at this path, so that no earlier result is known."""
        self.is_read_only = False
        """Whether earlier results are known, but new ones cannot be recorded."""
        try:
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._note(error)
            self._close()
        else:
            self._check_writable()

    def __enter__(self) -> History:
        return self

    def __exit__(self, *unused: object) -> None:
        self.record()
        self._close()

    def _open(self) -> None:
        """Open the database; one that is only read may be missing.

        Raises:
            OSError: If its folder cannot be made.
            sqlite3.Error: If the file cannot be used; see `unblur.run.history_tables.prepare`.
        """
        if self._path != IN_MEMORY:
            if self._writes:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite takes a file of one byte for an empty one, and would replace it.
            start = read_header(self._path, len(tables.SIGNATURE))
            if start and start != tables.SIGNATURE:
                raise sqlite3.DatabaseError("file is not a database")
            self.is_new = not start
            if not (self._writes or start):
                return
        self._database = sqlite3.connect(
            self._path if self._writes else tables.read_only(self._path),
            timeout=WAIT_SECONDS,
            check_same_thread=False,
            uri=not self._writes,
        )
        self._database.row_factory = sqlite3.Row
        if not tables.prepare(self._database, self._writes):
            self._close()

    def _check_writable(self) -> None:
        """Note why results cannot be recorded, though earlier ones may be read."""
        if self._writes:
            self._do(tables.check_writable)
        elif self._path != IN_MEMORY and (reason := _problem_of_writing(self._path)):
            self._note(sqlite3.OperationalError(reason))
        self.is_read_only = self.problem is not None and self._database is not None

    def at(self, place: Place, state: FileState) -> Record | None:
        """Return the record of the result at a place, if the result is in this state.

        Raises:
            PhotoError: If a store does not answer.
        """
        key = (key_of(place), state.size)
        found = self._select(tables.AT, (*key, str(state.mark)))
        if not found and isinstance(place, Url):
            # A run may have been killed between writing the object and recording its version.
            promised = self._select(tables.PROMISED, (*key, objects.DIGEST + "%"))
            found = [row for row in promised if objects.holds(place, row.after)]
        return found[0] if found else None

    def with_pixels(self, pixels: str) -> list[Record]:
        """Return the records of results with a hash of pixels, at any place."""
        return self._select(tables.WITH_PIXELS, (pixels,)) if pixels else []

    def may_hold(self, place: Place, size: int) -> bool:
        """Return whether the record contains a result at this place, or of this size in bytes."""
        return bool(self._select(tables.LIKE, (key_of(place), size)))

    @property
    def is_empty(self) -> bool:
        """Whether the record has no result."""
        return not self._select(tables.ANY, ())

    def format_of(self, photo: Place, state: FileState, is_result: bool) -> Format | None:
        """Return the format of an unchanged photo; ``None`` if it is not in the record.

        Args:
            photo: The photo.
            state: Its present state.
            is_result: Whether to look for results at this place, not for results of the photo.
        """
        query = tables.AT if is_result else tables.MADE_OF
        for record in self._select(query, (key_of(photo), state.size, str(state.mark))):
            return format_of_hash(pixels_in(record.after if is_result else record.before))
        return None

    def record(self, *records: Record) -> None:
        """Write results to the record in one transaction, just before they are published.

        After a crash in between, the record contains a missing file, which is harmless. In the
        other order, a crash could leave an unrecorded result. An object gets its version only when
        it is published, so it is recorded twice, first by its checksum.

        Each transaction waits for the disk, so threads that record results meanwhile share the next
        transaction.
        """
        learned, self._learned = self._learned, []
        rows = [record.to_row() for record in (*learned, *records)]
        if rows and self._writes:
            self._write(rows)

    def _write(self, rows: list[Row]) -> None:
        """Write rows, together with the rows of other waiting threads."""
        with self._joining:
            shared = self._next
            shared.rows += rows
        with self._turn:
            if shared.is_written:
                return
            with self._joining:
                self._next = _Transaction()
            self._do(lambda database: tables.insert(database, shared.rows))
            shared.is_written = True

    def learn(self, record: Record) -> None:
        """Record a result with a new name or time stamp; the row is written later."""
        self._learned.append(record)
        if len(self._learned) >= LEARNED_AT_ONCE:
            self.record()

    def forget(self, place: Place) -> None:
        """Remove a place from the record; other places of its result stay in the record."""
        self._do(lambda database: tables.forget(database, key_of(place)))

    def _select(self, query: str, values: tuple[str | int, ...]) -> list[Record]:
        def select(database: sqlite3.Connection) -> list[Record]:
            return [Record.from_row(row) for row in database.execute(query, values)]

        return self._do(select) or []

    def _do(self, act: Callable[[sqlite3.Connection], T]) -> T | None:
        """Call a function in one transaction; on errors, return ``None`` and set `problem`."""
        if self._database is None:
            return None
        try:
            with self._lock, self._database:
                return act(self._database)
        except (sqlite3.Error, OverflowError) as error:
            self._note(error)
            return None

    def _close(self) -> None:
        if self._database:
            self._database.close()
            self._database = None

    @property
    def _is_gone(self) -> bool:
        """Whether the file was removed or moved; SQLite calls it read-only."""
        with contextlib.suppress(PhotoError):
            return not exists(self._path)
        return False

    def _note(self, error: Exception) -> None:
        what = "cannot be used"
        advice = "choose another place with --history"
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.OperationalError
        ):
            what = "is damaged, or no record of results"
            advice += "; if this was the record, delete it, or put back a copy"
        elif str(error).startswith("database") and "locked" in str(error):
            advice = "is another program busy with it?"
        elif not self._writes and "readonly" in str(error):  # a killed run has left its journal
            advice = "a run without --dry-run repairs it"
        reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
        if "readonly" in reason and self._is_gone:
            reason = "it is gone; was its disk removed?"
        problem = f"{self._path} {what} ({reason}): {advice}"
        if NO_HOME in self._path.parents:
            problem = "there is no home folder: set HOME, or name a file with --history"
        self.problem = self.problem or problem


def _problem_of_writing(file: Path) -> str | None:
    """Return why a later run could not write the record; nothing is written to find out."""
    if certainly(exists, file) and not os.access(file, os.R_OK | os.W_OK):
        return os.strerror(errno.EACCES).lower()
    return problem_of_file(file, may_replace=True)


def key_of(place: Place | str) -> str:
    """Return a place's text in the database.

    Lone surrogates, which represent bytes that are not UTF-8, are escaped: SQLite refuses them.
    """
    if isinstance(place, str):
        return place
    text = place if isinstance(place, Url) else identity(place)
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def pixels_in(state: FileState | None) -> str:
    """Return the hash of a file's pixels; empty if it is not known."""
    return state.content.pixels if state and state.content else ""


def whole_in(state: FileState | None) -> str:
    """Return the hash of all bytes of a file; empty if it is not known."""
    return state.content.whole if state and state.content else ""


def _read_mark(text: str) -> int | str:
    """Return a file's time stamp, or an object's version; see `FileState.mark`."""
    return int(text) if text.removeprefix("-").isdigit() else text
