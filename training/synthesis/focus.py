"""Scenes that are out of focus, wholly or in part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.synthesis.draws import chance, normal, uniform, whole
from training.synthesis.lenses import Lens, draw_lens, draw_radii, spots
from training.synthesis.motion import blur_by_kernels
from training.synthesis.recipe import Lenses

CELLS = 5
"""Largest number of random cells along the side of a mask."""


@dataclass(frozen=True)
class Defocus:
    """How far lenses are out of focus, and where."""

    lens: Lens
    radius: Tensor
    """Signed radii of the spots in pixels (B,); see `spots`. 0 changes nothing."""
    depth: Tensor
    """Share of the radius at each place, (B, 1, H, W) in [0, 1]."""
    largest: float
    """Upper bound of all radii in pixels, colour fringes included."""
    levels: int = 1
    """Number of radii that are computed. A place whose radius lies between two of them is a mixture
    of both. With 1, it is a mixture of the sharp scene and the blurred one."""


def defocus(linear: Tensor, blur: Defocus) -> Tensor:
    """Put scenes (B, 3, H, W), in linear light, out of focus.

    Where the distance changes, each place is blurred as if the whole scene were at its distance. So
    nothing hides what is behind it; for objects that do, see `defocus_layers`.
    """
    result = linear
    for level in range(1, blur.levels + 1):
        kernels = spots(blur.lens, blur.radius * (level / blur.levels), blur.largest)
        share = (blur.depth * blur.levels - (level - 1)).clamp(0, 1)
        result = torch.lerp(result, blur_by_kernels(linear, kernels), share)
    return result


def defocus_layers(background: Tensor, foreground: Tensor, far: Defocus, near: Defocus) -> Tensor:
    """Put objects and their background out of focus, each separately.

    The outline of an object spreads as its surface does, so that what is behind it is seen
    through its blurred border ("over", as in `training.synthesis.motion.blur_layers`).

    Args:
        background: (B, 3, H, W) in linear light.
        foreground: (B, 4, H, W): red, green and blue multiplied by alpha, then alpha.
        far: Defocus of the background.
        near: Defocus of the foreground.
    """
    colours = defocus(foreground[:, :3], near)
    cover = defocus(foreground[:, 3:].expand(-1, 3, -1, -1), near)
    return colours + (1 - cover) * defocus(background, far)


def draw_defocus(
    count: int,
    generator: torch.Generator,
    size: int,
    lenses: Lenses,
    share: float = 1.0,
    wholly_share: float = 1 / 3,
    scale: float = 1.0,
) -> Defocus:
    """Draw how scenes are out of focus.

    Args:
        count: Number of scenes B.
        generator: Source of randomness, on the device of the scenes.
        size: Side of the scenes in pixels.
        lenses: The lenses to draw, and how far they are out of focus.
        share: Share of the scenes that are out of focus.
        wholly_share: Share of these that are wholly out of focus; the others are so in a soft
            region.
        scale: Pixels of a scene per pixel of the finished crop.
    """
    mask = soft_masks(count, generator, size)
    wholly = chance(wholly_share, (count, 1, 1, 1), generator)
    taken = chance(share, (count,), generator)
    is_near = chance(0.5, (count,), generator)
    radius = draw_radii(count, generator, lenses, scale) * taken
    return Defocus(
        lens=draw_lens(count, generator, lenses, scale),
        radius=torch.where(is_near, -radius, radius),
        depth=torch.where(wholly, 1.0, mask),
        largest=lenses.largest * scale,
        levels=lenses.levels,
    )


def draw_layered(
    count: int, generator: torch.Generator, lenses: Lenses, scale: float = 1.0
) -> tuple[Defocus, Defocus]:
    """Draw how a background and the objects before it are out of focus.

    A third of the scenes are focused on the background, a third on the objects, and the others
    between both. The arguments are those of `draw_defocus`.

    Returns:
        Defocus of the background and of the objects, by the same lens.
    """
    lens = draw_lens(count, generator, lenses, scale)
    focused = whole(0, 3, (count,), generator)
    everywhere = torch.ones(count, 1, 1, 1, device=generator.device)
    far, near = (
        Defocus(
            lens=lens,
            radius=side * draw_radii(count, generator, lenses, scale) * (focused != layer),
            depth=everywhere,
            largest=lenses.largest * scale,
        )
        for layer, side in enumerate((1, -1))
    )
    return far, near


def soft_masks(count: int, generator: torch.Generator, size: int) -> Tensor:
    """Draw smooth random regions; each stands for the part of a scene at one distance.

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
