"""What a training minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.srn_config import SCALES

Error: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes what a network made and what was wanted, (B, C, H, W) in [0, 1], and returns a scalar."""


def squared_error(result: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error, whose gradient favours strong edges over noise."""
    return F.mse_loss(result, wanted)


def robust_error(result: Tensor, wanted: Tensor) -> Tensor:
    """Charbonnier error plus a share of the L1 error of the spectrum.

    The spectrum follows Cho et al., "Rethinking Coarse-to-Fine Approach in
    Single Image Deblurring", ICCV 2021 (MIMO-UNet), whose weight is 0.1.
    """
    difference = result - wanted
    charbonnier = (difference.square() + 0.01**2).sqrt().mean()
    spectrum = torch.fft.rfft2(difference, norm="ortho")
    return charbonnier + 0.02 * torch.view_as_real(spectrum).abs().mean()


def balanced_error(result: Tensor, wanted: Tensor) -> Tensor:
    """Squared error plus its logarithm, crop by crop.

    The logarithm is what decibels measure (as in Chen et al., "Simple Baselines
    for Image Restoration", ECCV 2022) and weighs a crop by how good it is
    already, so that sharp photos stay as they are; the squared error keeps the
    network at work on what is badly blurred.
    """
    squared = (result - wanted).square().mean((1, 2, 3))
    return (0.02 * torch.log(squared + 1e-5) + 15 * squared).mean()


LATER_ERRORS = {"robust": robust_error, "balanced": balanced_error}


def training_loss(results: list[Tensor], sharp: Tensor, error: Error) -> Tensor:
    """Sum the error over the three scales (equation 7 of the SRN paper)."""
    losses = [
        error(result.float(), F.avg_pool2d(sharp, scale))
        for result, scale in zip(results, SCALES, strict=True)
    ]
    return torch.stack(losses).sum()
