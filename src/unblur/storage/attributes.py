"""What a file system knows of a file besides its content, and goes along with a copy."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

HAS_EXTENDED = True
"""Whether extended attributes can be read and written on this system."""

try:
    if sys.platform == "linux":
        from os import getxattr, listxattr, setxattr
    else:  # macOS, where Python itself does not know them
        from xattr import getxattr, listxattr, setxattr
except ImportError:  # Windows, and where this package was left out
    HAS_EXTENDED = False

ACCESS_LIST = "system.posix_acl_access"
"""Extended attribute in which Linux keeps permissions beyond the file's mode, see acl(5)."""
USERS_OWN = ("user.", "com.apple.metadata:")
"""Begin the names of those with tags, ratings, comments and the like, on Linux (xattr(7)) and on
macOS (what Spotlight finds files by); what else is kept so is the system's own affair."""


MARK = "user.unblur"
"""Extended attribute by which a result is recognised without any record; see `unblur.run.marks`."""


@dataclass(frozen=True)
class Attributes:
    """What a file system knows of a file besides its content."""

    status: os.stat_result
    extended: dict[str, bytes]
    """Extended attributes that go along with a copy."""
    mark: bytes = b""
    """What `MARK` holds, which is of this file alone and does not go along."""

    @classmethod
    def of(cls, descriptor: int) -> Attributes:
        """Read those of an open file."""
        extended = {}
        if HAS_EXTENDED:
            with contextlib.suppress(OSError):  # file systems without them
                for name in listxattr(descriptor):
                    if name == ACCESS_LIST or name.startswith(USERS_OWN):
                        extended[name] = getxattr(descriptor, name)
        mark = extended.pop(MARK, b"")
        return cls(os.fstat(descriptor), extended, mark)

    def stripped(self) -> Attributes:
        """Return only what tells who may do what with the file."""
        kept = {name: value for name, value in self.extended.items() if name == ACCESS_LIST}
        return Attributes(self.status, kept)

    def marked(self, mark: bytes) -> Attributes:
        """Return those of a copy that bears a mark of its own."""
        return replace(self, extended={**self.extended, MARK: mark})

    def copy_to(self, descriptor: int, path: Path, keep_time: bool) -> None:
        """Give them to another open file, as far as its file system and the user's rights allow.

        They go to the open file and never to a path, where somebody who may write to the folder
        could have put a link to another file meanwhile.

        Args:
            descriptor: The file.
            path: Its path, for systems that cannot do this by descriptor.
            keep_time: Whether its time of modification becomes that of this one, too.
        """
        self._give_owner(descriptor)  # first, since that takes rights away: see chown(2)
        for name, value in self.extended.items():  # before a read-only file takes no more
            with contextlib.suppress(OSError):
                setxattr(descriptor, name, value)
        if sys.platform != "win32":  # which knows read-only alone, and removes no such file
            set_mode(descriptor, path, self._mode_for(descriptor))
        if keep_time:
            times = self.status.st_atime_ns, self.status.st_mtime_ns
            os.utime(_handle(os.utime, descriptor, path), ns=times)

    def _give_owner(self, descriptor: int) -> None:
        """Give the owner and the group to a file, or the group alone if that is all we may do."""
        change_owner = getattr(os, "chown", None)  # which Windows does not have
        if change_owner is None or _owners(os.fstat(descriptor)) == _owners(self.status):
            return
        for owner in (self.status.st_uid, -1):
            with contextlib.suppress(OSError):
                change_owner(descriptor, owner, self.status.st_gid)
                return

    def _mode_for(self, descriptor: int) -> int:
        """Return the permissions; not the right to run as the owner if that is another one."""
        mode = stat.S_IMODE(self.status.st_mode)
        return mode if _owners(os.fstat(descriptor)) == _owners(self.status) else mode & 0o777


def has_mark(path: Path) -> bool:
    """Tell whether a file bears a `MARK`, without opening it."""
    if not HAS_EXTENDED:
        return False
    try:
        return MARK in listxattr(path)
    except OSError:
        return False


def _owners(status: os.stat_result) -> tuple[int, int]:
    return status.st_uid, status.st_gid


def set_mode(descriptor: int, path: Path, mode: int) -> None:
    """Set the permissions of an open file, on file systems that have any; see `stat.S_IMODE`."""
    with contextlib.suppress(OSError):
        os.chmod(_handle(os.chmod, descriptor, path), mode)  # noqa: PTH101 (Path takes none)


def _handle(call: Callable[..., object], descriptor: int, path: Path) -> int | Path:
    """Return what a function of `os` takes for an open file; Windows' functions take its path."""
    return descriptor if call in os.supports_fd else path
