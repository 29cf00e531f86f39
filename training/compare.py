"""Compare choices of the recipe: each gets a new network and the same time of one core.

``python -m training.compare --minutes 5`` runs the whole schedule, squeezed into
those minutes, once for each choice, and prints the gains over the blurred
validation sets. Time is that of the processor, so that other work on the machine
takes nothing from a choice. ``--only NAME ...`` takes some of them.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from training.data import BlurredCrops, Curriculum, Pair, another_curriculum
from training.evaluate import SHARED, evaluate, validation_sets
from training.losses import Error, balanced_error, robust_error
from training.trainer import COMPACT, SQUARED_ERROR_UNTIL, Trainer, initialise
from unblur.srn import SRN


@dataclass(frozen=True)
class Choice:
    """A recipe, by what it does otherwise."""

    config: dict[str, Any] = field(default_factory=dict)
    """Of the network."""
    muon: bool = True
    lr: float = 1e-3
    squared_until: float = SQUARED_ERROR_UNTIL
    later_error: Error = balanced_error
    real_share: float = 0.2
    curriculum: Callable[[float], Curriculum] = Curriculum.at


CHOICES = {
    "the recipe": Choice(),
    "width 16, kernel 5": Choice({"width": 16, "kernel": 5}),
    "width 24": Choice({"width": 24}),
    "width 48": Choice({"width": 48}),
    "without ConvLSTM": Choice({"recurrent": False}),
    "blocks 2": Choice({"blocks": 2}),
    "blocks 4": Choice({"blocks": 4}),
    "four levels, blocks 1, 2, 3, 4": Choice({"levels": 4, "blocks": (1, 2, 3, 4)}),
    "unshuffle 4, width 64": Choice({"unshuffle": 4, "width": 64}),
    "AdamW only": Choice(muon=False),
    "squared error to the end": Choice(squared_until=1.0),
    "robust error from the start": Choice(squared_until=0.0, later_error=robust_error),
    "no real pairs": Choice(real_share=0.0),
    "half real pairs": Choice(real_share=0.5),
    "up to 35 px from the start": Choice(
        curriculum=functools.partial(another_curriculum, longest=35)
    ),
    "batches of 2": Choice(curriculum=functools.partial(another_curriculum, batch=2)),
    "batches of 16": Choice(curriculum=functools.partial(another_curriculum, batch=16)),
}


def make_trainer(choice: Choice, minutes: float) -> Trainer:
    """Return a trainer of a new network."""
    torch.manual_seed(0)
    network = SRN(replace(COMPACT, **choice.config))
    initialise(network)
    trainer = Trainer(
        network,
        minutes,
        choice.lr,
        squared_until=choice.squared_until,
        later_error=choice.later_error,
    )
    if not choice.muon:
        trainer.optimisers = [
            torch.optim.AdamW(network.parameters(), choice.lr, betas=(0.9, 0.99), weight_decay=0.0)
        ]
    return trainer


def train(choice: Choice, minutes: float) -> Trainer:
    """Train a new network for some minutes of one core."""
    trainer = make_trainer(choice, minutes)
    progress = multiprocessing.Value("d", 0.0)
    crops = BlurredCrops(
        SHARED / "photos",
        SHARED / "pairs",
        progress,
        choice.real_share,
        curriculum=choice.curriculum,
    )
    begun = time.process_time()
    for blurred, sharp in DataLoader(crops, batch_size=None, num_workers=1, prefetch_factor=8):
        trainer.train_on(blurred, sharp)
        trainer.seconds = time.process_time() - begun
        progress.value = trainer.progress
        if trainer.progress >= 1:
            break
    return trainer


def gains(network: SRN, sets: dict[str, list[Pair]]) -> str:
    """Return a network's gains over the blurred photos, in decibels."""
    return " | ".join(f"{evaluate(network, pairs).gain:.2f}" for pairs in sets.values())


def main() -> None:
    """Compare from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = validation_sets(SHARED / "photos", SHARED / "pairs")
    print(f"| | million pixels | {' | '.join(sets)} |")
    print("|---|--:" + "|--:" * len(sets) + "|")
    for name in options.only:
        trainer = train(CHOICES[name], options.minutes)
        seen = f"{trainer.pixels / 1e6:.0f}"
        print(f"| {name} | {seen} | {gains(trainer.average, sets)} |", flush=True)
        if name == "the recipe":
            raw = gains(trainer.network, sets)
            print(f"| the recipe, weights not averaged | {seen} | {raw} |", flush=True)


if __name__ == "__main__":
    main()
