"""Judge lamps and lit signs at night: whether they stay white, and what is made beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.data import Pixels
from training.judging.inference import stacked
from training.judging.quality import highest, overshooting

CLIPPED, STILL_WHITE = 250, 225
"""A value of the truth from which on it counts as clipped; a result below the other is grey."""
LEAST_VALUES = 50
"""Photos with fewer such values are left out."""
BESIDE = 17
"""Side in pixels of the square around a clipped value that is beside it."""


@dataclass(frozen=True)
class Lamps:
    """How lamps were treated."""

    lost: float
    """Share of the values inside clipped areas of the truth that are no longer white, in [0, 1];
    this and the next are means over the photos."""
    overshoot: float
    """Share of the values beside clipped areas that lie outside the range that the truth has
    nearby, in [0, 1]: dark rims, ringing, and streaks that are left."""


def judge_lamps(results: Sequence[Pixels], wanted: Sequence[Pixels], device: torch.device) -> Lamps:
    """Compare lamps in photos with those that were wanted.

    Args:
        results: Photos of one size, HWC uint8.
        wanted: The sharp ones, whose clipped areas are looked at, channel by channel. Of each
            area the inside counts: values all of whose neighbours are clipped.
        device: Where to measure.
    """
    photos, sharp = stacked(results, device).float(), stacked(wanted, device).float()
    clipped = (sharp >= CLIPPED).float()
    inside = highest(-clipped, 3) == -1
    beside = (highest(clipped, BESIDE) == 1) & (highest(clipped, 3) == 0)
    return Lamps(
        lost=_mean_share(photos < STILL_WHITE, inside),
        overshoot=_mean_share(overshooting(photos, sharp), beside),
    )


def _mean_share(found: Tensor, among: Tensor) -> float:
    """Return the mean of shares over the photos (N, 3, H, W) in which there is enough to count."""
    counts = among.sum((1, 2, 3))
    enough = counts >= LEAST_VALUES
    shares = (found & among).sum((1, 2, 3))[enough] / counts[enough]
    return float(shares.mean()) if len(shares) else 0.0
