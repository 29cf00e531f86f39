"""Read photos and real pairs, and separate held-out photos from training photos."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""A photo, HWC, RGB."""

SHARED = Path(__file__).parents[2] / "shared"
"""Folder with photos and pairs, beside the repository."""

FIRST_HELD_OUT = (
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
"""Stems of the photos in the oldest validation sets, which are never used for training."""

HELD_OUT_BY_KIND: dict[str, tuple[str, ...]] = {
    "people": (
        "18f_012_austin-avatar-5dd5d1",
        "18f_045_dussault-hyder-award-4bca46",
        "oid_062_894b520348994f89",
        "os-college-phys_051_ysic-Figure-18-05-10a-4860e2",
        "os-college-phys_083_hysic-Figure-27-04-01-9f7aa6",
        "os-sociology_009_oc2e-Figure-05-01-001-582ea8",
        "os-sociology_061_on-s-Figure-05-03-02a-539d77",
        "os-sociology_149_on-s-Figure-18-01-02a-95908a",
    ),
    "streets": (
        "oid_013_13a70b57b0ef53ecr",
        "oid_030_3ed89b3527ba8c92",
        "os-college-phys_049_sic-Figure-18-03-01aa-f62ae6",
        "os-principles-e_014_co-CNX-Econ3e-C07-000-d22dd1",
        "os-sociology_086_on-s-Figure-09-01-04a-49b7db",
        "os-sociology_157_on-s-Figure-20-01-01a-25aa17",
        "os-sociology_160_on-s-Figure-20-02-03a-cfb227",
    ),
    "text": (
        "18f_054_nametag-1bcd9a",
        "os-anthropology_077_THRO-Figure-12-01-009-5fe9c8",
        "os-business_002_d-1-Photo-3-ALT-CC-BY-1cec49",
        "os-business_017_hoto-12-1-Costco-ring-cd7874",
        "os-political-sc_085_POL-Figure-14-01-006-b086a8",
        "os-sociology_035_on-s-Figure-01-01-02a-7bae51",
        "os-sociology_112_ion-s-Figure-13-00-01-4e8e59",
    ),
    "night": (
        "18f_003_50-un-plaza-7e1491",
        "os-entrepreneur_007_SX-Eship-05-04-SpaceX-2e55cd",
        "os-entrepreneur_032_sh-OSX-Eship-11-03-GA-1ec4b7",
        "os-sociology_072_on-s-Figure-07-01-01a-b72fb6",
        "os-sociology_159_ion-s-Figure-20-02-01-324d81",
        "palapeli_001_collection-cincinnati-bridge",
    ),
    "indoors": (
        "bakery_007_Belgische-waffeln-07a5dd",
        "oid_019_27401cc429d09b93",
        "os-college-phys_092_ysic-Figure-29-06-01a-bac514",
        "os-entrepreneur_037_Eship-14-01-PhysicalR-853da9",
        "os-sociology_031_on-s-FIgure-04-02-05a-7ca8e8",
        "os-sociology_150_ion-s-Figure-18-01-03-5918e8",
    ),
    "nature": (
        "18f_032_glacier-park-a997ce",
        "elem_003_Jay-Ruzesky-199596",
        "fedora_012_watt-004b47",
        "oid_071_a57053e685cd731b",
        "os-anthropology_021_THRO-Figure-04-05-024-5689e0",
        "plasma_006_plasma-Path-2560x1600",
    ),
}
"""Stems of 40 more held-out photos, by subject."""

HELD_OUT_PHOTOS = frozenset(FIRST_HELD_OUT).union(*HELD_OUT_BY_KIND.values())
"""Stems of all held-out photos, which are never used for training."""

UNUSED_PHOTOS = frozenset({"os-principles-e_023_eco-CNX-Econ-C28-000-09b1c3"})
"""Stems of unused photos, whose licence is not stated clearly enough."""

HELD_OUT_PAIRS = "reds_street_"
"""Prefix of the held-out real pairs; no other pairs come from the same sequence."""

BLUR_LENGTHS = {"short": 8.0, "medium": 16.0, "long": 30.0}
"""Upper bounds in pixels of the motion in the synthetic validation sets."""

PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Pair:
    """A blurred and a sharp photo of the same scene, each HWC uint8."""

    name: str
    blurred: Pixels
    sharp: Pixels


def read_pixels(path: Path, shrink: int = 1) -> Pixels:
    """Read a photo as HWC uint8 RGB, with each side divided by a whole number."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").reduce(shrink))


def is_coded_lossily(path: Path) -> bool:
    """Return whether a photo is a lossy WebP file, which has visible coding noise.

    The WebP files have quality 84. The JPEG files have quality 90 or so, and are larger photos.
    """
    with path.open("rb") as file:
        start = file.read(1024)
    return start[8:12] == b"WEBP" and b"VP8 " in start


def photo_paths(folder: Path, held_out: bool) -> list[Path]:
    """List the photos of a folder, sorted: the held-out photos, or all others."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in PHOTO_ENDINGS
        and (path.stem in HELD_OUT_PHOTOS) == held_out
        and path.stem not in UNUSED_PHOTOS
    ]


def named_photos(folder: Path, names: Collection[str]) -> list[Path]:
    """List the photos of a folder with these stems, sorted."""
    return [path for path in photo_paths(folder, held_out=True) if path.stem in names]


def read_pairs(folder: Path, held_out: bool | None = None) -> list[Pair]:
    """Read the pairs ``blur/NAME`` and ``sharp/NAME``.

    Args:
        folder: Folder that contains ``blur`` and ``sharp``.
        held_out: Whether to read only the held-out pairs, or only the others; ``None``: all pairs.
    """
    return [
        Pair(path.stem, read_pixels(path), read_pixels(folder / "sharp" / path.name))
        for path in sorted((folder / "blur").iterdir())
        if held_out is None or path.name.startswith(HELD_OUT_PAIRS) == held_out
    ]


def random_crop(pixels: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """Cut a square out of an image that is at least as large."""
    y = rng.integers(0, pixels.shape[0] - size + 1)
    x = rng.integers(0, pixels.shape[1] - size + 1)
    return pixels[y : y + size, x : x + size]
