"""What is the same for all stages of a batch: its sources, its kind, and its sizes."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from training.synthesis import light, processing
from training.synthesis.recipe import Recipe
from training.synthesis.sources import Sources


@dataclass(frozen=True)
class Sizes:
    """Sides in pixels of a batch's square images."""

    wanted: int
    """Of the crops that are asked for."""
    coded: int
    """Of the photos when they are coded for the first time; a messenger may shrink them then."""
    recorded: int
    """Of what the camera records, and may shrink before it codes it."""
    margin: int
    """How much wider, on each side, the scene is that feeds the blur."""

    @property
    def scene(self) -> int:
        """Side of the scenes."""
        return self.recorded + 2 * self.margin

    @property
    def scale(self) -> float:
        """Pixels of a scene for each one that is wanted."""
        return self.recorded / self.wanted


def sizes_of(recipe: Recipe, size: int, longest: float, camera: float, messenger: float) -> Sizes:
    """Return the sides of a batch's images.

    Args:
        recipe: How they are made.
        size: Side of the crops that are wanted, an even number.
        longest: Upper bound in pixels of the motion, as the crops show it.
        camera: What the camera divides sides by before it codes photos.
        messenger: What a messenger divides them by after that.
    """
    coded = processing.size_before_shrinking(size, messenger)
    recorded = 2 * math.ceil(processing.size_before_shrinking(coded, camera) / 2)
    reach = longest / 2 + recipe.room_for_defocus
    return Sizes(size, coded, recorded, math.ceil(reach * recorded / size) + 4)


def draw_sizes(recipe: Recipe, size: int, longest: float, host: random.Random) -> Sizes:
    """Draw whether the camera or a messenger shrinks the photos of a batch, and how far."""
    camera = messenger = 1.0
    if host.random() < recipe.sent_share:
        messenger = host.choice(recipe.photo_shrinks)
    elif host.random() < recipe.shrunk_photo_share:
        camera = host.choice(recipe.photo_shrinks)
    return sizes_of(recipe, size, longest, camera, messenger)


def largest_scene(recipe: Recipe, size: int, longest: float) -> int:
    """Return the side in pixels of the largest scenes that batches are made of."""
    return sizes_of(recipe, size, longest, max(1.0, *recipe.photo_shrinks), 1.0).scene


@dataclass(frozen=True)
class Batch:
    """What a batch is made of, and how."""

    sources: Sources
    recipe: Recipe
    kind: str
    count: int
    longest: float
    """Upper bound of the motion in pixels of a scene."""
    sizes: Sizes
    response: light.Response
    colour: Tensor
    """(B, 3) of the light, by which the scenes are seen and all that moves in them."""
    host: random.Random
    """Draws what is the same for the whole batch. A GPU need not be asked for it."""
    generator: torch.Generator
