"""Measure the blur of a photo from its pixels.

The score is the width of contours (Marziliano et al., "Perceptual blur and ringing metrics:
application to JPEG2000", 2004). The width is measured in four directions, because motion blur
leaves contours along its path sharp, and only in the sharpest places, because a soft background
does not count. ``docs/score.md`` compares other measures.

The width follows from the growth of contrast with distance (Bahrami and Kot, "Maximum local
variation", 2014): sharp contours reach their whole contrast between neighbours. This needs no edge
detection, which noise and JPEG blocks would disturb.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 4_500_000
"""Largest number of pixels to measure. Larger photos are halved: blur that halving removes is
invisible in the whole photo."""

SMALLEST_SIDE_PX = 98
"""Shortest measurable side of a photo: a tile and its surroundings."""

REACH_PX = 32
"""Longest distance between compared pixels."""

Offsets = tuple[tuple[tuple[int, int], ...], ...]
"""For each direction and each distance: rows down, 0 or more, and columns across."""

_PART_BYTES = 1 << 20
"""Bytes of the lines that are reduced at once; they fit into a core's cache."""
_TILE_PX = 32
_DISTANCES = (1, 2, 4, 8, 16, REACH_PX)
"""Distances between compared pixels, in pixels."""
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows down and columns across."""
_WHITE = 2040
"""Luma of white. Times 16, the gain of the binomial filter, it must fit into 16 bits."""

_STRONG = 0.35
"""Least contrast of a strong contour, relative to the photo's 5th to 95th percentile."""
_FLAT_SHARE = 0.2
"""Quantile of the tiles' contrast between neighbours that counts as noise."""
_OVER_NOISE = 2.0
FEWEST_TILES = 6
"""Least number of tiles with strong contours to measure a direction."""
_SHARPEST_SHARE, _SHARPEST_LEAST = 0.02, 3
"""Share and least number of these tiles that give the width, more than a few hot pixels."""
_RISE = 0.4
"""Share of a contour's rise that is measured. Its width is extrapolated to the whole rise."""
_SHARP_WIDTH_PX = 2.6
"""Width of the sharpest possible contour after the binomial filter."""


@dataclass(frozen=True)
class Sharpness:
    """The sharpness of a photo, with the measurements behind it."""

    score: float
    """See `blur_score`."""
    smooth: NDArray[np.int16]
    """(H, W), int16: the photo's luma, `smoothed`."""
    are_strong: NDArray[np.bool_]
    """(rows, columns), bool: whether a tile has a strong contour in any direction."""
    least: float
    """Least contrast of a strong contour."""


def blur_score(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> float:
    """Return the excess width of the sharpest contours of a photo.

    Args:
        pixels: (H, W, 3) or (H, W, 1), uint8 or uint16.

    Returns:
        Excess width in the widest direction, in thousandths of the photo's diagonal, 0 or more,
        rounded to hundredths. 0 without strong contours, or if a side is shorter than 98 pixels.
    """
    luma = read_luma(pixels)
    return measure_sharpness(luma).score if min(luma.shape) >= SMALLEST_SIDE_PX else 0.0


def measure_sharpness(luma: NDArray[np.int16]) -> Sharpness:
    """Measure how sharp a photo is.

    Args:
        luma: (H, W), from `read_luma`; each side has at least `SMALLEST_SIDE_PX` pixels.
    """
    smooth = smoothed(luma)
    contrasts = largest_contrasts(smooth, _OFFSETS)
    least, half = strong_contrasts(smooth, contrasts)
    widest = max(
        _width(contrast, offsets, least) or _width(contrast, offsets, half)
        for contrast, offsets in zip(contrasts, _OFFSETS, strict=True)
    )
    excess = max(0.0, widest - _SHARP_WIDTH_PX) / float(np.hypot(*luma.shape))
    are_strong = contrasts.max(axis=(0, 1)).reshape(tile_rows(smooth), -1) > least
    return Sharpness(round(1000 * excess, 2), smooth, are_strong, least)


def reduction(width: int, height: int) -> int:
    """Return the factor by which a photo is reduced for measuring: 1, 2, 4 and so on."""
    factor = 1
    while (width // factor) * (height // factor) > MOST_PIXELS:
        factor *= 2
    return factor


def read_luma(pixels: NDArray[Any]) -> NDArray[np.int16]:
    """Return the luma of the reduced photo, (H, W), int16, from 0 to `_WHITE`."""
    height, width, channels = pixels.shape
    factor = reduction(width, height)
    rows, columns = height // factor, width // factor
    # ITU-R BT.601, as in JPEG, so that JPEG's own luma gives the same score.
    weights = np.array([0.299, 0.587, 0.114] if channels == 3 else [1], np.float32)
    white = np.iinfo(pixels.dtype).max * factor**2
    across = np.tile(weights * np.float32(_WHITE / white), factor)
    luma = np.empty((rows, columns), np.int16)
    step = max(1, _PART_BYTES // max(1, columns * across.nbytes))
    for top in range(0, rows, step):
        part = pixels[top * factor : min(top + step, rows) * factor, : columns * factor]
        total = part[::factor].astype(np.float32)
        for line in range(1, factor):
            total += part[line::factor]
        luma[top : top + step] = np.rint(total.reshape(len(total), columns, across.size) @ across)
    return luma


def smoothed(luma: NDArray[np.int16]) -> NDArray[np.int16]:
    """Filter with 1-2-1, down and across; values become 16 times as large."""
    down = luma[:-2] + 2 * luma[1:-1] + luma[2:]
    smooth: NDArray[np.int16] = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return smooth


def tile_rows(luma: NDArray[np.int16]) -> int:
    """Return the number of rows of tiles in a photo's luma."""
    return (len(luma) - REACH_PX) // _TILE_PX


def largest_contrasts(
    luma: NDArray[np.int16], offsets: Offsets, every: int = 1, rows: Iterable[int] | None = None
) -> NDArray[np.int16]:
    """Return the largest contrasts, (directions, distances, tiles).

    Args:
        luma: (H, W), which is divided into tiles of 32 pixels. Tiles keep `REACH_PX` from the left,
            right and bottom borders.
        offsets: Offsets between compared pixels, the same number for each direction.
        every: Compare only the pixels of every nth row, which is faster.
        rows: The rows of tiles to measure; ``None``: all.
    """
    taken = list(range(tile_rows(luma)) if rows is None else rows)
    columns = (luma.shape[1] - 2 * REACH_PX) // _TILE_PX
    across = columns * _TILE_PX
    found = np.zeros((len(offsets), len(offsets[0]), len(taken), columns), np.int16)
    difference = np.empty((len(range(0, _TILE_PX, every)), across), np.int16)
    for place, row in enumerate(taken):
        top = row * _TILE_PX
        here = luma[top : top + _TILE_PX : every, REACH_PX : REACH_PX + across]
        for i, direction in enumerate(offsets):
            for k, (y, x) in enumerate(direction):
                lines = slice(top + y, top + y + _TILE_PX, every)
                there = luma[lines, REACH_PX + x : REACH_PX + x + across]
                np.abs(np.subtract(there, here, out=difference), out=difference)
                largest = difference.max(axis=0).reshape(columns, _TILE_PX)
                found[i, k, place] = largest.max(axis=1)
    return found.reshape(len(offsets), len(offsets[0]), len(taken) * columns)


def strong_contrasts(
    smooth: NDArray[np.int16], contrasts: NDArray[np.int16]
) -> tuple[float, float]:
    """Return the least contrast of strong contours, and of contours half as strong.

    Args:
        smooth: The photo's luma, `smoothed`.
        contrasts: The photo's `largest_contrasts`.
    """
    low, high = np.percentile(smooth[::8, ::8], (5, 95))
    noise = _OVER_NOISE * float(np.quantile(contrasts[:, 0], _FLAT_SHARE))
    strong = _STRONG * float(high - low)
    return max(strong, noise), max(strong / 2, noise)


def _offset(direction: tuple[int, int], distance: int) -> tuple[int, int]:
    """Return the rows and columns between two pixels at about a distance."""
    steps = max(1, round(distance / float(np.hypot(*direction))))
    return steps * direction[0], steps * direction[1]


_OFFSETS: Offsets = tuple(tuple(_offset(way, d) for d in _DISTANCES) for way in _DIRECTIONS)


def _width(
    contrast: NDArray[np.int16], offsets: tuple[tuple[int, int], ...], enough: float
) -> float:
    """Return the width in pixels of the sharpest strong contours across a direction.

    Args:
        contrast: (distances, tiles).
        offsets: Rows down and columns across, for each distance.
        enough: Least contrast of a strong contour; without enough strong contours, the width is 0.
    """
    full = contrast.max(axis=0)
    is_strong = full > enough
    count = int(is_strong.sum())
    if count < FEWEST_TILES:
        return 0.0
    rise = np.sort(contrast[:, is_strong] / full[is_strong].astype(np.float32), axis=1)
    sharpest = max(_SHARPEST_LEAST, int(np.ceil(_SHARPEST_SHARE * count)))
    shares = np.maximum.accumulate(rise[:, -sharpest])
    distances = [0.0, *(float(np.hypot(*offset)) for offset in offsets)]
    return float(np.interp(_RISE, [0.0, *shares], distances)) / _RISE
