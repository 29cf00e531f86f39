"""Make pairs of dark photos: held-out photos, blurred and then exposed for a shorter time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data import BLUR_LENGTHS, Pair, Pixels
from training.judging.validation import synthetic_pairs

BRIGHTNESSES = 0.25, 0.15, 0.1
"""Factors of the samples."""
NOISE = 0.5
"""Standard deviation of the noise in a dark photo, of 255."""


def dark_sets(photos: Path) -> dict[str, list[Pair]]:
    """Return the same pairs at each of `BRIGHTNESSES`, by name."""
    bright = synthetic_pairs(photos, BLUR_LENGTHS["medium"], crops=2)
    return {
        f"{times:g} times as bright": [darkened(pair, times) for pair in bright]
        for times in BRIGHTNESSES
    }


def darkened(pair: Pair, times: float) -> Pair:
    """Return a pair whose blurred and sharp photos are darker by a factor, with a little noise."""
    rng = np.random.default_rng(20263)

    def expose(photo: Pixels) -> Pixels:
        values = times * photo + rng.normal(0, NOISE, photo.shape)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    return Pair(pair.name, expose(pair.blurred), expose(pair.sharp))
