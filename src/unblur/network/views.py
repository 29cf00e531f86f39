"""The ways to look at a photo: mirrored or not, turned by quarters.

A network does not treat all directions quite alike, so that it errs a little
differently in each view; the mean of what it makes of several is nearer to the
truth (geometric self-ensemble: Lim, Son, Kim, Nah, Lee: "Enhanced Deep Residual
Networks for Single Image Super-Resolution", CVPRW 2017, section 3.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Turn:
    """A photo turned, then perhaps mirrored."""

    turns: int
    """By how many quarters, counterclockwise."""
    is_mirrored: bool

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """Look at a photo (H, W, C) this way, without a copy."""
        turned = np.rot90(image, self.turns)
        return turned[:, ::-1] if self.is_mirrored else turned

    def undone(self, seen: NDArray[Any]) -> NDArray[Any]:
        """Return what is seen this way as it lay in the photo, without a copy."""
        return np.rot90(seen[:, ::-1] if self.is_mirrored else seen, -self.turns)


ALL_VIEWS = tuple(
    Turn(turns, is_mirrored) for turns in (0, 2, 1, 3) for is_mirrored in (False, True)
)
"""The eight, those first that bring most when there are few; the very first is the photo itself."""


def mean(photos: Iterator[NDArray[Any]], count: int) -> NDArray[Any]:
    """Return the rounded mean of photos, each of which may be let go of before the next.

    Args:
        photos: Of one shape and type, uint8 or uint16.
        count: How many they are; one is returned as it is.
    """
    first = next(photos)
    if count == 1:
        return first
    total, dtype = first.astype(sum_type(first.dtype)), first.dtype
    del first
    for _ in range(count - 1):
        total += next(photos)  # which no name keeps while the one after it is made
    total += count // 2
    total //= count
    return total.astype(dtype)


def sum_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what holds the sum of all views' samples."""
    return np.dtype(np.uint16 if dtype == np.uint8 else np.uint32)
