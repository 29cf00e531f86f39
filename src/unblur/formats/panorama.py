"""Deblur 360-degree panoramas, whose left and right sides meet.

XMP marks panoramas (Google's Photo Sphere XMP Metadata, namespace GPano).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.formats.codec import codec_of
from unblur.formats.metadata import read_orientation
from unblur.formats.photo import Photo

MARGIN_PX = 128
"""Columns to add on each side, a multiple of the network's grid. With them, the 12 columns at the
seam of a photo differed from an endless panorama by at most 5 levels; without them, by 36."""
_FIELD = rb"GPano:%b\s{0,9}(?:=\s{0,9}[\"']|>)\s{0,9}([A-Za-z0-9]{1,20})"


@dataclass(frozen=True)
class Wrapped:
    """Pixels for the network; a panorama continues beyond its left and right side."""

    pixels: NDArray[Any]
    """(H, W, 1 or 3), uint8 or uint16."""
    margin: int
    """Number of added columns on each side."""

    def unwrapped(self, result: NDArray[Any]) -> NDArray[Any]:
        """Return a result without the added columns."""
        if not self.margin:
            return result
        return np.ascontiguousarray(result[:, self.margin : -self.margin])


def wrapped(pixels: NDArray[Any], is_round: bool) -> Wrapped:
    """Continue a panorama of 360 degrees beyond each side with the other side.

    Otherwise, the result would have a line where the sides meet. Other photos are not changed.

    Args:
        pixels: (H, W, 1 or 3), the photo or its gain map, uint8 or uint16.
        is_round: The answer of `is_round` for the photo.
    """
    if not is_round:
        return Wrapped(pixels, 0)
    margin = min(MARGIN_PX, pixels.shape[1])
    sides = ((0, 0), (margin, margin), (0, 0))
    return Wrapped(np.pad(pixels, sides, mode="wrap"), margin)


def deblurred(
    pixels: NDArray[Any], is_round: bool, deblur: Callable[[Any], NDArray[Any]]
) -> NDArray[Any]:
    """Deblur pixels; `wrapped` continues a panorama of 360 degrees at its sides.

    Args:
        pixels: (H, W, 1 or 3), uint8 or uint16.
        is_round: The answer of `is_round` for the photo.
        deblur: Takes and returns pixels of this shape and type.
    """
    continued = wrapped(pixels, is_round)
    return continued.unwrapped(deblur(continued.pixels))


def is_round(photo: Photo) -> bool:
    """Return whether a photo is equirectangular and shows all 360 degrees."""
    with contextlib.suppress(ValueError):  # a container that is damaged beside the pixels
        metadata = codec_of(photo.format).metadata(photo.container, photo.index)
        is_equirectangular = _field(metadata.xmp, b"ProjectionType").lower() == b"equirectangular"
        if is_equirectangular and read_orientation(metadata.exif) < 5:
            height, width = photo.pixels.shape[:2]
            full = _field(metadata.xmp, b"FullPanoWidthPixels")
            shown = _field(metadata.xmp, b"CroppedAreaImageWidthPixels") or str(width).encode()
            return shown == full if full else width == 2 * height
    return False


def _field(xmp: bytes, name: bytes) -> bytes:
    found = re.search(_FIELD % name, xmp)
    return found[1] if found else b""
