"""Redraw pictures of a photo inside its file, such as thumbnails and previews.

Many programs show these pictures instead of the photo. Small JPEG pictures are redrawn from the new
photo, in place. Other pictures, such as layers, are kept byte for byte, because only the programs
that made them can write them. A note names the pictures that still show the old photo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unblur.formats.jpeg_markers import image_end
from unblur.formats.metadata import find_thumbnail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAYERS = "the layers of an image editor"
SUB_IMAGES = "sub-images"
EDITOR_THUMBNAIL = "Photoshop's thumbnail"
PREVIEWS = "previews of the camera"
GAIN_MAP = "the gain map"
THUMBNAILS = "thumbnails"

MOST_PREVIEWS = 8
"""Most previews in the maker notes of one EXIF block; cameras store one or two."""

_JPEG_START = b"\xff\xd8\xff"
_THUMBNAIL_RESOURCE, _BGR_THUMBNAIL_RESOURCE = b"8BIM\x04\x0c", b"8BIM\x04\x09"
"""Image resources 1036 and 1033 (Adobe Photoshop File Formats Specification). In the older
resource, 1033, red and blue are exchanged."""


@dataclass(frozen=True)
class Redraw:
    """Functions that make an old picture show the new photo."""

    pixels: Callable[[NDArray[np.uint8]], NDArray[np.uint8] | None]
    """Takes a picture, (h, w, 1 or 3); returns a new one of the same shape, or ``None`` if it
    cannot be redrawn."""
    jpeg: Callable[[bytes], bytes | None]
    """Takes a JPEG file, with any bytes after it in its place; returns the same number of bytes, or
    ``None`` if it cannot be redrawn."""
    bgr_jpeg: Callable[[bytes], bytes | None] = lambda data: None
    """Like ``jpeg``, for a JPEG file with exchanged red and blue."""


KEEP = Redraw(lambda pixels: None, lambda data: None)
"""Redraws no picture."""


@dataclass(frozen=True)
class Redrawn:
    """Bytes with new pictures, and the names of pictures that still show the old photo."""

    data: bytes
    stale: tuple[str, ...] = ()


def describe(names: Iterable[str]) -> tuple[str, ...]:
    """Return the note on pictures that still show the old photo, if there are any."""
    names = dict.fromkeys(names)
    return (f"still as in the old photo: {', '.join(names)}",) if names else ()


def redraw_place(output: bytearray, place: slice, redraw: Redraw) -> bool:
    """Redraw the JPEG picture at a position in some bytes; return whether that worked."""
    new = redraw.jpeg(bytes(output[place]))
    if new is not None:
        output[place] = new
    return new is not None


def in_exif(exif: bytes, redraw: Redraw) -> Redrawn:
    """Redraw the thumbnail of an EXIF block, and previews in its maker notes.

    The result never names the thumbnail as stale: a thumbnail that cannot be redrawn did not show
    the photo.

    Args:
        exif: The block from its byte order mark on; any bytes are allowed.
        redraw: How to redraw pictures.

    Returns:
        A block of the same length.
    """
    output = bytearray(exif)
    thumbnail = find_thumbnail(exif)
    if thumbnail:
        redraw_place(output, thumbnail, redraw)
    stale = [
        PREVIEWS
        for place in _find_previews(exif, thumbnail or slice(0, 0))
        if not redraw_place(output, place, redraw)
    ]
    return Redrawn(bytes(output), tuple(stale))


def _find_previews(data: bytes, thumbnail: slice) -> Iterator[slice]:
    """Yield the positions of JPEG pictures outside the thumbnail; some may be cut off.

    A picture ends at its end marker; zeros after the marker can be a camera's numbers.
    """
    position = 0
    for _ in range(MOST_PREVIEWS):
        start = data.find(_JPEG_START, position)
        if start < 0:
            return
        if thumbnail.start <= start < thumbnail.stop:
            position = thumbnail.stop
            continue
        try:
            position = start + image_end(data[start:])
        except ValueError:
            position = start + len(_JPEG_START)
        yield slice(start, position)


def in_photoshop_data(data: bytes, redraw: Redraw) -> Redrawn:
    """Redraw the thumbnail in Photoshop's image resources.

    Args:
        data: The resources, with or without a header; any bytes are allowed.
        redraw: How to redraw pictures.

    Returns:
        The same number of bytes as ``data``.
    """
    output, stale = bytearray(data), False
    kinds = ((_THUMBNAIL_RESOURCE, redraw.jpeg), (_BGR_THUMBNAIL_RESOURCE, redraw.bgr_jpeg))
    for mark, redraw_jpeg in kinds:
        place = _find_resource(data, mark)
        start = data.find(_JPEG_START, place.start, place.stop)
        new = redraw_jpeg(data[start : place.stop]) if start >= 0 else None
        if new is None:
            stale |= mark in data
        else:
            output[start : place.stop] = new
    return Redrawn(bytes(output), (EDITOR_THUMBNAIL,) * stale)


def _find_resource(data: bytes, mark: bytes) -> slice:
    """Return the position of the first resource's content; empty without a resource.

    A resource consists of a mark, a name (a Pascal string padded to an even length), the length of
    the content, and the content.
    """
    at = data.find(mark)
    if at < 0:
        return slice(0, 0)
    name = at + len(mark)
    start = name + sum(data[name : name + 1]) // 2 * 2 + 2 + 4
    stop = start + int.from_bytes(data[start - 4 : start], "big")
    return slice(start, stop) if stop <= len(data) else slice(0, 0)
