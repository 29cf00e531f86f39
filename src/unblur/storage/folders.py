"""Notice during a run that a folder is gone, or that its disk was removed.

The mount point of a removed disk is a folder, too. It must not be filled instead of the disk.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from unblur.errors import PhotoError
from unblur.storage.filesystems import status_at
from unblur.storage.temporaries import host
from unblur.user_text import describe_os_error


@dataclass(frozen=True)
class SeenFolder:
    """A folder that was there when the run was planned."""

    path: Path
    device: int
    """Number of its disk; see `os.stat_result.st_dev`."""
    inode: int
    machine: str
    """The machine that saw it; the numbers differ on others."""

    @classmethod
    def above(cls, folder: Path) -> SeenFolder | None:
        """Return a folder, or the deepest folder above it that exists."""
        for path in (folder, *folder.parents):
            with contextlib.suppress(OSError):
                status = os.stat(path)  # noqa: PTH116 (a Path takes longer)
                return cls(path, status.st_dev, status.st_ino, host())
        return None

    def check(self, file: Path) -> None:
        """Check that the folder is still there, before a file is written in it.

        Args:
            file: The file, for the message.

        Raises:
            PhotoError: If the folder is missing, or on another disk.
        """
        try:
            status = status_at(self.path)
        except OSError as error:
            raise PhotoError(f"cannot write {file}: {describe_os_error(error)}") from error
        if status is None:
            raise PhotoError(
                f"cannot write {file}: the folder {self.path} is gone; was its disk removed?"
            )
        # Some file systems give a folder another inode number from time to time, and a network disk
        # may get another device number. A mount point differs from the disk's folder in both.
        is_other = self.device != status.st_dev and self.inode != status.st_ino
        if self.machine == host() and is_other:
            raise PhotoError(
                f"cannot write {file}: {self.path} is on another disk than before; was its disk "
                "removed?"
            )
