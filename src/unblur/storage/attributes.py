"""Read and copy the owner, permissions, times and extended attributes of files."""

from __future__ import annotations

import contextlib
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

    @classmethod
    def of(cls, descriptor: int) -> Attributes:
        """Read the attributes of an open file."""
        extended = {}
        if HAS_EXTENDED:
            with contextlib.suppress(OSError):  # file systems without them
                for name in listxattr(descriptor):
                    if name == ACCESS_LIST or name.startswith(USERS_OWN):
                        with contextlib.suppress(OSError):  # of this attribute only
                            extended[name] = getxattr(descriptor, name)
        mark = extended.pop(MARK, b"")
        return cls(os.fstat(descriptor), extended, mark)

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
        return Attributes(self.status, kept)

    def marked(self, mark: bytes) -> Attributes:
        """Return a copy with another mark."""
        return replace(self, extended={**self.extended, MARK: mark})

    def copy_to(self, descriptor: int, path: Path, keep_time: bool) -> None:
        """Set these attributes on an open file, as far as system and permissions allow.

        The file is not reopened by its path, where another user could have put a link.

        Args:
            descriptor: Descriptor of the open file.
            path: The file's path, for systems that need a path instead of a descriptor.
            keep_time: Whether to copy the time of modification, too.
        """
        self._give_owner(descriptor)  # first, because chown(2) removes permissions
        if HAS_EXTENDED and ACCESS_LIST not in self.extended:
            # The folder's default list would let others read what the photo's mode forbids.
            with contextlib.suppress(OSError):
                removexattr(descriptor, ACCESS_LIST)
        for name, value in self.extended.items():  # while the file is still writable
            with contextlib.suppress(OSError):
                setxattr(descriptor, name, value)
        if sys.platform != "win32":  # Windows has only a read-only flag, and then cannot delete
            set_mode(descriptor, path, self._mode_for(descriptor))
        if keep_time:
            times = self.status.st_atime_ns, self.status.st_mtime_ns
            os.utime(_handle(os.utime, descriptor, path), ns=times)

    def _give_owner(self, descriptor: int) -> None:
        """Set a file's owner and group; if that is not allowed, only its group."""
        change_owner = getattr(os, "chown", None)  # missing on Windows
        if change_owner is None or _owners(os.fstat(descriptor)) == _owners(self.status):
            return
        for owner in (self.status.st_uid, -1):
            with contextlib.suppress(OSError):
                change_owner(descriptor, owner, self.status.st_gid)
                return

    def _mode_for(self, descriptor: int) -> int:
        """Return the permissions; without set-user-ID and similar bits if the owner differs."""
        mode = stat.S_IMODE(self.status.st_mode)
        return mode if _owners(os.fstat(descriptor)) == _owners(self.status) else mode & 0o777


def has_mark(path: Path) -> bool:
    """Return whether a file has a `MARK`, without opening it."""
    if not HAS_EXTENDED:
        return False
    try:
        return MARK in listxattr(path)
    except OSError:
        return False


def _owners(status: os.stat_result) -> tuple[int, int]:
    return status.st_uid, status.st_gid


def set_mode(descriptor: int, path: Path, mode: int) -> None:
    """Set an open file's permissions (see `stat.S_IMODE`), if its file system supports them."""
    with contextlib.suppress(OSError):
        os.chmod(_handle(os.chmod, descriptor, path), mode)  # noqa: PTH101 (Path takes none)


def _handle(call: Callable[..., object], descriptor: int, path: Path) -> int | Path:
    """Return the descriptor; return the path if a function of `os` needs one, as on Windows."""
    return descriptor if call in os.supports_fd else path
