"""Redraw or rotate a JPEG picture inside a file, in place.

The new picture is written over the old picture and padded with zeros, so that no offset and no
other byte of the file changes. It has the old picture's tables and sampling. If it does not fit,
because the new photo has more detail, it is encoded more coarsely.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.formats import jpeg, jpeg_markers
from unblur.formats.jpeg_in_place import code_within
from unblur.formats.photo import Photo
from unblur.formats.pixels import code_pixels

MAX_PIXELS = 1_000_000
"""Largest number of pixels to decode, more than fit into an EXIF block at any usual quality."""


def redrawn(
    data: bytes,
    draw: Callable[[NDArray[np.uint8]], NDArray[np.uint8] | None],
    max_pixels: int = MAX_PIXELS,
) -> bytes | None:
    """Redraw a picture in place.

    Args:
        data: The picture. Zeros after its end may be overwritten; other bytes after it are kept.
        draw: Takes the old picture's array; returns a new array of the same shape, or ``None``.
        max_pixels: Larger pictures are not decoded.

    Returns:
        The same number of bytes as ``data``; ``None`` if the picture is damaged, cannot be drawn,
        or does not fit.
    """

    def code(old: Photo, pixels: NDArray[np.uint8], options: dict[str, Any]) -> bytes:
        return jpeg.encode(replace(old, coding=options), pixels).data

    return _changed(data, draw, code, max_pixels)


def turned(data: bytes, turn: Callable[[NDArray[Any]], NDArray[Any]]) -> bytes | None:
    """Rotate a picture in place; see `redrawn` for the arguments and the result."""

    def code(old: Photo, pixels: NDArray[np.uint8], options: dict[str, Any]) -> bytes:
        return code_pixels(np.ascontiguousarray(pixels), None, "JPEG", **options)

    return _changed(data, turn, code, MAX_PIXELS)


def _changed(
    data: bytes,
    change: Callable[[NDArray[Any]], NDArray[np.uint8] | None],
    code: Callable[[Photo, NDArray[np.uint8], dict[str, Any]], bytes],
    max_pixels: int,
) -> bytes | None:
    """Encode a changed picture over the old one at the highest quality that fits, and pad it."""
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
    """Decode a picture; also return the number of its bytes, with the zeros after it."""
    end = jpeg_markers.image_end(data)
    return jpeg.decode(data[:end], max_pixels), len(data) - len(data[end:].lstrip(b"\0"))
