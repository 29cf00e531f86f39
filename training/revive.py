"""Give dead units new filters, so that a training can use the units again.

If no photo activates a unit before a ReLU, the unit has no gradient, and stays dead for the rest of
the training (Lu et al., "Dying ReLU and Initialization", 2019, https://arxiv.org/abs/1903.06733).
Small steps turn off filters that respond to the mean of their input, because the mean is much
larger than its variation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.network.bands import LineBuffers
from unblur.network.srn import SRN, ResidualBlock

NEVER = 0.0003
"""A unit that is active in a smaller share of the places counts as dead."""


@torch.no_grad()
def revive(network: SRN, photos: Tensor) -> int:
    """Draw new filters for dead units, almost without changing the network's result.

    The new filters respond only to differences from the mean input, have the norm of their
    neighbours, and are active in half of the places. The weights that use their outputs start at
    zero.

    Args:
        network: The network, which is changed in place, block by block.
        photos: Blurred photos (B, C, H, W) in [0, 1] for finding dead units; H and W are multiples
            of ``network.config.multiple``.

    Returns:
        The number of dead units.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    return sum(_revive_block(block, _inputs_of(block, network, photos)) for block in blocks)


def _inputs_of(block: ResidualBlock, network: SRN, photos: Tensor) -> list[Tensor]:
    """Return the input of a block at each scale, (B, width, h, w) each."""
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
    """Draw filters (count, I, k, k) with no response to a constant input of the usual mean."""
    mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    mean = F.normalize(mean, dim=0)[:, None, None]
    filters = torch.randn(count, *weight.shape[1:], device=weight.device)
    filters -= (filters * mean).sum(1, keepdim=True) * mean
    length = weight.flatten(1).norm(dim=1).median()
    return F.normalize(filters.flatten(1), dim=1).mul(length).view_as(filters)


def _medians(filters: Tensor, inputs: list[Tensor]) -> Tensor:
    """Return the median of each filter's results, (count,)."""
    results = [F.conv2d(x, filters, padding="same").transpose(0, 1).flatten(1) for x in inputs]
    return torch.cat(results, 1).median(1).values
