"""Measure the crops synthesised per second, by kind and in total.

``python -m training.synthesis.speed --device cuda`` prints a table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from training.data import SHARED
from training.synthesis.batches import make_batch
from training.synthesis.plan import largest_scene
from training.synthesis.recipe import RECIPES, Recipe
from training.synthesis.sources import Sources, read_sources


def seconds_of_a_crop(
    sources: Sources, recipe: Recipe, kind: str, count: int, size: int, batches: int
) -> float:
    """Return the mean seconds per crop of a kind, without the first batch."""
    device = sources.scenes.device
    begun = 0.0
    for seed in range(batches + 1):
        generator = torch.Generator(device).manual_seed(seed)
        make_batch(sources, recipe, kind, count, size, recipe.longest, generator)
        if seed == 0:
            begun = _now(device)
    return (_now(device) - begun) / (batches * count)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    parser.add_argument("--every", type=int, default=8, help="read every Nth photo only (8)")
    parser.add_argument("--recipe", choices=RECIPES, default="motion", help="(motion)")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--batch", type=int, default=16, help="crops of a batch (16)")
    parser.add_argument("--batches", type=int, default=10, help="of each kind (10)")
    parser.add_argument("--size", type=int, default=256, help="of the crops in pixels (256)")
    options = parser.parse_args()
    recipe = RECIPES[options.recipe]
    largest = largest_scene(recipe, options.size, recipe.longest)
    sources = read_sources(
        options.photos, options.pairs, largest, options.device, 24, 12, options.every
    )
    total = 0.0
    for kind, share in recipe.kind_shares.items():
        taken = seconds_of_a_crop(
            sources, recipe, kind, options.batch, options.size, options.batches
        )
        total += share * taken
        print(f"{kind:>8}: {1 / taken:8.1f} crops a second", flush=True)
    print(f"{'all':>8}: {1 / total:8.1f} crops a second, in the shares of the recipe")


if __name__ == "__main__":
    main()
