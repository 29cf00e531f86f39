"""Write files in one step: write a temporary file, flush it to the disk, and rename it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from unblur.errors import PhotoError, UnflushedError
from unblur.storage.attributes import Attributes, has_mark, set_mode
from unblur.storage.files import is_folder, keeps, read_photo_bytes
from unblur.storage.filesystems import if_supported, is_in_use, status_at
from unblur.storage.places import FileState
from unblur.storage.targets import EXISTS
from unblur.storage.temporaries import is_being_written, temporary_beside
from unblur.user_text import describe_os_error

BUSY = "{} is being replaced by another run: run again when that has ended"
APPEARED = "{} appeared meanwhile: move it away and run again"
CHANGED = "{} was changed meanwhile, and stays; run again"
GONE = "{} was renamed or removed meanwhile; run again"
_ANY, _PRIVATE = 0o666, 0o600
PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds to wait between attempts to replace a file that another program may have open."""


class Draft(ABC):
    """A complete but invisible output; `publish` gives the output its name.

    Leaving the context deletes an unpublished draft.
    """

    state: FileState | None = None
    """State of the published output, as far as it is known before publishing."""

    @abstractmethod
    def publish(self, replaces: bool) -> FileState | None:
        """Give the output its name in one step, and return its state.

        Args:
            replaces: Whether to replace an existing file. If not, an existing file is an error,
                even if it has just appeared.

        Raises:
            PhotoError: If a file exists and must not be replaced, or writing fails.
            UnflushedError: If the output has its name, but may be lost if the power fails now.
        """

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *unused: object) -> None:  # noqa: B027 (not all need it)
        """Delete the output unless it was published."""


class FileDraft(Draft):
    """An output in a temporary file in the target's folder.

    Args:
        path: Path of the published file.
        data: Its content.
        like: Attributes to copy: owner, permissions and extended attributes. By default the file
            belongs to the user, with the permissions that the umask allows.
        keep_time: Copy the time of modification of ``like``, too.
        mode: Permissions to set, instead of those of ``like``.

    Raises:
        PhotoError: If the temporary file cannot be written.
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
        with contextlib.ExitStack() as stack, _os_errors_as_photo_errors(path):
            first = _PRIVATE if mode is not None else _ANY if like is None else like.first_mode
            temporary = stack.enter_context(temporary_beside(path, first))
            write_all(temporary.descriptor, data)
            if like is not None:
                like.copy_to(temporary.descriptor, temporary.path, keep_time)
            if mode is not None:
                set_mode(temporary.descriptor, temporary.path, mode)
            _flush(temporary.descriptor)
            self.state = FileState.of(os.fstat(temporary.descriptor))
            if not temporary.is_locked:  # Windows cannot rename an open file
                temporary.close()
            self.scratch = temporary.path
            self._open = stack.pop_all()

    def __exit__(self, *unused: object) -> None:
        self._open.close()

    def publish(self, replaces: bool) -> FileState | None:
        """Rename the temporary file to its path; see `Draft`."""
        with _os_errors_as_photo_errors(self.path):
            if replaces:
                _replace(self.scratch, self.path)
            else:
                _rename_to_new(self.scratch, self.path)
        _flush_name(self.path)
        return self.state


class StreamDraft(Draft):
    """An output that is written to a descriptor, such as standard output."""

    def __init__(self, descriptor: int, data: bytes) -> None:
        self._descriptor, self._data = descriptor, data

    def publish(self, replaces: bool) -> None:
        """Write the data; see `Draft`."""
        with _os_errors_as_photo_errors("to standard output"):
            write_all(self._descriptor, self._data)


@contextlib.contextmanager
def _os_errors_as_photo_errors(path: Path | str, *others: type[OSError]) -> Iterator[None]:
    """Raise `OSError` as `PhotoError`, with the path, but for some ``others``."""
    try:
        yield
    except others:
        raise
    except FileExistsError as error:
        raise PhotoError(EXISTS.format(path)) from error
    except OSError as error:
        reason = describe_os_error(error)
        if is_in_use(error):
            reason += "; is it open in another program?"
        raise PhotoError(f"cannot write {path}: {reason}") from error


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, or raise `PhotoError`."""
    # Path.mkdir is recursive, which fails for a thousand nested folders.
    missing = list(itertools.takewhile(lambda one: not is_folder(one), (folder, *folder.parents)))
    try:
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
    except OSError as error:
        raise PhotoError(f"cannot create {folder}: {describe_os_error(error)}") from error


def replace_with_backup(
    draft: FileDraft, path: Path, backup: Path, state: FileState | None = None
) -> FileState | None:
    """Publish a draft over a file, and keep the old file under a second name.

    If the file cannot be replaced, a new backup is removed again. Otherwise the backup would look
    like the original of a result once the file is edited.

    Only the run that has made the backup may replace the file, unless that run was killed. A run
    has a temporary file as long as it may remove its backup or replace the file.

    Args:
        draft: The file's new content.
        path: The file.
        backup: Its second name.
        state: State that the file must still have when the backup is made, which may take seconds
            on file systems without hard links; ``None``: not checked.

    Raises:
        PhotoError: If the file cannot be kept or replaced, another file has the backup's name, or
            another run is replacing the file.
    """
    is_new = True
    try:
        with _os_errors_as_photo_errors(backup, FileExistsError):
            _keep(path, backup)
    except FileExistsError:
        is_new = False
        if not keeps(backup, path):
            raise PhotoError(APPEARED.format(backup)) from None
        if is_being_written(path, but_by=draft.scratch):
            raise PhotoError(BUSY.format(path)) from None
    try:
        with _os_errors_as_photo_errors(backup):
            _flush_folder(backup.parent)  # a power failure must not lose both names
        found = FileState.at(path) if state else None
        if found == state:
            return draft.publish(replaces=True)
    except BaseException:  # also Ctrl-C; where the photo was replaced already, the backup differs
        with contextlib.suppress(OSError, PhotoError):
            if is_new and keeps(backup, path):
                backup.unlink()
        raise
    with contextlib.suppress(OSError):
        if is_new and not has_mark(path):  # a run without backups may have replaced it
            backup.unlink()
    raise PhotoError((CHANGED if found else GONE).format(path))


def _keep(path: Path, backup: Path) -> None:
    """Give a file a second name, or copy it; raise `OSError` if the name is taken."""
    try:
        os.link(path, backup)
    except FileExistsError:
        raise
    except OSError:  # file systems without hard links
        if status_at(backup, follow_links=False):
            raise FileExistsError(str(backup)) from None
        data, attributes = read_photo_bytes(path)
        draft = FileDraft(backup, data, attributes, keep_time=True)
        with draft:
            _rename_to_new(draft.scratch, backup)


def move_over(source: Path, target: Path) -> None:
    """Rename a file over an existing file in one step.

    Raises:
        OSError: If it cannot be renamed.
        UnflushedError: If it was renamed.
    """
    _replace(source, target)
    _flush_name(target)


def _replace(scratch: Path, path: Path) -> None:
    """Rename over an existing file; on Windows, retry while another program has the file open."""
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
    """Rename, or fail if the target exists; a plain rename would replace the target."""
    try:
        os.link(scratch, path)  # atomic, and fails if the name is taken
    except FileExistsError:
        raise
    except OSError:  # file systems without hard links
        if status_at(path, follow_links=False):  # a link that leads nowhere, too
            raise FileExistsError(str(path)) from None
        scratch.rename(path)  # on Windows this fails, too, if the name is taken


def _flush(descriptor: int) -> None:
    """Flush a file's bytes to the disk, if the file system supports this."""
    with if_supported():
        os.fsync(descriptor)
    with contextlib.suppress(ImportError), if_supported():
        import fcntl

        out_of_the_drives_cache = getattr(fcntl, "F_FULLFSYNC", None)  # macOS
        if out_of_the_drives_cache is not None:
            fcntl.fcntl(descriptor, out_of_the_drives_cache)


def _flush_name(path: Path) -> None:
    """Flush the name that a file has just got, or raise `UnflushedError`."""
    try:
        _flush_folder(path.parent)
    except OSError as error:
        raise UnflushedError(
            f"{path} was written, but may be lost if the power fails now: "
            f"{describe_os_error(error)}"
        ) from error


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if the system supports this."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows, or a folder that may not be listed
        return
    try:
        with if_supported(errno.EBADF):  # some systems flush only files that are open for writing
            os.fsync(descriptor)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write all bytes to a descriptor."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except OSError as error:
            if sys.platform == "win32" and error.errno == errno.EINVAL:
                raise BrokenPipeError(errno.EPIPE, "its reader has ended") from error
            raise
