"""Define the loss that a training minimises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.network.config import SCALES

SQUARED = (1.0, 0.0)
"""Weights of the squared error and of its logarithm for a new network. The gradient of the squared
error favours strong edges over noise; without it, a new network learns nothing."""

BALANCED = (15.0, 0.02)
"""The same weights for later. The logarithm, which decibels measure (as in Chen et al., "Simple
Baselines for Image Restoration", ECCV 2022), gives good crops more weight, so that sharp photos
stay as they are. The squared error keeps the network learning from strong blur."""


def weighted_error(result: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of the squared error and its logarithm, taken crop by crop.

    Args:
        result: The network's result, (B, C, H, W) in [0, 1].
        wanted: The wanted result, of the same shape and range.
        weights: Weights of the two errors, (2,); a tensor, because a recorded step can take no
            other values.
    """
    squared = (result - wanted).square().mean((1, 2, 3))
    return weights[0] * squared.mean() + weights[1] * torch.log(squared + 1e-5).mean()


def training_loss(results: list[Tensor], sharp: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of the weighted errors of the three scales (equation 7 of the SRN paper)."""
    losses = [
        weighted_error(result.float(), F.avg_pool2d(sharp, scale), weights)
        for result, scale in zip(results, SCALES, strict=True)
    ]
    return torch.stack(losses).sum()
