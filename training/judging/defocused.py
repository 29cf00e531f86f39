"""Make the fixed validation sets of photos out of focus, with limits for shipping weights."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from training.data import HELD_OUT_PHOTOS, Pair, named_photos, random_crop, read_pixels
from training.judging.fixed_focus import defocus_crop
from training.judging.validation import (
    CANDIDATES,
    CROP,
    MARGIN,
    name_of,
    side_by_side,
    strength_of_edges,
)

WANTED_GAINS = {1: 1.5, 2: 1.5, 4: 1.0}
"""Gain in decibels that shipped weights must reach, by the radius of the blur in pixels."""
MOST_HARM = 0.1
"""Largest mean change of sharp photos by shipped weights, of 255."""
SHARP = "sharp photos"


def defocused_sets(photos: Path) -> dict[str, list[Pair]]:
    """Return the sets by name: one for each radius of `WANTED_GAINS`, and photos in focus."""
    sets = {f"defocus of {radius} px": defocused_pairs(photos, radius) for radius in WANTED_GAINS}
    return sets | {SHARP: defocused_pairs(photos, 0)}


def defocused_pairs(photos: Path, radius: float) -> list[Pair]:
    """Make crops of all held-out photos, one at the photo's size and one at half its size.

    Args:
        photos: The folder of photos.
        radius: Radius of the blur in pixels. With 0, both photos of a pair are the recorded photo,
            with its noise and coding, which must not change.
    """

    def make(_: int, path: Path) -> list[Pair]:
        pairs = []
        for shrink in (1, 2):
            pixels = read_pixels(path, shrink)
            rng = np.random.default_rng([20271, zlib.crc32(path.stem.encode()), shrink])
            places = [random_crop(pixels, CROP + 2 * MARGIN, rng) for _ in range(CANDIDATES)]
            crop = max(places, key=strength_of_edges)
            blurred, sharp = defocus_crop(crop, MARGIN, radius, rng)
            name = name_of(path, 0) + (" at half size" if shrink == 2 else "")
            pairs.append(Pair(name, blurred, sharp if radius else blurred))
        return pairs

    return side_by_side(make, named_photos(photos, HELD_OUT_PHOTOS))
