"""Small sources of training crops: generated photos, pairs and drawn layers."""

from __future__ import annotations

import dataclasses
import functools

import torch
from scenes import make_scene, smeared

from training.synthesis.batches import make_batch
from training.synthesis.overlays import draw_bank
from training.synthesis.plan import largest_scene
from training.synthesis.recipe import RECIPES, Recipe
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
    """The same sources, with these photos instead."""
    return dataclasses.replace(make_sources(), scenes=scenes_of(*photos))


PLAIN = Recipe(
    drawn_share=0,
    tinted_share=0,
    defocus_share=0,
    highlight_share=0,
    noisy_share=0,
    sent_share=0,
    shrunk_photo_share=0,
    frames={"shortest": 4.0},
    caption_share=0,
    jpeg_share=0,
)
"""A recipe with little more than motion: the other steps hardly differ between both photos."""


def batch_of(kind, recipe=None, count=6, seed=0, sources=None, size=SIZE, longest=LONGEST):
    generator = torch.Generator().manual_seed(seed)
    sources = sources or make_sources()
    return make_batch(sources, recipe or Recipe(), kind, count, size, longest, generator)


def shift_between(blurred, wanted):
    """The shift (y, x) in pixels that best turns one batch into the other, by least squares."""
    first, second = (
        torch.nn.functional.avg_pool2d(images.float().mean(1, keepdim=True), 7, 1)
        for images in (blurred, wanted)
    )
    down, across = torch.gradient(second, dim=(2, 3))
    slopes = torch.stack([down.flatten(), across.flatten()], dim=1)
    return -torch.linalg.lstsq(slopes, (first - second).flatten()[:, None]).solution[:, 0]
