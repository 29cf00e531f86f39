"""Photos and pairs: where they are, what is held out, and the fixed validation sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.blur import MOTION, Pixels, make_blurred
from training.drawn import draw_over

HELD_OUT_PHOTOS = (
    "budgie_casa-mila",
    "budgie_motherboard-circuits",
    "budgie_oakland-zoo-otters",
    "budgie_roman-colosseum",
    "budgie_taipei-city",
    "budgie_the-spices-of-life",
    "lomiri_bridge_by_sander_klootwijk",
    "lomiri_kleiber_by_lukas_baubkus",
    "lxqt_valendas",
    "mate_ladybird",
)
"""Stems of the photos that are never trained on."""

HELD_OUT_PAIRS = "reds_street_"
"""Prefix of the real pairs that are never trained on."""

BLUR_LENGTHS = {"short": 8.0, "medium": 16.0, "long": 30.0}
"""Upper bounds in pixels of the motion in the synthetic validation sets."""

PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Pair:
    """A blurred photo and the sharp one of the same scene, HWC uint8."""

    name: str
    blurred: Pixels
    sharp: Pixels


def read_pixels(path: Path, shrink: int = 1) -> Pixels:
    """Read a photo as HWC uint8 RGB, each side divided by a whole number."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").reduce(shrink))


def is_coded_lossily(path: Path) -> bool:
    """Tell whether a photo is a WebP file of the lossy kind, whose coding can be seen.

    They are of quality 84. JPEG files here are of about 90, and of larger photos.
    """
    with path.open("rb") as file:
        start = file.read(1024)
    return start[8:12] == b"WEBP" and b"VP8 " in start


def photo_paths(folder: Path, held_out: bool) -> list[Path]:
    """List the photos of a folder, sorted: those held out, or the others."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in PHOTO_ENDINGS and (path.stem in HELD_OUT_PHOTOS) == held_out
    ]


def read_pairs(folder: Path, held_out: bool | None = None) -> list[Pair]:
    """Read the pairs ``blur/NAME`` and ``sharp/NAME``.

    Args:
        folder: Where ``blur`` and ``sharp`` are.
        held_out: Only those held out, or only the others; ``None`` for all.
    """
    return [
        Pair(path.stem, read_pixels(path), read_pixels(folder / "sharp" / path.name))
        for path in sorted((folder / "blur").iterdir())
        if held_out is None or path.name.startswith(HELD_OUT_PAIRS) == held_out
    ]


def synthetic_pairs(
    photos: Path,
    longest: float,
    size: int = 256,
    crops: int = 1,
    shrink: int = 1,
    is_drawn: bool = False,
) -> list[Pair]:
    """Make a fixed validation set: blurred crops of the held-out photos.

    Args:
        photos: The folder of photos.
        longest: Upper bound of the motion's length in pixels; lengths are
            drawn from the upper two thirds.
        size: Side of the crops in pixels.
        crops: Number of crops of each photo; the first is the same for any number.
        shrink: Photos are shrunk by as much first, which makes soft ones sharp.
        is_drawn: Draw shapes and text over the crops.
    """
    margin = 40
    pairs = []
    for index, path in enumerate(photo_paths(photos, held_out=True)):
        pixels = read_pixels(path, shrink)
        for number in range(crops):
            rng = np.random.default_rng([20181, index, int(longest), number])
            crop = random_crop(pixels, size + 2 * margin, rng)
            if is_drawn:
                crop = draw_over(crop, rng)
            photo = make_blurred(crop.astype(np.float32) / 255, margin, longest, rng, kind=MOTION)
            pairs.append(Pair(path.stem, to_uint8(photo.blurred), to_uint8(photo.sharp)))
    return pairs


def to_uint8(image: NDArray[np.float32]) -> Pixels:
    """Round [0, 1] to [0, 255]."""
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def random_crop(pixels: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """Cut a square out of an image that has room for it."""
    y = rng.integers(0, pixels.shape[0] - size + 1)
    x = rng.integers(0, pixels.shape[1] - size + 1)
    return pixels[y : y + size, x : x + size]
