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
    FLAT_SHARE,
    OVER_NOISE,
    REACH_PX,
    SMALLEST_SIDE_PX,
    STRONG,
    Offsets,
    largest_contrasts,
    read_luma,
    rise_width,
    score_of_luma,
    smoothed,
    strong_rises,
)

_DIRECTIONS = 16
_DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, REACH_PX)
_EVERY = 2
"""Rows are measured every so many, for speed."""
_RISE = 0.6
_SHARP_SHARE, _USUAL_SHARE = 0.1, 0.25
"""Shares of the strong contours: the sharper ones tell the kind, usual ones the length."""
_WIDE_PX = 8.0
"""Wider contours are measured once more in a photo of half the size."""
_MOVED, _EVEN = 1.3, 1.2
"""Widest contours in widths of those along them: motion from the first ratio up, focus below the
second."""
_LENGTH = 1.26
"""Length of the motion in widths of the contours across it. All three were chosen on photos that
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
class _Widths:
    """Widths of contours in pixels, (directions,); 0 where there are too few."""

    sharp: NDArray[np.float64]
    usual: NDArray[np.float64]

    @property
    def are_known(self) -> bool:
        return bool(self.sharp.all())


def find_blur(pixels: NDArray[np.uint8] | NDArray[np.uint16], factor: int = 1) -> Blur:
    """Tell how a photo is blurred.

    Args:
        pixels: (H, W, 3) or (H, W, 1), uint8 or uint16, upright.
        factor: By how much each side of the photo was divided when it was decoded.
    """
    luma = read_luma(pixels)
    score = score_of_luma(luma)
    if min(luma.shape) < SMALLEST_SIDE_PX:
        return Blur(Kind.UNCLEAR, score)
    widths = _measure(luma)
    if not widths.are_known:
        return Blur(Kind.UNCLEAR, score)
    if score < BLURRY_LEVEL:
        return Blur(Kind.SHARP, score)
    widest = int(widths.sharp.argmax())
    ratio = widths.sharp[widest] / widths.sharp[_across(widest)]
    if ratio < _MOVED:
        return Blur(Kind.FOCUS if ratio < _EVEN else Kind.UNCLEAR, score)
    length = _length(luma, widths) * factor * pixels.shape[1] / luma.shape[1]
    # Rows count downwards, angles upwards.
    angle = round(180 - widest * 180 / _DIRECTIONS) % 180
    return Blur(Kind.MOTION, score, round(length, 1), angle)


def _across(direction: int) -> int:
    return (direction + _DIRECTIONS // 2) % _DIRECTIONS


def _length(luma: NDArray[np.int16], widths: _Widths) -> float:
    """Return the length of a motion in pixels of the luma."""
    widest = int(widths.usual.argmax())
    if widths.usual[widest] > _WIDE_PX and min(luma.shape) >= 2 * SMALLEST_SIDE_PX:
        half = _halved(luma)
        coarse = _measure(half)
        if coarse.are_known:
            return 2 * _length(half, coarse)
    excess = widths.usual[widest] ** 2 - widths.usual[_across(widest)] ** 2
    return float(_LENGTH * np.sqrt(max(excess, 1.0)))


def _measure(luma: NDArray[np.int16]) -> _Widths:
    """Measure the contours of a photo across each direction."""
    smooth = smoothed(luma)
    low, high = np.percentile(smooth[::8, ::8], (5, 95))
    contrasts = largest_contrasts(smooth, _OFFSETS, _EVERY)
    noise = float(np.quantile(contrasts[:, 0], FLAT_SHARE))
    enough = max(STRONG * float(high - low), OVER_NOISE * noise)
    sharp, usual = np.zeros((2, _DIRECTIONS))
    for i, (contrast, offsets) in enumerate(zip(contrasts, _OFFSETS, strict=True)):
        rise = strong_rises(contrast, enough)
        count = rise.shape[1]
        if count >= FEWEST_TILES:
            sharp[i], usual[i] = (
                rise_width(rise[:, -max(3, int(np.ceil(share * count)))], offsets, _RISE)
                for share in (_SHARP_SHARE, _USUAL_SHARE)
            )
    return _Widths(sharp, usual)


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
