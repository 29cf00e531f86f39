"""The sources of crops: photos, real pairs, and drawn layers, all on one device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from training.data import HELD_OUT_PAIRS, is_coded_lossily, photo_paths, read_pixels
from training.synthesis.overlays import Bank, draw_bank
from training.synthesis.scenes import Scenes, gather_scenes

OVERLAYS, CAPTIONS = 240, 120
"""Numbers of layers with shapes and text, and with text only. A crop shows a part of a layer, with
its colours exchanged, so there are many times as many drawings."""


@dataclass(frozen=True)
class Pairs:
    """Real blurred and sharp photos of the same scenes; photo n of both shows the same scene."""

    blurred: Scenes
    sharp: Scenes


@dataclass(frozen=True)
class Sources:
    """The photos, pairs and layers that crops are made of, on one device."""

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
    """Read all photos and pairs except the held-out ones, and draw layers.

    The sharp frames of the pairs also serve as scenes.

    Args:
        photos: Folder of the photos.
        pairs: The folder of real pairs, ``blur/NAME`` and ``sharp/NAME``.
        largest: Side in pixels of the largest scenes that crops are made of.
        device: Where the sources are kept.
        overlays: Number of layers of shapes and text to draw.
        captions: Number of layers of text only to draw.
        every: Reads every Nth photo: 1 for all photos, 2 for every second one.
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
