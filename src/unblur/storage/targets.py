"""Check before a run whether a file can be written, without writing it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from unblur.errors import PhotoError
from unblur.storage.files import certainly, exists, is_device, is_folder, is_taken
from unblur.storage.filesystems import can_be_named

EXISTS = "{} exists; --overwrite replaces it"


def is_special(file: Path) -> bool:
    """Return whether a path is, or leads to, something other than a file or a folder.

    ``/dev/stdout`` is special even if it leads to a file: a result would replace the name itself,
    for all programs.

    Raises:
        PhotoError: If this cannot be found out.
    """
    folder = os.path.realpath(file.parent)
    return is_device(file) or folder == "/dev" or folder.startswith("/proc/")


def problem_of_replacing(file: Path) -> str | None:
    """Return why the folder of an existing file does not let the user replace it."""
    if not can_write_into(file.parent):
        return f"{in_words(file.parent)} cannot be written to"
    if _is_kept_for_owner(file):
        return f"only its owner may replace {file.name} in {in_words(file.parent)} (sticky bit)"
    return None


def _is_kept_for_owner(file: Path) -> bool:
    """Return whether a folder's sticky bit forbids the user to replace a file; see unlink(2)."""
    user_id = getattr(os, "geteuid", None)  # missing on Windows
    status = file.parent.stat()
    if user_id is None or not status.st_mode & stat.S_ISVTX:
        return False
    return user_id() not in (0, status.st_uid, file.lstat().st_uid)


def can_write_into(folder: Path) -> bool:
    """Return whether the user may add and replace names in a folder: write to it, and enter it."""
    return os.access(folder, os.W_OK | os.X_OK)


def problem_of_file(file: Path, may_replace: bool) -> str | None:
    """Return why a file cannot be written; ``None`` if it can.

    Args:
        file: Path of the file. Its folder may be missing, if it can be made.
        may_replace: Whether the file may exist.
    """
    if not can_be_named(file.name):
        return f"{file.name} cannot be the name of a file on Windows"
    try:
        if is_folder(file):
            return f"{file} is a folder"
        if is_special(file):
            return f"{file} is not a regular file"
        if is_taken(file):
            return problem_of_replacing(file) if may_replace else EXISTS.format(file)
        reason = None
    except PhotoError as error:
        reason = f"{file}: {error}"
    folder = _nearest(file)
    if not is_folder(folder):
        return f"{in_words(folder)} is not a folder"
    return reason if can_write_into(folder) else f"{in_words(folder)} cannot be written to"


def _nearest(file: Path) -> Path:
    """Return the deepest folder above a file that exists and can be seen."""
    return next((parent for parent in file.parents if certainly(exists, parent)), file.parent)


def in_words(folder: Path) -> str:
    """Return a folder's path as the user typed it; the current folder's whole path."""
    return str(folder if folder.name else folder.absolute())
