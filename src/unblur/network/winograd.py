"""Convolutions of 3x3 pixels on CPUs with fewer multiplications than their definition has.

Overlapping squares of 6x6 pixels are transformed, multiplied by transformed kernels, and
transformed back to squares of 4x4 pixels: 36 multiplications replace 144. Lavin, Gray: "Fast
Algorithms for Convolutional Neural Networks", CVPR 2016, https://arxiv.org/abs/1509.09308, section
4.1, F(4x4, 3x3). In bfloat16 the transformed values would round too much.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

Matrix: TypeAlias = tuple[tuple[float, ...], ...]

KERNEL = 3
SQUARE = 4
"""Side of a square of the result."""
LEAST_CHANNELS = 64
"""With fewer channels, the transforms take more time than the multiplications save."""
AT_ONCE = 128
"""So many squares are computed at once, so that they stay in the processor's caches."""


PIXELS: Matrix = (
    (4.0, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
"""Transforms the pixels of a square: B^T in the paper."""
KERNELS: Matrix = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
"""Transforms a kernel: G in the paper."""
BACK: Matrix = (
    (1.0, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
"""Transforms products to pixels: A^T in the paper."""


def is_faster(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Tell whether `convolve` takes less time than PyTorch for a map (B, C, H, W).

    It computes no gradients.
    """
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and stride == 1
        and weight.shape[2:] == (KERNEL, KERNEL)
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and min(weight.shape[:2]) >= LEAST_CHANNELS
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve a map that is padded already.

    Args:
        x: (B, C, H, W), float32, laid out channels-last.
        weight: (O, C, 3, 3), float32.
        bias: (O,), float32.

    Returns:
        (B, O, H - 2, W - 2), float32, laid out channels-last.
    """
    height, width = x.shape[2] - 2, x.shape[3] - 2
    x = pad(x, (0, -width % SQUARE, 0, -height % SQUARE))
    kernels = _transformed_kernels(weight)
    maps = [_convolved(image.permute(1, 2, 0), kernels, bias) for image in x]
    whole = maps[0][None] if len(maps) == 1 else torch.stack(maps)
    return whole.permute(0, 3, 1, 2)[..., :height, :width]


def _transformed_kernels(weight: Tensor) -> Tensor:
    """Transform kernels (O, C, 3, 3) to (36, C, O)."""
    outputs, inputs = weight.shape[:2]
    matrix = torch.tensor(KERNELS)
    pixels = weight.reshape(outputs * inputs, KERNEL**2)
    kernels = torch.kron(matrix, matrix) @ pixels.T
    return kernels.view(-1, outputs, inputs).transpose(1, 2)


def _convolved(x: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
    """Convolve a map (H + 2, W + 2, C) of whole squares to (H, W, O)."""
    rows, columns = (len(x) - 2) // SQUARE, (x.shape[1] - 2) // SQUARE
    result = x.new_empty(rows, SQUARE, columns, SQUARE, len(bias))
    squares = x.unfold(0, SQUARE + 2, SQUARE).unfold(1, SQUARE + 2, SQUARE).permute(3, 4, 0, 1, 2)
    step = max(1, AT_ONCE // columns)
    for top in range(0, rows, step):
        part = _convolved_squares(squares[:, :, top : top + step], kernels, bias)
        result[top : top + step] = part.permute(2, 0, 3, 1, 4)
    return result.view(rows * SQUARE, columns * SQUARE, -1)


def _convolved_squares(x: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
    """Convolve squares of pixels, (6, 6, h, w, C), to (4, 4, h, w, O)."""
    forth, back = torch.tensor(PIXELS), torch.tensor(BACK)
    side, rows, columns, inputs = len(forth), *x.shape[2:]
    pixels = forth @ (forth @ x.reshape(side, -1)).view(side, side, -1)
    products = pixels.view(side**2, -1, inputs) @ kernels
    products[side + 1] += bias  # each pixel of the result contains this product once
    halfway = (back @ products.view(side, -1)).view(SQUARE, side, -1)
    return (back @ halfway).view(SQUARE, SQUARE, rows, columns, -1)
