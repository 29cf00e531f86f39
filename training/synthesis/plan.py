"""The plan of a batch that all stages share: its sources, its kind, and its sizes."""

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
    """Side of the crops that are asked for."""
    coded: int
    """Side of the photos when they are coded for the first time, before a messenger may shrink
    them."""
    recorded: int
    """Side of the camera's recording, which the camera may shrink before coding."""
    margin: int
    """Pixels on each side by which the scene, which feeds the blur, is wider than the recording."""

    @property
    def scene(self) -> int:
        """Side of the scenes."""
        return self.recorded + 2 * self.margin

    @property
    def scale(self) -> float:
        """Pixels of a scene per pixel of the finished crop, along each axis."""
        return self.recorded / self.wanted


def sizes_of(recipe: Recipe, size: int, longest: float, camera: float, messenger: float) -> Sizes:
    """Return the sides of a batch's images.

    Args:
        recipe: How the images are made.
        size: Side of the finished crops in pixels, an even number.
        longest: Upper bound in pixels of the motion, as the crops show it.
        camera: Divisor of the sides when the camera shrinks photos before coding.
        messenger: Divisor of the sides when a messenger shrinks them after that.
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
    """Return the side in pixels of the largest scenes that any batch needs."""
    return sizes_of(recipe, size, longest, max(1.0, *recipe.photo_shrinks), 1.0).scene


@dataclass(frozen=True)
class Batch:
    """The sources of a batch, and how it is made."""

    sources: Sources
    recipe: Recipe
    kind: str
    count: int
    longest: float
    """Upper bound of the motion in pixels of a scene."""
    sizes: Sizes
    response: light.Response
    colour: Tensor
    """(B, 3), the colour of the light on the scenes and on all that moves in them."""
    host: random.Random
    """Draws the numbers that hold for the whole batch, on the CPU: there is no wait for a GPU."""
    generator: torch.Generator
