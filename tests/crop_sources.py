"""What training crops are made of, in small: generated photos, pairs and drawn layers."""

from __future__ import annotations

import dataclasses
import functools

import torch
from scenes import make_scene, smeared

from training.synthesis.overlays import draw_bank
from training.synthesis.plan import largest_scene
from training.synthesis.recipe import RECIPES
from training.synthesis.scenes import gather_scenes
from training.synthesis.sources import Pairs, Sources

CPU = torch.device("cpu")
SIZE, LONGEST = 48, 12.0
LARGEST = max(largest_scene(recipe, SIZE, LONGEST) for recipe in RECIPES.values())


def scenes_of(*photos, is_coded=False):
    return gather_scenes(photos, [is_coded] * len(photos), LARGEST, CPU)


@functools.cache
def make_sources():
    """Two photos, of which one has visible coding, a pair, and some layers."""
    photos = [make_scene(260, 300, seed) for seed in range(2)]
    sharp = make_scene(200, 240, seed=2)
    return Sources(
        gather_scenes(photos, [False, True], LARGEST, CPU),
        draw_bank(3, 3, LARGEST, CPU),
        Pairs(scenes_of(smeared(sharp, 9)), scenes_of(sharp)),
    )


def sources_of(*photos):
    """The same, but with these photos."""
    return dataclasses.replace(make_sources(), scenes=scenes_of(*photos))
