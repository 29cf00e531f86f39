"""What a training minimises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.network.config import SCALES

SQUARED = (1.0, 0.0)
"""Weights of the squared error and of its logarithm, for a network that is new. Its gradient
favours strong edges over noise; without it, such a network learns nothing."""

BALANCED = (15.0, 0.02)
"""The same for later. The logarithm is what decibels measure (as in Chen et al., "Simple Baselines
for Image Restoration", ECCV 2022) and weighs a crop by how good it is already, so that sharp photos
stay as they are; the squared error keeps the network at work on what is badly blurred."""


def weighted_error(result: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return a weighted sum of the squared error and its logarithm, crop by crop.

    Args:
        result: What the network made, (B, C, H, W) in [0, 1].
        wanted: What it should make, alike.
        weights: Of the two, (2,). They are a tensor, since a recorded step takes no other values.
    """
    squared = (result - wanted).square().mean((1, 2, 3))
    return weights[0] * squared.mean() + weights[1] * torch.log(squared + 1e-5).mean()


def training_loss(results: list[Tensor], sharp: Tensor, weights: Tensor) -> Tensor:
    """Sum the weighted error over the three scales (equation 7 of the SRN paper)."""
    losses = [
        weighted_error(result.float(), F.avg_pool2d(sharp, scale), weights)
        for result, scale in zip(results, SCALES, strict=True)
    ]
    return torch.stack(losses).sum()
