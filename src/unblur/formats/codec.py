"""The record of functions by which the pipeline handles one photo format.

Each format's module ends with its record, ``CODEC``; a row of
`unblur.formats.photo.FORMATS` names the module. Nothing else knows about formats one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from unblur.formats.metadata import Metadata
from unblur.formats.old_pictures import Redraw, Redrawn
from unblur.formats.photo import Encoded, Format, Photo


@dataclass(frozen=True)
class Target:
    """How photos of other formats are written in this one."""

    write: Callable[[Photo, Metadata, int | None], bytes]
    """Writes a new file of a photo's pixels and alpha, and of metadata; the quality is 1 to 100, or
    ``None`` for a high one."""
    longest_side: int | None = None
    """In pixels; ``None``: unlimited."""
    is_8_bit: bool = False
    has_quality: bool = False
    has_opacity: bool = True
    has_extra_channel: bool = False
    """Whether an alpha channel can be something else than opacity."""
    too_large: Callable[[Metadata], list[str]] = lambda metadata: []
    """Returns the names of the blocks of metadata that do not fit."""


@dataclass(frozen=True)
class Reduced:
    """A photo as finely as its blur is measured."""

    pixels: NDArray[Any]
    """(H, W, 1 or 3), upright."""
    factor: int
    """By how much each side was divided."""


@dataclass(frozen=True)
class Codec:
    """What one format can do.

    Functions raise ``ValueError`` or whatever a library raises for damaged files, and
    `unblur.errors.PhotoError` for files of a kind that cannot be processed. An ``index`` is
    what the format's own functions noted of the same bytes before, or ``None``.
    """

    decode: Callable[[bytes, int], Photo]
    """Decodes a file, unless it has more pixels than allowed."""
    encode: Callable[[Photo, Any], Encoded]
    """Writes new pixels, of the photo's shape and type, into the photo's container."""
    coded_pixels: Callable[[bytes, Any], Iterator[bytes]]
    """Yields the coded pixels of a file (and its index), which new pixels replace."""
    metadata: Callable[[bytes, Any], Metadata]
    """Reads the metadata of a file (and its index)."""
    stripped: Callable[[bytes], bytes] | None = None
    """Returns a file without metadata; ``None``: the file has to be written anew."""
    decode_reduced: Callable[[bytes, int], Reduced] | None = None
    """Decodes a file as finely as `unblur.score` measures it; ``None``: no faster than as a whole.
    """
    upright: Callable[[bytes, Any, NDArray[Any]], NDArray[Any]] | None = None
    """Turns (H, W, ...) pixels of a file (and its index) upright, without a copy; ``None``: EXIF
    tells the orientation."""
    check_conversion: Callable[[Photo], tuple[str, ...]] = lambda photo: ()
    """Refuses a photo that no other format can hold; returns notes on what a conversion loses."""
    redraw: Callable[[bytes, Redraw, Any], Redrawn] = lambda data, redraw, index: Redrawn(data)
    """Redraws the thumbnails and previews in a file (and its index), in their places."""
    old_pictures: Callable[[bytes, Any], Iterator[str]] = lambda data, index: iter(())
    """Yields the names of other pictures of a file (and its index), which stay as they were."""
    target: Target | None = None
    """``None``: no photo is converted to this format."""


def codec_of(form: Format) -> Codec:
    """Return the record of a format, whose module is imported only now."""
    codec: Codec = import_module(form.module).CODEC
    return codec
