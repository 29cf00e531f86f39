"""What crops are made of: photos, real pairs, and drawn layers, all on one device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from training.data import HELD_OUT_PAIRS, is_coded_lossily, photo_paths, read_pixels
from training.synthesis.overlays import Bank, draw_bank
from training.synthesis.scenes import Scenes, gather_scenes

OVERLAYS, CAPTIONS = 240, 120
"""How many layers show shapes and text, and how many text alone. A crop shows a part of one, with
its colours exchanged, so that there are many times as many."""


@dataclass(frozen=True)
class Pairs:
    """Real blurred photos, and sharp ones of the same scenes: number n of both belong together."""

    blurred: Scenes
    sharp: Scenes


@dataclass(frozen=True)
class Sources:
    """What crops are made of. All is on one device."""

    scenes: Scenes
    bank: Bank
    pairs: Pairs


def read_sources(
    photos: Path,
    pairs: Path,
    largest: int,
    device: torch.device,
    overlays: int = OVERLAYS,
    captions: int = CAPTIONS,
    every: int = 1,
) -> Sources:
    """Read all photos and pairs but those that are held out, and draw layers.

    The sharp frames of the pairs are scenes, too.

    Args:
        photos: The folder of photos.
        pairs: The folder of real pairs, ``blur/NAME`` and ``sharp/NAME``.
        largest: Side in pixels of the largest scenes that crops are made of.
        device: Where all is kept.
        overlays: How many layers of shapes and text are drawn.
        captions: How many layers of text alone are drawn.
        every: Which share of the photos is read: 1 for all, 2 for every second one.
    """
    sharp = [
        path
        for path in sorted((pairs / "sharp").iterdir())
        if not path.name.startswith(HELD_OUT_PAIRS)
    ]
    blurred = [pairs / "blur" / path.name for path in sharp]
    return Sources(
        read_scenes([*photo_paths(photos, held_out=False)[::every], *sharp], largest, device),
        draw_bank(overlays, captions, largest, device),
        Pairs(*(read_scenes(paths, largest, device) for paths in (blurred, sharp))),
    )


def read_scenes(paths: list[Path], largest: int, device: torch.device) -> Scenes:
    """Read photos onto a device; see `gather_scenes`."""
    with ThreadPoolExecutor() as threads:  # Pillow decodes without holding up other threads
        photos = list(threads.map(read_pixels, paths))
    return gather_scenes(photos, [is_coded_lossily(path) for path in paths], largest, device)
