"""The SQL statements of `unblur.run.history`.

Times are stored as text, because nanoseconds in SQLite's integers end in the year 2262.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

SIGNATURE = b"SQLite format 3\0"
"""First bytes of a file that is not empty."""
VERSION = 1
VERSIONS = 3
"""Results to keep per place: the present result, and later results that killed runs recorded but
did not publish."""
COPIES = 16
"""Places to keep per result, such as the paths of one folder on several machines."""

_STATE = ("size", "mark", "pixels", "whole")
_NAMES = ("target", *_STATE, "source", *(f"source_{name}" for name in _STATE), "settings")
_COLUMNS = ", ".join(_NAMES)
_CREATE = (
    f"CREATE TABLE made (number INTEGER PRIMARY KEY, {_COLUMNS}, UNIQUE (target, pixels))",
    "CREATE INDEX made_pixels ON made (pixels)",
    "CREATE INDEX made_source ON made (source)",
    "CREATE INDEX made_size ON made (size)",
    f"PRAGMA user_version = {VERSION}",
)

_SELECT = f"SELECT {_COLUMNS} FROM made WHERE "
# The plus keeps SQLite from using the index of sizes, since many photos have the same size.
# -1 is the size of an object whose store does not state it.
AT = _SELECT + "target = ? AND ? IN (+size, -1) AND mark = ? LIMIT 1"
PROMISED = _SELECT + "target = ? AND ? IN (+size, -1) AND mark LIKE ?"
MADE_OF = _SELECT + "source = ? AND source_size = ? AND source_mark = ? LIMIT 1"
WITH_PIXELS = _SELECT + "pixels = ?"
ANY = _SELECT + "1 LIMIT 1"
LIKE = _SELECT + "target = ? OR size = ? LIMIT 1"

_INSERT = f"INSERT OR REPLACE INTO made ({_COLUMNS}) VALUES ({', '.join(f':{n}' for n in _NAMES)})"
_FORGET_UNREAD = "DELETE FROM made WHERE target = :target AND pixels = ''"
# A result that replaced its photo is never removed: a backup may restore any version of it.
_FORGET_VERSIONS = f"""
DELETE FROM made WHERE target = :target AND source <> target AND number NOT IN (
    SELECT number FROM made WHERE target = :target ORDER BY number DESC LIMIT {VERSIONS})
"""
_FORGET_COPIES = f"""
DELETE FROM made WHERE pixels = :pixels AND pixels <> '' AND number NOT IN (
    SELECT number FROM made WHERE pixels = :pixels ORDER BY number DESC LIMIT {COPIES})
"""
_FORGET = (
    "DELETE FROM made WHERE target = ? AND pixels IN ('', source_pixels)",
    "UPDATE OR REPLACE made SET target = '', source = '' WHERE target = ?",
)


def read_only(file: Path) -> str:
    """Return the address with which SQLite opens a file without writing to it.

    See sqlite.org, *Uniform Resource Identifiers*: an absolute path follows two slashes.
    """
    path = quote(os.fsencode(file.absolute().as_posix()))
    return f"file://{path if path.startswith('/') else f'/{path}'}?mode=ro"


def prepare(database: sqlite3.Connection, writes: bool) -> bool:
    """Create the table in a new file, if anything is written.

    Returns:
        Whether the table is there.

    Raises:
        sqlite3.Error: If the file is not an SQLite file, or belongs to another program or a newer
            version.
    """
    if writes:
        database.execute("BEGIN IMMEDIATE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise sqlite3.OperationalError("written by a newer version of unblur")
    if not version:
        if database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise sqlite3.OperationalError("it is the database of another program")
        if not writes:
            return False
        for statement in _CREATE:
            database.execute(statement)
    database.commit()
    return True


def check_writable(database: sqlite3.Connection) -> None:
    """Raise `sqlite3.Error` if the file cannot be written; SQLite opens it all the same."""
    with database:
        database.execute("DELETE FROM made WHERE 0")  # no row, so nothing is written


def insert(database: sqlite3.Connection, rows: Sequence[Mapping[str, str | int]]) -> None:
    """Write rows, and delete the rows that the new rows replace."""
    for statement in (_FORGET_UNREAD, _INSERT, _FORGET_VERSIONS, _FORGET_COPIES):
        database.executemany(statement, rows)


def forget(database: sqlite3.Connection, target: str) -> None:
    """Remove a place from its rows; delete the rows with unknown or unchanged pixels."""
    for statement in _FORGET:
        database.execute(statement, (target,))
