"""Reading files, and asking what lies at a path."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from unblur.errors import PhotoError
from unblur.limits import refuse_oversize
from unblur.storage.attributes import Attributes
from unblur.storage.filesystems import unlimited
from unblur.words import describe_os_error

_NOT_REGULAR = "not a regular file"
PART_BYTES = 1 << 20
"""Of a stream, read at once."""
SIGNALS_SECONDS = 0.2
"""How long a signal may have to wait until it is seen."""


def read_photo_bytes(path: Path, most: int | None = None) -> tuple[bytes, Attributes]:
    """Read a whole regular file.

    Args:
        path: Where it lies.
        most: Refuse it without reading it if it has more bytes.

    Returns:
        Its content, and its attributes at the time.

    Raises:
        PhotoError: If it is none or too large, cannot be read, or changes meanwhile.
    """
    try:
        with _open_regular(path) as file:
            before = os.fstat(file.fileno())
            refuse_oversize(before.st_size, most)
            data = file.read(before.st_size + 1)  # one that grows all the while ends, too
            attributes = Attributes.of(file.fileno())
    except OSError as error:
        raise PhotoError(describe_os_error(error)) from error
    if (before.st_size, before.st_mtime_ns) != (len(data), attributes.status.st_mtime_ns):
        raise PhotoError("changed while it was read; run again when it is whole")
    return data, attributes


def read_stream(stream: BinaryIO, most: int | None = None) -> bytes:
    """Read a stream to its end, such as standard input, which may be silent for ever.

    It is read part by part: one call of ``read`` for all would not look for signals in between.

    Args:
        stream: What to read.
        most: Stop reading and refuse it if it has more bytes.

    Raises:
        OSError: If it cannot be read.
        PhotoError: If it has more bytes.
    """
    data = io.BytesIO()
    _wait_for_input(stream)
    while part := stream.read1(PART_BYTES):  # type: ignore[attr-defined]
        data.write(part)
        refuse_oversize(data.tell(), most)
        _wait_for_input(stream)
    return data.getvalue()


def _wait_for_input(stream: BinaryIO) -> None:
    """Wait until a stream has something to read, or a signal ends that.

    A signal that arrives just before a call that blocks does not interrupt it. So no call
    blocks for long.
    """
    if sys.platform == "win32":  # where `select` takes nothing but sockets
        return
    with contextlib.suppress(OSError, ValueError):  # no open file; too many for `select`
        while not select.select([stream.fileno()], [], [], SIGNALS_SECONDS)[0]:
            pass


def read_header(path: Path, size: int) -> bytes | None:
    """Read the first bytes of a regular file.

    Returns:
        The bytes; none of them if it is no regular file; ``None`` if it cannot be read.
    """
    try:
        with _open_regular(path) as file:
            return file.read(size)
    except PhotoError:
        return b""
    except OSError:
        return None


def _open_regular(path: Path) -> BinaryIO:
    # Opening a named pipe without O_NONBLOCK would wait for a writer, perhaps for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(unlimited(path), flags), "rb")
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # sockets on Linux, on macOS
            raise PhotoError(_NOT_REGULAR) from error
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise PhotoError(_NOT_REGULAR)
    return file


def keeps(backup: Path, path: Path) -> bool:
    """Tell whether a file keeps all bytes of another one when that is replaced.

    A symbolic link keeps nothing: it may lead to the file that is replaced.

    Raises:
        PhotoError: If one cannot be read.
    """
    if backup.is_symlink() or not backup.is_file():
        return False
    if backup.samefile(path):
        return True
    if backup.stat().st_size != path.stat().st_size:
        return False
    return read_photo_bytes(backup)[0] == read_photo_bytes(path)[0]


def exists(path: Path) -> bool:
    """Tell whether a path leads somewhere; not, if it may not be looked at."""
    return _mode_at(path) != 0


def is_device(path: Path) -> bool:
    """Tell whether a path leads to what is neither file nor folder, and must not be replaced."""
    mode = _mode_at(path)
    return mode != 0 and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_folder(path: Path) -> bool:
    """Tell whether a path leads to a folder; not, if it may not be looked at."""
    return stat.S_ISDIR(_mode_at(path))


def _mode_at(path: Path) -> int:
    """Return the kind and permissions of what a path leads to; 0 is nothing."""
    try:
        return unlimited(path).stat().st_mode
    except OSError:
        return 0
