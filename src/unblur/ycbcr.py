"""JPEG's own colours, changed by as much as the pixels that were made of them.

Two things make a photo that nobody changed come back different: pixels between
RGB and YCbCr are rounded and clipped, and coarser chroma is smoothed, because
decoders enlarge it by a triangle filter where encoders average it. So the stored
YCbCr is decoded once more, moved by the difference of the RGB pixels, and its
chroma sharpened by what the decoder will smooth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.pixels import STRIP_BYTES
from unblur.tiles import Floats

FROM_RGB = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
"""Differences of Y, Cb and Cr from those of red, green and blue (JFIF 1.02, page 3)."""
SHARPENINGS = 6
"""Steps to the chroma whose smoothed form is wanted; each halves what is left, or better."""


def move_colors(
    stored: NDArray[np.uint8],
    before: NDArray[Any],
    after: NDArray[Any],
    subsampling: tuple[int, int],
) -> NDArray[np.uint8]:
    """Change YCbCr by as much as RGB changed.

    Args:
        stored: (H, W, 3), YCbCr as decoded; changed in place.
        before: (H, W, 3) uint8, RGB as decoded.
        after: (H, W, 3) uint8, the RGB to be shown.
        subsampling: Luma samples per chroma sample, down and across, each 1 or 2.

    Returns:
        ``stored``; where chroma is coarser, all pixels of a sample are alike.
    """
    height, width, _ = stored.shape
    down, across = subsampling
    coarse = np.empty((2, -(-height // down), -(-width // across)), np.float32)
    step = 2 * max(1, STRIP_BYTES // (24 * width))
    for top in range(0, height, step):
        rows = slice(top, top + step)
        change = after[rows].astype(np.float32) - before[rows]
        moved = stored[rows] + change @ FROM_RGB.T
        stored[rows] = _rounded(moved)
        for plane, values in zip(coarse, moved[..., 1:].transpose(2, 0, 1), strict=True):
            average = averaged(values, down, across)
            plane[top // down : top // down + len(average)] = average
    if (down, across) != (1, 1):
        for index, plane in enumerate(coarse, start=1):
            sharp = _rounded(sharpened(plane, down, across))
            stored[..., index] = sharp.repeat(down, 0).repeat(across, 1)[:height, :width]
    return stored


def averaged(plane: Floats, down: int, across: int) -> Floats:
    """Average blocks as an encoder does: (H, W) to (H / down, W / across), rounded up."""
    for axis, factor in enumerate((down, across)):
        lines = np.moveaxis(plane, axis, 0)
        if factor == 2 and len(lines) % 2:
            # A triangle filter's next value, which lies outside the photo.
            step = lines[-1] - lines[-2] if len(lines) > 1 else np.zeros_like(lines[-1])
            lines = np.concatenate([lines, (lines[-1] + step / 2)[None]])
        total = sum((lines[index::factor] for index in range(1, factor)), lines[::factor])
        plane = np.moveaxis(total / np.float32(factor), 0, axis)
    return plane


def sharpened(plane: Floats, down: int, across: int) -> Floats:
    """Return the chroma whose smoothed form is ``plane``, by Van Cittert's iteration (1931)."""
    result = plane
    for _ in range(SHARPENINGS):
        result = result + (plane - _smoothed(result, down, across))
    return result


def _smoothed(plane: Floats, down: int, across: int) -> Floats:
    """Enlarge by libjpeg's triangle filter and average again: weights 1, 6, 1 of 8."""
    for axis, factor in enumerate((down, across)):
        if factor == 2:
            ends = [(1, 1) if axis == other else (0, 0) for other in (0, 1)]
            lines = np.moveaxis(np.pad(plane, ends, mode="edge"), axis, 0)
            smooth: Floats = (lines[:-2] + 6 * lines[1:-1] + lines[2:]) / np.float32(8)
            plane = np.moveaxis(smooth, 0, axis)
    return plane


def _rounded(values: Floats) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
