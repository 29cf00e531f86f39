"""Tell how a photo is blurred: moved, and by how much, or out of focus.

Motion widens contours across its path and leaves those along it sharp; a lens out of
focus widens all of them alike. So the widths of contours are measured in sixteen
directions, as `unblur.score` measures them in four. ``docs/score.md`` has the thresholds'
evidence, which ``python -m benchmarks.blur_kinds`` computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from unblur.options import BLURRY_LEVEL
from unblur.score import (
    FEWEST_TILES,
    REACH_PX,
    SMALLEST_SIDE_PX,
    Offsets,
    largest_contrasts,
    read_luma,
    score_of,
    smoothed,
    strong_contrasts,
)

_DIRECTIONS = 16
_DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, REACH_PX)
_EVERY = 2
"""Rows are measured every so many, for speed."""
_RISE = 0.6
"""Share of a contour's rise that is measured, and extrapolated to all of it."""
_SHARP_SHARE = 0.1
"""Share of the strong contours, the sharpest ones, whose width tells the kind."""
_MOVED, _EVEN = 1.3, 1.2
"""Widest contours in widths of those along them: motion from the first ratio up, focus below the
second."""
_USUAL_SHARE = 0.2
"""The same for the length, of contours in focus."""
_IN_FOCUS = 2.0
"""A tile is in focus if its contours along the motion are at most so many times the sharp ones."""
_WIDE_PX = 8.0
"""Wider contours are measured once more in a photo of half the size."""
_LENGTH = 1.18
"""Length of the motion in widths of the contours across it. All these were chosen on photos that
``docs/score.md`` does not judge by."""


class Kind(Enum):
    """A kind of blur."""

    SHARP = "sharp"
    MOTION = "motion"
    FOCUS = "focus"
    UNCLEAR = "unclear"
    """Too small, too plain or too noisy to tell; or blurred in a way that is neither kind."""


@dataclass(frozen=True)
class Blur:
    """How a photo is blurred."""

    kind: Kind
    score: float
    """The `unblur.score.blur_score`."""
    length: float | None = None
    """For motion: its length in pixels of the whole photo."""
    angle: int | None = None
    """For motion: the angle of its path in degrees, counterclockwise from horizontal, from 0 to
    179."""

    def __str__(self) -> str:
        """Return the finding in words."""
        match self.kind:
            case Kind.SHARP:
                return "sharp"
            case Kind.MOTION:
                assert self.length is not None
                assert self.angle is not None
                return f"moved by about {self.length:.0f} pixels, {_way(self.angle)}"
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
class _Contours:
    """Contours of a photo by direction and tile."""

    widths: NDArray[np.float64]
    """(directions, tiles), in pixels."""
    are_strong: NDArray[np.bool_]
    """(directions, tiles): whether there is a contour to be measured."""

    @property
    def are_enough(self) -> bool:
        """Whether each direction has contours to be measured."""
        return bool((self.are_strong.sum(axis=1) >= FEWEST_TILES).all())

    def sharp_widths(self) -> NDArray[np.float64]:
        """Return the widths of the sharpest contours, (directions,)."""
        both = zip(self.widths, self.are_strong, strict=True)
        return np.array([np.quantile(width[strong], _SHARP_SHARE) for width, strong in both])

    def excess(self, direction: int, in_focus: float) -> tuple[float, float]:
        """Return the usual width across a motion, and by how much that exceeds the one along it.

        Args:
            direction: Of the motion.
            in_focus: Largest width of contours along it, in tiles that are in focus.
        """
        sides = [direction, _across(direction)]
        along = self.widths[sides[1]]
        taken = self.are_strong[sides].all(axis=0) & (along <= in_focus)
        if taken.sum() < FEWEST_TILES:
            taken = self.are_strong[sides].all(axis=0)
        if not taken.any():
            taken = self.are_strong[direction]
        wide, narrow = np.quantile(self.widths[sides][:, taken], _USUAL_SHARE, axis=1)
        return float(wide), float(np.sqrt(max(wide**2 - narrow**2, 1.0)))


def find_blur(pixels: NDArray[np.uint8] | NDArray[np.uint16], factor: int = 1) -> Blur:
    """Tell how a photo is blurred.

    Args:
        pixels: (H, W, 3) or (H, W, 1), uint8 or uint16, upright.
        factor: By how much each side of the photo was divided when it was decoded.
    """
    luma = read_luma(pixels)
    if min(luma.shape) < SMALLEST_SIDE_PX:
        return Blur(Kind.UNCLEAR, 0.0)
    smooth = smoothed(luma)
    score, contours = score_of(luma, smooth), _measure(smooth)
    if not contours.are_enough:
        return Blur(Kind.UNCLEAR, score)
    if score < BLURRY_LEVEL:
        return Blur(Kind.SHARP, score)
    widths = contours.sharp_widths()
    widest = int(widths.argmax())
    ratio = widths[widest] / widths[_across(widest)]
    if ratio < _MOVED:
        return Blur(Kind.FOCUS if ratio < _EVEN else Kind.UNCLEAR, score)
    length = _length(luma, contours) * factor * pixels.shape[1] / luma.shape[1]
    # Rows count downwards, angles upwards.
    angle = round(180 - widest * 180 / _DIRECTIONS) % 180
    return Blur(Kind.MOTION, score, round(length, 1), angle)


def _across(direction: int) -> int:
    return (direction + _DIRECTIONS // 2) % _DIRECTIONS


def _length(luma: NDArray[np.int16], contours: _Contours) -> float:
    """Return the length of a motion in pixels of the luma."""
    widths = contours.sharp_widths()
    widest = int(widths.argmax())
    wide, excess = contours.excess(widest, _IN_FOCUS * float(widths[_across(widest)]))
    if wide > _WIDE_PX and min(luma.shape) >= 2 * SMALLEST_SIDE_PX:
        half = _halved(luma)
        coarse = _measure(smoothed(half))
        if coarse.are_enough:
            return 2 * _length(half, coarse)
    return _LENGTH * excess


def _measure(smooth: NDArray[np.int16]) -> _Contours:
    """Measure the contours of a photo across each direction, in its smoothed luma."""
    contrasts = largest_contrasts(smooth, _OFFSETS, _EVERY)
    enough, _ = strong_contrasts(smooth, contrasts)
    both = zip(contrasts, _OFFSETS, strict=True)
    widths = np.stack([_tile_widths(contrast, offsets) for contrast, offsets in both])
    return _Contours(widths, contrasts.max(axis=1) > enough)


def _tile_widths(
    contrast: NDArray[np.int16], offsets: tuple[tuple[int, int], ...]
) -> NDArray[np.float64]:
    """Return the width in pixels of the sharpest contour in each tile, (tiles,).

    Args:
        contrast: (distances, tiles).
        offsets: Rows down and columns across, for each distance.
    """
    distances = np.array([0.0, *(float(np.hypot(*offset)) for offset in offsets)])
    rise = np.maximum.accumulate(contrast, axis=0) / np.maximum(contrast.max(axis=0), 1)
    rise = np.pad(rise, ((1, 0), (0, 0)))
    tiles = np.arange(rise.shape[1])
    above = np.clip((rise < _RISE).sum(axis=0), 1, len(offsets))
    low, high = rise[above - 1, tiles], rise[above, tiles]
    part = np.clip((_RISE - low) / np.maximum(high - low, 1e-6), 0, 1)
    reached = distances[above - 1] + part * (distances[above] - distances[above - 1])
    widths: NDArray[np.float64] = reached / _RISE
    return widths


def _halved(luma: NDArray[np.int16]) -> NDArray[np.int16]:
    height, width = (length // 2 * 2 for length in luma.shape)
    pairs = luma[:height:2, :width] + luma[1:height:2, :width]
    halved: NDArray[np.int16] = (pairs[:, ::2] + pairs[:, 1::2]) // 4
    return halved


def _make_offsets() -> Offsets:
    """Return the offsets for directions that part a half turn evenly, starting with across."""
    turns = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    return tuple(
        tuple((round(d * float(np.sin(t))), round(d * float(np.cos(t)))) for d in _DISTANCES)
        for t in turns
    )


_OFFSETS = _make_offsets()
