"""Defocus photos for the fixed validation sets: the same seed always gives the same photo.

This module draws the parameters of the spots of `training.synthesis.lenses`. As in
`training.judging.fixed_blur`, neither the results nor the spots may change; a test pins them.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from training.data import Pixels
from training.judging import fixed_blur
from training.judging.fixed_blur import Array
from training.synthesis.lenses import Lens, spots

MOST_STRETCH, MOST_FRINGE = 1.25, 1.0
"""Largest ratio of a spot's length to its width, and largest difference in pixels of the radii of
red, green and blue."""


def draw_kernels(radius: float, rng: np.random.Generator) -> Array:
    """Draw a lens, and return its spot with a radius in pixels as three kernels (3, K, K).

    A third of the lenses are Gaussian, a third have discs, and a third have 5 to 9 blades.
    Half of them are in front of the focus.
    """
    blades, is_gaussian = [(0, True), (0, False), (int(rng.integers(5, 10)), False)][
        rng.integers(3)
    ]
    fringe = rng.uniform(0, 1, 3) * rng.uniform(0, MOST_FRINGE)
    numbers = {
        "turn": rng.uniform(0, 2 * math.pi),
        "stretch": rng.uniform(1, MOST_STRETCH),
        "axis": rng.uniform(0, math.pi),
    }
    lens = Lens(
        blades=torch.tensor([blades]),
        is_gaussian=torch.tensor([is_gaussian]),
        fringe=torch.tensor([(fringe - fringe.mean()).tolist()]),
        **{name: torch.tensor([number]) for name, number in numbers.items()},
    )
    signed = torch.tensor([radius if rng.random() < 0.5 else -radius])
    kernels: Array = spots(lens, signed, radius + MOST_FRINGE)[0].numpy()
    return kernels


def defocus_crop(
    crop: Pixels, margin: int, radius: float, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Photograph a crop of a sharp photo out of focus and in focus.

    Args:
        crop: The crop, with ``margin`` more pixels on each side than the photos.
        margin: Pixels around the photos that only feed the blur.
        radius: Radius of the spots in pixels; 0: no blur.
        rng: Source of randomness.

    Returns:
        The blurred photo, and the wanted sharp photo; see `fixed_blur.record`.
    """
    gamma = rng.uniform(1.8, 2.4)
    linear = fixed_blur.decode(crop.astype(np.float32) / 255, gamma)
    scene = fixed_blur.brighten_lamps(linear, rng)
    seen = _seen_through(draw_kernels(radius, rng), scene) if radius else scene
    return fixed_blur.record(seen, scene, margin, gamma, rng)


def _seen_through(kernels: Array, scene: Array) -> Array:
    colours = np.split(scene, 3, axis=2)
    return np.concatenate(list(map(fixed_blur.convolve, colours, kernels)), axis=2)
