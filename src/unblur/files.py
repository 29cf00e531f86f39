"""Reading and writing files without ever leaving half of one.

A file appears under its name only when it is whole: it is written beside its
place under a name of its own, flushed to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from unblur.attributes import Attributes, set_mode
from unblur.errors import PhotoError
from unblur.filesystems import is_in_use, unlimited
from unblur.limits import refuse_oversize
from unblur.places import FileState
from unblur.temporaries import temporary_beside

_NOT_REGULAR = "not a regular file"
PART_BYTES = 1 << 20
"""Of a stream, read at once."""
SIGNALS_SECONDS = 0.2
"""How long a signal may have to wait until it is seen."""
PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Waits between attempts to rename to a name that another program may hold open."""


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


class Draft(Protocol):
    """A whole result that only needs its name; it is discarded unless it is published."""

    @property
    def state(self) -> FileState | None:
        """What tells it from another one, as far as known before it is published."""

    def publish(self, replaces: bool) -> FileState | None:
        """Give it its name in one step, and return its state then.

        Args:
            replaces: Replace what is there; otherwise that stays, even if it appeared only now.

        Raises:
            PhotoError: If something is there that must stay, or it cannot be written.
        """

    def __enter__(self) -> object:
        """Begin to use it."""

    def __exit__(self, *unused: object) -> None:
        """Discard it if it was not published."""


class FileDraft:
    """A whole result in a temporary file beside its place.

    Args:
        path: The file that it is to become.
        data: Its content.
        like: Of a file whose owner, permissions and extended attributes it gets; by default
            it belongs to the user, with the permissions that the umask allows.
        keep_time: Give it the time of modification of ``like``, too.
        mode: Its permissions, instead of those of ``like``.

    Raises:
        PhotoError: If it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        data: bytes | bytearray,
        like: Attributes | None = None,
        keep_time: bool = False,
        mode: int | None = None,
    ) -> None:
        self.path = path
        with contextlib.ExitStack() as stack, _told_as_unwritten(path):
            is_private = like is not None or mode is not None  # until it has its permissions
            temporary = stack.enter_context(temporary_beside(path, is_private))
            write_all(temporary.descriptor, data)
            if like is not None:
                like.copy_to(temporary.descriptor, temporary.path, keep_time)
            if mode is not None:
                set_mode(temporary.descriptor, temporary.path, mode)
            _flush(temporary.descriptor)
            self.state = FileState.of(os.fstat(temporary.descriptor))
            if not temporary.is_locked:  # then nothing is lost, and Windows renames no open file
                temporary.close()
            self._scratch = temporary.path
            self._open = stack.pop_all()

    def __enter__(self) -> FileDraft:
        return self

    def __exit__(self, *unused: object) -> None:
        self._open.close()

    def publish(self, replaces: bool) -> FileState:
        """Rename it; see `Draft`."""
        with _told_as_unwritten(self.path):
            if replaces:
                _replace(self._scratch, self.path)
            else:
                _rename_to_new(self._scratch, self.path)
            _flush_folder(self.path.parent)
        return self.state


class StreamDraft:
    """A result on its way to a descriptor, which needs no name."""

    state = None

    def __init__(self, descriptor: int, data: bytes) -> None:
        self._descriptor, self._data = descriptor, data

    def __enter__(self) -> StreamDraft:
        return self

    def __exit__(self, *unused: object) -> None:
        pass

    def publish(self, replaces: bool) -> None:
        """Write it; see `Draft`."""
        with _told_as_unwritten("to standard output"):
            write_all(self._descriptor, self._data)


@contextlib.contextmanager
def _told_as_unwritten(path: Path | str) -> Iterator[None]:
    """Turn the system's errors into ones for the user."""
    try:
        yield
    except FileExistsError as error:
        raise PhotoError(f"{path} exists; --overwrite replaces it") from error
    except OSError as error:
        reason = describe_os_error(error)
        if is_in_use(error):
            reason += "; is it open in another program?"
        raise PhotoError(f"cannot write {path}: {reason}") from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there.

    Raises:
        PhotoError: If that is not possible.
    """
    # Path.mkdir calls itself for each folder above: too often for trees a thousand deep.
    missing = list(itertools.takewhile(lambda one: not is_folder(one), (folder, *folder.parents)))
    try:
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
    except OSError as error:
        raise PhotoError(f"cannot create {folder}: {describe_os_error(error)}") from error


def keep_backup(path: Path, backup: Path) -> None:
    """Give a file a second name, under which it stays when the first is replaced.

    Raises:
        PhotoError: If that is not possible, or something else has that name.
    """
    if os.path.lexists(backup):
        if not keeps(backup, path):
            raise PhotoError(f"{backup} appeared meanwhile: move it away and run again")
        return
    try:
        os.link(path, backup)
    except OSError as error:  # file systems without hard links
        if error.errno == errno.ENAMETOOLONG:
            raise PhotoError(
                "its name has no room for .orig: shorten it, or give --no-backup"
            ) from error
        data, attributes = read_photo_bytes(path)
        with FileDraft(backup, data, attributes, keep_time=True) as draft:
            draft.publish(replaces=False)


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


def move_over(source: Path, target: Path) -> None:
    """Rename a file, in one step, over one that may be there.

    Raises:
        OSError: If that is not possible.
    """
    _replace(source, target)
    _flush_folder(target.parent)


def _replace(scratch: Path, path: Path) -> None:
    """Rename, waiting a little for a program that has the old file open, as Windows asks for."""
    for seconds in PAUSES_SECONDS:
        try:
            scratch.replace(path)
            return
        except PermissionError as error:
            if not is_in_use(error):
                raise
            time.sleep(seconds)
    scratch.replace(path)


def _rename_to_new(scratch: Path, path: Path) -> None:
    """Rename, unless the target exists: a rename alone would replace it."""
    try:
        os.link(scratch, path)  # atomic, and fails if the name is taken
    except FileExistsError:
        raise
    except OSError:  # file systems without hard links
        if path.exists():
            raise FileExistsError(str(path)) from None
        scratch.rename(path)  # on Windows this, too, fails if the name is taken


def _flush(descriptor: int) -> None:
    """Make a file's bytes survive a power cut."""
    os.fsync(descriptor)
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        out_of_the_drives_cache = getattr(fcntl, "F_FULLFSYNC", None)  # macOS
        if out_of_the_drives_cache is not None:
            fcntl.fcntl(descriptor, out_of_the_drives_cache)


def _flush_folder(folder: Path) -> None:
    """Make the rename survive a power cut, where folders can be flushed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write every byte to a descriptor, however many at a time it takes."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except OSError as error:
            if sys.platform == "win32" and error.errno == errno.EINVAL:
                raise BrokenPipeError(errno.EPIPE, "its reader has ended") from error
            raise
