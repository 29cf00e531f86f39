"""Turned and mirrored passes over a photo, and their mean.

A network's errors depend a little on the direction, so the mean of several passes has
smaller errors (geometric self-ensemble: Lim, Son, Kim, Nah, Lee: "Enhanced Deep Residual
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
    """A turn by quarters, then perhaps a mirroring."""

    turns: int
    """Number of quarter turns, counterclockwise."""
    is_mirrored: bool

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return a photo (H, W, C), turned and mirrored, without a copy."""
        turned = np.rot90(image, self.turns)
        return turned[:, ::-1] if self.is_mirrored else turned

    def undone(self, seen: NDArray[Any]) -> NDArray[Any]:
        """Return a turned and mirrored photo as it was, without a copy."""
        return np.rot90(seen[:, ::-1] if self.is_mirrored else seen, -self.turns)


ALL_VIEWS = tuple(
    Turn(turns, is_mirrored) for turns in (0, 2, 1, 3) for is_mirrored in (False, True)
)
"""All eight views: the photo as it is, then the views that improve a mean of few most."""


def mean(photos: Iterator[NDArray[Any]], count: int) -> NDArray[Any]:
    """Return the rounded mean of photos; at most one of them is kept in memory.

    Args:
        photos: Photos of one shape and type, uint8 or uint16.
        count: Number of photos; a single one is returned as it is.
    """
    first = next(photos)
    if count == 1:
        return first
    total, dtype = first.astype(sum_type(first.dtype)), first.dtype
    del first
    for _ in range(count - 1):
        total += next(photos)  # without a name, so it is freed before the next is made
    total += count // 2
    total //= count
    return total.astype(dtype)


def sum_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that the sum of all views' samples fits into."""
    return np.dtype(np.uint16 if dtype == np.uint8 else np.uint32)
