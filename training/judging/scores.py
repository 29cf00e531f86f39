"""Score a network on a set of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor

from training.data import Pair
from training.judging.inference import Deblur, deblur_all, same_sized, stacked
from training.judging.quality import mean_colour, overshooting, ssim
from unblur.network.srn import SRN

NOTICEABLY_WORSE = 0.1
"""Loss in decibels from which on a photo counts as worse."""
LEAST_ERROR = 1e-6
"""Smallest squared error for the logarithm."""


@dataclass(frozen=True)
class Score:
    """Quality of a set of deblurred photos."""

    gain: float
    """Gain in decibels over the blurred photos, from mean squared errors pooled over the set."""
    worse: float
    """Share of the photos that lost `NOTICEABLY_WORSE` or more, in [0, 1]."""
    psnr: float
    """Mean over the photos of the peak signal-to-noise ratio, in decibels."""
    ssim: float
    """Mean structural similarity of the result and the sharp photo; 1 if they are equal."""
    tint: float
    """Mean distance between the mean colours of the result and of the sharp photo, in a* and b* of
    CIE Lab. L* is left out, because blur itself makes photos brighter."""
    overshoot: float
    """Share of the result's values outside the sharp photo's range nearby, in [0, 1]: halos,
    ringing and remaining blur; see `training.judging.quality`."""
    harm: float
    """Mean absolute change of the sharp photos by deblurring, of 255."""
    harm_to_colour: float
    """Mean change of the sharp photos' mean colours by deblurring, in CIE Lab."""

    def __str__(self) -> str:
        """Format as one row."""
        return (
            f"gain {self.gain:+.2f} dB, {self.worse:.0%} worse, PSNR {self.psnr:.2f} dB, "
            f"SSIM {self.ssim:.3f}, tint {self.tint:.2f}, overshoot {self.overshoot:.2%}, "
            f"sharp photos changed by {self.harm:.2f} of 255, "
            f"their mean colours by {self.harm_to_colour:.2f} of Lab"
        )


@dataclass(frozen=True)
class Crops:
    """Measures of single photos, each a tensor (N,) float64 on the CPU."""

    blurred_error: Tensor
    """Mean squared errors of the blurred photos."""
    error: Tensor
    """Mean squared errors of the results; the next three fields are also of the results."""
    ssim: Tensor
    tint: Tensor
    overshoot: Tensor
    harm: Tensor
    harm_to_colour: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Crops]) -> Crops:
        """Join the photos of several sets."""
        return cls(
            *(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls))
        )

    def gains(self) -> Tensor:
        """Return the gain of each photo in decibels, (N,)."""
        before, after = (error.clamp(min=LEAST_ERROR) for error in (self.blurred_error, self.error))
        return 10 * (before / after).log10()

    def score(self) -> Score:
        """Return the score of all photos together."""
        pooled = self.blurred_error.mean() / self.error.mean()
        return Score(
            gain=float(10 * pooled.log10()),
            worse=float((self.gains() <= -NOTICEABLY_WORSE).double().mean()),
            psnr=float((10 * (255**2 / self.error.clamp(min=LEAST_ERROR)).log10()).mean()),
            ssim=float(self.ssim.mean()),
            tint=float(self.tint.mean()),
            overshoot=float(self.overshoot.mean()),
            harm=float(self.harm.mean()),
            harm_to_colour=float(self.harm_to_colour.mean()),
        )


def score_network(
    network: SRN, pairs: Sequence[Pair], views: int = 1, precision: torch.dtype | None = None
) -> Score:
    """Score a network on pairs of blurred and sharp photos; see `deblur_all`."""
    deblur = partial(deblur_all, network, views=views, precision=precision)
    return judge_crops(deblur, pairs, network.output.weight.device).score()


def judge_crops(deblur: Deblur, pairs: Sequence[Pair], device: torch.device) -> Crops:
    """Deblur the blurred and the sharp photos of pairs, and measure both.

    Args:
        deblur: Deblurs photos.
        pairs: Blurred and sharp photos of the same scenes, of any sizes.
        device: Device for measuring.
    """
    blurred, sharp = [pair.blurred for pair in pairs], [pair.sharp for pair in pairs]
    photos = (blurred, deblur(blurred), sharp, deblur(sharp))
    measured = torch.empty(len(pairs), len(fields(Crops)), dtype=torch.float64)
    for batch in same_sized(sharp):
        stacks = (stacked([of[i] for i in batch], device).float() for of in photos)
        measured[batch] = torch.stack(_measure(*stacks), dim=1).double().cpu()
    return Crops(*measured.unbind(1))


def _measure(blurred: Tensor, result: Tensor, sharp: Tensor, changed: Tensor) -> tuple[Tensor, ...]:
    """Return the `Crops` for photos (N, 3, H, W) of one size, in 0 to 255."""
    colour = mean_colour(sharp)
    return (
        (blurred - sharp).square().mean((1, 2, 3)),
        (result - sharp).square().mean((1, 2, 3)),
        ssim(result, sharp),
        (mean_colour(result) - colour)[:, 1:].norm(dim=1),
        overshooting(result, sharp).float().mean((1, 2, 3)),
        (changed - sharp).abs().mean((1, 2, 3)),
        (mean_colour(changed) - colour).norm(dim=1),
    )
