"""Make the fixed validation sets: held-out crops blurred with fixed seeds, and real pairs.

Crops are 256 pixels wide. In the wanted picture, a lamp brighter than white is clipped, as in a
sharp exposure.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np

from training.data import (
    BLUR_LENGTHS,
    FIRST_HELD_OUT,
    HELD_OUT_BY_KIND,
    Pair,
    Pixels,
    named_photos,
    random_crop,
    read_pairs,
    read_pixels,
)
from training.drawn import draw_over
from training.judging.fixed_blur import LAMP_SHARE, blur_crop

REAL, DRAWN, NIGHT = "real", "drawn", "night"
CROP = 256
MARGIN = 40
"""Pixels around a crop that are only for its blur."""
CANDIDATES = 3
"""Number of places in a photo of which the busiest is used; flat sky shows no difference."""

Liking: TypeAlias = Callable[[Pixels], float]
"""Returns how suitable a place in a photo is."""


def strength_of_edges(crop: Pixels) -> float:
    """Return the strength of the horizontal edges of a crop."""
    return float(np.abs(np.diff(crop.astype(np.int16), axis=0)).mean())


def validation_sets(
    photos: Path, pairs: Path, crops: int = 1, shrink: int = 1
) -> dict[str, list[Pair]]:
    """Return the oldest sets by name: three lengths of blur, drawn scenes and real blur.

    Args:
        photos: The folder of photos.
        pairs: The folder of real pairs.
        crops: See `synthetic_pairs`.
        shrink: See `synthetic_pairs`.
    """
    return synthetic_sets(photos, crops, shrink) | {REAL: read_pairs(pairs, held_out=True)}


def synthetic_sets(photos: Path, crops: int = 1, shrink: int = 1) -> dict[str, list[Pair]]:
    """Return the oldest sets without the real pairs; see `synthetic_pairs`."""
    sets = {
        name: synthetic_pairs(photos, longest, crops=crops, shrink=shrink)
        for name, longest in BLUR_LENGTHS.items()
    }
    longest = BLUR_LENGTHS["medium"]
    return sets | {DRAWN: synthetic_pairs(photos, longest, CROP, crops, shrink, is_drawn=True)}


def synthetic_pairs(
    photos: Path,
    longest: float,
    size: int = CROP,
    crops: int = 1,
    shrink: int = 1,
    is_drawn: bool = False,
) -> list[Pair]:
    """Make one of the oldest sets: blurred crops of the first ten held-out photos.

    Args:
        photos: The folder of photos.
        longest: Upper bound of the motion's length in pixels.
        size: Side of the crops in pixels.
        crops: Number of crops of each photo; the first is the same for any number.
        shrink: Factor by which photos are shrunk first, which makes soft photos sharp.
        is_drawn: Whether to draw shapes and text over the crops.
    """

    def make(index: int, path: Path) -> list[Pair]:
        pixels = read_pixels(path, shrink)
        pairs = []
        for number in range(crops):
            rng = np.random.default_rng([20181, index, int(longest), number])
            crop = random_crop(pixels, size + 2 * MARGIN, rng)
            if is_drawn:
                crop = draw_over(crop, rng)
            pairs.append(Pair(name_of(path, number), *blur_crop(crop, MARGIN, longest, rng)))
        return pairs

    return side_by_side(make, named_photos(photos, FIRST_HELD_OUT))


def sets_by_kind(photos: Path) -> dict[str, list[Pair]]:
    """Return the sets of 40 photos by subject; see `pairs_of_kind`."""
    return {kind: pairs_of_kind(photos, kind) for kind in HELD_OUT_BY_KIND}


def pairs_of_kind(
    photos: Path,
    kind: str,
    crops: int = 2,
    liking: Liking = strength_of_edges,
    candidates: int = CANDIDATES,
) -> list[Pair]:
    """Make blurred crops of the held-out photos of one kind, in equal parts of three lengths.

    Args:
        photos: The folder of photos.
        kind: A key of `HELD_OUT_BY_KIND`. Lamps at night are always brighter than white.
        crops: Number of crops of each photo at its own size, and also at half its size.
        liking: Rates the places in a photo.
        candidates: Number of random places, of which the best is used.
    """
    lengths = list(BLUR_LENGTHS.values())
    lamp_share = 1.0 if kind == NIGHT else LAMP_SHARE

    def make(index: int, path: Path) -> list[Pair]:
        pairs = []
        sizes = {shrink: read_pixels(path, shrink) for shrink in (1, 2)}
        for (shrink, pixels), number in itertools.product(sizes.items(), range(crops)):
            rng = np.random.default_rng([20261, zlib.crc32(path.stem.encode()), shrink, number])
            places = (random_crop(pixels, CROP + 2 * MARGIN, rng) for _ in range(candidates))
            longest = lengths[(index + shrink + number) % len(lengths)]
            name = name_of(path, number) + (" at half size" if shrink == 2 else "")
            photos_of_it = blur_crop(max(places, key=liking), MARGIN, longest, rng, lamp_share)
            pairs.append(Pair(name, *photos_of_it))
        return pairs

    return side_by_side(make, named_photos(photos, HELD_OUT_BY_KIND[kind]))


def name_of(path: Path, number: int) -> str:
    """Return the name of a crop of a photo."""
    return f"{path.stem} crop {number + 1}"


def side_by_side(make: Callable[[int, Path], list[Pair]], paths: Collection[Path]) -> list[Pair]:
    """Make the pairs of several photos, in order, with one thread per core."""
    with ThreadPoolExecutor() as threads:
        made: Iterable[list[Pair]] = threads.map(make, range(len(paths)), paths)
        return [pair for pairs in made for pair in pairs]
