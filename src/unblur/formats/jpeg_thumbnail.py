"""Redraw or turn a JPEG picture inside a file, within the bytes that it takes.

The new picture is written over the old one and padded with zeros, so that no offset and no
other byte of the file changes. It has the old one's tables and sampling. If it does not fit,
because the new photo has more detail, it is coded more coarsely.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.formats import jpeg, jpeg_markers
from unblur.formats.jpeg_room import code_within
from unblur.formats.photo import Photo
from unblur.formats.pixels import code_pixels

MAX_PIXELS = 1_000_000
"""More than an EXIF block can hold at any usual quality."""


def redrawn(
    data: bytes,
    draw: Callable[[NDArray[np.uint8]], NDArray[np.uint8] | None],
    max_pixels: int = MAX_PIXELS,
) -> bytes | None:
    """Redraw a picture in its room.

    Args:
        data: The picture. Zeros after its end are room, too; other bytes there stay.
        draw: Draws the new picture, an array like the old one, or ``None`` if it cannot.
        max_pixels: Larger pictures are not decoded.

    Returns:
        As many bytes; ``None`` if the picture is damaged, cannot be drawn, or does not fit.
    """

    def code(old: Photo, pixels: NDArray[np.uint8], options: dict[str, Any]) -> bytes:
        return jpeg.encode(replace(old, coding=options), pixels).data

    return _changed(data, draw, code, max_pixels)


def turned(data: bytes, turn: Callable[[NDArray[Any]], NDArray[Any]]) -> bytes | None:
    """Turn a picture in its room; arguments and result are those of `redrawn`."""

    def code(old: Photo, pixels: NDArray[np.uint8], options: dict[str, Any]) -> bytes:
        return code_pixels(np.ascontiguousarray(pixels), None, "JPEG", **options)

    return _changed(data, turn, code, MAX_PIXELS)


def _changed(
    data: bytes,
    change: Callable[[NDArray[Any]], NDArray[np.uint8] | None],
    code: Callable[[Photo, NDArray[np.uint8], dict[str, Any]], bytes],
    max_pixels: int,
) -> bytes | None:
    """Code a changed picture over the old one as finely as it fits, and pad it."""
    try:
        old, room = _read(data, max_pixels)
        pixels = change(old.pixels)
        if pixels is None:
            return None
        coded = code_within(room, old.coding, functools.partial(code, old, pixels))
    except Exception:  # Pillow raises anything for damaged files
        return None
    return None if coded is None else coded + data[room:]


def read_pixels(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a picture, (h, w, 1 or 3); ``None`` if it is damaged."""
    try:
        return _read(data, MAX_PIXELS)[0].pixels.astype(np.uint8, copy=False)
    except Exception:  # Pillow raises anything for damaged files
        return None


def _read(data: bytes, max_pixels: int) -> tuple[Photo, int]:
    """Decode a picture, and count the bytes that it and the zeros behind it take."""
    end = jpeg_markers.image_end(data)
    return jpeg.decode(data[:end], max_pixels), len(data) - len(data[end:].lstrip(b"\0"))
