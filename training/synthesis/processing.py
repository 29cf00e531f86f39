"""Processing of stored photos by cameras and messengers: denoising, sharpening, shrinking."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.synthesis.draws import chance, log_uniform, per_image, uniform
from training.synthesis.light import LUMA

DENOISING_STEP, DENOISING_WINDOW = 2, 3
"""The guided filter looks at windows of 6x6 pixels: at 3x3 means of 2x2."""

SHARPENING_REACH = 5
"""Pixels on each side of a sharpening kernel's middle: over three times the largest radius."""


@dataclass(frozen=True)
class Denoising:
    """How noise is smoothed."""

    strength: Tensor
    """(B,), in [0, 1]; 0 leaves the photo exactly as it is."""
    deviation: Tensor
    """(B,), above 0, in stored numbers: detail with a smaller deviation than this is smoothed."""


def denoise(stored: Tensor, denoising: Denoising) -> Tensor:
    """Smooth noise as phones do, mostly in colour.

    A guided filter (He, Sun and Tang, "Guided Image Filtering", ECCV 2010, equations 5
    and 6) of each channel, whose guide is the luma: colour that luma does not explain is
    smoothed most. Its lines are fitted for every second window and interpolated, much
    as in He and Sun, "Fast Guided Filter", 2015.

    Args:
        stored: Photos (B, 3, H, W).
        denoising: Parameters of the batch.
    """
    guide = luma(stored)
    known = _window_means(torch.cat([guide, guide * guide, stored, guide * stored], dim=1))
    mean, square, colour, product = known.split([1, 1, 3, 3], dim=1)
    slope = (product - mean * colour) / (square - mean**2 + per_image(denoising.deviation) ** 2)
    lines = torch.cat([slope, colour - slope * mean], dim=1)
    lines = F.interpolate(lines, scale_factor=DENOISING_STEP, mode="bilinear")
    slope, start = lines[..., : stored.shape[-2], : stored.shape[-1]].split(3, dim=1)
    return stored + per_image(denoising.strength) * (slope * guide + start - stored)


def luma(stored: Tensor) -> Tensor:
    """Return the luma (B, 1, H, W) of photos (B, 3, H, W)."""
    red, green, blue = stored.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _window_means(images: Tensor) -> Tensor:
    """Return the means of the windows around each 2x2 pixels, as far as they are in the image."""
    means = F.avg_pool2d(images, DENOISING_STEP, ceil_mode=True)
    reach = DENOISING_WINDOW // 2
    return F.avg_pool2d(means, DENOISING_WINDOW, 1, reach, count_include_pad=False)


def draw_denoising(
    count: int,
    generator: torch.Generator,
    share: float = 0.5,
    deviation: tuple[float, float] = (0.01, 0.06),
) -> Denoising:
    """Draw denoising of a share of the photos, from hardly any to full."""
    strength = uniform(0, 1, (count,), generator) * chance(share, (count,), generator)
    return Denoising(strength, log_uniform(*deviation, (count,), generator))


@dataclass(frozen=True)
class Sharpening:
    """How edges are enhanced."""

    amount: Tensor
    """(B,), the amount; 0 leaves the photo exactly as it is."""
    radius: Tensor
    """(B,), standard deviation of the Gaussian in pixels, in (0, 1.5]."""


def sharpen(stored: Tensor, sharpening: Sharpening) -> Tensor:
    """Sharpen the luma by an unsharp mask: add the detail that a Gaussian blur removes.

    Args:
        stored: Photos (B, 3, H, W), repeated at their borders.
        sharpening: Parameters of the batch.

    Returns:
        Photos in [0, 1].
    """
    light = luma(stored)
    detail = light - _gaussian_blur(light, sharpening.radius)
    return (stored + per_image(sharpening.amount) * detail).clamp(0, 1)


def _gaussian_blur(images: Tensor, radius: Tensor) -> Tensor:
    """Blur (B, 1, H, W), each image by its own radius."""
    reach = SHARPENING_REACH
    offset = torch.arange(-reach, reach + 1, device=images.device)
    kernel = (-0.5 * (offset / radius[:, None]) ** 2).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None, None]
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate").transpose(0, 1)
    rows = F.conv2d(padded, kernel, groups=len(images))
    return F.conv2d(rows, kernel.transpose(2, 3), groups=len(images)).transpose(0, 1)


def draw_sharpening(
    count: int,
    generator: torch.Generator,
    share: float = 0.5,
    most: float = 0.8,
    radius: tuple[float, float] = (0.5, 1.5),
) -> Sharpening:
    """Draw sharpening of a share of the photos."""
    amount = uniform(0, most, (count,), generator) * chance(share, (count,), generator)
    return Sharpening(amount, uniform(*radius, (count,), generator))


def shrink(images: Tensor, size: int) -> Tensor:
    """Shrink square images (B, C, H, H) to (B, C, size, size) as messengers do.

    The filter is a triangle as wide as the shrinking needs; it shifts nothing and never overshoots.
    An image that already has this size stays exactly as it is.
    """
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


def size_before_shrinking(size: int, factor: float) -> int:
    """Return the side of a photo that has this size after shrinking by about the factor."""
    return math.ceil(size * factor)
