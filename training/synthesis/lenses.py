"""Lenses out of focus: the spots that they make of points of light.

All spots follow geometric optics. A point that is out of focus is seen as the shape of the
aperture. The spot grows with the distance from the plane in focus, and it is upside down in front
of that plane (Potmesil and Chakravarty, "A Lens and Aperture Camera Model for Synthetic Image
Generation", SIGGRAPH 1981). The size of a spot is given as its radius in pixels: of the disc of an
open aperture, or of the circle through the corners of an aperture with blades. The standard
deviation of a Gaussian spot is half of its radius, like that of a disc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.synthesis.draws import uniform, whole
from training.synthesis.recipe import Lenses

FEWEST_BLADES, MOST_BLADES = 5, 9

FINE = 5
"""Points per pixel, along each axis, of the grid that spots are drawn on; an odd number."""

PIXEL_SPREAD = 1 / 3
"""Mean squared distance, in square pixels, from the middle of the tent filter (two pixels wide)
that shares a place between the pixels around it. Spots are drawn smaller by this."""


@dataclass(frozen=True)
class Lens:
    """The properties that all spots of a lens share."""

    blades: Tensor
    """(B,) whole numbers: number of the spot's straight sides; 0 for a round spot."""
    turn: Tensor
    """(B,) radians: rotation of the blades."""
    is_gaussian: Tensor
    """(B,) bool: whether the spot is brightest in the middle, as with aberrations. Otherwise it is
    evenly bright."""
    stretch: Tensor
    """(B,), 1 or more: length of the spot divided by its width, with the same area. More than 1 is
    a simple stand-in for astigmatism."""
    axis: Tensor
    """(B,) radians: the direction in which the spot is longest, from x to y."""
    fringe: Tensor
    """(B, 3) pixels: added to the signed radii of red, green and blue. A lens focuses colours at
    different distances, which shows as coloured fringes."""

    @property
    def unit_spread(self) -> Tensor:
        """Mean squared distance (B,) of a spot's places from its middle, for radius 1.

        It is 1/2 for discs and (2 + cos(2 pi / n)) / 6 for regular polygons of n sides.
        """
        polygon = (2 + (2 * math.pi / self.blades.clamp(min=3)).cos()) / 6
        even = torch.where(self.blades > 0, polygon, 0.5)
        return torch.where(self.is_gaussian, 0.5, even) * (self.stretch + 1 / self.stretch) / 2


def spots(lens: Lens, radius: Tensor, largest: float) -> Tensor:
    """Return the spots of lenses as kernels, one for each colour.

    Args:
        lens: The lenses (B,).
        radius: Radii of the spots in pixels (B,). They are negative in front of the plane in focus:
            spots are upside down there, and fringes have the other colour. Fringes fade out below a
            radius of one pixel; 0 gives kernels that change nothing.
        largest: Upper bound of all radii in pixels, fringes included. It sets the kernels' side.

    Returns:
        Kernels (B, 3, K, K), K odd. Each sums to one. The mean squared distance of a kernel's
        places from its middle is `Lens.unit_spread` times the squared radius.
    """
    coloured = (radius[:, None] + lens.fringe * radius.abs().clamp(max=1)[:, None]).abs()
    spread = lens.unit_spread[:, None]
    inner = coloured.square() - PIXEL_SPREAD / spread
    side = 2 * math.ceil(2 * largest) + 3
    distance = _distances(lens, radius < 0, side)
    kernels = _drawn(distance, inner.clamp(min=1).sqrt(), lens.is_gaussian)
    return torch.where(
        (inner < 1)[..., None, None], _narrowed(kernels, spread * coloured.square()), kernels
    )


def draw_lens(count: int, generator: torch.Generator, lenses: Lenses, scale: float = 1.0) -> Lens:
    """Draw lenses.

    Args:
        count: Number of lenses B.
        generator: Source of randomness.
        lenses: The shares and ranges to draw from.
        scale: Pixels of a scene per pixel of the finished crop; fringes are given in the latter.
    """
    kind = uniform(0, 1, (count,), generator)
    blades = whole(FEWEST_BLADES, MOST_BLADES + 1, (count,), generator)
    fringe = uniform(0, 1, (count, 3), generator)
    widest = uniform(0, lenses.most_fringe * scale, (count, 1), generator)
    return Lens(
        blades=blades * (kind < lenses.polygon_share),
        turn=uniform(0, 2 * math.pi, (count,), generator),
        is_gaussian=kind > 1 - lenses.gaussian_share,
        stretch=uniform(1, lenses.most_stretch, (count,), generator),
        axis=uniform(0, math.pi, (count,), generator),
        fringe=widest * (fringe - fringe.mean(1, keepdim=True)),
    )


def draw_radii(
    count: int, generator: torch.Generator, lenses: Lenses, scale: float = 1.0
) -> Tensor:
    """Draw radii (B,) of spots in pixels of a scene; see `draw_lens`."""
    low, high = lenses.radius
    return scale * (low + (high - low) * uniform(0, 1, (count,), generator) ** lenses.radius_power)


def _distances(lens: Lens, is_near: Tensor, side: int) -> Tensor:
    """Return the distances of places from the middle in radii, (B, n, n): 1 on a spot's edge."""
    places = torch.arange(side * FINE, device=is_near.device) + 0.5
    places = places / FINE - side / 2
    axis, root = lens.axis[:, None, None], lens.stretch.sqrt()[:, None, None]
    along = (axis.cos() * places + axis.sin() * places[:, None]) / root
    across = (axis.cos() * places[:, None] - axis.sin() * places) * root
    distance = torch.hypot(along, across)
    part = (2 * math.pi / lens.blades.clamp(min=3))[:, None, None]
    turn = (lens.turn + math.pi * is_near)[:, None, None]
    angle = torch.remainder(torch.atan2(across, along) + axis - turn, part) - part / 2
    polygon = distance * angle.cos() / (part / 2).cos()
    return torch.where((lens.blades > 0)[:, None, None], polygon, distance)


def _drawn(distance: Tensor, radius: Tensor, is_gaussian: Tensor) -> Tensor:
    """Draw spots of radii (B, 3) as kernels (B, 3, K, K)."""
    radius = radius[..., None, None]
    distance = distance[:, None] / radius
    even = ((1 - distance) * radius * FINE + 0.5).clamp(0, 1)
    gaussian = (-2 * distance.square()).exp()
    fine = torch.where(is_gaussian[:, None, None, None], gaussian, even)
    # The mean over one pixel, twice, is a tent.
    kernels = F.avg_pool2d(F.avg_pool2d(fine, FINE, 1, FINE // 2), FINE)
    return kernels / kernels.sum((2, 3), keepdim=True)


def _narrowed(kernels: Tensor, spread: Tensor) -> Tensor:
    """Give more weight to the middle of kernels until they have a smaller spread (B, 3).

    Pixels cannot show smaller spots by their shape.
    """
    half = kernels.shape[-1] // 2
    places = torch.arange(-half, half + 1, device=kernels.device)
    squares = (places[:, None].square() + places.square()).to(kernels.dtype)
    share = spread / (kernels * squares).sum((2, 3))
    return kernels * share[..., None, None] + F.pad(
        (1 - share)[..., None, None], (half, half, half, half)
    )
