"""Measure a network on the photos that it was never trained on.

``python -m training.evaluate weights/srn-compact.safetensors`` prints, for
synthetic blur of three lengths and for real blurred video frames, the gain in
decibels over the blurred photos, the structural similarity, how far mean colours
are from the truth, how much is brighter or darker than all that is near it in truth,
and the harm done to sharp photos and to their colours. LPIPS is not among them: its
package downloads the network that it is built on.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

from training.blur import Pixels
from training.data import BLUR_LENGTHS, Pair, read_pairs, synthetic_pairs
from unblur.devices import choose_precision
from unblur.srn import SRN
from unblur.views import ALL_VIEWS, mean
from unblur.weights import load_network

SHARED = Path(__file__).parents[2] / "shared"
REAL, DRAWN = "real", "drawn"

PRECISION = choose_precision(torch.device("cpu"))
"""What networks are evaluated in unless said otherwise."""

NOTICEABLY_WORSE = 0.1
"""Decibels that a photo has to lose to be counted as worse."""
NOTICEABLE_OVERSHOOT = 16
"""How far, of 255, a value has to lie outside the truth's range nearby to be counted."""
NEARBY = 7
"""Side in pixels of the square that is nearby."""


@dataclass(frozen=True)
class Score:
    """Quality of a set of deblurred photos."""

    gain: float
    """Decibels gained over the blurred photos, from mean squared errors pooled over the set."""
    worse: float
    """Share of the photos that lost `NOTICEABLY_WORSE` or more, in [0, 1]."""
    psnr: float
    """Mean over the photos of the result's peak signal-to-noise ratio, in decibels."""
    blurred_psnr: float
    """The same of the blurred photos."""
    ssim: float
    """Mean structural similarity of the result and the sharp photo, 1 if they are alike."""
    blurred_ssim: float
    """The same of the blurred photos."""
    tint: float
    """Mean distance of the result's mean colour from the sharp photo's, in a* and b* of CIE Lab;
    L* is left out, since blur itself makes photos brighter."""
    blurred_tint: float
    """The same of the blurred photos: cameras' curves and noise move colours, too."""
    overshoot: float
    """Share of the result's values that lie `NOTICEABLE_OVERSHOOT` or more outside the range that
    the sharp photo has nearby, in [0, 1]: halos, ringing, and blur that is left."""
    blurred_overshoot: float
    """The same of the blurred photos."""
    harm: float
    """Mean absolute change of the sharp photos when deblurred, of 255."""
    harm_to_colour: float
    """Mean distance that this moves their mean colours by, in CIE Lab."""

    def __str__(self) -> str:
        """Format as one row."""
        return (
            f"gain {self.gain:+.2f} dB, {self.worse:.0%} worse, "
            f"PSNR {self.blurred_psnr:.2f} -> {self.psnr:.2f} dB, "
            f"SSIM {self.blurred_ssim:.3f} -> {self.ssim:.3f}, "
            f"tint {self.blurred_tint:.2f} -> {self.tint:.2f}, "
            f"overshoot {self.blurred_overshoot:.2%} -> {self.overshoot:.2%}, "
            f"sharp photos changed by {self.harm:.2f} of 255, "
            f"their mean colours by {self.harm_to_colour:.2f} of Lab"
        )


def deblur(
    network: SRN, pixels: Pixels, views: int = 1, precision: torch.dtype = PRECISION
) -> Pixels:
    """Deblur a whole photo, HWC uint8, as the mean of what is made of some views."""
    results = (
        view.undone(_deblur_once(network, view.of(pixels), precision)) for view in ALL_VIEWS[:views]
    )
    return mean(results, views)


def _deblur_once(network: SRN, pixels: Pixels, precision: torch.dtype) -> Pixels:
    image = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    multiple = network.config.multiple
    height, width = pixels.shape[:2]
    padded = F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    padded = padded.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", precision, precision != torch.float32):
        result = network(padded)[-1].float()[0, :, :height, :width]
    return (result.clamp(0, 1) * 255).round().numpy().transpose(1, 2, 0).astype(np.uint8)


def evaluate(
    network: SRN, pairs: list[Pair], views: int = 1, precision: torch.dtype = PRECISION
) -> Score:
    """Score a network on pairs of blurred and sharp photos; see `deblur`."""
    rows = [_judge(network, pair, views, precision) for pair in pairs]
    before, after, *others = np.array(rows).T
    blurred_ssim, ssim, blurred_tint, tint, blurred_overshoot, overshoot, harm, harm_to_colour = (
        float(values.mean()) for values in others
    )

    def psnr(errors: NDArray[np.float64]) -> float:
        return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-6))))

    decibels = 10 * np.log10(np.maximum(before, 1e-6) / np.maximum(after, 1e-6))
    return Score(
        gain=float(10 * np.log10(before.mean() / after.mean())),
        worse=float((decibels < -NOTICEABLY_WORSE).mean()),
        psnr=psnr(after),
        blurred_psnr=psnr(before),
        ssim=ssim,
        blurred_ssim=blurred_ssim,
        tint=tint,
        blurred_tint=blurred_tint,
        overshoot=overshoot,
        blurred_overshoot=blurred_overshoot,
        harm=harm,
        harm_to_colour=harm_to_colour,
    )


def _judge(network: SRN, pair: Pair, views: int, precision: torch.dtype) -> tuple[float, ...]:
    """Return errors, similarities, tints and overshoots, each before and after, and both harms."""
    sharp = pair.sharp.astype(np.float32)
    result = deblur(network, pair.blurred, views, precision).astype(np.float32)
    photos = (pair.blurred.astype(np.float32), result)
    errors = (float(np.square(photo - sharp).mean()) for photo in photos)
    similarities = (
        float(structural_similarity(photo, sharp, channel_axis=2, data_range=255))
        for photo in photos
    )
    colour = _mean_colour(sharp)
    tints = (float(np.linalg.norm((_mean_colour(photo) - colour)[1:])) for photo in photos)
    overshoots = (_overshoot(photo, sharp) for photo in photos)
    changed = deblur(network, pair.sharp, views, precision).astype(np.float32)
    harm = float(np.abs(changed - sharp).mean())
    harm_to_colour = float(np.linalg.norm(_mean_colour(changed) - colour))
    return (*errors, *similarities, *tints, *overshoots, harm, harm_to_colour)


def _mean_colour(photo: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of a photo of [0, 255] in CIE Lab."""
    return rgb2lab(photo / 255).mean(axis=(0, 1))


def _overshoot(photo: NDArray[np.float32], sharp: NDArray[np.float32]) -> float:
    """Return the share of a photo's values outside the range of what is nearby in truth."""

    def highest_nearby(image: NDArray[np.float32]) -> NDArray[np.float32]:
        channels = torch.from_numpy(image.transpose(2, 0, 1))
        highest = F.max_pool2d(channels, NEARBY, stride=1, padding=NEARBY // 2)
        return highest.numpy().transpose(1, 2, 0)

    above, below = photo - highest_nearby(sharp), -highest_nearby(-sharp) - photo
    return float((np.maximum(above, below) >= NOTICEABLE_OVERSHOOT).mean())


def validation_sets(
    photos: Path, pairs: Path, crops: int = 1, shrink: int = 1
) -> dict[str, list[Pair]]:
    """Return the fixed validation sets by name: three blur lengths, drawn scenes, and real blur.

    Args:
        photos: The folder of photos.
        pairs: The folder of real pairs.
        crops: See `synthetic_pairs`.
        shrink: See `synthetic_pairs`.
    """
    sets = {
        name: synthetic_pairs(photos, longest, crops=crops, shrink=shrink)
        for name, longest in BLUR_LENGTHS.items()
    }
    longest = BLUR_LENGTHS["medium"]
    drawn = synthetic_pairs(photos, longest, crops=crops, shrink=shrink, is_drawn=True)
    return sets | {DRAWN: drawn, REAL: read_pairs(pairs, held_out=True)}


def main() -> None:
    """Evaluate a weights file from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    parser.add_argument("--crops", type=int, default=1, help="crops of each photo (1)")
    parser.add_argument("--shrink", type=int, default=1, help="shrink photos by as much first (1)")
    parser.add_argument(
        "--views",
        type=int,
        default=1,
        choices=range(1, len(ALL_VIEWS) + 1),
        help="as unblur has it (1)",
    )
    parser.add_argument("--fp32", action="store_true", help="compute in fp32 on any CPU")
    options = parser.parse_args()
    network = load_network(options.weights)
    precision = torch.float32 if options.fp32 else PRECISION
    sets = validation_sets(options.photos, options.pairs, options.crops, options.shrink)
    for name, pairs in sets.items():
        print(f"{name:>8}: {evaluate(network, pairs, options.views, precision)}")


if __name__ == "__main__":
    main()
