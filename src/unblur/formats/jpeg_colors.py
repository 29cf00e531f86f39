"""Change the stored YCbCr of a JPEG by the difference of its RGB pixels.

Coding an unchanged photo again would change it: conversion between RGB and YCbCr rounds
and clips, and coarse chroma is smoothed, because decoders enlarge it by a triangle filter
and encoders average it. So the difference is added to the stored YCbCr, and its chroma
is sharpened by as much as the decoder will smooth it.
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
"""Iterations of the sharpening; each at least halves the error."""
FIXED_POINT = 64
"""Steps per level of stored chroma, whose range of -255 to 510 then fits into 16 bits."""


def move_colors(
    stored: Image.Image, before: NDArray[Any], after: NDArray[Any], subsampling: tuple[int, int]
) -> None:
    """Change YCbCr by as much as RGB changed, in strips to save memory.

    Args:
        stored: Pillow's YCbCr, H x W, as decoded; changed in place. All pixels of a coarse
            chroma sample become equal.
        before: (H, W, 3) uint8, RGB as decoded.
        after: (H, W, 3) uint8, RGB of the result.
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
    """Sharpen some rows of a plane exactly as in the whole plane."""
    start = max(0, top - SHARPENINGS)  # each step needs one more row
    context = plane[start : top + rows + SHARPENINGS].astype(np.float32) / np.float32(FIXED_POINT)
    return sharpened(context, down, across)[top - start :][:rows]


def averaged(plane: Floats, down: int, across: int) -> Floats:
    """Average blocks as an encoder does: (H, W) to (H / down, W / across), rounded up."""
    for axis, factor in enumerate((down, across)):
        lines = np.moveaxis(plane, axis, 0)
        if factor == 2 and len(lines) % 2:
            # The triangle filter's next value, outside the photo.
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
