"""Photos and pairs: where they are, what is held out, and endless random crops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from training.blur import Response, make_blurred
from training.drawn import draw_caption, draw_over
from training.fixed_blur import Pixels, to_uint8
from unblur.views import View

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
"""Stems of the photos of the oldest validation sets, which are never trained on."""

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
"""Stems of 40 more photos that are never trained on, by what they show."""

HELD_OUT_PHOTOS = frozenset(FIRST_HELD_OUT).union(*HELD_OUT_BY_KIND.values())
"""Stems of all photos that are never trained on."""

UNUSED_PHOTOS = frozenset({"os-principles-e_023_eco-CNX-Econ-C28-000-09b1c3"})
"""Stems of photos whose licence is not stated clearly enough to use them."""

HELD_OUT_PAIRS = "reds_street_"
"""Prefix of the real pairs that are never trained on; no other pairs are of the same sequence."""

BLUR_LENGTHS = {"short": 8.0, "medium": 16.0, "long": 30.0}
"""Upper bounds in pixels of the motion in the synthetic validation sets."""

SHARP_SHARE_OF_PAIRS = 0.2
"""How often a real pair's sharp photo stands for both: it must stay as it is."""

LEAST_BOUND = 4.0
"""Pixels. The bound of a crop's motion is drawn from here up to the curriculum's, so that short
blur, which is the most common, is seen more often than long."""

DRAWN_SHARE = 0.3
"""How many of the crops that are not of real pairs have shapes and text drawn over them."""

SHRUNK_SHARE, ENLARGED_SHARE = 0.5, 0.15
"""How many of the crops that are not of real pairs are shrunk and enlarged, up to twofold."""

TINTED_SHARE = 0.3
"""How many of the crops are seen by light of another colour."""

CAPTION_SHARE = 0.1
"""How many of the crops that are not of real pairs have text printed on them after the blur."""

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


def photo_paths(folder: Path, held_out: bool) -> list[Path]:
    """List the photos of a folder, sorted: those held out, or the others."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in PHOTO_ENDINGS
        and (path.stem in HELD_OUT_PHOTOS) == held_out
        and path.stem not in UNUSED_PHOTOS
    ]


def named_photos(folder: Path, names: Collection[str]) -> list[Path]:
    """List the photos of a folder that have one of some stems, sorted."""
    return [path for path in photo_paths(folder, held_out=True) if path.stem in names]


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


def random_crop(pixels: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """Cut a square out of an image that has room for it."""
    y = rng.integers(0, pixels.shape[0] - size + 1)
    x = rng.integers(0, pixels.shape[1] - size + 1)
    return pixels[y : y + size, x : x + size]


def random_shrink(most: float, rng: np.random.Generator) -> float:
    """Draw what a crop's side is divided by: most often 1 to 2 but no more than ``most``."""
    choice = rng.random()
    if choice < SHRUNK_SHARE:
        return rng.uniform(1, min(2.0, most))
    return rng.uniform(0.5, 1) if choice < SHRUNK_SHARE + ENLARGED_SHARE else 1.0


def random_turn(
    rng: np.random.Generator, *images: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Mirror and turn images alike, by multiples of 90 degrees."""
    view = View(int(rng.integers(4)), bool(rng.integers(2)))
    return [np.ascontiguousarray(view.of(image)) for image in images]


def random_tint(
    rng: np.random.Generator, *images: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Light a share of the scenes by a lamp of another colour; the brightest channel is kept.

    Most photos are taken by daylight and balanced to grey, most blurred ones by lamps.

    Args:
        rng: Source of randomness.
        images: Photos of one scene, HWC in [0, 1].

    Returns:
        All of them by the same light.
    """
    if rng.random() >= TINTED_SHARE:
        return list(images)
    light = np.exp(rng.normal(0, 0.6, 3))
    stored = Response(2.2).encode(light / light.max())
    return [image * stored for image in images]


@dataclass(frozen=True)
class Curriculum:
    """What to train on at a point of the training, from 0 (start) to 1 (end)."""

    crop: int
    batch: int
    longest: float

    @classmethod
    def at(cls, progress: float) -> Curriculum:
        """Small crops with short blur first, larger ones with longer blur later."""
        longest = float(np.interp(progress, [0.0, 0.5, 0.85], [12.0, 24.0, 35.0]))
        return cls(128, 8, longest) if progress < 0.5 else cls(192, 4, longest)


def another_curriculum(progress: float, **changes: int) -> Curriculum:
    """Return the usual stage of a training with some values changed."""
    return replace(Curriculum.at(progress), **changes)


class BlurredCrops(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches of (blurred, sharp), each (B, 3, H, W) uint8.

    Batch number n depends only on the seed, n and the progress of the
    training, so that a resumed training does not see the same crops again.
    Several workers of a `DataLoader` take turns.
    """

    def __init__(
        self,
        photos: Path,
        pairs: Path,
        progress: Synchronized[float],
        real_share: float = 0.2,
        seed: int = 0,
        first_batch: int = 0,
        curriculum: Callable[[float], Curriculum] = Curriculum.at,
    ) -> None:
        self.photos = [read_pixels(path) for path in photo_paths(photos, held_out=False)]
        self.pairs = read_pairs(pairs, held_out=False)
        self.progress = progress
        self.real_share = real_share
        self.seed = seed
        self.first_batch = first_batch
        self.curriculum = curriculum

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches for ever."""
        worker = get_worker_info()
        turn, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in itertools.count(self.first_batch + turn, workers):
            yield self.batch(number, self.curriculum(self.progress.value))

    def batch(self, number: int, stage: Curriculum) -> tuple[Tensor, Tensor]:
        """Make one batch."""
        rng = np.random.default_rng([self.seed, number])
        crops = [self._crop(stage, rng) for _ in range(stage.batch)]
        blurred, sharp = (
            to_uint8(np.stack(images)).transpose(0, 3, 1, 2) for images in zip(*crops, strict=True)
        )
        return torch.from_numpy(blurred), torch.from_numpy(sharp)

    def _crop(self, stage: Curriculum, rng: np.random.Generator) -> list[NDArray[np.float32]]:
        if self.pairs and rng.random() < self.real_share:
            return random_turn(rng, *random_tint(rng, *self._real_crop(stage.crop, rng)))
        caption = draw_caption(stage.crop, rng) if rng.random() < CAPTION_SHARE else None
        longest = rng.uniform(LEAST_BOUND, stage.longest)
        [scene] = random_tint(rng, self._sharp_crop(stage, rng))
        photo = make_blurred(scene, self._margin(stage), longest, rng, caption=caption)
        return random_turn(rng, photo.blurred, photo.sharp)

    def _margin(self, stage: Curriculum) -> int:
        return int(stage.longest / 2) + 4

    def _real_crop(
        self, size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        pair = self.pairs[rng.integers(len(self.pairs))]
        both = random_crop(np.concatenate([pair.blurred, pair.sharp], axis=2), size, rng)
        both = both.astype(np.float32) / 255
        sharp = both[..., 3:]
        return (sharp if rng.random() < SHARP_SHARE_OF_PAIRS else both[..., :3]), sharp

    def _sharp_crop(self, stage: Curriculum, rng: np.random.Generator) -> NDArray[np.float32]:
        """Cut a crop with its margin, many sharpened by shrinking and some softened by enlarging.

        Of four places the busiest one is taken: flat sky teaches nothing. Some
        crops are drawn over.
        """
        size = stage.crop + 2 * self._margin(stage)
        pixels = self.photos[rng.integers(len(self.photos))]
        cut = int(np.ceil(size * random_shrink(min(pixels.shape[:2]) / size, rng)))
        candidates = [random_crop(pixels, cut, rng) for _ in range(4)]
        crop = max(
            candidates,
            key=lambda c: float(np.abs(np.diff(c[..., 1].astype(np.int16), axis=0)).mean()),
        )
        if cut != size:
            resampling = Image.Resampling.BOX if cut > size else Image.Resampling.BICUBIC
            crop = np.asarray(Image.fromarray(crop).resize((size, size), resampling))
        if rng.random() < DRAWN_SHARE:
            crop = draw_over(crop, rng)
        return crop.astype(np.float32) / 255
