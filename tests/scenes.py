"""Scenes with contours in all directions, and their photos by a shaken camera."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.blur_kinds import disc
from training.judging.fixed_blur import convolve, motion_kernel


def make_scene(height=480, width=640, seed=0):
    """Draw sharp rectangles and lines, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), (120, 130, 110))
    draw = ImageDraw.Draw(image)
    for _ in range(150):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        color = tuple(int(c) for c in rng.integers(0, 256, 3))
        draw.regular_polygon((x, y, height / 16), int(rng.integers(3, 7)), fill=color)
    return np.asarray(image)


def smeared(pixels, length, degrees=20.0):
    """Blur a scene by a straight motion of the camera at constant speed."""
    way = np.linspace(-length / 2, length / 2, 64)
    turn = np.deg2rad(degrees)
    path = np.stack([way * np.sin(turn), way * np.cos(turn)], axis=1).astype(np.float32)
    light = (pixels.astype(np.float32) / 255) ** 2.2
    moved = convolve(light, motion_kernel(path))
    return np.round(np.clip(moved, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def unfocused(pixels, radius):
    """Blur by a lens out of focus, with a disc of a radius in pixels."""
    light = (pixels.astype(np.float32) / 255) ** 2.2
    soft = convolve(light, disc(radius))
    return np.round(np.clip(soft, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def noisy(pixels, deviation, seed=0):
    """Add a sensor's noise, of a standard deviation of 255."""
    noise = np.random.default_rng(seed).normal(0, deviation, pixels.shape)
    return np.round(np.clip(pixels + noise, 0, 255)).astype(np.uint8)
