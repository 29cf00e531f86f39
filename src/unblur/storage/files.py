"""Read files, and look up what lies at a path."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import BinaryIO

from unblur.errors import PhotoError
from unblur.limits import refuse_oversize
from unblur.storage.attributes import Attributes
from unblur.storage.filesystems import unlimited
from unblur.words import describe_os_error

_NOT_REGULAR = "not a regular file"
PART_BYTES = 1 << 20
"""Bytes of a stream that are read at once."""
SIGNALS_SECONDS = 0.2
"""Longest time until a signal is noticed."""


def read_photo_bytes(path: Path, most: int | None = None) -> tuple[bytes, Attributes]:
    """Read a regular file; return its content and its attributes at the time.

    Args:
        path: Its path.
        most: Refuse a larger one without reading it, in bytes.

    Raises:
        PhotoError: If it is not regular, too large, cannot be read, or changes meanwhile.
    """
    try:
        with _open_regular(path) as file:
            before = os.fstat(file.fileno())
            refuse_oversize(before.st_size, most)
            data = file.read(before.st_size + 1)  # a growing file must not be read for ever
            attributes = Attributes.of(file.fileno())
    except OSError as error:
        raise PhotoError(describe_os_error(error)) from error
    if (before.st_size, before.st_mtime_ns) != (len(data), attributes.status.st_mtime_ns):
        raise PhotoError("changed while it was read; run again when it is whole")
    return data, attributes


def read_stream(stream: BinaryIO, most: int | None = None) -> bytes:
    """Read a stream, such as standard input, to its end.

    It is read in parts: a single ``read`` would not notice signals.

    Args:
        stream: Any binary stream.
        most: Stop and refuse it after so many bytes.

    Raises:
        OSError: If it cannot be read.
        PhotoError: If it has more bytes.
    """
    data = io.BytesIO()
    while part := _read_part(stream):
        data.write(part)
        refuse_oversize(data.tell(), most)
    return data.getvalue()


def _read_part(stream: BinaryIO) -> bytes:
    """Read some bytes of a stream; none at its end. A signal interrupts the wait for them."""
    if sys.platform == "win32" and (descriptor := _descriptor(stream)) is not None:
        # Not the stream's own method: its lock would still be held when Python ends.
        return _in_thread(lambda: os.read(descriptor, PART_BYTES))
    _wait_for_input(stream)
    part: bytes = stream.read1(PART_BYTES)  # type: ignore[attr-defined]
    return part


def _descriptor(stream: BinaryIO) -> int | None:
    with contextlib.suppress(OSError, ValueError):  # no open file
        return stream.fileno()
    return None


def _in_thread(read: Callable[[], bytes]) -> bytes:
    """Read in another thread; on Windows, Ctrl-C does not interrupt a call that blocks."""
    future: Future[bytes] = Future()

    def work() -> None:
        try:
            future.set_result(read())
        except OSError as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()  # Python does not wait for it at the end
    while wait((future,), SIGNALS_SECONDS).not_done:
        pass
    return future.result()


def _wait_for_input(stream: BinaryIO) -> None:
    """Wait until a stream has bytes, or a signal comes.

    A signal just before a blocking call does not interrupt it, so no call blocks for long.
    """
    if sys.platform == "win32":  # whose `select` takes only sockets
        return
    with contextlib.suppress(OSError, ValueError):  # no open file; too many for `select`
        while not select.select([stream.fileno()], [], [], SIGNALS_SECONDS)[0]:
            pass


def read_header(path: Path, size: int) -> bytes | None:
    """Return the first bytes of a file: none if it is not regular, ``None`` if unreadable."""
    try:
        with _open_regular(path) as file:
            return file.read(size)
    except PhotoError:
        return b""
    except OSError:
        return None


def _open_regular(path: Path) -> BinaryIO:
    # Opening a named pipe without O_NONBLOCK would wait for a writer.
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
    """Tell whether a backup has all bytes of a file, or raise `PhotoError` if one is unreadable.

    A symbolic link is no backup: it may lead to the file that is replaced.
    """
    if backup.is_symlink() or not backup.is_file():
        return False
    if backup.samefile(path):
        return True
    if backup.stat().st_size != path.stat().st_size:
        return False
    return read_photo_bytes(backup)[0] == read_photo_bytes(path)[0]


def exists(path: Path) -> bool:
    """Tell whether a path leads to anything that is accessible."""
    return _mode_at(path) != 0


def is_device(path: Path) -> bool:
    """Tell whether a path leads to something besides a file or a folder, such as a pipe."""
    mode = _mode_at(path)
    return mode != 0 and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_regular(path: Path) -> bool:
    """Tell whether a path leads to an accessible file."""
    return stat.S_ISREG(_mode_at(path))


def is_folder(path: Path) -> bool:
    """Tell whether a path leads to an accessible folder."""
    return stat.S_ISDIR(_mode_at(path))


def _mode_at(path: Path) -> int:
    """Return the mode of a path's target (see `stat`), or 0 if there is none."""
    try:
        return unlimited(path).stat().st_mode
    except OSError:
        return 0
