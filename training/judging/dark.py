"""Make pairs of dark and of pale photos from held-out photos that were blurred before.

Dark photos were exposed for a shorter time. Pale photos have less contrast, as in fog or with a
flat profile.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data import BLUR_LENGTHS, Pair, Pixels
from training.judging.validation import synthetic_pairs

BRIGHTNESSES = 0.25, 0.15, 0.1
"""Factors of the samples of dark photos."""
PALENESSES = (0.45, 0.3), (0.4, 0.15), (0.45, 0.08)
"""What black becomes in pale photos, as a share of white, and the factors of the samples."""
NOISE = 0.5
"""Standard deviation of the noise in a dark or pale photo, of 255."""


def dark_sets(photos: Path) -> dict[str, list[Pair]]:
    """Return the same pairs at each of `BRIGHTNESSES`, by name."""
    usual = _usual_pairs(photos)
    return {
        f"{times:g} times as bright": [toned(pair, 0, times) for pair in usual]
        for times in BRIGHTNESSES
    }


def pale_sets(photos: Path) -> dict[str, list[Pair]]:
    """Return the same pairs at each of `PALENESSES`, by name."""
    usual = _usual_pairs(photos)
    return {
        f"{times:g} times the contrast": [toned(pair, black, times) for pair in usual]
        for black, times in PALENESSES
    }


def _usual_pairs(photos: Path) -> list[Pair]:
    return synthetic_pairs(photos, BLUR_LENGTHS["medium"], crops=2)


def toned(pair: Pair, black: float, times: float) -> Pair:
    """Return a pair with other tones, and with a little noise.

    Args:
        pair: The pair of usual tones.
        black: What black becomes, as a share of white.
        times: Factor of the samples, before ``black`` is added.
    """
    rng = np.random.default_rng(20263)

    def expose(photo: Pixels) -> Pixels:
        values = 255 * black + times * photo + rng.normal(0, NOISE, photo.shape)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    return Pair(pair.name, expose(pair.blurred), expose(pair.sharp))
