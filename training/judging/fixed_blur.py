"""Blur photos for the fixed validation sets: the same seed always gives the same photo.

`training.synthesis`, which makes the training's crops, changes from recipe to recipe. This module
must not change, because figures of different weights are comparable only on the same crops. It uses
NumPy on the CPU, whose random numbers are the same on all machines.

An `Array` is HWC float32 in [0, 1] unless stated otherwise; `Pixels` are HWC uint8, as in files.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data import Pixels

Array = NDArray[np.float32]

LAMP_SHARE = 0.3
"""Share of scenes with highlights brighter than white."""
NOISE_SHARE, JPEG_SHARE = 0.8, 0.85
"""Share of photos with noise, and share of photos coded as JPEG."""


def decode(stored: Array, gamma: float) -> Array:
    """Convert stored values to light."""
    return (stored**gamma).astype(np.float32)


def encode(linear: Array, gamma: float) -> Array:
    """Convert light of any range to stored values; light above white is clipped."""
    return (np.clip(linear, 0, 1) ** (1 / gamma)).astype(np.float32)


def to_uint8(image: Array) -> Pixels:
    """Round [0, 1] to [0, 255]."""
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def trajectory(length: float, rng: np.random.Generator, points: int = 96) -> Array:
    """Draw the path of a shaken camera during one exposure.

    Heading and speed are random walks, so paths are curved, pause and hurry;
    jitter is the tremor of a hand. After Boracchi and Foi, "Modeling the
    performance of image restoration from motion blur", TIP 2012.

    Args:
        length: Length of the path in pixels, jitter excluded.
        rng: Source of randomness.
        points: Number of positions, equally spaced in time.

    Returns:
        Positions (points, 2), y and x in pixels, whose mean is zero.
    """
    curvature = abs(rng.normal(0, 1.2)) / np.sqrt(points)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, curvature, points))
    heading += rng.normal(0, 1.5) * np.linspace(0, 1, points)
    speed = np.exp(np.cumsum(rng.normal(0, 0.08, points)))
    steps = np.stack([np.sin(heading), np.cos(heading)], axis=1) * speed[:, None]
    if rng.random() < 0.15:  # the hand turns back
        steps[rng.integers(points // 4, points) :] *= -rng.uniform(0.3, 1.0)
    path = np.cumsum(steps, axis=0) * (length / speed.sum())
    path += rng.normal(0, min(0.5, 0.02 * length), path.shape)
    return (path - path.mean(axis=0)).astype(np.float32)


def motion_kernel(path: Array) -> Array:
    """Rasterise a path to a kernel with the sum 1.

    Each position is shared bilinearly between its four pixels, so that the centre of mass is
    exactly the middle of the kernel.
    """
    radius = int(np.ceil(np.abs(path).max())) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    corner = np.floor(path).astype(int)
    fraction = path - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - fraction[:, 0]) * np.abs(1 - dx - fraction[:, 1])
            np.add.at(kernel, (corner[:, 0] + dy + radius, corner[:, 1] + dx + radius), weight)
    return kernel / kernel.sum()


def convolve(image: Array, kernel: Array) -> Array:
    """Convolve each channel of a picture of any range; outside, its edge is repeated."""
    radius = kernel.shape[0] // 2
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    shape = padded.shape[:2]
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(kernel, shape)[..., None]
    full = np.fft.irfft2(spectrum, shape, axes=(0, 1))
    return full[2 * radius :, 2 * radius :].astype(np.float32)


def brighten_lamps(linear: Array, rng: np.random.Generator, share: float = LAMP_SHARE) -> Array:
    """Push the highlights of some scenes above white.

    A lamp that a photo clips at white was brighter than white in the scene, so its streak stays
    white. Blurring the clipped photo would not show this.
    """
    if rng.random() >= share:
        return linear
    bright = np.clip((linear.min(axis=2, keepdims=True) - 0.75) / 0.25, 0, 1)
    return linear * (1 + rng.uniform(0, 6) * bright**2)


def add_sensor_noise(linear: Array, rng: np.random.Generator) -> Array:
    """Add read noise, and shot noise, whose variance grows with the light."""
    shot, read = 10 ** rng.uniform(-5, -3), 10 ** rng.uniform(-4, -2.3)
    spread = np.sqrt(np.maximum(linear, 0) * shot + read**2)
    return linear + (rng.standard_normal(linear.shape, np.float32) * spread).astype(np.float32)


def jpeg_roundtrip(encoded: Array, rng: np.random.Generator) -> Array:
    """Code as JPEG at quality 60 to 98, mostly with subsampled colour."""
    buffer = io.BytesIO()
    subsampling = int(rng.choice([0, 1, 2], p=[0.3, 0.2, 0.5]))
    quality = int(rng.integers(60, 99))
    Image.fromarray(to_uint8(encoded)).save(
        buffer, "JPEG", quality=quality, subsampling=subsampling
    )
    return np.asarray(Image.open(buffer), np.float32) / 255


def expose(
    scene: Array, margin: int, length: float, gamma: float, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Photograph a scene with a moving camera and with a still camera.

    Args:
        scene: Linear light, HWC float32; 1 is white, and lamps are brighter. The scene has
            ``margin`` more pixels on each side than the photos.
        margin: Pixels around the photos that only feed the blur.
        length: Length of the motion in pixels.
        gamma: Exponent of the conversion from stored values to light.
        rng: Source of randomness.

    Returns:
        The blurred photo, and the wanted sharp photo. Both are clipped where the scene is brighter
        than white; only the blurred photo has noise and JPEG coding.
    """
    kernel = motion_kernel(trajectory(length, rng))
    return record(convolve(scene, kernel), scene, margin, gamma, rng)


def record(
    seen: Array, scene: Array, margin: int, gamma: float, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Record a blurred scene, and the same scene in a perfect exposure.

    Args:
        seen: Blurred linear light, of the size of the scene.
        scene: See `expose`.
        margin: See `expose`.
        gamma: See `expose`.
        rng: Source of randomness.

    Returns:
        See `expose`.
    """
    inside = (slice(margin, -margin), slice(margin, -margin))
    recorded = seen[inside]
    if rng.random() < NOISE_SHARE:
        recorded = add_sensor_noise(recorded, rng)
    blurred = encode(recorded, gamma)
    if rng.random() < JPEG_SHARE:
        blurred = jpeg_roundtrip(blurred, rng)
    return to_uint8(blurred), to_uint8(encode(scene[inside], gamma))


def blur_crop(
    crop: Pixels,
    margin: int,
    longest: float,
    rng: np.random.Generator,
    lamp_share: float = LAMP_SHARE,
) -> tuple[Pixels, Pixels]:
    """Blur a crop of a sharp photo; see `expose`.

    Args:
        crop: The crop with its margin.
        margin: See `expose`.
        longest: Upper bound in pixels of the motion's length; the lower bound is 1.5.
        rng: Source of randomness.
        lamp_share: Probability that the highlights were brighter than white.
    """
    gamma = rng.uniform(1.8, 2.4)
    linear = decode(crop.astype(np.float32) / 255, gamma)
    scene = brighten_lamps(linear, rng, lamp_share)
    return expose(scene, margin, rng.uniform(1.5, longest), gamma, rng)
