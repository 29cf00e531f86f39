"""Keep what enlarges maps from drawing dots.

A transposed convolution of stride 2 makes odd and even pixels with different taps of
its kernel. Unless both come to the same, what is flat gets a pattern of dots (Odena
et al., "Deconvolution and Checkerboard Artifacts", Distill 2016). Resizing before a
plain convolution prevents that; so does holding the kernel to those that such a pair
could have, which changes neither the network nor its speed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.srn import SRN


def even_kernels(kernels: Tensor, stride: int) -> Tensor:
    """Return the nearest kernels that make no dots of what does not change along an axis.

    Args:
        kernels: Of transposed convolutions, (..., n * stride, n * stride).
        stride: How far a kernel moves from one position to the next.
    """
    return _even_rows(_even_rows(kernels, stride).mT, stride).mT


def _even_rows(kernels: Tensor, stride: int) -> Tensor:
    """Give all pixels between two positions the same sum of taps, row by row."""
    taps = kernels.unflatten(-1, (-1, stride))
    excess = taps.mean(-2, keepdim=True) - taps.mean((-2, -1), keepdim=True)
    return (taps - excess).flatten(-2)


@torch.no_grad()
def make_even(network: SRN) -> None:
    """Replace the kernels that enlarge a network's maps, and its result, by even ones."""
    for doubling in network.exits.parameters():
        if doubling.ndim == 4:
            doubling.copy_(even_kernels(doubling, 2))
    unshuffle, (weight, bias) = network.config.unshuffle, network.output.parameters()
    # With what it shuffles to pixels after it, the last is a transposed convolution, too.
    inputs, side = weight.shape[1], weight.shape[2]
    folded = weight.view(-1, unshuffle, unshuffle, inputs, side, side)  # colour, row, column
    flipped = folded.flip(4, 5).permute(0, 3, 4, 1, 5, 2)
    even = even_kernels(flipped.flatten(4, 5).flatten(2, 3), unshuffle)
    unfolded = even.view(flipped.shape).permute(0, 3, 5, 1, 2, 4).flip(4, 5)
    weight.copy_(unfolded.reshape(weight.shape))
    colours = bias.view(-1, unshuffle**2)
    colours.copy_(colours.mean(1, keepdim=True).expand_as(colours))
