"""Define the functions that each photo format provides.

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
    has_grey: bool = True
    """Whether grey photos stay grey; otherwise they become RGB."""
    has_opacity: bool = True
    has_extra_channel: bool = False
    """Whether an alpha channel may have another meaning than opacity."""
    too_large: Callable[[Metadata], list[str]] = lambda metadata: []
    """Returns the names of blocks of metadata that are too large."""


@dataclass(frozen=True)
class Reduced:
    """A photo at the resolution for measuring its blur."""

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
    """Decodes a file of at most this number of pixels."""
    encode: Callable[[Photo, Any], Encoded]
    """Writes new pixels, of the photo's shape and type, into the photo's container."""
    coded_pixels: Callable[[bytes, Any], Iterator[bytes | memoryview]]
    """Yields the coded pixels of a file, which new pixels replace; takes the file and its index."""
    metadata: Callable[[bytes, Any], Metadata]
    """Reads the metadata of a file; takes the file and its index."""
    stripped: Callable[[bytes], bytes] | None = None
    """Returns a file without metadata; ``None``: a new file is written instead."""
    decode_reduced: Callable[[bytes, int], Reduced] | None = None
    """Decodes a file at the resolution for `unblur.score`; ``None``: this would be no faster than
    decoding the whole photo."""
    upright: Callable[[bytes, Any, NDArray[Any]], NDArray[Any]] | None = None
    """Rotates pixels, (H, W, ...), of a file upright, without a copy; takes the file, its index and
    the pixels. ``None``: use the orientation in EXIF."""
    check_conversion: Callable[[Photo], tuple[str, ...]] = lambda photo: ()
    """Refuses a photo that cannot be converted; returns notes on data that a conversion loses."""
    redraw: Callable[[bytes, Redraw, Any], Redrawn] = lambda data, redraw, index: Redrawn(data)
    """Redraws the thumbnails and previews in a file, in place; also takes the file's index."""
    kept_pictures: Callable[[bytes, Any], Iterator[str]] = lambda data, index: iter(())
    """Yields the names of pictures that are not redrawn; takes the file and its index."""
    target: Target | None = None
    """How to convert photos to this format; ``None``: not offered."""


def codec_of(form: Format) -> Codec:
    """Return the `Codec` of a format, and import its module if necessary."""
    codec: Codec = import_module(form.module).CODEC
    return codec
