"""Keep the layers that enlarge maps from drawing dots.

A transposed convolution of stride 2 computes odd and even pixels with different taps of its kernel.
Unless both sets of taps have the same sum, flat areas get a pattern of dots (Odena et al.,
"Deconvolution and Checkerboard Artifacts", Distill 2016). Resizing before a plain convolution
prevents this. Here, the kernel is limited to kernels that such a pair of layers could have, which
changes neither the network nor its speed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.network.srn import SRN


@torch.no_grad()
def make_even(network: SRN) -> None:
    """Replace the kernels that enlarge a network's maps, and its result, by the nearest even ones.

    Even kernels draw no dots where a picture does not change along an axis.
    """
    for weight in network.exits.parameters():
        if weight.ndim == 4:
            taps = weight.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
            _even_out(taps, tap=2, phase=3)
            _even_out(taps, tap=4, phase=5)
    # The last one's maps are shuffled to pixels, which makes it a transposed convolution, too.
    unshuffle, (weight, bias) = network.config.unshuffle, network.output.parameters()
    taps = weight.unflatten(0, (-1, unshuffle, unshuffle))
    _even_out(taps, tap=4, phase=1)
    _even_out(taps, tap=5, phase=2)
    colours = bias.unflatten(0, (-1, unshuffle**2))
    colours.copy_(colours.mean(1, keepdim=True))


def _even_out(taps: Tensor, tap: int, phase: int) -> None:
    """Give all pixels between two positions of a kernel the same sum of taps along an axis.

    Args:
        taps: Kernels, changed in place.
        tap: Dimension over which the taps of a pixel are summed.
        phase: Dimension of the pixels between two positions.
    """
    taps.sub_(taps.mean(tap, keepdim=True) - taps.mean((tap, phase), keepdim=True))
