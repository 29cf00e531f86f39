"""What the user asked for, as plain values."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from unblur.errors import UsageError

SUFFIX = "-unblurred"
COMPARED = "-compared"
"""Ends the names of comparisons, before their own ending."""
LONGEST_SUFFIX_BYTES = 100
"""Leaves room for the photo's own name within the 255 bytes that file systems allow."""
STREAM = "-"
"""Stands for standard input or output."""


MOST_VIEWS = 8
"""Mirrored or not, turned by no, one, two or three quarters."""
DEFAULT_MAX_PIXELS = 500_000_000
BLURRY_LEVEL = 0.3
"""Photos of lower scores count as sharp; ``docs/score.md`` tells what that catches and misses."""
USUAL_CELL = 10, 20
"""Width and height of a terminal's character in pixels, where the terminal does not tell."""


class Way(Enum):
    """How a terminal shows pictures."""

    KITTY = "kitty"
    SIXEL = "sixel"
    BLOCKS = "half blocks"


@dataclass(frozen=True)
class Screen:
    """A terminal that can show pictures."""

    way: Way
    columns: int
    rows: int
    cell: tuple[int, int] = USUAL_CELL
    """Width and height of a character in pixels."""


@dataclass(frozen=True)
class Options:
    """Everything that a run can be told; see ``unblur --help``."""

    output: str | None = None
    """A file, a folder, ``-`` for standard output, or ``None`` for beside each photo."""
    suffix: str = SUFFIX
    """Put between a photo's name and its ending."""
    recursive: bool = False
    include: tuple[str, ...] = ()
    """Glob patterns; below a folder only photos that match one are taken."""
    exclude: tuple[str, ...] = ()
    """Glob patterns; below a folder photos that match one are passed over."""
    in_place: bool = False
    backup: bool | None = None
    """In place, keep the original as ``<name>.orig``; ``None`` is yes."""
    on_existing: Literal["error", "skip", "overwrite"] = "error"
    preserve_times: bool = False
    """Give the result its original's time of modification."""
    refresh_thumbnail: bool = True
    """Draw the small picture in a JPEG file's EXIF anew."""
    format: str | None = None
    """What results are written in, by its name in `unblur.formats.photo.CONVERSIONS`; ``None`` is
    each photo's own format."""
    quality: int | None = None
    """1 to 100, of formats that are not lossless; ``None`` is each photo's own."""
    strip_metadata: bool = False
    """Keep only what is needed to show the photo as before."""
    compare: bool = False
    """Write a picture of before and after beside each result."""
    picture_side: int = 0
    """Of the small pictures of each photo, in pixels; 0 makes none."""
    screen: Screen | None = None
    """The terminal that shows each photo before and after; ``None`` shows none."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Larger photos are refused."""
    only_blurry: float | None = None
    """Photos whose `unblur.score.blur_score` is lower are left alone."""
    strength: float = 1.0
    """Share of the change that is made, from 0 to 1."""
    views: int = 1
    """How many views of the photo the result is the mean of, from 1 to `MOST_VIEWS`."""
    fail_fast: bool = False
    max_memory: int | None = None
    """Bytes that the program may take; photos are then done one after the other."""
    jobs: int = 1
    """Photos that are decoded ahead of the network, and that wait to be written after it."""

    @property
    def keeps_backup(self) -> bool:
        """Whether originals are kept beside the results that replace them."""
        return self.in_place and self.backup is not False

    @property
    def settings(self) -> str:
        """What in a result depends on these options, as text; empty if they are the defaults."""
        parts = {
            " keep-thumbnail": not self.refresh_thumbnail,
            f" format={self.format}": self.format,
            f" quality={self.quality}": self.quality,
            " strip-metadata": self.strip_metadata,
            f" strength={self.strength}": self.strength != 1,
            f" views={self.views}": self.views != 1,
        }
        return "".join(text for text, is_set in parts.items() if is_set)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UsageError: With the sentence for the user.
        """
        if self.output == "":
            raise UsageError("--output is empty: was a variable not set?")
        if self.in_place and self.output is not None:
            raise UsageError("--in-place and --output contradict each other")
        if self.in_place and self.format is not None:
            raise UsageError(
                "--in-place and --format contradict each other: another format needs another name"
            )
        if self.backup and not self.in_place:
            raise UsageError("--backup needs --in-place: otherwise originals are never changed")
        if not self.suffix or "/" in self.suffix or "\\" in self.suffix or "\0" in self.suffix:
            raise UsageError(f"--suffix {self.suffix!r} cannot be part of a file name")
        if len(os.fsencode(self.suffix)) > LONGEST_SUFFIX_BYTES:
            raise UsageError(f"--suffix has more than {LONGEST_SUFFIX_BYTES} bytes")
        if self.compare and self.suffix == COMPARED:
            raise UsageError(
                f"--compare uses the suffix {COMPARED} itself: choose another --suffix"
            )
        if self.jobs < 1:
            raise UsageError("--jobs must be at least 1")
        if self.max_memory and self.jobs > 1:
            raise UsageError("--max-memory processes one photo at a time: leave out --jobs")
