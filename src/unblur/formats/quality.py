"""Estimate the quality at which a file was encoded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.formats.photo import Photo

AS_ORIGINAL = None
"""Placeholder for a quality that `with_quality` estimates."""
QUALITIES = range(40, 101, 5)
BLOCK = 256
BLOCKS_PER_SIDE = 4


def with_quality(photo: Photo, length: int, code: Callable[..., bytes]) -> dict[str, Any]:
    """Return the options for encoding new pixels, with the original's estimated quality.

    Args:
        photo: The original.
        length: Size of the original's encoded pixels, in bytes.
        code: Encodes pixels, (H, W, C), with options such as the photo's coding.
    """
    if photo.coding["quality"] is not AS_ORIGINAL:
        return photo.coding
    others = {name: value for name, value in photo.coding.items() if name != "quality"}
    quality = match_quality(
        photo.pixels, length, lambda sample, quality: code(sample, quality=quality, **others)
    )
    return photo.coding | {"quality": quality}


def match_quality(
    pixels: NDArray[Any], length: int, code: Callable[[NDArray[Any], int], bytes]
) -> int:
    """Return the lowest of `QUALITIES` whose encoding is at least as large as the original's.

    A sample is encoded four times to find the quality. If no encoding is large enough, the highest
    quality is returned.

    Args:
        pixels: The original's pixels, (H, W, C).
        length: Size of the original's encoded pixels, in bytes.
        code: Encodes pixels at a quality.
    """
    sample = sample_blocks(pixels)
    budget = length * sample.size / pixels.size
    index = bisect_left(QUALITIES, budget, key=lambda quality: len(code(sample, quality)))
    return QUALITIES[min(index, len(QUALITIES) - 1)]


def sample_blocks(pixels: NDArray[Any]) -> NDArray[Any]:
    """Join evenly spaced blocks of a large photo, (H, W, C), to a small photo."""
    for axis in (0, 1):
        length = pixels.shape[axis]
        if length > BLOCK * BLOCKS_PER_SIDE:
            starts = np.linspace(0, length - BLOCK, BLOCKS_PER_SIDE).astype(int)
            kept = (starts[:, None] + np.arange(BLOCK)).ravel()
            pixels = np.take(pixels, kept, axis)
    return pixels
