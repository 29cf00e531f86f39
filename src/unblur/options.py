"""Define the options of a run, as plain values."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from enum import Enum
from numbers import Integral, Real
from typing import Any, Literal

from unblur.errors import UsageError, refuse_empty

SUFFIX = "-unblurred"
COMPARED, COMPARED_STRENGTHS = "-compared", "-strengths"
"""Suffixes of the pictures of ``--compare`` and ``--compare strengths``, before the extension."""
LONGEST_SUFFIX_BYTES = 100
"""Leaves room for the photo's own name: file systems allow 143 to 255 bytes."""
STREAM = "-"
"""Path that means standard input or output."""


SMALLEST_TILE_PX = 128
"""Smallest tile; smaller tiles would save hardly any memory."""
MOST_VIEWS = 8
"""All views: mirrored or not, rotated by 0, 90, 180 or 270 degrees."""
DEFAULT_MAX_PIXELS = 500_000_000
BLURRY_LEVEL = 0.3
"""Least blur score of blurry photos; ``docs/score.md`` shows how reliable it is."""
CLUSTER_DEVICES = ("auto", "cuda", "vulkan", "cpu")
"""Devices that workers on a cluster can use."""
USUAL_CELL = 10, 20
"""Width and height of a character in pixels, if the terminal does not report them."""


class TerminalGraphics(Enum):
    """A way to show pictures in a terminal."""

    KITTY = "kitty"
    SIXEL = "sixel"
    BLOCKS = "half blocks"


@dataclass(frozen=True)
class Screen:
    """A terminal that can show pictures."""

    graphics: TerminalGraphics
    columns: int
    rows: int
    cell: tuple[int, int] = USUAL_CELL
    """Width and height of a character in pixels."""


SAME_RESULT = frozenset(
    (
        *("recursive", "include", "exclude", "only_blurry", "max_pixels", "jobs", "fail_fast"),
        *("output", "suffix", "in_place", "backup", "on_existing", "preserve_times", "sidecars"),
        *("only_motion", "verdict"),
        *("compare", "picture_side", "screen"),  # pictures beside the result
        "mask",  # the hash of each photo's mask is in `unblur.run.jobs.Job.settings`
        # The key has the hash of the weights. Tiles and devices change only the rounding.
        *("network", "model", "device", "engine", "tile", "threads", "max_memory"),
    )
)
"""Options that do not change results; all other options are in the history's key."""
KEY_TEXTS = {"refresh-thumbnail=False": "keep-thumbnail", "strip-metadata=True": "strip-metadata"}
"""Spelling of options in the key, as in existing histories on disk."""


NETWORK_TYPES: dict[str, tuple[type, tuple[str | None, ...], str]] = {
    "model": (str, (), "a name or a path"),
    "device": (str, (), "a name"),
    "tile": (Integral, ("auto",), "auto or a whole number"),
    "strength": (Real, (), "a number"),
    "views": (Integral, (), "a whole number"),
    "threads": (Integral, ("auto", None), "a whole number"),
    "max_memory": (Integral, (None,), "a whole number of bytes"),
}
"""Type, other values, and both in words, of the fields of `NetworkOptions` that Python callers
set."""


def check_path(text: str, name: str) -> None:
    """Raise `UsageError` if a path is empty or impossible.

    Args:
        text: The path.
        name: Name of the path in the message.
    """
    refuse_empty(name, text)
    _refuse_impossible(text, name)


def _refuse_impossible(path: str, name: str) -> None:
    """Raise `UsageError` if a path has a character that no path on this system can have."""
    try:
        is_possible = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # the system's encoding may be ASCII
        is_possible = False
    if not is_possible:
        raise UsageError(f"{name} has a character that no path on this system can have: {path!r}")


@dataclass(frozen=True)
class NetworkOptions:
    """The options of the network: where and how it runs."""

    model: str = "srn-compact"
    """Name of a model, or path of a weights file."""
    device: str = "auto"
    """``auto``, or a name in `unblur.network.device_kinds.KINDS`, optionally with the number of a
    device: ``cuda:1``."""
    engine: Literal["auto", "torch", "ncnn"] = "auto"
    """The library that runs the network; see `unblur.network.engines`."""
    tile: int | Literal["auto"] = "auto"
    """Side of the largest tile, a square, in pixels; ``auto``: as large as fits into memory."""
    strength: float = 1.0
    """Share of the change to apply, from 0 to 1."""
    views: int = 1
    """Number of mirrored and rotated passes to average, from 1 to `MOST_VIEWS`."""
    threads: int | Literal["auto"] | None = "auto"
    """CPU threads; ``auto``: one per available core; ``None``: PyTorch's present number."""
    max_memory: int | None = None
    """Limit on main memory, in bytes; ``None``: the free memory."""

    @property
    def reported(self) -> dict[str, Any]:
        """Options that reports of a run contain, by name."""
        unreported = ("threads", "max_memory")
        return {name: value for name, value in vars(self).items() if name not in unreported}

    @property
    def applies_all(self) -> bool:
        """Whether the whole change is applied."""
        return self.strength == 1

    @property
    def applies_none(self) -> bool:
        """Whether the result is the photo itself."""
        return self.strength == 0

    def __post_init__(self) -> None:
        """Refuse values of a wrong type, or out of range.

        Raises:
            UsageError: With the sentence for the user.
        """
        for field, (kind, others, text) in NETWORK_TYPES.items():
            value = getattr(self, field)
            is_other = (value is None or isinstance(value, str)) and value in others
            if not isinstance(value, kind) and not is_other:
                raise UsageError(f"{field} takes {text}, not {value!r}")
        if self.engine not in ("auto", "torch", "ncnn"):
            raise UsageError(f"engine takes auto, torch or ncnn, not {self.engine!r}")
        check_path(self.model, "--model")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"strength is from 0 to 1, not {self.strength}")
        if not 1 <= self.views <= MOST_VIEWS:
            raise UsageError(f"views are from 1 to {MOST_VIEWS}, not {self.views}")
        if self.tile != "auto" and self.tile < SMALLEST_TILE_PX:
            raise UsageError(f"a tile needs at least {SMALLEST_TILE_PX} pixels, not {self.tile}")
        if self.max_memory is not None and self.max_memory <= 0:
            raise UsageError("--max-memory must be more than 0")


@dataclass(frozen=True)
class Options:
    """All options of a run; see ``unblur --help``."""

    output: str | None = None
    """A file, a folder, ``-`` for standard output, or ``None``: beside each photo."""
    suffix: str = SUFFIX
    """Added to the name, before the extension."""
    recursive: bool = False
    include: tuple[str, ...] = ()
    """Glob patterns; in folders, only photos that match one of them are processed."""
    exclude: tuple[str, ...] = ()
    """Glob patterns; in folders, photos that match one of them are skipped."""
    in_place: bool = False
    backup: bool | None = None
    """With ``in_place``, keep the original as ``<name>.orig``; ``None`` means yes."""
    on_existing: Literal["error", "skip", "overwrite"] = "error"
    preserve_times: bool = False
    """Whether to give results their photos' time of modification."""
    sidecars: bool = False
    """Whether to copy files that belong to a photo, such as ``.xmp``, under the result's name."""
    refresh_thumbnail: bool = True
    """Whether to redraw thumbnails and previews inside files."""
    format: str | None = None
    """Name of the results' format in `unblur.formats.photo.CONVERSIONS`; ``None``: each photo's."""
    quality: int | None = None
    """Compression quality of lossy formats, 1 to 100; ``None``: each photo's quality."""
    strip_metadata: bool = False
    """Whether to keep only colour profile and orientation."""
    mask: str | None = None
    """A mask for all photos, or a folder with one mask per photo; see `unblur.run.mask_files`."""
    compare: bool | Literal["strengths"] = False
    """Whether to write a picture beside each result: before and after, or several strengths."""
    picture_side: int = 0
    """Longer side in pixels of the report's small pictures; 0: no pictures."""
    screen: Screen | None = None
    """The terminal that shows each photo before and after; ``None``: not shown."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Largest number of pixels of a photo; larger photos are refused."""
    only_blurry: float | None = None
    """Least `unblur.score.blur_score` of photos to deblur; ``None``: deblur all photos."""
    only_motion: bool = False
    """Whether to skip photos that are out of focus."""
    verdict: bool = False
    """Whether to find out how each photo was blurred, and how much of it changed."""
    fail_fast: bool = False
    jobs: int | None = None
    """Number of photos to decode ahead, and to write in parallel; ``None``: one on a CPU, and more
    with a GPU, depending on the number of cores."""
    network: NetworkOptions = NetworkOptions()

    @property
    def keeps_backup(self) -> bool:
        """Whether to keep originals beside the results that replace them."""
        return self.in_place and self.backup is not False

    @property
    def compared_suffix(self) -> str:
        """Suffix of the pictures of ``compare``."""
        return COMPARED_STRENGTHS if self.compare == "strengths" else COMPARED

    @property
    def settings(self) -> str:
        """The options that change results, as text, for the history's key; empty by default."""
        parts = [
            f"{field.name.replace('_', '-')}={getattr(record, field.name)}"
            for record in (self, self.network)
            for field in fields(record)
            if field.name not in SAME_RESULT and getattr(record, field.name) != field.default
        ]
        return "".join(f" {KEY_TEXTS.get(part, part)}" for part in parts)

    def __post_init__(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            UsageError: With the sentence for the user.
        """
        for name, value in vars(self).items():
            refuse_empty(f"--{name.replace('_', '-')}", value)
        paths = {"output": self.output, "mask": self.mask, "suffix": self.suffix}
        for name, path in paths.items():
            if path is not None:
                _refuse_impossible(path, f"--{name}")
        if self.in_place and self.output is not None:
            raise UsageError("--in-place and --output contradict each other")
        if self.in_place and self.format is not None:
            raise UsageError(
                "--in-place and --format contradict each other: another format needs another name"
            )
        if self.backup and not self.in_place:
            raise UsageError("--backup needs --in-place: otherwise originals are never changed")
        if "/" in self.suffix or "\\" in self.suffix:
            raise UsageError(f"--suffix {self.suffix!r} cannot be part of a file name")
        if len(os.fsencode(self.suffix)) > LONGEST_SUFFIX_BYTES:
            raise UsageError(f"--suffix has more than {LONGEST_SUFFIX_BYTES} bytes")
        if self.compare and self.suffix == self.compared_suffix:
            raise UsageError(
                f"--compare uses the suffix {self.suffix} itself: choose another --suffix"
            )
        if self.compare == "strengths" and not self.network.applies_all:
            raise UsageError("--compare strengths shows strengths up to 1: leave out --strength")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError("--jobs must be at least 1")
        if self.network.max_memory and self.jobs is not None and self.jobs > 1:
            raise UsageError("--max-memory processes one photo at a time: leave out --jobs")
