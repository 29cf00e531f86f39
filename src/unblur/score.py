"""Tell how blurred a photo is, from its pixels alone.

In a sharp photo the strongest contours rise within two pixels; motion spreads
them over as many as the camera moved. So the width of contours is measured, as
Marziliano et al. do ("Perceptual blur and ringing metrics: application to
JPEG2000", 2004), but in four directions, because motion leaves contours along
its way sharp, and only in the sharpest places, because a soft background is no
blur. How this was chosen among other measures is told in ``docs/score.md``.

A width is read off how contrast grows with distance (after Bahrami and Kot,
"Maximum local variation", 2014): a contour shows all of its contrast between
neighbours if it is sharp, and only between distant pixels if it is not. That
needs no thin edges to be found, which noise and JPEG blocks would disturb.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 4_500_000
"""Larger photos are halved until they have no more: blur that is lost by that is not seen in the
whole picture."""

SMALLEST_SIDE_PX = 98
"""Of a photo that can be judged: a tile and what surrounds it."""

_TILE_PX = 32
_DISTANCES = (1, 2, 4, 8, 16, 32)
"""Between the pixels that are compared, in pixels."""
_REACH = max(_DISTANCES)
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows down and columns across."""
_WHITE = 2040
"""The binomial filter multiplies by 16, and the result must fit into 16 bits."""

_STRONG = 0.35
"""Contrast of a strong contour, as a share of that of the photo between its 5th and 95th
percentile."""
_FLAT_SHARE = 0.2
"""Of tiles, those with the least contrast between neighbours: what is in them is noise."""
_OVER_NOISE = 2.0
_FEWEST_TILES = 6
"""With strong contours, in a direction that is to be judged."""
_SHARPEST_SHARE, _SHARPEST_LEAST = 0.02, 3
"""Of these tiles, how many must be as sharp as the photo is said to be; more than a hot pixel or
two."""
_RISE = 0.4
"""A contour is as wide as it would be if it rose in a straight line as over this share."""
_SHARP_WIDTH_PX = 2.6
"""Width of a contour that could not be sharper, after the binomial filter."""


def blur_score(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> float:
    """Return by how much the sharpest contours of a photo are too wide.

    Args:
        pixels: (H, W, 3) or (H, W, 1), uint8 or uint16.

    Returns:
        How much wider they are than contours that could not be sharper, in
        thousandths of the photo's diagonal, in the direction where that is most;
        0 at least, and rounded to hundredths. A photo without strong contours, or
        smaller than 98 pixels, has 0: nothing in it tells of blur.
    """
    luma = _read_luma(pixels)
    diagonal = float(np.hypot(*luma.shape))
    if min(luma.shape) < SMALLEST_SIDE_PX:
        return 0.0
    smooth = _smooth(luma)
    low, high = np.percentile(smooth[::8, ::8], (5, 95))
    contrasts = _contrasts(smooth)
    noise = float(np.quantile(contrasts[:, 0], _FLAT_SHARE))
    enough = max(_STRONG * float(high - low), _OVER_NOISE * noise)
    least = max(_STRONG / 2 * float(high - low), _OVER_NOISE * noise)
    widest = max(
        _width(contrast, direction, enough) or _width(contrast, direction, least)
        for contrast, direction in zip(contrasts, _DIRECTIONS, strict=True)
    )
    return round(1000 * max(0.0, widest - _SHARP_WIDTH_PX) / diagonal, 2)


def reduction(width: int, height: int) -> int:
    """Return by how much a photo is reduced before it is measured: 1, 2, 4 and so on."""
    factor = 1
    while (width // factor) * (height // factor) > MOST_PIXELS:
        factor *= 2
    return factor


def _read_luma(pixels: NDArray[Any]) -> NDArray[np.int16]:
    """Return the luma of the reduced photo, (H, W), from 0 to `_WHITE`."""
    height, width, channels = pixels.shape
    factor = reduction(width, height)
    rows, columns = height // factor * factor, width // factor * factor
    total = np.zeros((rows // factor, columns // factor, channels), np.float32)
    for y in range(factor):
        for x in range(factor):
            total += pixels[y:rows:factor, x:columns:factor]
    # ITU-R BT.601, as in JPEG, so that JPEG's own luma gives the same score.
    weights = np.array([0.299, 0.587, 0.114] if channels == 3 else [1], np.float32)
    white = np.iinfo(pixels.dtype).max * factor**2
    luma: NDArray[np.int16] = np.rint(total @ weights * (_WHITE / white)).astype(np.int16)
    return luma


def _smooth(luma: NDArray[np.int16]) -> NDArray[np.int16]:
    """Weigh each pixel and its neighbours 1-2-1, down and across; white becomes 16 times."""
    down = luma[:-2] + 2 * luma[1:-1] + luma[2:]
    smooth: NDArray[np.int16] = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return smooth


def _contrasts(luma: NDArray[np.int16]) -> NDArray[np.int16]:
    """Find the largest contrast in each tile, by direction and distance.

    Returns:
        (directions, distances, tiles); tiles lie far enough from the right and
        bottom border, and from the left one, for the longest distance.
    """
    height, width = luma.shape
    rows, columns = (height - _REACH) // _TILE_PX, (width - 2 * _REACH) // _TILE_PX
    across = columns * _TILE_PX
    found = np.zeros((len(_DIRECTIONS), len(_DISTANCES), rows, columns), np.int16)
    difference = np.empty((_TILE_PX, across), np.int16)
    for row in range(rows):
        top = row * _TILE_PX
        here = luma[top : top + _TILE_PX, _REACH : _REACH + across]
        for i, direction in enumerate(_DIRECTIONS):
            for k, distance in enumerate(_DISTANCES):
                y, x = _offset(direction, distance)
                there = luma[top + y : top + y + _TILE_PX, _REACH + x : _REACH + x + across]
                np.abs(np.subtract(there, here, out=difference), out=difference)
                largest = difference.max(axis=0).reshape(columns, _TILE_PX)
                found[i, k, row] = largest.max(axis=1)
    return found.reshape(len(_DIRECTIONS), len(_DISTANCES), rows * columns)


def _offset(direction: tuple[int, int], distance: int) -> tuple[int, int]:
    """Return rows and columns between pixels of about a distance."""
    steps = max(1, round(distance / float(np.hypot(*direction))))
    return steps * direction[0], steps * direction[1]


def _width(contrast: NDArray[np.int16], direction: tuple[int, int], enough: float) -> float:
    """Return the width in pixels of the sharpest strong contours that cross a direction.

    Args:
        contrast: (distances, tiles).
        direction: Rows down and columns across.
        enough: Contrast of a strong contour.

    Returns:
        The width, or 0 if there are too few strong contours.
    """
    full = contrast.max(axis=0)
    is_strong = full > enough
    count = int(is_strong.sum())
    if count < _FEWEST_TILES:
        return 0.0
    rise = np.sort(contrast[:, is_strong] / full[is_strong].astype(np.float32), axis=1)
    sharpest = max(_SHARPEST_LEAST, int(np.ceil(_SHARPEST_SHARE * count)))
    shares = np.maximum.accumulate(rise[:, -sharpest])
    distances = [0.0, *(float(np.hypot(*_offset(direction, d))) for d in _DISTANCES)]
    return float(np.interp(_RISE, [0.0, *shares], distances)) / _RISE
