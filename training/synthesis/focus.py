"""Scenes that are out of focus, wholly or in part. They stay so in the wanted picture, too."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.synthesis.draws import chance, normal, uniform, whole
from training.synthesis.motion import blur_by_kernels

LEAST_RADIUS, LARGEST_RADIUS = 0.8, 6.0
"""Pixels. Bounds of the radius that is drawn; the larger one is also that of the kernels."""

CELLS = 5
"""Most random cells on the side of a mask."""


@dataclass(frozen=True)
class Defocus:
    """How far a lens is out of focus, and where."""

    radius: Tensor
    """Of the circle of confusion in pixels (B,), up to `LARGEST_RADIUS`; 0 changes nothing."""
    is_disc: Tensor
    """Booleans (B,): a disc, as lenses without aberrations make, or a Gaussian."""
    mask: Tensor
    """Share of the blurred scene at each place, (B, 1, H, W) in [0, 1]."""


def defocus(linear: Tensor, blur: Defocus) -> Tensor:
    """Put scenes (B, C, H, W), in linear light, out of focus."""
    far = blur_by_kernels(linear, focus_kernels(blur.radius, blur.is_disc))
    return torch.lerp(linear, far, blur.mask)


def draw_defocus(
    count: int,
    generator: torch.Generator,
    size: int,
    share: float = 0.4,
    wholly_share: float = 1 / 3,
) -> Defocus:
    """Draw how scenes are out of focus.

    Args:
        count: Number of scenes B.
        generator: Source of randomness, on the device of the scenes.
        size: Their sides in pixels.
        share: How many of them are out of focus.
        wholly_share: How many of these are so all over; of the others a soft region is.
    """
    mask = soft_masks(count, generator, size)
    wholly = chance(wholly_share, (count, 1, 1, 1), generator)
    taken = chance(share, (count, 1, 1, 1), generator)
    return Defocus(
        radius=uniform(LEAST_RADIUS, LARGEST_RADIUS, (count,), generator),
        is_disc=chance(0.5, (count,), generator),
        mask=torch.where(wholly, 1.0, mask) * taken,
    )


def focus_kernels(radius: Tensor, is_disc: Tensor) -> Tensor:
    """Return discs with soft edges and Gaussians as kernels that sum to one.

    Args:
        radius: In pixels (B,), up to `LARGEST_RADIUS`. A Gaussian's standard deviation is
            the radius divided by 1.6.
        is_disc: Booleans (B,).

    Returns:
        Kernels (B, K, K), K odd and the same for any radius.
    """
    half = math.ceil(2 * LARGEST_RADIUS) + 1
    places = torch.arange(-half, half + 1, device=radius.device, dtype=torch.float32)
    distance = torch.hypot(places[:, None], places)
    radius, is_disc = radius[:, None, None], is_disc[:, None, None]
    disc = (radius + 0.5 - distance).clamp(0, 1)
    gaussian = (-0.5 * (distance / (radius / 1.6).clamp(min=0.05)) ** 2).exp()
    kernels = torch.where(is_disc, disc, gaussian)
    return kernels / kernels.sum((1, 2), keepdim=True)


def soft_masks(count: int, generator: torch.Generator, size: int) -> Tensor:
    """Draw smooth random regions: what is at one distance.

    Random numbers on a grid of 2 to 5 cells a side are interpolated and cut off at a
    random level, softly.

    Returns:
        Masks (B, 1, size, size) in [0, 1].
    """
    cells = normal(1, (count, 1, CELLS, CELLS), generator)
    seen = whole(2, CELLS + 1, (count, 2), generator) / CELLS
    grid = F.affine_grid(
        F.pad(torch.diag_embed(seen), (0, 1)), [count, 1, size, size], align_corners=False
    )
    noise = F.grid_sample(cells, grid, "bicubic", "border", align_corners=False)
    level = normal(0.3, (count, 1, 1, 1), generator)
    softness = uniform(0.05, 0.6, (count, 1, 1, 1), generator)
    return ((noise - level) / softness + 0.5).clamp(0, 1)
