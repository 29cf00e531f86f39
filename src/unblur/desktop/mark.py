"""The mark in each file that unblur has made for a file manager."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

_MARK = re.compile(rb"made-by-unblur-desktop:(\d+):([\w.%~/-]+)")


@dataclass(frozen=True)
class Mark:
    """What unblur has to know of a file that it has made.

    Its text consists of letters, digits and a few signs, so that every format of file can hold it.
    """

    levels: int
    """Parts of the file's path that did not exist before: 1 for the file itself, 2 for its folder,
    too, and so on; 0 for a file of the user, to which only an action was added."""
    program: Path
    """The absolute path of the program that the file calls."""

    def __str__(self) -> str:
        return f"made-by-unblur-desktop:{self.levels}:{quote(str(self.program))}"


def read_mark(data: bytes) -> Mark | None:
    """Return the mark in the bytes of a file, which may be UTF-8 or UTF-16; ``None`` if none."""
    found = _MARK.search(data.replace(b"\0", b""))
    return Mark(int(found[1]), Path(unquote(found[2].decode()))) if found else None
