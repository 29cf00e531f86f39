"""Change the stored YCbCr of a JPEG by the difference of its RGB pixels.

Encoding an unchanged photo again would change it: conversion between RGB and YCbCr rounds
and clips, and coarse chroma is smoothed, because decoders enlarge it with a triangle filter
and encoders average it. So the difference is added to the stored YCbCr. Its chroma is sharpened
by as much as the decoder will smooth it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unblur.formats.jpeg_stored import StoredColors
from unblur.formats.pixels import Floats

FROM_RGB = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
"""Converts differences of red, green and blue to those of Y, Cb and Cr (JFIF 1.02, page 3)."""
STRIP_BYTES = 8 << 20
"""Bytes of the differences of a strip of rows, which fit into a processor's cache."""
LEAST_ROWS = 32
"""Least rows of a strip; with fewer, most of the work would be on the rows above and below it. A
multiple of the 16 rows of the largest blocks, so that each strip has rows of the photo."""
GROUP_PX = 8
"""Number of adjacent pixels that are converted as one row of a matrix: products with matrices of
three columns are slow."""

REACH = 3
"""Coarse samples on each side that sharpening uses; farther ones would not change a level."""


def _weights(ratio: float) -> Floats:
    """Return the weights of a coarse sample, and of samples at distances of 1 to `REACH`."""
    powers = np.array([ratio**distance for distance in range(REACH + 1)])
    weights: Floats = (powers / (2 * powers.sum() - 1)).astype(np.float32)
    return weights


INVERSE = _weights(8**0.5 - 3)
"""Undoes triangle filter and average, which together weigh three neighbours by 1, 6 and 1 of 8: the
inverse weighs by powers of a root of r^2 + 6 r + 1."""
GENTLE = _weights(-0.16)
"""Nearly that inverse. It strengthens the finest changes, of which coarse chroma holds only a part,
a little less: sharper photos were shown with an error 1 % smaller."""


def move_colors(
    stored: StoredColors, before: NDArray[Any], after: NDArray[Any], subsampling: tuple[int, int]
) -> Image.Image:
    """Change YCbCr by as much as RGB changed, in strips to save memory.

    Args:
        stored: YCbCr as stored; its image may be changed in place. It may have up to 15 more rows
            and columns than the photo, to the right and below.
        before: (H, W, 3) uint8, RGB as decoded.
        after: (H, W, 3) uint8, RGB of the result.
        subsampling: Luma samples per chroma sample, down and across, each 1 or 2.

    Returns:
        YCbCr of the size of ``stored``. All pixels of a coarse chroma sample are equal.
    """
    width, height = stored.image.size
    down = subsampling[0]
    margin = 0 if down == 1 else REACH * down
    image = Image.new("YCbCr", (width, height), None) if margin else stored.image
    step = max(LEAST_ROWS, STRIP_BYTES // (12 * width) // LEAST_ROWS * LEAST_ROWS)
    for top in range(0, height, step):
        stop = min(top + step, height)
        rows = slice(max(0, top - margin), min(stop + margin, height))
        planes = stored.rows(rows.start, rows.stop)
        size = (rows.stop - rows.start, width)
        change = _difference(before[rows], after[rows], size, subsampling)
        kept = slice(top - rows.start, stop - rows.start)
        luma, *chroma = _moved(planes, change, kept, subsampling)
        image.paste(_merged(luma, chroma, subsampling), (0, top))
    return image


def extended(
    stored: NDArray[np.uint8], before: NDArray[Any], after: NDArray[Any]
) -> NDArray[np.uint8]:
    """Extend new pixels to whole blocks by the stored samples, which change as at the edge.

    This is for samples that are grey or RGB in the file, so that nothing is converted.

    Args:
        stored: (H', W', C), the samples of whole blocks; changed in place.
        before: (H, W, C) uint8, the pixels before.
        after: The pixels after.

    Returns:
        (H', W', C).
    """
    height, width = after.shape[:2]
    stored[:height, :width] = after
    for beyond, edge in (
        (np.s_[:height, width:], np.s_[:, -1:]),
        (np.s_[height:, :width], np.s_[-1:]),
        (np.s_[height:, width:], np.s_[-1:, -1:]),
    ):
        change = after[edge].astype(np.int16) - before[edge]
        stored[beyond] = np.clip(stored[beyond] + change, 0, 255)
    return stored


def _difference(
    before: NDArray[Any],
    after: NDArray[Any],
    size: tuple[int, int],
    subsampling: tuple[int, int],
) -> Floats:
    """Return how pixels changed, (H, W, 3), where W is a multiple of `GROUP_PX`.

    Args:
        before: (H', W', 3), the pixels before.
        after: The pixels after.
        size: H, which is at least H', and the least W. In rows and columns beyond H' and W', where
            nobody sees the change, it goes on as at the edge.
        subsampling: Luma samples per chroma sample, down and across.
    """
    shape = (size[0], -(-size[1] // GROUP_PX) * GROUP_PX, 3)
    height, width = before.shape[:2]
    change = np.empty(shape, np.float32)
    inside = change[:height, :width]
    inside[:] = after
    inside -= before
    for lines, count, factor in (
        (change[:height].swapaxes(0, 1), width, subsampling[1]),
        (change, height, subsampling[0]),
    ):
        if count < len(lines):
            lines[count:] = _beyond(lines[:count]) if count % factor else lines[count - 1]
    return change


def _moved(
    stored: list[NDArray[np.uint8]], change: Floats, kept: slice, subsampling: tuple[int, int]
) -> list[NDArray[np.uint8]]:
    """Return the new Y, Cb and Cr of the kept rows of a strip."""
    (luma, *chroma), (down, across) = stored, subsampling
    width = luma.shape[1]
    moved = [_rounded(_converted(change[kept], 0, 1)[:, :width] + luma[kept])]
    coarse = slice(kept.start // down, -(-kept.stop // down))
    average = averaged(change, down, 1)
    for component, plane in enumerate(chroma, 1):
        part = _converted(average, component, across)[:, : -(-width // across)]
        before = _coarse(plane, part.shape, subsampling)
        moved.append(_rounded((sharpened(part, GENTLE, down, across) + before)[coarse]))
    return moved


def _converted(change: Floats, component: int, across: int) -> Floats:
    """Convert RGB to Y, Cb or Cr, and average neighbours: (H, W, 3) to (H, W / across)."""
    height, width, _ = change.shape
    groups = change.reshape(height, width // GROUP_PX, 3 * GROUP_PX)
    product: Floats = groups @ _matrix(component, across)
    return product.reshape(height, width // across)


@functools.cache
def _matrix(component: int, across: int) -> Floats:
    """Return the matrix that converts a group of pixels: (3 * GROUP_PX, GROUP_PX / across)."""
    column = np.tile(FROM_RGB[component], across)[:, None] / np.float32(across)
    return np.kron(np.eye(GROUP_PX // across, dtype=np.float32), column)


def _coarse(
    stored: NDArray[np.uint8], shape: tuple[int, int], subsampling: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return stored chroma in its own size, if a decoder has enlarged it."""
    if stored.shape == shape:
        return stored
    average = averaged(stored.astype(np.float32), *subsampling)
    return _rounded(sharpened(average, INVERSE, *subsampling))


def averaged(plane: Floats, down: int, across: int) -> Floats:
    """Average blocks as an encoder does: (H, W, ...) to (H / down, W / across, ...), rounded up."""
    for axis, factor in enumerate((down, across)):
        if factor == 2:
            lines = np.moveaxis(plane, axis, 0)
            if len(lines) % 2:
                lines = np.concatenate([lines, _beyond(lines)[None]])
            plane = np.moveaxis((lines[::2] + lines[1::2]) * np.float32(0.5), 0, axis)
    return plane


def _beyond(lines: Floats) -> Floats:
    """Return the line that the triangle filter would show after an odd number of lines."""
    last, previous = lines[-1], lines[max(-2, -len(lines))]
    beyond: Floats = last + (last - previous) * np.float32(0.5)
    return beyond


def sharpened(plane: Floats, weights: Floats, down: int, across: int) -> Floats:
    """Filter the lines of coarse chroma, so that smoothing them again gives about the plane."""
    if down == 2:
        plane = _filtered(plane, weights)
    return _filtered(plane.T, weights).T if across == 2 else plane


def _filtered(lines: Floats, weights: Floats) -> Floats:
    """Filter each line with its neighbours; lines are mirrored at the ends."""
    above, below = _mirrored(len(lines))
    lines = np.concatenate([lines[above], lines, lines[below]])
    count = len(lines) - 2 * REACH
    result: Floats = lines[REACH:][:count] * weights[0]
    for distance, weight in enumerate(weights[1:], 1):
        pair = lines[REACH - distance :][:count] + lines[REACH + distance :][:count]
        pair *= weight
        result += pair
    return result


@functools.lru_cache(16)
def _mirrored(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which lines stand for those above the first of some, and below the last."""
    mirrored = np.pad(np.arange(count), REACH, mode="symmetric")
    return mirrored[:REACH], mirrored[-REACH:]


def _rounded(values: Floats) -> NDArray[np.uint8]:
    """Round to 8 bits; this changes ``values``."""
    np.rint(values, out=values)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


def _merged(
    luma: NDArray[np.uint8], chroma: list[NDArray[np.uint8]], subsampling: tuple[int, int]
) -> Image.Image:
    """Make a YCbCr image of luma and coarse chroma."""
    height, width = luma.shape
    box = (0, 0, width / subsampling[1], height / subsampling[0])
    nearest = Image.Resampling.NEAREST
    coarse = [Image.fromarray(plane) for plane in chroma]
    enlarged = [plane.resize((width, height), nearest, box) for plane in coarse]
    return Image.merge("YCbCr", [Image.fromarray(luma), *enlarged])
