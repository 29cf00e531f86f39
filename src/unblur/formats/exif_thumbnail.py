"""Redraw the thumbnail in an EXIF block.

EXIF is a TIFF (Exif 2.32, section 4.5.2) whose second directory describes the thumbnail
(4.5.8). The new one is written over the old one and padded with zeros, so that no offset
and no other tag changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unblur.formats import jpeg, jpeg_markers
from unblur.formats.metadata import find_thumbnail
from unblur.formats.photo import Photo
from unblur.formats.pixels import code_pixels, reduced, turned
from unblur.formats.tiff_directory import read_tiff

MAX_PIXELS = 1_000_000
"""More than an EXIF block can hold at any usual quality."""
MIN_LIKENESS = 0.85
"""Least correlation of a photo with its thumbnail. Thumbnails of cameras reach 0.91 and more, those
of turned or mirrored photos at most 0.8."""
SAMPLES = 3
"""A photo is first averaged to so many times the thumbnail's size."""


@dataclass(frozen=True)
class Placement:
    """The part of a photo in a thumbnail, and its place there."""

    source: tuple[float, float, float, float]
    """Left, top, right and bottom in the photo."""
    target: tuple[int, int, int, int]
    """The same in the thumbnail; black bars lie outside."""


def refreshed(exif: bytes, pixels: NDArray[Any]) -> bytes:
    """Redraw an EXIF block's thumbnail with its size, tables, sampling and bars.

    The block stays unchanged if the thumbnail is damaged, shows something else than the
    photo (another crop, a picture not turned with it), or does not fit into its place.

    Args:
        exif: The block from its byte order mark on; any bytes are allowed.
        pixels: (H, W, 1 or 3), the photo as stored, 8 or 16 bits.

    Returns:
        A block of the same length.
    """
    place = find_thumbnail(exif)
    if place is None:
        return exif
    try:
        thumbnail, room = _read(exif[place])
        drawn = _draw(thumbnail.pixels.astype(np.uint8, copy=False), pixels)
        new = drawn is not None and _code(thumbnail, drawn, room)
    except Exception:  # Pillow raises anything for damaged files
        return exif
    return exif[: place.start] + new + exif[place.start + len(new) :] if new else exif


def turned_upright(exif: bytes, orientation: int) -> bytes:
    """Turn an EXIF block's thumbnail as its photo was turned.

    A thumbnail that cannot be turned within its place is no longer listed: it would lie on its
    side.

    Args:
        exif: The block from its byte order mark on; any bytes are allowed.
        orientation: 1 to 8, what the block said before.

    Returns:
        A block of the same length.
    """
    if orientation == 1:
        return exif
    with contextlib.suppress(Exception):  # Pillow raises anything for damaged files
        place = find_thumbnail(exif)
        assert place
        thumbnail, room = _read(exif[place])
        pixels = np.ascontiguousarray(turned(thumbnail.pixels, orientation))
        new = code_pixels(pixels, None, "JPEG", **thumbnail.coding, optimize=True)
        if len(new) <= room:
            return exif[: place.start] + new.ljust(room, b"\0") + exif[place.start + room :]
    return _without(exif)


def _without(exif: bytes) -> bytes:
    """Return a block whose first directory is its last."""
    output = bytearray(exif)
    with contextlib.suppress(ValueError):  # damaged, so that no program finds a thumbnail
        file = read_tiff(exif)
        stop = file.directory(file.first).stop
        output[stop - 4 : stop] = bytes(4)
    return bytes(output)


def _read(data: bytes) -> tuple[Photo, int]:
    """Decode a thumbnail, and count the bytes that it and the zeros behind it take."""
    end = jpeg_markers.image_end(data)
    return jpeg.decode(data[:end], MAX_PIXELS), len(data) - len(data[end:].lstrip(b"\0"))


def _draw(old: NDArray[np.uint8], pixels: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Draw a photo, (H, W, C), like its old thumbnail, (h, w, C); ``None`` if they differ."""
    height, width = pixels.shape[:2]
    rows, columns, channels = old.shape
    factor = max(1, min(width // columns, height // rows) // SAMPLES)
    photo = reduced(pixels, factor).convert("L" if channels == 1 else "RGB")
    placements = _placements((width, height), (columns, rows))
    drawings = [_place(photo, factor, placement, old) for placement in placements]
    likeness, drawn = max(drawings, key=lambda drawing: drawing[0])
    return drawn if likeness >= MIN_LIKENESS else None


def _place(
    photo: Image.Image, factor: int, placement: Placement, old: NDArray[np.uint8]
) -> tuple[float, NDArray[np.uint8]]:
    """Draw a reduced photo over a copy of the old thumbnail; return their likeness and the copy."""
    (x, y, x_stop, y_stop), (left, top, right, bottom) = placement.source, placement.target
    box = (x / factor, y / factor, x_stop / factor, y_stop / factor)
    # Of the filters tried, this one was the most like those of cameras.
    part = photo.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
    drawn = old.copy()
    drawn[top:bottom, left:right] = np.asarray(part).reshape(bottom - top, right - left, -1)
    return _likeness(drawn[top:bottom, left:right], old[top:bottom, left:right]), drawn


def _placements(photo: tuple[int, int], thumbnail: tuple[int, int]) -> Iterator[Placement]:
    """Yield the possible placements of a photo in a thumbnail; sizes are (W, H)."""
    (width, height), (columns, rows) = photo, thumbnail
    whole, full = (0.0, 0.0, float(width), float(height)), (0, 0, columns, rows)
    yield Placement(whole, full)  # stretched
    scale = min(columns / width, rows / height)
    left, top = round((columns - width * scale) / 2), round((rows - height * scale) / 2)
    yield Placement(whole, (left, top, columns - left, rows - top))  # between bars
    scale = max(columns / width, rows / height)
    x = max(0.0, (width - columns / scale) / 2)
    y = max(0.0, (height - rows / scale) / 2)
    yield Placement((x, y, width - x, height - y), full)  # cropped


def _likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the correlation of two pictures' brightness; 0 if either is uniform."""
    a, b = (picture.mean(axis=2) - picture.mean() for picture in (one, other))
    energy = float((a * a).sum() * (b * b).sum())
    return float((a * b).sum()) / energy**0.5 if energy else 0.0


def _code(thumbnail: Photo, pixels: NDArray[np.uint8], room: int) -> bytes | None:
    """Code a thumbnail like the old one, padded to its room; ``None`` if it does not fit."""
    for optimize in (False, True):
        photo = replace(thumbnail, coding=thumbnail.coding | {"optimize": optimize})
        data = jpeg.encode(photo, pixels).data
        if len(data) <= room:
            return data.ljust(room, b"\0")
    return None
