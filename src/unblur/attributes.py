"""What a file system knows of a file besides its content, and goes along with a copy."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
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
"""Extended attribute by which a result is recognised without any record; see `unblur.marks`."""


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

    def copy_to(self, path: Path, keep_time: bool) -> None:
        """Give them to another file, as far as its file system has room for them.

        Args:
            path: The file.
            keep_time: Whether its time of modification becomes that of this one, too.
        """
        for name, value in self.extended.items():  # first, since a read-only file takes no more
            with contextlib.suppress(OSError):
                setxattr(path, name, value)
        if sys.platform != "win32":  # which knows read-only alone, and removes no such file
            with contextlib.suppress(OSError):
                path.chmod(stat.S_IMODE(self.status.st_mode))
        if keep_time:
            os.utime(path, ns=(self.status.st_atime_ns, self.status.st_mtime_ns))


def has_mark(path: Path) -> bool:
    """Tell whether a file bears a `MARK`, without opening it."""
    if not HAS_EXTENDED:
        return False
    try:
        return bool(getxattr(path, MARK))
    except OSError:
        return False
