"""Find the kind of blur of a photo: motion, with its length and direction, or focus blur.

Motion blur widens contours across the path of the motion, and leaves contours along the path sharp.
Focus blur widens all contours equally. So contours are measured in sixteen directions;
`unblur.score` measures them in four. A photo with a soft background has both sharp and wide
contours, unlike a photo out of focus. ``docs/score.md`` has the evidence for the thresholds, which
``python -m benchmarks.blur_kinds`` computes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unblur.options import BLURRY_LEVEL
from unblur.score import (
    FEWEST_TILES,
    REACH_PX,
    SMALLEST_SIDE_PX,
    Offsets,
    Sharpness,
    largest_contrasts,
    measure_sharpness,
    read_luma,
    smoothed,
    strong_contrasts,
)

_DIRECTIONS = 16
_DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, REACH_PX)
_EVERY = 2
"""Step between measured rows of pixels; a larger step is faster."""
_MOST_TILES = 960
"""Largest number of tiles to measure, for speed: in the rows with the most strong contours."""
_RISE = 0.6
"""Share of a contour's rise that is measured. Its width is extrapolated to the whole rise."""
_SHARP_SHARE = 0.1
"""Quantile of the widths of strong contours that decides the kind of blur."""
_MOVED, _EVEN = 1.3, 1.2
"""Limits of the width of contours in the widest direction, over the width at a right angle. Above
``_MOVED`` the photo has motion blur, below ``_EVEN`` focus blur."""
_SHARPEST_SHARE, _SHALLOW = 0.02, 0.26
"""The background is soft if the quantile ``_SHARPEST_SHARE`` of the widths of strong contours is
below ``_SHALLOW`` times their median width. Focus blur leaves no such narrow contours."""
_SOFT_PX = 3.8
"""Width in pixels of the sharpest contours in front of a soft background, from which on they are
not sharp."""
_IN_FOCUS = 2.0
"""Largest width of contours along the motion in a tile in focus, relative to sharp contours."""
_NARROW = 0.5
"""Share of the squared width along a motion to subtract from the squared width across it."""
_FINE, _COARSE = ((0.8, 0.5), (0.3, 0.5)), ((0.95, 0.3), (0.7, 0.2))
"""Measured widths for the length, in the photo and in a copy of half the size: pairs of a share of
the rise, and a quantile of the contours in focus."""
_FACTOR, _POWERS = 0.376, (0.738, -0.33, -0.146, 1.063)
"""The length of the motion is the product of ``_FACTOR`` and of the measured widths, each to its
power."""
_LONG_PX = 28.0
"""Largest value of the last width; a larger width means that the motion is longer than the motions
to which the powers were fitted."""
_LONG, _WIDE_PX, _LONG_FACTOR = ((0.6, 0.2),), 7.0, 1.2
"""For longer motions: the measured width, the width in pixels below which the photo is no longer
halved, and the length in such widths."""
_EXTENT_RISE, _EXTENT_SHARE = 0.8, 0.3
"""Share of a contour's rise, and quantile of the strong contours, whose width gives the extent."""
_EXTENT_FACTOR, _EXTENT_POWER = 0.22, 1.5
"""The extent is ``_EXTENT_FACTOR`` times that width to the power ``_EXTENT_POWER``."""


class Kind(Enum):
    """A kind of blur."""

    SHARP = "sharp"
    MOTION = "motion"
    FOCUS = "focus"
    UNCLEAR = "unclear"
    """Too small, too plain or too noisy to measure; or with neither motion blur nor focus blur."""


@dataclass(frozen=True)
class Blur:
    """How a photo is blurred."""

    kind: Kind
    score: float
    """The `unblur.score.blur_score`."""
    length: float | None = None
    """Length of a motion in pixels of the whole photo; ``None`` for other kinds."""
    angle: int | None = None
    """Angle of a motion's path in degrees, counterclockwise from horizontal, from 0 to 179;
    ``None`` for other kinds, and without a clear direction."""
    extent: float | None = None
    """Length in pixels of the whole photo that a motion without a clear direction would have.
    ``None`` if too few contours can be measured."""

    def __str__(self) -> str:
        """Return the finding in words."""
        match self.kind:
            case Kind.SHARP:
                return "sharp"
            case Kind.MOTION:
                assert self.length is not None
                way = "" if self.angle is None else f", {_way(self.angle)}"
                pixels = max(1, round(self.length))
                return f"moved by about {pixels} pixel{'s' * (pixels > 1)}{way}"
            case Kind.FOCUS:
                return "out of focus"
        if self.score >= BLURRY_LEVEL:
            return "blurred, but unclear how"
        return "too small, too plain or too noisy to tell how blurred it is"


def _way(angle: int) -> str:
    """Return the direction of a path in words."""
    ways = ("sideways", "rising to the right", "up and down", "rising to the left")
    return ways[round(angle / 45) % 4]


@dataclass(frozen=True)
class Contours:
    """Contours of a photo by direction, distance and tile."""

    contrasts: NDArray[np.int16]
    """(directions, distances, tiles): the `largest_contrasts`."""
    offsets: Offsets
    """Offsets in each direction; the contours are at right angles to the direction."""
    least: float
    """Least contrast of a strong contour; weaker contours are not measured."""

    @cached_property
    def are_strong(self) -> NDArray[np.bool_]:
        """(directions, tiles), bool: whether there is a strong contour."""
        are_strong: NDArray[np.bool_] = np.asarray(self.contrasts.max(axis=1) > self.least)
        return are_strong

    @property
    def are_enough(self) -> bool:
        """Whether each direction has enough strong contours."""
        return bool((self.are_strong.sum(axis=1) >= FEWEST_TILES).all())

    def widths(self, rise: float) -> NDArray[np.float64]:
        """Return the widths in pixels, (directions, tiles), by a share of the contours' rise."""
        both = zip(self.contrasts, self.offsets, strict=True)
        return np.stack([_tile_widths(contrast, offsets, rise) for contrast, offsets in both])

    @cached_property
    def sharp_widths(self) -> NDArray[np.float64]:
        """(directions,): widths in pixels of the sharpest contours."""
        both = zip(self.widths(_RISE), self.are_strong, strict=True)
        return np.array([np.quantile(width[strong], _SHARP_SHARE) for width, strong in both])

    @property
    def widest(self) -> int:
        """Index of the direction across which the sharp contours are the widest."""
        return int(self.sharp_widths.argmax())

    def sides(self) -> Contours:
        """Return the contours of two directions: the widest, and the one at a right angle to it."""
        pair = [self.widest, _across(self.widest)]
        return Contours(self.contrasts[pair], tuple(self.offsets[i] for i in pair), self.least)

    @property
    def ratio(self) -> float:
        """Width of the sharp contours in the widest direction, over the width at a right angle."""
        return float(self.sharp_widths[self.widest] / self.sharp_widths[_across(self.widest)])

    def in_focus(self) -> NDArray[np.bool_]:
        """Return whether each tile is in focus, (tiles,); call this on the contours of `sides`."""
        across, along = self.are_strong
        both = np.logical_and(across, along)
        in_focus = self.widths(_RISE)[1] <= _IN_FOCUS * float(self.sharp_widths[1])
        choices: list[NDArray[np.bool_]] = [np.logical_and(both, in_focus), both, across]
        return next((taken for taken in choices if taken.sum() >= FEWEST_TILES), across)


def find_blur(pixels: NDArray[np.uint8] | NDArray[np.uint16], factor: int = 1) -> Blur:
    """Find the kind of blur of a photo.

    Args:
        pixels: (H, W, 3) or (H, W, 1), uint8 or uint16, upright.
        factor: Factor by which each side of the photo was divided when it was decoded.
    """
    luma = read_luma(pixels)
    if min(luma.shape) < SMALLEST_SIDE_PX:
        return Blur(Kind.UNCLEAR, 0.0)
    sharpness = measure_sharpness(luma)
    score, contours = sharpness.score, find_contours(sharpness)
    if not contours.are_enough:
        return Blur(Kind.UNCLEAR, score)
    scale = factor * pixels.shape[1] / luma.shape[1]
    blur = Blur(Kind.SHARP, score, extent=round(_extent(contours) * scale, 1))
    if score < BLURRY_LEVEL:
        return blur
    if contours.ratio < _MOVED:
        return replace(blur, kind=_kind_of_unmoved(contours))
    length = round(_length(luma, contours) * scale, 1)
    # Rows count downwards, angles upwards.
    angle = round(180 - contours.widest * 180 / _DIRECTIONS) % 180
    return replace(blur, kind=Kind.MOTION, length=length, angle=angle)


def find_contours(sharpness: Sharpness) -> Contours:
    """Measure the contours of a photo across each of sixteen directions."""
    counts = sharpness.are_strong.sum(axis=1)
    rows = np.argsort(-counts, kind="stable")[: max(1, _MOST_TILES // len(sharpness.are_strong.T))]
    contrasts = largest_contrasts(sharpness.smooth, _OFFSETS, _EVERY, sorted(rows.tolist()))
    return Contours(contrasts, _OFFSETS, sharpness.least)


def _kind_of_unmoved(contours: Contours) -> Kind:
    """Return the kind of a photo without motion blur; a soft background does not count."""
    widest = contours.widest
    widths = contours.widths(_RISE)[widest][contours.are_strong[widest]]
    sharpest, usual = np.quantile(widths, (_SHARPEST_SHARE, 0.5))
    if sharpest < _SHALLOW * usual:
        return Kind.SHARP if sharpest < _SOFT_PX else Kind.UNCLEAR
    return Kind.FOCUS if contours.ratio < _EVEN else Kind.UNCLEAR


def _across(direction: int) -> int:
    return (direction + _DIRECTIONS // 2) % _DIRECTIONS


def _extent(contours: Contours) -> float:
    """Return the length of a motion without a clear direction, in pixels of the luma.

    Such a motion widens the contours in all directions, so there are no sharp contours to compare.
    """
    both = zip(contours.widths(_EXTENT_RISE), contours.are_strong, strict=True)
    widest = max(np.quantile(width[strong], _EXTENT_SHARE) for width, strong in both)
    return float(_EXTENT_FACTOR * widest**_EXTENT_POWER)


def _length(luma: NDArray[np.int16], contours: Contours) -> float:
    """Return the length of a motion in pixels of the luma.

    Args:
        luma: (H, W).
        contours: The photo's contours across all directions.
    """
    widths = excess_widths(luma, contours.sides())
    if widths[-1] > _LONG_PX:
        return _LONG_FACTOR * _long_width(luma, contours)
    return _FACTOR * float(np.prod(widths**_POWERS))


def excess_widths(luma: NDArray[np.int16], sides: Contours) -> NDArray[np.float64]:
    """Return the excess width of contours across a motion over contours along it.

    Args:
        luma: (H, W).
        sides: The photo's contours across and along the motion.

    Returns:
        (4,), in pixels of the luma, in the order of `_FINE` and `_COARSE`.
    """
    half, coarse = _halved_contours(luma, sides)
    factor = luma.shape[0] // half.shape[0]
    return np.concatenate([_excesses(sides, _FINE), factor * _excesses(coarse, _COARSE)])


def _long_width(luma: NDArray[np.int16], contours: Contours) -> float:
    """Return the excess width of a long motion, measured in a copy where it is a few pixels.

    Each size finds the direction anew, because very wide contours show no direction.
    """
    [width] = _excesses(contours.sides(), _LONG)
    half, coarse = _halved_contours(luma, contours)
    if width > _WIDE_PX and half is not luma:
        return 2 * _long_width(half, coarse)
    return float(width)


def _halved_contours(
    luma: NDArray[np.int16], contours: Contours
) -> tuple[NDArray[np.int16], Contours]:
    """Return a copy of half the size and its contours; if that is too small, the photo itself."""
    if min(luma.shape) < 2 * SMALLEST_SIDE_PX:
        return luma, contours
    half = _halved(luma)
    smooth = smoothed(half)
    contrasts = largest_contrasts(smooth, contours.offsets, _EVERY)
    least, _ = strong_contrasts(smooth, contrasts)
    found = Contours(contrasts, contours.offsets, least)
    return (half, found) if found.are_enough else (luma, contours)


def _excesses(sides: Contours, shares: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Return the excess widths of contours across a motion over contours along it, in pixels.

    Args:
        sides: Contours across and along the motion.
        shares: Pairs of a share of the contours' rise, and a quantile of the contours in focus.
    """
    taken = sides.in_focus()
    widths = [np.quantile(sides.widths(rise)[:, taken], share, axis=1) for rise, share in shares]
    wide, narrow = np.array(widths).T
    return np.asarray(np.sqrt(np.maximum(wide**2 - _NARROW * narrow**2, 1.0)))


def _tile_widths(
    contrast: NDArray[np.int16], offsets: tuple[tuple[int, int], ...], share: float
) -> NDArray[np.float64]:
    """Return the width in pixels of the sharpest contour in each tile, (tiles,).

    Args:
        contrast: (distances, tiles).
        offsets: Rows down and columns across, for each distance.
        share: Share of a contour's rise that is measured; the width is extrapolated to all of it.
    """
    distances = np.array([0.0, *(float(np.hypot(*offset)) for offset in offsets)])
    rise = np.maximum.accumulate(contrast, axis=0) / np.maximum(contrast.max(axis=0), 1)
    rise = np.pad(rise, ((1, 0), (0, 0)))
    tiles = np.arange(rise.shape[1])
    above = np.clip((rise < share).sum(axis=0), 1, len(offsets))
    low, high = rise[above - 1, tiles], rise[above, tiles]
    part = np.clip((share - low) / np.maximum(high - low, 1e-6), 0, 1)
    reached = distances[above - 1] + part * (distances[above] - distances[above - 1])
    widths: NDArray[np.float64] = reached / share
    return widths


def _halved(luma: NDArray[np.int16]) -> NDArray[np.int16]:
    height, width = (length // 2 * 2 for length in luma.shape)
    pairs = luma[:height:2, :width] + luma[1:height:2, :width]
    halved: NDArray[np.int16] = (pairs[:, ::2] + pairs[:, 1::2]) // 4
    return halved


def _make_offsets() -> Offsets:
    """Return the offsets for directions that divide a half turn evenly, from horizontal on."""
    turns = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    return tuple(
        tuple((round(d * float(np.sin(t))), round(d * float(np.cos(t)))) for d in _DISTANCES)
        for t in turns
    )


_OFFSETS = _make_offsets()
