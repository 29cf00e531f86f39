"""Measure the distance of results from sharp photos, for many photos at once on any device.

Photos are tensors (N, 3, H, W) float32 in [0, 255].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NOTICEABLE_OVERSHOOT = 16
"""Least distance of a counted value from the sharp photo's range nearby, of 255."""
NEARBY = 7
"""Side in pixels of the square that counts as nearby."""
SSIM_WINDOW = 7

XYZ_OF_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""ITU-R BT.709 primaries and the white of D65."""
WHITE = (0.95047, 1.0, 1.08883)
"""X, Y and Z of D65 for an observer of 2 degrees."""


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity (N,) of photos; 1 for equal photos.

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", TIP 2004, equation 13, with squares of 7 pixels of equal weight, as in
    scikit-image.
    """

    def local(values: Tensor) -> Tensor:
        rows = F.avg_pool2d(values, (1, SSIM_WINDOW), stride=1)
        return F.avg_pool2d(rows, (SSIM_WINDOW, 1), stride=1)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    mean1, mean2 = local(first), local(second)
    variance1 = unbiased * (local(first.square()) - mean1.square())
    variance2 = unbiased * (local(second.square()) - mean2.square())
    covariance = unbiased * (local(first * second) - mean1 * mean2)
    luminance = (2 * mean1 * mean2 + c1) / (mean1.square() + mean2.square() + c1)
    structure = (2 * covariance + c2) / (variance1 + variance2 + c2)
    return (luminance * structure).mean((1, 2, 3))


def mean_colour(photos: Tensor) -> Tensor:
    """Return the mean colours (N, 3) of sRGB photos in CIE Lab (IEC 61966-2-1; CIE 15)."""
    stored = photos / 255
    linear = torch.where(stored > 0.04045, ((stored + 0.055) / 1.055) ** 2.4, stored / 12.92)
    xyz = torch.einsum("ij,njhw->nihw", photos.new_tensor(XYZ_OF_RGB), linear)
    relative = xyz / photos.new_tensor(WHITE)[:, None, None]
    f = torch.where(relative > 0.008856, relative ** (1 / 3), 7.787 * relative + 16 / 116)
    x, y, z = f.mean((2, 3)).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def overshooting(photos: Tensor, sharp: Tensor) -> Tensor:
    """Return a mask, (N, 3, H, W) bool, of values outside the sharp photo's range nearby."""
    above = photos - highest(sharp, NEARBY)
    below = -highest(-sharp, NEARBY) - photos
    return torch.maximum(above, below) >= NOTICEABLE_OVERSHOOT


def highest(values: Tensor, side: int) -> Tensor:
    """Return the highest value in a square with an odd side around each pixel."""
    rows = F.max_pool2d(values, (1, side), stride=1, padding=(0, side // 2))
    return F.max_pool2d(rows, (side, 1), stride=1, padding=(side // 2, 0))
