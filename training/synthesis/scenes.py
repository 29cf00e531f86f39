"""Photos on the training's device, and crops of them: scaled, turned and mirrored.

All photos lie one behind the other in one tensor, as they were decoded: red, green and
blue of each pixel, row by row. A photo is known by its number, 0 to N - 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.data import Pixels
from training.synthesis.draws import chance, uniform, whole

CELL = 16
"""Side in pixels of the cells whose detail is measured."""

LOOKS = 6
"""Number of cells along each side of a place by which its detail is judged."""

MOST_SHRINK = 2.0
"""Largest divisor of a crop's sides."""

CANDIDATES = 4
"""Number of random places from which the most detailed is taken."""

STEEPEST = math.radians(6)
"""Largest angle by which a crop is turned, in addition to quarter turns."""


@dataclass(frozen=True)
class Scenes:
    """Photos on a device."""

    pixels: Tensor
    """(pixels, 3) uint8: the photos, with room before and after them for reads beyond their
    edges."""
    starts: Tensor
    """(N,) the row of `pixels` where each photo starts."""
    sides: Tensor
    """(N, 2) heights and widths in pixels."""
    is_coded: Tensor
    """(N,) bool, whether coding noise can be seen at the photo's own size."""
    detail: Tensor
    """(cells,) mean difference between the green of neighbouring rows, in cells of `CELL`
    pixels."""
    detail_starts: Tensor
    """(N,) where each photo starts in `detail`."""

    @property
    def count(self) -> int:
        """Number of photos."""
        return len(self.starts)

    @property
    def device(self) -> torch.device:
        """The device that holds the photos."""
        return self.pixels.device


@dataclass(frozen=True)
class Places:
    """The places where crops are cut out of photos."""

    photo: Tensor
    """(B,) numbers of the photos."""
    middle: Tensor
    """(B, 2) y and x of the crops' middles, in pixels from the photo's upper left corner."""
    shrink: Tensor
    """(B,) divisors of the sides, from 0.5 (enlarged) to `MOST_SHRINK`."""
    turn: Tensor
    """(B, 2, 2) matrices of determinant 1 or -1 that turn and mirror (y, x) of the crop."""


def gather_scenes(
    photos: Sequence[Pixels], is_coded: Sequence[bool], largest: int, device: torch.device
) -> Scenes:
    """Put photos on a device.

    Args:
        photos: Photos, each (H, W, 3) uint8.
        is_coded: Whether coding noise can be seen in each photo; see `Scenes`.
        largest: Side in pixels of the largest crops that will be cut out.
        device: Where the photos are kept.
    """
    with ThreadPoolExecutor() as threads:
        detail = list(threads.map(_detail, photos))
    sides = [photo.shape[:2] for photo in photos]
    room = _patch_side(largest)
    starts = [room + start for start in _starts([height * width for height, width in sides])]
    total = starts[-1] + photos[-1].size // 3 + room
    pixels = torch.zeros(total, 3, dtype=torch.uint8, device=device)
    for start, photo in zip(starts, photos, strict=True):
        flat = torch.tensor(photo.reshape(-1, 3))
        pixels[start : start + len(flat)] = flat.to(device)
    return Scenes(
        pixels,
        torch.tensor(starts, device=device),
        torch.tensor(sides, device=device),
        torch.tensor(is_coded, device=device),
        torch.from_numpy(np.concatenate([cells.ravel() for cells in detail])).to(device),
        torch.tensor(_starts([cells.size for cells in detail]), device=device),
    )


def draw_places(
    scenes: Scenes, photo: Tensor, shrink: Tensor, size: int, generator: torch.Generator
) -> Places:
    """Draw places for crops: the most detailed of four, since flat sky teaches nothing.

    Crops are mirrored and turned by quarters. Crops whose pixels are interpolated anyway are also
    turned by up to `STEEPEST`. Crops of the photo's own size or of half of it are not: their pixels
    are the photo's own, or means of four, and interpolation would blur them.

    Args:
        scenes: The photos.
        photo: (B,) numbers of the photos.
        shrink: (B,) divisors of the sides, up to `MOST_SHRINK`. They are reduced where a photo is
            too small for that.
        size: Side of the crops in pixels.
        generator: Source of randomness.
    """
    count = len(photo)
    angle = uniform(-STEEPEST, STEEPEST, (count,), generator) * (shrink % 1 != 0)
    angle = angle + math.pi / 2 * whole(0, 4, (count,), generator)
    turn = _turns(angle, chance(0.5, (count,), generator))
    sides = scenes.sides[photo]
    reach = turn.abs().sum(2) * (size / 2)
    shrink = torch.minimum(shrink, (sides / (2 * reach)).amin(1))
    reach = (reach * shrink[:, None])[:, None]
    middles = uniform(reach, sides[:, None] - reach, (count, CANDIDATES, 2), generator).round()
    most_detailed = _detail_near(scenes, photo, middles, reach).argmax(1)
    middle = middles.gather(1, most_detailed[:, None, None].expand(-1, 1, 2))[:, 0]
    return Places(photo, middle, shrink, turn)


def cut_out(scenes: Scenes, places: Places, size: int) -> Tensor:
    """Cut crops out of photos.

    Each pixel of a crop is the mean of four bilinear samples. The larger a pixel of the crop is
    than a pixel of the photo, the farther apart the samples lie, so that together they cover the
    crop's pixel. In a crop of the photo's own size the four samples coincide, and the pixel is the
    photo's; in a crop of half the size they are four pixels of the photo.

    Args:
        scenes: The photos.
        places: Places of B crops.
        size: Side of the crops in pixels, an even number.

    Returns:
        Stored images (B, 3, size, size) float32 in [0, 1].
    """
    side = _patch_side(size)
    corner = places.middle.long() - side // 2
    patches = _patches(scenes, places.photo, corner, side)
    offsets = torch.arange(size, device=scenes.device) + (0.5 - size / 2)
    rows, columns = (places.turn * places.shrink[:, None, None])[..., None].unbind(2)  # (B, 2, 1)
    seen = (places.middle - corner)[..., None, None] + (rows * offsets)[..., None]
    seen = seen + (columns * offsets)[:, :, None]  # (B, 2, S, S), y and x in the patches
    lowest = (0.5 - corner)[..., None, None]
    highest = lowest + (scenes.sides[places.photo] - 1)[..., None, None]
    spread = (places.shrink.clamp(min=1) - 1) / 2
    total = torch.zeros(len(corner), 3, size, size, device=scenes.device)
    for y, x in itertools.product((-1, 1), (-1, 1)):
        aside = (places.turn[..., 0] * y + places.turn[..., 1] * x) * spread[:, None]
        sampled = (seen + aside[..., None, None]).clamp(lowest, highest)
        grid = (sampled * (2 / side) - 1).flip(1).permute(0, 2, 3, 1)
        total += F.grid_sample(patches, grid, align_corners=False)
    return total / 4


def _patches(scenes: Scenes, photo: Tensor, corner: Tensor, side: int) -> Tensor:
    """Copy squares (B, 3, side, side) float32 whose upper left corners are (B, 2).

    Above and below a photo its border is repeated; pixels to its left and right are not part
    of it.
    """
    steps = torch.arange(side, device=scenes.device)
    heights, widths = scenes.sides[photo].unbind(1)
    rows = (corner[:, :1] + steps).clamp(min=0).minimum(heights[:, None] - 1)
    starts = scenes.starts[photo, None] + rows * widths[:, None] + corner[:, 1:]
    patches = scenes.pixels.index_select(0, (starts[..., None] + steps).flatten())
    return patches.view(len(photo), side, side, 3).permute(0, 3, 1, 2).float() / 255


def _detail_near(scenes: Scenes, photo: Tensor, middles: Tensor, reach: Tensor) -> Tensor:
    """Return the mean detail (B, C) of squares around C places (B, C, 2) in each photo."""
    steps = (torch.arange(LOOKS, device=scenes.device) + 0.5) * (2 / LOOKS) - 1
    looks = torch.cartesian_prod(steps, steps)
    cells = ((middles[:, :, None] + looks * reach[:, :, None]) / CELL).long()  # (B, C, L, 2)
    sides = (scenes.sides[photo] // CELL)[:, None, None]
    y, x = cells.minimum(sides - 1).unbind(-1)
    index = scenes.detail_starts[photo, None, None] + y * sides[..., 1] + x
    return scenes.detail[index].mean(2)


def _turns(angle: Tensor, is_mirrored: Tensor) -> Tensor:
    """Return matrices (B, 2, 2) that turn (y, x) by angles in radians and mirror x."""
    sine, cosine = angle.sin(), angle.cos()
    mirror = torch.where(is_mirrored, -1.0, 1.0)
    return torch.stack([cosine, -sine * mirror, sine, cosine * mirror], 1).unflatten(1, (2, 2))


def _patch_side(size: int) -> int:
    """Return an even side in pixels that holds a crop of a size at any angle."""
    diagonal = math.cos(STEEPEST) + math.sin(STEEPEST)
    return 2 * math.ceil(size * MOST_SHRINK * diagonal / 2) + 4


def _detail(photo: Pixels) -> NDArray[np.float32]:
    """Return the mean difference between the green of neighbouring rows, by cell."""
    rows, columns = (side // CELL for side in photo.shape[:2])
    green = photo[: rows * CELL, : columns * CELL, 1].astype(np.int16)
    differences = np.abs(np.diff(green, axis=0, append=green[-1:]))
    return differences.reshape(rows, CELL, columns, CELL).mean((1, 3), dtype=np.float32)


def _starts(sizes: Sequence[int]) -> list[int]:
    """Return the starts of runs that lie one behind the other, from their lengths."""
    return list(itertools.accumulate(sizes, initial=0))[:-1]
