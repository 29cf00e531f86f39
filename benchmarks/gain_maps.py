"""Measure a photo's HDR rendition after deblurring.

``python -m benchmarks.gain_maps PHOTO...`` makes a scene of high dynamic range of each sharp
photo, blurs it by the motion of a hand, and stores it as a phone does: an 8-bit photo, and a
gain map of fewer pixels, the logarithm of scene over photo. The photo is deblurred; the map is
kept or changed in one of several ways. Photo and map together give a rendition (ISO 21496-1),
which is compared with the sharp scene: root mean square of the error in stops, near highlights,
on old streaks (where the blurred scene is bright and the sharp one is not), and elsewhere.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.synthesis import light, motion, paths
from unblur.api import Deblurrer

OFFSET = 1 / 64
"""Added to photo and scene before the division, as ISO 21496-1 suggests."""
SIDE = 512
MAP_QUALITY = 85
PLACES = ("near highlights", "on old streaks", "elsewhere")
RADIUS, SMOOTHNESS = 6, 1e-3
"""Guided filter: half the window's side in pixels of the map, and the variance of noise."""


def to_linear(stored: Tensor) -> Tensor:
    """Undo the curve of sRGB on an image, a tensor (1, C, H, W)."""
    return torch.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def to_stored(linear: Tensor) -> Tensor:
    """Apply the curve of sRGB; above 1 is white."""
    linear = linear.clamp(0, 1)
    return torch.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055
    )


def clipped(scene: Tensor, boost: float) -> Tensor:
    """Tone mapping of a camera that clips."""
    return scene.clamp(0, 1)


def compressed(scene: Tensor, boost: float) -> Tensor:
    """Tone mapping with a shoulder: the brightest light of the scene is just white."""
    knee, span = 0.5, 0.5
    above = (scene - knee).clamp(min=0) / (boost - knee)
    rise = torch.log1p(above * boost * 2) / math.log1p(boost * 2)
    return torch.where(scene < knee, scene, knee + span * rise).clamp(0, 1)


def luma(image: Tensor) -> Tensor:
    """Return the luminance (1, 1, H, W) of linear light, or the luma of stored values."""
    weights = image.new_tensor([0.2126, 0.7152, 0.0722])[:, None, None]
    return (image * weights).sum(1, keepdim=True)


def reduced(image: Tensor, factor: int) -> Tensor:
    """Shrink by averaging squares of pixels."""
    return F.avg_pool2d(image, factor)


def enlarged(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize bilinearly to (H, W)."""
    return F.interpolate(image, size, mode="bilinear", align_corners=False)


def to_bytes(image: Tensor) -> NDArray[np.uint8]:
    """Round values in [0, 1] to an array (H, W, C) uint8."""
    return np.ascontiguousarray((image[0].permute(1, 2, 0) * 255).round().byte().numpy())


def from_bytes(pixels: NDArray[np.uint8]) -> Tensor:
    """Return the values of an array (H, W, C)."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def through_jpeg(image: Tensor, quality: int) -> Tensor:
    """Code an image, (1, 1 or 3, H, W), and decode it."""
    pixels, buffer = to_bytes(image), io.BytesIO()
    grey = pixels.shape[2] == 1
    Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer))
    return from_bytes(decoded[..., None] if grey else decoded)


def gain_between(scene: Tensor, photo: Tensor, stops: float) -> Tensor:
    """Return the coded gain in [0, 1], which stands for 0 to the map's most stops."""
    gain = torch.log2((luma(scene) + OFFSET) / (luma(to_linear(photo)) + OFFSET))
    return (gain / stops).clamp(0, 1)


def rendition(photo: Tensor, gain: Tensor, stops: float) -> Tensor:
    """Apply a gain map to a stored photo: linear light, 1 is the photo's white."""
    gain = enlarged(gain, photo.shape[-2:])
    return (to_linear(photo) + OFFSET) * 2 ** (gain * stops) - OFFSET


def window_mean(image: Tensor) -> Tensor:
    """Average the square window around each pixel."""
    side = 2 * RADIUS + 1
    return F.avg_pool2d(F.pad(image, (RADIUS,) * 4, mode="replicate"), side, 1)


def guided(gain: Tensor, guide: Tensor, new_guide: Tensor) -> Tensor:
    """Fit the map to the blurred photo in each window, and apply that to the deblurred one.

    After He, Sun and Tang, "Guided Image Filtering", TPAMI 2013.
    """
    mean, mean_gain = window_mean(guide), window_mean(gain)
    covariance = window_mean(guide * gain) - mean * mean_gain
    variance = window_mean(guide * guide) - mean * mean
    slope = covariance / (variance + SMOOTHNESS)
    offset = mean_gain - slope * mean
    # What the fit does not explain stays where it was.
    rest = gain - (window_mean(slope) * guide + window_mean(offset))
    return (window_mean(slope) * new_guide + window_mean(offset) + rest).clamp(0, 1)


def make_scene(path: Path, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Return a sharp and a blurred scene, (1, 3, H, W), and the light of the scene's lamps."""
    image = Image.open(path).convert("RGB")
    image.thumbnail((1400, 1400))
    corner = ((image.width - SIDE) // 2, (image.height - SIDE) // 2)
    image = image.crop((*corner, corner[0] + SIDE, corner[1] + SIDE))
    linear = to_linear(from_bytes(np.asarray(image)))
    boost = float(2 ** (1.5 + 2.5 * torch.rand(1, generator=generator)))
    highlights = light.Highlights(
        torch.tensor([boost]), torch.zeros(1), torch.tensor([0.7]), torch.zeros(1, dtype=torch.bool)
    )
    sharp = light.brighten(linear, highlights)
    hand = paths.draw_hand(torch.tensor([26.0]), generator, 32, 10.0)
    return sharp, motion.blur_by_kernels(sharp, motion.kernels_of(hand)), boost


def measure(
    path: Path,
    network: Deblurrer,
    tone: Callable[[Tensor, float], Tensor],
    seed: int,
    factor: int,
) -> dict[str, list[float]]:
    """Return errors in stops for each treatment of the map and each of `PLACES`."""
    sharp, blurred, boost = make_scene(path, torch.Generator().manual_seed(seed))
    stops = math.log2(boost)
    photo = through_jpeg(to_stored(tone(blurred, boost)), 92)
    gain = through_jpeg(reduced(gain_between(blurred, photo, stops), factor), MAP_QUALITY)
    new = from_bytes(network(to_bytes(photo)))

    small, new_small = (reduced(luma(p), factor) for p in (photo, new))
    whole = ((rendition(photo, gain, stops) / boost).clamp(0, 1)) ** (1 / 4)
    whole = from_bytes(network(to_bytes(whole))) ** 4 * boost
    maps = {
        "kept": gain,
        "network on the map": from_bytes(network(to_bytes(gain))),
        "guided filter": guided(gain, small, new_small),
        "network on the rendition": reduced(gain_between(whole, new, stops), factor),
        "of the sharp scene": reduced(gain_between(sharp, new, stops), factor),
    }
    truth = torch.log2(luma(sharp) + OFFSET)
    bright = (gain_between(sharp, to_stored(tone(sharp, boost)), stops) > 0.05).float()
    near = F.max_pool2d(bright, 33, 1, 16) > 0
    streak = (enlarged(gain, sharp.shape[-2:]) > 0.1) & (bright == 0)
    results = {"not deblurred": rendition(photo, gain, stops)}
    results |= {name: rendition(new, made, stops) for name, made in maps.items()}
    errors = {}
    for name, result in results.items():
        error = (torch.log2(luma(result) + OFFSET) - truth) ** 2
        errors[name] = [
            float(error[where].mean().sqrt()) if where.any() else math.nan
            for where in (near, streak, ~near)
        ]
    return errors


def show(found: list[dict[str, list[float]]]) -> None:
    """Print mean errors, and the spread of their ratios to the errors with a kept map."""
    for name in found[0]:
        table = np.array([errors[name] for errors in found])
        ratios = table / np.array([errors["kept"] for errors in found])
        print(f"{name:26}", *(f"{value:.3f}" for value in np.nanmean(table, 0)))
        for place, ratio in zip(PLACES, ratios.T, strict=True):
            spread = np.nanquantile(ratio, [0, 0.1, 0.5, 0.9, 1])
            print(f"    {place:20}", *(f"{value:.3f}" for value in spread))


def main() -> None:
    """Print a table for each tone mapping and size of the map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="+", type=Path)
    photos = parser.parse_args().photos
    with Deblurrer(device="cpu") as network:
        for tone in (clipped, compressed):
            for factor in (4, 2):
                print(f"\n{tone.__name__}, map of 1/{factor} of each side, {len(photos)} photos")
                show([measure(p, network, tone, seed, factor) for seed, p in enumerate(photos)])


if __name__ == "__main__":
    main()
