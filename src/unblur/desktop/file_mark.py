"""Mark the files that unblur writes for file managers, to recognise and remove them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

_MARK = re.compile(rb"made-by-unblur-desktop:(\d+):([\w.%~/-]+)")


@dataclass(frozen=True)
class Mark:
    """The facts about a written file that unblur needs later, such as to remove the file.

    The mark's text has only letters, digits and a few signs, so that it fits into every file
    format.
    """

    levels: int
    """Number of path levels that unblur created: 1 for the file, 2 for the file and its folder, and
    so on; 0 if only an action was added to the user's file."""
    program: Path
    """Absolute path of the program that the file starts."""

    def __str__(self) -> str:
        return f"made-by-unblur-desktop:{self.levels}:{quote(str(self.program))}"


def read_mark(data: bytes) -> Mark | None:
    """Return the mark in a file's bytes, in UTF-8 or UTF-16; ``None`` if there is no mark."""
    found = _MARK.search(data.replace(b"\0", b""))
    return Mark(int(found[1]), Path(unquote(found[2].decode()))) if found else None
