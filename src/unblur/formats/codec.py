"""The functions that each photo format provides to the pipeline.

Each format's module ends with its `Codec`, named ``CODEC``; a row of
`unblur.formats.photo.FORMATS` names the module. No other code depends on a single format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from unblur.formats.embedded_pictures import Redraw, Redrawn
from unblur.formats.metadata import Metadata
from unblur.formats.photo import Encoded, Format, Photo


@dataclass(frozen=True)
class Target:
    """How photos of other formats are converted to this one."""

    write: Callable[[Photo, Metadata, int | None], bytes]
    """Writes a new file from a photo's pixels and alpha, and metadata. The quality is 1 to 100, or
    ``None`` for a high quality."""
    longest_side: int | None = None
    """Longest side in pixels; ``None``: unlimited."""
    is_8_bit: bool = False
    has_quality: bool = False
    has_opacity: bool = True
    has_extra_channel: bool = False
    """Whether an alpha channel can be something other than opacity."""
    too_large: Callable[[Metadata], list[str]] = lambda metadata: []
    """Returns the names of the blocks of metadata that do not fit."""


@dataclass(frozen=True)
class Reduced:
    """A photo at the resolution at which its blur is measured."""

    pixels: NDArray[Any]
    """(H, W, 1 or 3), upright."""
    factor: int
    """Factor by which each side was divided."""


@dataclass(frozen=True)
class Codec:
    """The functions of one format.

    They raise ``ValueError`` or any error of a library for damaged files, and
    `unblur.errors.PhotoError` for files of an unsupported kind. An ``index`` is the parsed
    structure of the same bytes from an earlier call of the format's functions, or ``None``.
    """

    decode: Callable[[bytes, int], Photo]
    """Decodes a file, unless it has more pixels than allowed."""
    encode: Callable[[Photo, Any], Encoded]
    """Writes new pixels, of the photo's shape and type, into the photo's container."""
    coded_pixels: Callable[[bytes, Any], Iterator[bytes | memoryview]]
    """Yields the coded pixels of a file (and its index), which new pixels replace."""
    metadata: Callable[[bytes, Any], Metadata]
    """Reads the metadata of a file (and its index)."""
    stripped: Callable[[bytes], bytes] | None = None
    """Returns a file without metadata; ``None``: a new file is written instead."""
    decode_reduced: Callable[[bytes, int], Reduced] | None = None
    """Decodes a file at the resolution that `unblur.score` needs; ``None``: the format cannot do
    this faster than decoding everything."""
    upright: Callable[[bytes, Any, NDArray[Any]], NDArray[Any]] | None = None
    """Rotates (H, W, ...) pixels of a file (and its index) upright, without a copy; ``None``: use
    the orientation in EXIF."""
    check_conversion: Callable[[Photo], tuple[str, ...]] = lambda photo: ()
    """Refuses a photo that cannot be converted; returns notes on data that a conversion loses."""
    redraw: Callable[[bytes, Redraw, Any], Redrawn] = lambda data, redraw, index: Redrawn(data)
    """Redraws the thumbnails and previews in a file (and its index), in place."""
    kept_pictures: Callable[[bytes, Any], Iterator[str]] = lambda data, index: iter(())
    """Yields the names of other pictures in a file (and its index), which are not redrawn."""
    target: Target | None = None
    """How to convert photos to this format; ``None``: not offered."""


def codec_of(form: Format) -> Codec:
    """Return the `Codec` of a format, and import its module if necessary."""
    codec: Codec = import_module(form.module).CODEC
    return codec
