"""Compare choices of the recipe: each gets a new network, the same crops and the same time.

``python -m training.compare --minutes 3`` runs the whole schedule, squeezed into those
minutes, once for each choice, and prints the gains over the blurred validation sets.
``--only NAME ...`` takes some of the choices.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from training.data import Pair
from training.losses import Error, balanced_error, robust_error
from training.pool import CropPool
from training.scores import evaluate
from training.synthesis.batches import BatchMaker
from training.synthesis.plan import largest_scene
from training.synthesis.recipe import KIND_SHARES, REAL, Recipe
from training.synthesis.sources import Sources, read_sources
from training.trainer import COMPACT, SQUARED_ERROR_UNTIL, Trainer, initialise
from training.validation import SHARED, validation_sets
from unblur.srn import SRN


@dataclass(frozen=True)
class Choice:
    """A recipe, by what it does otherwise."""

    config: dict[str, Any] = field(default_factory=dict)
    """Of the network."""
    muon: bool = True
    lr: float = 1.5e-3
    squared_until: float = SQUARED_ERROR_UNTIL
    later_error: Error = balanced_error
    batch: int = 64
    recipe: Recipe = field(default_factory=Recipe)


CHOICES = {
    "the recipe": Choice(),
    "width 16, kernel 5": Choice({"width": 16, "kernel": 5}),
    "width 24": Choice({"width": 24}),
    "width 48": Choice({"width": 48}),
    "without ConvLSTM": Choice({"recurrent": False}),
    "blocks 2": Choice({"blocks": 2}),
    "blocks 4": Choice({"blocks": 4}),
    "AdamW only": Choice(muon=False),
    "squared error to the end": Choice(squared_until=1.0),
    "robust error from the start": Choice(squared_until=0.0, later_error=robust_error),
    "no real pairs": Choice(recipe=Recipe(kind_shares={**KIND_SHARES, REAL: 0.0})),
    "long motion from the start": Choice(recipe=Recipe(longest_steps=())),
    "batches of 32": Choice(batch=32),
    "batches of 128": Choice(batch=128),
}


def make_trainer(choice: Choice, minutes: float, device: torch.device) -> Trainer:
    """Return a trainer of a new network."""
    torch.manual_seed(0)
    network = SRN(replace(COMPACT, **choice.config))
    initialise(network)
    trainer = Trainer(
        network.to(device),
        minutes,
        choice.lr,
        squared_until=choice.squared_until,
        later_error=choice.later_error,
    )
    if not choice.muon:
        trainer.optimisers = [
            torch.optim.AdamW(
                network.parameters(),
                trainer.optimisers[0].param_groups[0]["lr"],
                betas=(0.9, 0.99),
                weight_decay=0.0,
                capturable=device.type == "cuda",
            )
        ]
    return trainer


def train(choice: Choice, sources: Sources, size: int, minutes: float) -> Trainer:
    """Train a new network for some minutes."""
    trainer = make_trainer(choice, minutes, sources.scenes.device)
    recipe = choice.recipe
    make = BatchMaker(
        sources, recipe, choice.batch, size, lambda: recipe.longest_at(trainer.progress), seed=0
    )
    begun = time.monotonic()
    for blurred, sharp in CropPool(make):
        trainer.train_on(blurred, sharp)
        trainer.seconds = time.monotonic() - begun
        if trainer.progress >= 1:
            break
    return trainer


def gains(network: SRN, sets: dict[str, list[Pair]]) -> str:
    """Return a network's gains over the blurred photos, in decibels."""
    return " | ".join(f"{evaluate(network, pairs).gain:.2f}" for pairs in sets.values())


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    parser.add_argument("--crop", type=int, default=256, help="side of the crops in pixels (256)")
    parser.add_argument("--device", type=torch.device, default="cuda", help="cpu or cuda (cuda)")
    return parser.parse_args()


def main() -> None:
    """Compare from the command line."""
    options = parse_options()
    torch.backends.cudnn.benchmark = True
    sets = validation_sets(options.photos, options.pairs)
    largest = largest_scene(Recipe(), options.crop, Recipe().longest)
    sources = read_sources(options.photos, options.pairs, largest, options.device)
    print(f"| | million pixels | {' | '.join(sets)} |")
    print("|---|--:" + "|--:" * len(sets) + "|")
    for name in options.only:
        trainer = train(CHOICES[name], sources, options.crop, options.minutes)
        seen = f"{trainer.pixels / 1e6:.0f}"
        print(f"| {name} | {seen} | {gains(trainer.average, sets)} |", flush=True)
        if name == "the recipe":
            raw = gains(trainer.network, sets)
            print(f"| the recipe, weights not averaged | {seen} | {raw} |", flush=True)


if __name__ == "__main__":
    main()
