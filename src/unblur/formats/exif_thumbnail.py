"""The small picture of the photo inside its EXIF block, drawn anew from new pixels.

EXIF is a TIFF structure (Exif 2.32, section 4.5.2) whose second directory
describes the thumbnail (4.5.8). The new one is written over the old one and
padded with zeros, so that no offset and no other tag changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unblur.formats import jpeg, jpeg_markers
from unblur.formats.photo import Photo
from unblur.formats.pixels import reduced
from unblur.formats.tiff_directory import Tag, read_tiff

JPEG_COMPRESSION = 6

MAX_PIXELS = 1_000_000
"""More than fits into an EXIF block at any usual quality."""
MIN_LIKENESS = 0.85
"""Correlation below which a thumbnail shows something else than the photo. Cameras' own reach
0.91 and more, those of turned or mirrored photos at most 0.8."""
SAMPLES = 3
"""Pixels per pixel of the thumbnail, across and down, that a photo is first averaged to."""


@dataclass(frozen=True)
class Placement:
    """Which part of a photo a thumbnail shows, and where in the thumbnail."""

    source: tuple[float, float, float, float]
    """Left, top, right and bottom in the photo."""
    target: tuple[int, int, int, int]
    """The same in the thumbnail; what lies outside, such as black bars, stays."""


def refreshed(exif: bytes, pixels: NDArray[Any]) -> bytes:
    """Draw an EXIF block's thumbnail anew.

    It keeps its size, its quantisation tables and sampling, and its bars where
    its shape is not the photo's. Whatever is odd leaves the block as it was: a
    thumbnail that is damaged, that shows something else than the photo (another
    crop, a picture not turned with it), or that no longer fits into its place.

    Args:
        exif: The block from its byte order mark on; any bytes are allowed.
        pixels: (H, W, 1 or 3), the photo as stored, of 8 or 16 bits.

    Returns:
        A block of the same length, which differs at most in the thumbnail.
    """
    place = find(exif)
    if place is None:
        return exif
    try:
        old = exif[place]
        end = jpeg_markers.image_end(old)
        thumbnail = jpeg.decode(old[:end], MAX_PIXELS)
        drawn = _draw(thumbnail.pixels.astype(np.uint8, copy=False), pixels)
        room = len(old) - len(old[end:].lstrip(b"\0"))
        new = drawn is not None and _code(thumbnail, drawn, room)
    except Exception:  # Pillow raises anything for damaged files
        return exif
    return exif[: place.start] + new + exif[place.start + len(new) :] if new else exif


def find(exif: bytes) -> slice | None:
    """Return where an EXIF block holds a thumbnail in JPEG, or ``None`` if it holds none."""
    try:
        file = read_tiff(exif)
        _, second = islice(file.pages(), 2)
        if file.value(second, Tag.COMPRESSION) != JPEG_COMPRESSION:
            return None
        start = file.value(second, Tag.JPEG_OFFSET)
        stop = start + file.value(second, Tag.JPEG_BYTE_COUNT)
    except ValueError:  # damaged, or of one directory only
        return None
    return slice(start, stop) if 0 <= start <= stop <= len(exif) else None


def _draw(old: NDArray[np.uint8], pixels: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Draw the photo as the old thumbnail shows it; ``None`` if it shows something else.

    Args:
        old: (h, w, 1 or 3), the old thumbnail.
        pixels: (H, W, 1 or 3), the photo.
    """
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
    """Draw a photo, already made smaller by a factor, over a copy of the old thumbnail.

    Returns:
        How like the old one the drawn part is, and the new thumbnail.
    """
    (x, y, x_stop, y_stop), (left, top, right, bottom) = placement.source, placement.target
    box = (x / factor, y / factor, x_stop / factor, y_stop / factor)
    # As soft as cameras' own: of the filters tried, its results were the most
    # like their thumbnails, and the most of them were no larger than those.
    part = photo.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
    drawn = old.copy()
    drawn[top:bottom, left:right] = np.asarray(part).reshape(bottom - top, right - left, -1)
    return _likeness(drawn[top:bottom, left:right], old[top:bottom, left:right]), drawn


def _placements(photo: tuple[int, int], thumbnail: tuple[int, int]) -> Iterator[Placement]:
    """Yield the ways in which a thumbnail may show a photo of another shape; sizes are (W, H)."""
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
    """Return the correlation of two pictures' brightness; 0 if either is of one brightness."""
    a, b = (picture.mean(axis=2) - picture.mean() for picture in (one, other))
    energy = float((a * a).sum() * (b * b).sum())
    return float((a * b).sum()) / energy**0.5 if energy else 0.0


def _code(thumbnail: Photo, pixels: NDArray[np.uint8], room: int) -> bytes | None:
    """Code a thumbnail as the old one was, padded to its room; ``None`` if it does not fit."""
    for optimize in (False, True):
        photo = replace(thumbnail, coding=thumbnail.coding | {"optimize": optimize})
        data = jpeg.encode(photo, pixels).data
        if len(data) <= room:
            return data.ljust(room, b"\0")
    return None
