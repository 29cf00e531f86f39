"""Deblur 360-degree panoramas, whose left and right sides meet.

They are marked in XMP (Google's Photo Sphere XMP Metadata, namespace GPano).
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
"""Columns that are added on each side, a multiple of the network's grid. With them, the 12 columns
at the seam of a photo differed by 5 levels at most from an endless panorama; without, by 36."""
_FIELD = rb"GPano:%b\s{0,9}(?:=\s{0,9}[\"']|>)\s{0,9}([A-Za-z0-9]{1,20})"


@dataclass(frozen=True)
class Wrapped:
    """Pixels for the network. A panorama is continued at its left and right side."""

    pixels: NDArray[Any]
    """(H, W, 1 or 3), uint8 or uint16."""
    margin: int
    """Columns that were added on each side."""

    def unwrapped(self, result: NDArray[Any]) -> NDArray[Any]:
        """Return a result without the columns that were added."""
        if not self.margin:
            return result
        return np.ascontiguousarray(result[:, self.margin : -self.margin])


def wrapped(pixels: NDArray[Any], is_round: bool) -> Wrapped:
    """Continue a panorama of 360 degrees beyond each side by the other side.

    Without that, the result has a line where the sides meet. Other photos stay as they are.

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
    """Deblur pixels; a panorama of 360 degrees is continued at its sides by `wrapped`.

    Args:
        pixels: (H, W, 1 or 3), uint8 or uint16.
        is_round: The answer of `is_round` for the photo.
        deblur: Takes and returns such pixels.
    """
    continued = wrapped(pixels, is_round)
    return continued.unwrapped(deblur(continued.pixels))


def is_round(photo: Photo) -> bool:
    """Return whether a photo is equirectangular, and shows all 360 degrees from side to side."""
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
