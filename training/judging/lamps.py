"""Judge lamps and lit signs at night: whether they stay white, and errors beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.data import Pixels
from training.judging.inference import stacked
from training.judging.quality import highest, overshooting

CLIPPED, STILL_WHITE = 250, 225
"""Least clipped value of the sharp photo, and least value of a result that is not grey."""
LEAST_VALUES = 50
"""Least number of clipped values of a photo; other photos are left out."""
BESIDE = 17
"""Side in pixels of the square around a clipped value that counts as beside it."""


@dataclass(frozen=True)
class Lamps:
    """Measures of the treatment of lamps, means over the photos."""

    lost: float
    """Share of the values inside clipped areas of the sharp photo that are no longer white, in [0,
    1]."""
    overshoot: float
    """Share of the values beside clipped areas that lie outside the sharp photo's range nearby, in
    [0, 1]: dark rims, ringing and remaining streaks."""


def judge_lamps(results: Sequence[Pixels], wanted: Sequence[Pixels], device: torch.device) -> Lamps:
    """Compare lamps in results with lamps in the sharp photos.

    Args:
        results: Photos of one size, HWC uint8.
        wanted: The sharp photos. Their clipped areas are examined channel by channel; only values
            whose neighbours are all clipped count as inside.
        device: Device for measuring.
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
    """Return the mean of shares over the photos (N, 3, H, W) with enough values to count."""
    counts = among.sum((1, 2, 3))
    enough = counts >= LEAST_VALUES
    shares = (found & among).sum((1, 2, 3))[enough] / counts[enough]
    return float(shares.mean()) if len(shares) else 0.0
