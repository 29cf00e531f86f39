"""Give units that are never on new filters, so that a training can use them again.

A unit behind a ReLU that no photo turns on has no gradient: it stays off however long the
training goes on (Lu et al., "Dying ReLU and Initialization", 2019,
https://arxiv.org/abs/1903.06733). Filters that see the mean of their input are turned off by
small steps, since that mean is much larger than what varies.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.network.bands import LineBuffers
from unblur.network.srn import SRN, ResidualBlock

NEVER = 0.0003
"""Units that are on at fewer places than this share are taken for dead."""


@torch.no_grad()
def revive(network: SRN, photos: Tensor) -> int:
    """Draw new filters for dead units. What the network does changes by almost nothing.

    The new filters see differences from the mean input alone, are as long as their
    neighbours, and are on at half of the places. What is made of them starts at zero.

    Args:
        network: Changed in place, one block after the other.
        photos: Blurred photos (B, C, H, W) in [0, 1] to judge by; H and W are multiples of
            ``network.config.multiple``.

    Returns:
        How many units were dead.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    return sum(_revive_block(block, _inputs_of(block, network, photos)) for block in blocks)


def _inputs_of(block: ResidualBlock, network: SRN, photos: Tensor) -> list[Tensor]:
    """Return what a block is given at each scale, (B, width, h, w) each."""
    inputs: list[Tensor] = []
    hook = block.conv1.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    network(photos)
    hook.remove()
    return inputs


def _revive_block(block: ResidualBlock, inputs: list[Tensor]) -> int:
    conv = block.conv1
    share = torch.stack([(conv(x, LineBuffers()) > 0).float().mean((0, 2, 3)) for x in inputs])
    dead = (share.mean(0) < NEVER).nonzero()[:, 0]
    if len(dead):
        filters = _filters_without_mean(conv.weight, len(dead), inputs)
        conv.weight[dead] = filters
        conv.get_parameter("bias")[dead] = -_medians(filters, inputs)
        block.conv2.weight[:, dead] = 0
    return len(dead)


def _filters_without_mean(weight: Tensor, count: int, inputs: list[Tensor]) -> Tensor:
    """Draw filters (count, I, k, k) that a constant input of the usual mean leaves at zero."""
    mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    mean = F.normalize(mean, dim=0)[:, None, None]
    filters = torch.randn(count, *weight.shape[1:], device=weight.device)
    filters -= (filters * mean).sum(1, keepdim=True) * mean
    length = weight.flatten(1).norm(dim=1).median()
    return F.normalize(filters.flatten(1), dim=1).mul(length).view_as(filters)


def _medians(filters: Tensor, inputs: list[Tensor]) -> Tensor:
    """Return what half of a filter's results are above, (count,)."""
    results = [F.conv2d(x, filters, padding="same").transpose(0, 1).flatten(1) for x in inputs]
    return torch.cat(results, 1).median(1).values
