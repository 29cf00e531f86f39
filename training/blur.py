"""Make blurred photos from sharp ones, in linear light.

What is synthesised, and why, is told in ``training/README.md``. Nothing here
shifts the picture: every kernel is centred on its centre of mass, otherwise a
network would learn to move edges.

An `Array` is HWC float32 in [0, 1] unless said otherwise; `Pixels` are HWC uint8,
as photos store them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.fixed_blur import (
    Array,
    add_sensor_noise,
    brighten_lamps,
    convolve,
    jpeg_roundtrip,
    motion_kernel,
    trajectory,
)

MOTION, MOVING_OBJECT, SHARP = "motion", "moving object", "sharp"
KIND_SHARES = {MOTION: 0.5, MOVING_OBJECT: 0.25, SHARP: 0.25}
"""How often each kind of photo is made; those that nothing moved in must stay as they are."""

OUT_OF_FOCUS_SHARE = 0.4
"""How many scenes are out of focus, hardly or far, partly or wholly, and must stay so."""

WHOLLY_SHARE = 1 / 3
"""How many of these are so all over."""


@dataclass(frozen=True)
class BlurredPhoto:
    """What a network is given and what it should answer."""

    blurred: Array
    sharp: Array


@dataclass(frozen=True)
class Caption:
    """What was printed on a photo after it was taken, and so is sharp."""

    ink: Array
    """What it adds, HWC."""
    transparency: Array
    """The share of the photo that is seen through it, HWC."""

    def over(self, image: Array) -> Array:
        """Print it on a photo of its size."""
        return image * self.transparency + self.ink


@dataclass(frozen=True)
class Response:
    """How a camera turns light into stored numbers: a gamma, then an S-curve.

    A stand-in for measured responses (Grossberg and Nayar, "What is the Space of
    Camera Response Functions?", CVPR 2003).
    """

    gamma: float
    contrast: float = 0.0
    """Share of the S-curve 3 y^2 - 2 y^3, from 0 to less than 1."""

    def encode(self, linear: Array) -> Array:
        """Turn light of any range into stored numbers."""
        return self._bend(np.clip(linear, 0, 1) ** (1 / self.gamma)).astype(np.float32)

    def decode(self, encoded: Array) -> Array:
        """Turn stored numbers into light in [0, 1]."""
        if self.contrast:
            straight = np.linspace(0, 1, 1024)
            encoded = np.interp(encoded, self._bend(straight), straight)
        return (encoded**self.gamma).astype(np.float32)

    def _bend(self, y: Array) -> Array:
        return y + self.contrast * (y * y * (3 - 2 * y) - y)


def focus_kernel(radius: float, rng: np.random.Generator) -> Array:
    """Return a disc or a Gaussian of about ``radius`` pixels that sums to one."""
    half = int(np.ceil(2 * radius)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    distance = np.hypot(y, x)
    if rng.random() < 0.5:
        kernel = np.clip(radius + 0.5 - distance, 0, 1)  # anti-aliased edge
    else:
        kernel = np.exp(-0.5 * (distance / (radius / 1.6)) ** 2)
    return (kernel / kernel.sum()).astype(np.float32)


def soft_mask(height: int, width: int, rng: np.random.Generator) -> Array:
    """Draw a smooth random region, (height, width, 1): an object, or what is at one distance."""
    coarse = rng.normal(size=(rng.integers(2, 6), rng.integers(2, 6))).astype(np.float32)
    noise = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    softness = rng.uniform(0.05, 0.6)
    return np.clip((noise - rng.normal(0, 0.3)) / softness + 0.5, 0, 1)[..., None]


def blend(first: Array, second: Array, rng: np.random.Generator) -> Array:
    """Put a second image of the same size, HWC, into a soft random region of a first one."""
    mask = soft_mask(first.shape[0], first.shape[1], rng)
    return first + mask * (second - first)


def blur(linear: Array, kind: str, longest: float, rng: np.random.Generator) -> Array:
    """Blur an image in linear light, HWC, any non-negative range.

    Args:
        linear: The sharp scene.
        kind: One of the kinds of `KIND_SHARES`.
        longest: Upper bound of the motion's length in pixels.
        rng: Source of randomness.
    """
    if kind == SHARP:
        return linear
    length = rng.uniform(1.5, longest)
    first = convolve(linear, motion_kernel(trajectory(length, rng)))
    if kind == MOTION:
        return first
    other = rng.uniform(0.0, longest)
    second = convolve(linear, motion_kernel(trajectory(other, rng)))
    return blend(first, second, rng)


def put_out_of_focus(linear: Array, rng: np.random.Generator) -> Array:
    """Blur a scene or a part of it as a lens does what is nearer or farther than its focus."""
    far = convolve(linear, focus_kernel(rng.uniform(0.8, 6.0), rng))
    return far if rng.random() < WHOLLY_SHARE else blend(linear, far, rng)


def make_blurred(
    sharp: Array,
    margin: int,
    longest: float,
    rng: np.random.Generator,
    kind: str | None = None,
    caption: Caption | None = None,
) -> BlurredPhoto:
    """Make what a camera would have recorded of a sharp scene, had it moved.

    Args:
        sharp: The scene as stored in a photo, HWC float32 in [0, 1], with
            ``margin`` pixels more on each side than the result has.
        margin: Pixels around the result that only feed the blur.
        longest: Upper bound of the motion's length in pixels.
        rng: Source of randomness.
        kind: One of the kinds of `KIND_SHARES`, for a camera without an S-curve and a
            scene left as it is; by default all three are drawn.
        caption: What is printed on the photo, of the size of the result.

    Returns:
        Photos of the scene without the margin. For the kind "sharp" the wanted
        answer is the recorded photo itself, noise and all.
    """
    contrast, is_out_of_focus = 0.0, False
    if kind is None:
        kind = str(rng.choice(list(KIND_SHARES), p=list(KIND_SHARES.values())))
        contrast = max(0.0, rng.uniform(-0.6, 0.6))
        is_out_of_focus = rng.random() < OUT_OF_FOCUS_SHARE
    response = Response(rng.uniform(1.8, 2.4), contrast)
    linear = response.decode(sharp)
    if is_out_of_focus:
        linear = put_out_of_focus(linear, rng)
    linear = brighten_lamps(linear, rng)
    recorded = blur(linear, kind, longest, rng)[margin:-margin, margin:-margin]
    if rng.random() < 0.8:
        recorded = add_sensor_noise(recorded, rng)
    encoded = response.encode(recorded)
    scene = response.encode(linear[margin:-margin, margin:-margin])
    if caption:
        encoded, scene = caption.over(encoded), caption.over(scene)
    if rng.random() < 0.85:
        encoded = jpeg_roundtrip(encoded, rng)
    return BlurredPhoto(blurred=encoded, sharp=encoded if kind == SHARP else scene)
