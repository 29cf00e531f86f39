"""Draw a contact sheet of the crops of a training: blurred crops and their targets.

``python -m training.synthesis.contact_sheet SHEET.png`` shows a row of each kind of the recipe,
real pairs among them. At a glance, a person should not be able to tell which are real.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from training.data import SHARED, Pixels
from training.sheet import draw
from training.synthesis.batches import make_batch
from training.synthesis.plan import largest_scene
from training.synthesis.recipe import RECIPES, Recipe
from training.synthesis.sources import Sources, read_sources


def rows_of_kinds(
    sources: Sources, recipe: Recipe, kinds: list[str], crops: int, size: int, seed: int
) -> Iterator[list[Pixels]]:
    """Yield a row of crops of each kind: blurred, target, blurred, target."""
    generator = torch.Generator(sources.scenes.device)
    for number, kind in enumerate(kinds):
        generator.manual_seed(1000 * seed + number)
        batch = make_batch(sources, recipe, kind, crops, size, recipe.longest, generator)
        images = torch.stack(batch, 1).flatten(0, 1).permute(0, 2, 3, 1)
        yield list(images.cpu().numpy())


def main() -> None:
    """Draw a sheet from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    parser.add_argument("--every", type=int, default=8, help="read every Nth photo only (8)")
    parser.add_argument("--recipe", choices=RECIPES, default="motion", help="(motion)")
    parser.add_argument("--kinds", nargs="+", help="of the recipe (all)")
    parser.add_argument("--crops", type=int, default=4, help="of each kind (4)")
    parser.add_argument("--size", type=int, default=256, help="of the crops in pixels (256)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    recipe = RECIPES[options.recipe]
    kinds = options.kinds or list(recipe.kind_shares)
    if unknown := set(kinds) - recipe.kind_shares.keys():
        parser.error(f"no kinds of this recipe: {', '.join(sorted(unknown))}")
    sources = read_sources(
        options.photos,
        options.pairs,
        largest_scene(recipe, options.size, recipe.longest),
        torch.device("cpu"),
        overlays=24,
        captions=12,
        every=options.every,
    )
    rows = rows_of_kinds(sources, recipe, kinds, options.crops, options.size, options.seed)
    draw(rows, options.size, options.size).save(options.sheet)


if __name__ == "__main__":
    main()
