"""Change a JPEG's stored YCbCr by as much as its RGB pixels changed.

Coding decoded pixels again changes a photo, even if no pixel was changed.
Conversions between RGB and YCbCr round and clip. Coarse chroma gets smoother,
since decoders enlarge it by a triangle filter but encoders average it. So the
stored YCbCr is decoded once more, the difference of the RGB pixels is added to
it, and its chroma is sharpened as much as the decoder will smooth it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unblur.formats.pixels import STRIP_BYTES, Floats

FROM_RGB = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
"""Turns differences of red, green and blue into those of Y, Cb and Cr (JFIF 1.02, page 3)."""
SHARPENINGS = 6
"""Iterations of the sharpening of chroma; each at least halves the remaining error."""
FIXED_POINT = 64
"""Steps per level of stored chroma: values from -255 to 510 then fit into 16 bits."""


def move_colors(
    stored: Image.Image, before: NDArray[Any], after: NDArray[Any], subsampling: tuple[int, int]
) -> None:
    """Change YCbCr by as much as RGB changed, in strips: a large photo is there thrice already.

    Args:
        stored: Pillow's YCbCr, H x W, as decoded; changed in place. Where
            chroma is coarser, all pixels of a sample become alike.
        before: (H, W, 3) uint8, RGB as decoded.
        after: (H, W, 3) uint8, the RGB to be shown.
        subsampling: Luma samples per chroma sample, down and across, each 1 or 2.
    """
    down, across = subsampling
    coarse = np.empty((2, -(-stored.height // down), -(-stored.width // across)), np.int16)
    for top, strip in _strips(stored):
        rows = slice(top, top + len(strip))
        moved = strip + (after[rows].astype(np.float32) - before[rows]) @ FROM_RGB.T
        _paste(stored, top, moved)
        if subsampling != (1, 1):
            for plane, values in zip(coarse, moved[..., 1:].transpose(2, 0, 1), strict=True):
                average = averaged(values, down, across)
                plane[top // down : top // down + len(average)] = np.rint(average * FIXED_POINT)
    if subsampling == (1, 1):
        return
    for top, strip in _strips(stored):
        moved = strip.astype(np.float32)
        for index, plane in enumerate(coarse, start=1):
            sharp = _sharpened_rows(plane, top // down, -(-len(strip) // down), down, across)
            moved[..., index] = sharp.repeat(down, 0).repeat(across, 1)[
                : len(strip), : stored.width
            ]
        _paste(stored, top, moved)


def _strips(image: Image.Image) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the first row and the pixels of strips of an even number of rows."""
    step = 2 * max(1, STRIP_BYTES // (24 * image.width))
    for top in range(0, image.height, step):
        box = (0, top, image.width, min(top + step, image.height))
        yield top, np.asarray(image.crop(box))


def _paste(image: Image.Image, top: int, values: Floats) -> None:
    size = (values.shape[1], values.shape[0])
    image.paste(Image.frombytes(image.mode, size, _rounded(values).data), (0, top))


def _sharpened_rows(
    plane: NDArray[np.int16], top: int, rows: int, down: int, across: int
) -> Floats:
    """Sharpen some rows of a plane as if all of them had been."""
    start = max(0, top - SHARPENINGS)  # each step looks one row further
    context = plane[start : top + rows + SHARPENINGS].astype(np.float32) / np.float32(FIXED_POINT)
    return sharpened(context, down, across)[top - start :][:rows]


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
