"""Read and copy the owner, permissions, times and extended attributes of files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

HAS_EXTENDED = True
"""Whether this system has extended attributes."""

try:
    if sys.platform == "linux":
        from os import getxattr, listxattr, removexattr, setxattr
    else:  # macOS, where Python has no such functions
        from xattr import getxattr, listxattr, removexattr, setxattr
except ImportError:  # Windows, or this package is missing
    HAS_EXTENDED = False

ACCESS_LIST = "system.posix_acl_access"
"""Extended attribute with Linux's permissions beyond the file's mode; see acl(5)."""
_ALL_READ = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
USERS_OWN = ("user.", "com.apple.metadata:")
"""Prefixes of the user's attributes, such as tags, ratings and comments: on Linux (xattr(7)) and on
macOS (Spotlight). Other attributes belong to the system."""
_NO_LOSS = (
    *(errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY),
    *(errno.EPERM, errno.EACCES, errno.ENODATA, 93),
)
"""Errors of file systems without extended attributes, of attributes that the user may not read or
set, and of one that was removed: 93 is macOS' ENOATTR."""
MARK = "user.unblur"
"""Extended attribute that marks results of ``--in-place``; see `unblur.run.in_place_marks`."""


@dataclass(frozen=True)
class Attributes:
    """The owner, permissions, times and extended attributes of a file."""

    status: os.stat_result
    extended: dict[str, bytes]
    """Extended attributes to copy, by name."""
    mark: bytes = b""
    """Value of `MARK`, which is not copied."""
    problem: OSError | None = None
    """Why extended attributes that the file may have are unknown; ``None`` if all are known."""
    must_all_be_kept: bool = False
    """Whether `copy_to` fails where an extended attribute would be lost."""

    @classmethod
    def of(cls, descriptor: int) -> Attributes:
        """Read the attributes of an open file."""
        extended, problem = _read_extended(descriptor) if HAS_EXTENDED else ({}, None)
        mark = extended.pop(MARK, b"")
        return cls(os.fstat(descriptor), extended, mark, problem)

    @property
    def first_mode(self) -> int:
        """Permissions of a new file until `copy_to` sets all attributes.

        Only a file that everybody may read begins as one that others may read: until its owner and
        group are set, no one else may read a private one. Some file systems refuse to change
        permissions, so that these stay.
        """
        mode = self.status.st_mode
        is_public = mode & _ALL_READ == _ALL_READ and ACCESS_LIST not in self.extended
        return 0o644 if is_public else 0o600

    def stripped(self) -> Attributes:
        """Return a copy with only the owner, permissions and access list."""
        kept = {name: value for name, value in self.extended.items() if name == ACCESS_LIST}
        return Attributes(self.status, kept, problem=self.problem)

    def for_replacement(self, mark: bytes) -> Attributes:
        """Return a copy for the result that replaces the file: with a mark, and nothing lost."""
        return replace(self, extended={**self.extended, MARK: mark}, must_all_be_kept=True)

    def copy_to(self, descriptor: int, path: Path, keep_time: bool) -> None:
        """Set these attributes on an open file, as far as system and permissions allow.

        The file is not reopened by its path, where another user could have put a link.

        Args:
            descriptor: Descriptor of the open file.
            path: The file's path, for systems that need a path instead of a descriptor.
            keep_time: Whether to copy the time of modification, too.

        Raises:
            OSError: If an extended attribute cannot be copied, but `must_all_be_kept`.
        """
        self._give_owner(descriptor)  # first, because chown(2) removes permissions
        has_list = self._set_extended(descriptor)  # while the file is still writable
        if sys.platform != "win32":  # Windows has only a read-only flag, and then cannot delete
            set_mode(descriptor, path, self._mode_for(descriptor, has_list))
        if keep_time:
            times = self.status.st_atime_ns, self.status.st_mtime_ns
            os.utime(_handle(os.utime, descriptor, path), ns=times)

    def _set_extended(self, descriptor: int) -> bool:
        """Set the extended attributes of an open file; return whether it has the access list."""
        if self.must_all_be_kept and self.problem:
            raise self.problem
        has_list = False
        for name, value in self.extended.items():
            try:
                setxattr(descriptor, name, value)
                has_list |= name == ACCESS_LIST
            except OSError as error:
                if self.must_all_be_kept and name != MARK and not _is_no_loss(error):
                    raise
        if HAS_EXTENDED and not has_list:
            # The folder's default list would let others read what the photo's mode forbids.
            with contextlib.suppress(OSError):
                removexattr(descriptor, ACCESS_LIST)
        return has_list

    def _give_owner(self, descriptor: int) -> None:
        """Set a file's owner and group; if that is not allowed, only its group."""
        change_owner = getattr(os, "chown", None)  # missing on Windows
        if change_owner is None or _owners(os.fstat(descriptor)) == _owners(self.status):
            return
        for owner in (self.status.st_uid, -1):
            with contextlib.suppress(OSError):
                change_owner(descriptor, owner, self.status.st_gid)
                return

    def _mode_for(self, descriptor: int, has_list: bool) -> int:
        """Return the permissions; without set-user-ID and similar bits if the owner differs.

        With an access list, the group's bits are the most that the list allows anyone. Where the
        list cannot be set, they would grant this to the group, which then gets what all others get.
        """
        mode = stat.S_IMODE(self.status.st_mode)
        if not has_list and (self.problem or ACCESS_LIST in self.extended):
            mode &= ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
        return mode if _owners(os.fstat(descriptor)) == _owners(self.status) else mode & 0o777


def has_mark(path: Path) -> bool:
    """Return whether a file has a `MARK`, without opening it."""
    if not HAS_EXTENDED:
        return False
    try:
        return MARK in listxattr(path)
    except OSError:
        return False


def _read_extended(descriptor: int) -> tuple[dict[str, bytes], OSError | None]:
    """Return the extended attributes to copy, and why further ones are unknown."""
    extended: dict[str, bytes] = {}
    problem = None
    try:
        names = listxattr(descriptor)
    except OSError as error:
        return extended, None if _is_no_loss(error) else error
    for name in names:
        if name == ACCESS_LIST or name.startswith(USERS_OWN):
            try:
                extended[name] = getxattr(descriptor, name)
            except OSError as error:
                problem = problem if _is_no_loss(error) else error
    return extended, problem


def _is_no_loss(error: OSError) -> bool:
    """Return whether extended attributes are missing or refused, not lost by a disk that fails."""
    return error.errno in _NO_LOSS


def _owners(status: os.stat_result) -> tuple[int, int]:
    return status.st_uid, status.st_gid


def set_mode(descriptor: int, path: Path, mode: int) -> None:
    """Set an open file's permissions (see `stat.S_IMODE`), if its file system supports them."""
    with contextlib.suppress(OSError):
        os.chmod(_handle(os.chmod, descriptor, path), mode)  # noqa: PTH101 (Path takes none)


def _handle(call: Callable[..., object], descriptor: int, path: Path) -> int | Path:
    """Return the descriptor; return the path if a function of `os` needs one, as on Windows."""
    return descriptor if call in os.supports_fd else path
