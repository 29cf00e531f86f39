"""Rotate the thumbnail in an EXIF block.

EXIF is a TIFF (Exif 2.32, section 4.5.2) whose second directory describes the thumbnail
(4.5.8). The block keeps its length, so that no offset and no other tag changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unblur.formats import jpeg_thumbnail
from unblur.formats.drawing import draw_like
from unblur.formats.metadata import exchange_sides, find_thumbnail
from unblur.formats.tiff_directory import read_tiff

Turn: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""Rotates an array, (H, W, ...), in the way that makes a photo upright."""


def turned_upright(exif: bytes, pixels: NDArray[Any], turn: Turn) -> bytes:
    """Rotate an EXIF block's thumbnail like its photo, unless it is upright already.

    A thumbnail that cannot be rotated in place is removed from the directory, because programs
    would show it on its side.

    Args:
        exif: The block from its byte order mark on; any bytes are allowed.
        pixels: (H, W, 1 or 3), the photo as stored, 8 or 16 bits.
        turn: Rotates arrays like the photo.

    Returns:
        A block of the same length.
    """
    place = find_thumbnail(exif)
    if place is None or not changes_pixels(turn):
        return exif
    old = jpeg_thumbnail.read_pixels(exif[place])
    if old is None:
        return _without(exif)
    if draw_like(old, pixels) is None and draw_like(old, turn(pixels)) is not None:
        return exif
    new = jpeg_thumbnail.turned(exif[place], turn)
    if new is None:
        return _without(exif)
    output = bytearray(exif)
    output[place] = new
    if is_quarter_turn(turn):
        _, second = islice(read_tiff(exif).pages(), 2)
        exchange_sides(output, second)
    return bytes(output)


def changes_pixels(turn: Turn) -> bool:
    """Return whether a function rotates or mirrors arrays at all."""
    array = np.arange(6).reshape(2, 3)
    return not np.array_equal(turn(array), array)


def is_quarter_turn(turn: Turn) -> bool:
    """Return whether a function exchanges width and height."""
    return turn(np.zeros((2, 3))).shape == (3, 2)


def _without(exif: bytes) -> bytes:
    """Return a block without the directories after the first."""
    output = bytearray(exif)
    with contextlib.suppress(ValueError):  # damaged, so that no program finds a thumbnail
        file = read_tiff(exif)
        stop = file.directory(file.first).stop
        output[stop - 4 : stop] = bytes(4)
    return bytes(output)
