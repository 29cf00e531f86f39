"""Reading and writing files without ever leaving half of one.

A file appears under its name only when it is whole: it is written beside its
place under a name of its own, flushed to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unblur.errors import PhotoError

LONGEST_NAME_BYTES = 255


def read_photo_bytes(path: Path) -> bytes:
    """Read a whole regular file.

    Raises:
        PhotoError: If it is none, or cannot be read.
    """
    try:
        with _open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise PhotoError(describe_os_error(error)) from error


def read_header(path: Path, size: int) -> bytes:
    """Read the first bytes of a regular file; none if that is not possible."""
    try:
        with _open_regular(path) as file:
            return file.read(size)
    except (OSError, PhotoError):
        return b""


def _open_regular(path: Path) -> BinaryIO:
    # Opening a named pipe without O_NONBLOCK would wait for a writer, perhaps for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise PhotoError("not a regular file")
    return file


def write_atomically(path: Path, data: bytes, overwrite: bool) -> None:
    """Write a file so that it appears whole or not at all.

    The new file gets the permissions that the user's umask gives.

    Args:
        path: The file to write.
        data: Its content.
        overwrite: Replace a file that is there; otherwise it stays, even if it
            appeared only now.

    Raises:
        PhotoError: If it cannot be written, or is there and must stay.
    """
    try:
        with _temporary_beside(path) as scratch:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            descriptor = os.open(scratch, flags, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                scratch.replace(path)
            else:
                _rename_to_new(scratch, path)
        _flush_folder(path.parent)
    except FileExistsError as error:
        raise PhotoError(f"{path.name} exists; --overwrite replaces it") from error
    except OSError as error:
        raise PhotoError(f"cannot write {path}: {describe_os_error(error)}") from error


@contextlib.contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """Give a name of its own in the target's folder, and remove what is left there."""
    ending = f".unblur-{secrets.token_hex(3)}.tmp"
    room = LONGEST_NAME_BYTES - len(ending) - 1
    name = os.fsdecode(os.fsencode(path.name)[:room])
    scratch = path.with_name(f".{name}{ending}")
    try:
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)


def _rename_to_new(scratch: Path, path: Path) -> None:
    """Rename, unless the target exists: a rename alone would replace it."""
    try:
        os.link(scratch, path)  # atomic, and fails if the name is taken
    except FileExistsError:
        raise
    except OSError:  # file systems without hard links
        if path.exists():
            raise FileExistsError(str(path)) from None
        scratch.replace(path)


def _flush_folder(folder: Path) -> None:
    """Make the rename survive a power cut, where folders can be flushed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def describe_os_error(error: OSError) -> str:
    """Return the system's reason in lower case, without the path."""
    return (error.strerror or str(error)).lower()


@contextlib.contextmanager
def claimed_stdout() -> Iterator[int]:
    """Give a descriptor of standard output that nobody else writes to.

    While it lasts, descriptor 1 leads to standard error, so that a stray print
    of any library cannot get into the photo.
    """
    sys.stdout.flush()
    claimed = os.dup(1)
    try:
        os.dup2(2, 1)
        yield claimed
    finally:
        sys.stdout.flush()
        os.dup2(claimed, 1)
        os.close(claimed)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte to a descriptor.

    Raises:
        PhotoError: If the reader has gone.
    """
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise PhotoError(f"cannot write standard output: {describe_os_error(error)}") from error
