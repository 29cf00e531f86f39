"""Read files, and determine the kind of file at a path."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from unblur.errors import PhotoError
from unblur.file_limits import refuse_oversize
from unblur.storage.attributes import Attributes
from unblur.storage.filesystems import status_at, unlimited
from unblur.storage.waiting import SIGNALS_SECONDS, in_thread
from unblur.user_text import describe_os_error

T = TypeVar("T")

_NOT_REGULAR = "not a regular file"
CHANGED_WHILE_READ = "changed while it was read; run again when it is whole"
PART_BYTES = 1 << 20
"""Bytes to read from a stream at once."""


def read_photo_bytes(path: Path, most: int | None = None) -> tuple[bytes, Attributes]:
    """Read a regular file; return its content and its attributes at that time.

    Args:
        path: Path of the file.
        most: Largest size in bytes; larger files are refused without reading them.

    Raises:
        PhotoError: If the file is not regular, too large, unreadable, or changes while it is read.
    """
    with _os_errors_as_photo_errors(), _open_regular(path) as file:
        before = os.fstat(file.fileno())
        refuse_oversize(before.st_size, most)
        data = file.read(before.st_size + 1)  # a growing file must not be read for ever
        attributes = Attributes.of(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (len(data), attributes.status.st_mtime_ns):
        raise PhotoError(CHANGED_WHILE_READ)
    return data, attributes


def read_stream(stream: BinaryIO, most: int | None = None) -> bytes:
    """Read a stream, such as standard input, to its end.

    The stream is read in parts, because a single ``read`` would block signals.

    Args:
        stream: Any binary stream.
        most: Largest number of bytes; a longer stream is refused.

    Raises:
        OSError: If the stream cannot be read.
        PhotoError: If the stream has more than ``most`` bytes.
    """
    data = io.BytesIO()
    while part := _read_part(stream):
        data.write(part)
        refuse_oversize(data.tell(), most)
    return data.getvalue()


def _read_part(stream: BinaryIO) -> bytes:
    """Read some bytes of a stream; none at its end. A signal interrupts the wait."""
    if sys.platform == "win32" and (descriptor := _descriptor(stream)) is not None:
        # The stream's own method would hold its lock when Python exits.
        return in_thread(lambda: os.read(descriptor, PART_BYTES))
    _wait_for_input(stream)
    part: bytes = stream.read1(PART_BYTES)  # type: ignore[attr-defined]
    return part


def _descriptor(stream: BinaryIO) -> int | None:
    with contextlib.suppress(OSError, ValueError):  # no open file
        return stream.fileno()
    return None


def _wait_for_input(stream: BinaryIO) -> None:
    """Wait until a stream has bytes, or a signal comes.

    A signal just before a blocking call does not interrupt the call, so each call blocks only
    briefly.
    """
    if sys.platform == "win32":  # `select` supports only sockets there
        return
    with contextlib.suppress(OSError, ValueError):  # not an open file; too many for `select`
        while not select.select([stream.fileno()], [], [], SIGNALS_SECONDS)[0]:
            pass


def read_header(path: Path, size: int) -> bytes | None:
    """Return a file's first bytes: empty if it is not a regular file, ``None`` if unreadable."""
    try:
        with _open_regular(path) as file:
            return file.read(size)
    except PhotoError:
        return b""
    except OSError:
        return None


def _open_regular(path: Path) -> BinaryIO:
    # Opening a named pipe, even for a moment, would end the program that writes to it, and a device
    # may act when it is opened.
    if not stat.S_ISREG(unlimited(path).stat().st_mode):
        raise PhotoError(_NOT_REGULAR)
    # Without O_NONBLOCK, opening would wait if a pipe took the file's place just now.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(unlimited(path), flags), "rb")
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # sockets on Linux, on macOS
            raise PhotoError(_NOT_REGULAR) from error
        raise
    with contextlib.ExitStack() as stack:
        stack.enter_context(file)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise PhotoError(_NOT_REGULAR)
        stack.pop_all()  # leaves the file open
    return file


def keeps(backup: Path, path: Path) -> bool:
    """Return whether a backup has the same bytes as a file.

    A symbolic link does not count as a backup: it may lead to the file that is replaced.

    Raises:
        PhotoError: If either file cannot be read.
    """
    if not stat.S_ISREG(_mode_at(backup, follow_links=False)):
        return False
    if is_same(backup, path):
        return True
    with _os_errors_as_photo_errors():
        if backup.stat().st_size != path.stat().st_size:
            return False
    return read_photo_bytes(backup)[0] == read_photo_bytes(path)[0]


def has_other_links(path: Path, backup: Path) -> bool:
    """Return whether a file has hard links besides its own name and its backup.

    Raises:
        PhotoError: If the file cannot be found.
    """
    with _os_errors_as_photo_errors():
        status, names = path.stat(), 1
    with contextlib.suppress(OSError):  # there is no backup
        names += path.samefile(backup)
    return stat.S_ISREG(status.st_mode) and status.st_nlink > names


def exists(path: Path) -> bool:
    """Return whether a path leads to anything.

    This and the following functions raise `PhotoError`, without the path, if that cannot be found
    out, such as in a folder that may not be entered: a file that cannot be seen is not missing.
    """
    return _mode_at(path) != 0


def is_taken(path: Path) -> bool:
    """Return whether a name is taken, even by a link that leads nowhere."""
    return _mode_at(path, follow_links=False) != 0


def is_device(path: Path) -> bool:
    """Return whether a path leads to neither a file nor a folder, such as to a pipe."""
    mode = _mode_at(path)
    return mode != 0 and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_regular(path: Path) -> bool:
    """Return whether a path leads to a regular file."""
    return stat.S_ISREG(_mode_at(path))


def is_folder(path: Path) -> bool:
    """Return whether a path leads to a folder."""
    return stat.S_ISDIR(_mode_at(path))


def certainly(question: Callable[[T], bool], place: T) -> bool:
    """Return the answer to a question, such as `exists`; false if it cannot be found out.

    For callers that go on in any case: the next access to the place reports the error.
    """
    with contextlib.suppress(PhotoError):
        return question(place)
    return False


def is_same(first: Path, second: Path) -> bool:
    """Return whether two paths lead to the same file or folder."""
    with _os_errors_as_photo_errors():
        one, other = status_at(first), status_at(second)
    return one is not None and other is not None and os.path.samestat(one, other)


def _mode_at(path: Path, follow_links: bool = True) -> int:
    """Return the mode of a file or folder (see `stat`); 0 if there is none."""
    with _os_errors_as_photo_errors():
        status = status_at(path, follow_links)
    return status.st_mode if status else 0


@contextlib.contextmanager
def _os_errors_as_photo_errors() -> Iterator[None]:
    """Raise `OSError` as `PhotoError`, without the path."""
    try:
        yield
    except OSError as error:
        raise PhotoError(describe_os_error(error)) from error
