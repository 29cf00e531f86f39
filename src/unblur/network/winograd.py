"""Convolutions of 3x3 pixels on CPUs with fewer multiplications than their definition has.

Overlapping squares of pixels are transformed, multiplied by transformed kernels, and transformed
back. Lavin, Gray: "Fast Algorithms for Convolutional Neural Networks", CVPR 2016,
https://arxiv.org/abs/1509.09308, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

Matrix: TypeAlias = tuple[tuple[float, ...], ...]

KERNEL = 3


@dataclass(frozen=True)
class Transform:
    """The matrices of F(m x m, 3 x 3), which makes squares of m x m pixels."""

    pixels: Matrix
    """For the pixels of a square, (m + 2, m + 2): B^T in the paper."""
    kernel: Matrix
    """For the kernel, (m + 2, 3): G in the paper."""
    back: Matrix
    """For the products, (m, m + 2): A^T in the paper."""
    least_channels: int
    """With fewer channels, transforms take more time than the multiplications save."""
    at_once: int
    """So many squares are computed at once; they stay in the processor's caches."""


LARGE = Transform(
    (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    least_channels=64,
    at_once=128,
)
"""36 multiplications replace 144."""
SMALL = Transform(
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    ((1, 1, 1, 0), (0, 1, -1, -1)),
    least_channels=256,
    at_once=512,
)
"""16 multiplications replace 36."""
TRANSFORMS = {torch.float32: LARGE, torch.bfloat16: SMALL}
"""In bfloat16, larger squares would round too much."""


def is_faster(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Tell whether `convolve` takes less time than PyTorch for a map (B, C, H, W).

    It computes no gradients.
    """
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and stride == 1
        and weight.shape[2:] == (KERNEL, KERNEL)
        and x.dtype in TRANSFORMS
        and min(weight.shape[:2]) >= TRANSFORMS[x.dtype].least_channels
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve a map that is padded already.

    Args:
        x: (B, C, H, W), float32 or bfloat16, laid out channels-last.
        weight: (O, C, 3, 3), of any type.
        bias: (O,), of any type.

    Returns:
        (B, O, H - 2, W - 2) in the type of ``x``, laid out channels-last.
    """
    transform = TRANSFORMS[x.dtype]
    side = len(transform.back)
    height, width = x.shape[2] - 2, x.shape[3] - 2
    x = pad(x, (0, -width % side, 0, -height % side))
    with torch.autocast("cpu", enabled=False):
        kernels = _transformed_kernels(weight, transform, x.dtype)
        maps = [_convolved(image.permute(1, 2, 0), kernels, bias, transform) for image in x]
    whole = maps[0][None] if len(maps) == 1 else torch.stack(maps)
    return whole.permute(0, 3, 1, 2)[..., :height, :width]


def _transformed_kernels(weight: Tensor, transform: Transform, dtype: torch.dtype) -> Tensor:
    """Transform kernels (O, C, 3, 3) to ((m + 2)^2, C, O)."""
    outputs, inputs = weight.shape[:2]
    matrix = torch.tensor(transform.kernel)
    pixels = weight.float().reshape(outputs * inputs, KERNEL**2)
    kernels = torch.kron(matrix, matrix) @ pixels.T
    return kernels.view(-1, outputs, inputs).to(dtype).transpose(1, 2)


def _convolved(x: Tensor, kernels: Tensor, bias: Tensor, transform: Transform) -> Tensor:
    """Convolve a map (H + 2, W + 2, C) of whole squares to (H, W, O)."""
    side, outputs = len(transform.back), len(bias)
    height, width = len(x) - 2, x.shape[1] - 2
    result = x.new_empty(height // side, side, width // side, side, outputs)
    step = max(1, transform.at_once // (width // side))
    squares = x.unfold(0, side + 2, side).unfold(1, side + 2, side).permute(3, 4, 0, 1, 2)
    for top in range(0, height // side, step):
        rows = _convolved_squares(squares[:, :, top : top + step], kernels, bias, transform)
        result[top : top + step] = rows.permute(2, 0, 3, 1, 4)
    return result.view(height, width, outputs)


def _convolved_squares(x: Tensor, kernels: Tensor, bias: Tensor, transform: Transform) -> Tensor:
    """Convolve squares of pixels, (m + 2, m + 2, h, w, C), to (m, m, h, w, O)."""
    forth, back = (torch.tensor(m, dtype=x.dtype) for m in (transform.pixels, transform.back))
    side, rows, columns, inputs = len(forth), *x.shape[2:]
    pixels = forth @ (forth @ x.reshape(side, -1)).view(side, side, -1)
    products = pixels.view(side**2, -1, inputs) @ kernels
    products[side + 1] += bias  # each pixel of the result contains this product once
    halfway = (back @ products.view(side, -1)).view(len(back), side, -1)
    return (back @ halfway).view(len(back), len(back), rows, columns, -1)
