"""Judge lamps and lit signs at night: whether they stay white, and what is made beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from training.data import BLUR_LENGTHS, Pair
from training.fixed_blur import Array, Pixels, expose
from training.inference import stacked
from training.quality import highest, overshooting

CLIPPED, STILL_WHITE = 250, 225
"""A value of the truth from which on it counts as clipped; a result below the other is grey."""
BESIDE = 17
"""Side in pixels of the square around a clipped value that is beside it."""

SCENES, SIZE, MARGIN = 24, 256, 40
SUPERSAMPLING = 2
LIGHTS = ((1.0, 1.0, 1.0), (1.0, 0.75, 0.45), (1.0, 0.08, 0.06), (0.1, 1.0, 0.4), (0.15, 0.35, 1.0))
"""White, warm, red, green and blue: of the last three one channel clips first."""
SIGNS = ("OPEN", "HOTEL", "BAR 24", "TAXI", "CAFE", "EXIT")


@dataclass(frozen=True)
class Lamps:
    """How lamps were treated."""

    lost: float
    """Share of the values inside clipped areas of the truth that are no longer white, in [0, 1]."""
    overshoot: float
    """Share of the values beside clipped areas that lie outside the range that the truth has
    nearby, in [0, 1]: dark rims, ringing, and streaks that are left."""


def judge_lamps(results: Sequence[Pixels], wanted: Sequence[Pixels], device: torch.device) -> Lamps:
    """Compare lamps in photos with those that were wanted.

    Args:
        results: Photos of one size, HWC uint8.
        wanted: The sharp ones, whose clipped areas are looked at, channel by channel. Of each
            area the inside counts: values all of whose neighbours are clipped.
        device: Where to measure.
    """
    photos, sharp = stacked(results, device).float(), stacked(wanted, device).float()
    clipped = (sharp >= CLIPPED).float()
    inside = highest(-clipped, 3) == -1
    beside = (highest(clipped, BESIDE) == 1) & (highest(clipped, 3) == 0)
    return Lamps(
        lost=_share(photos < STILL_WHITE, inside),
        overshoot=_share(overshooting(photos, sharp), beside),
    )


def _share(found: torch.Tensor, among: torch.Tensor) -> float:
    return float((found & among).sum() / among.sum().clamp(min=1))


def night_pairs(count: int = SCENES) -> list[Pair]:
    """Photograph synthetic nights with a moving camera and a still one; always the same."""
    lengths = list(BLUR_LENGTHS.values())
    pairs = []
    for index in range(count):
        rng = np.random.default_rng([20262, index])
        scene = night_scene(SIZE + 2 * MARGIN, rng)
        length = rng.uniform(0.5, 1) * lengths[index % len(lengths)]
        photos = expose(scene, MARGIN, length, rng.uniform(1.8, 2.4), rng)
        pairs.append(Pair(f"night {index + 1}", *photos))
    return pairs


def night_scene(size: int, rng: np.random.Generator) -> Array:
    """Draw a dark street with windows, lamps and lit signs.

    Returns:
        Linear light (size, size, 3), where 1 is white; lamps and signs have 1.5 to 10.
    """
    sky = np.linspace(0.002, 0.02, size, dtype=np.float32)[:, None, None]
    scene = np.broadcast_to(sky * np.float32([0.7, 0.8, 1.2]), (size, size, 3))
    for _ in range(6):
        scene = _draw_house(scene, rng)
    for _ in range(3):
        scene = _draw_sign(scene, rng)
    for _ in range(6):
        scene = _draw_lamp(scene, rng)
    return scene


def _draw_house(scene: Array, rng: np.random.Generator) -> Array:
    """Draw a dim wall with rows of windows, some of which are lit."""
    left, top = rng.uniform(-20, len(scene) - 40, 2)
    width, height = rng.uniform(50, 130, 2)
    wall, draw = _canvas(scene)
    _rectangle(draw, left, top, width, height)
    scene = _lit(scene, wall, rng.uniform(0.005, 0.06) * rng.uniform(0.6, 1.4, 3))
    windows, draw = _canvas(scene)
    for y in np.arange(top + 8, top + height - 14, 18):
        for x in np.arange(left + 7, left + width - 10, 14):
            if rng.random() < 0.4:
                _rectangle(draw, x, y, 8, 11)
    return _lit(scene, windows, rng.uniform(0.1, 2) * np.array(LIGHTS[rng.integers(2)]))


def _draw_sign(scene: Array, rng: np.random.Generator) -> Array:
    """Draw letters on a panel: one of the two is lit."""
    font = ImageFont.load_default(float(rng.uniform(18, 40) * SUPERSAMPLING))
    text = str(rng.choice(SIGNS))
    x, y = rng.uniform(MARGIN / 2, len(scene) - 3 * MARGIN, 2) * SUPERSAMPLING
    panel, draw_panel = _canvas(scene)
    letters, draw_letters = _canvas(scene)
    box = draw_letters.textbbox((x, y), text, font)
    pad = 6 * SUPERSAMPLING
    draw_panel.rectangle((box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad), 255)
    draw_letters.text((x, y), text, 255, font, stroke_width=SUPERSAMPLING)
    bright = rng.uniform(1.5, 6) * np.array(LIGHTS[rng.integers(len(LIGHTS))])
    dark = rng.uniform(0.01, 0.05, 3)
    colours = (bright, dark) if rng.random() < 0.5 else (dark, bright)
    return _lit(_lit(scene, panel, colours[0]), letters, colours[1])


def _draw_lamp(scene: Array, rng: np.random.Generator) -> Array:
    """Draw a disc of light with the faint glow that a lens makes around it."""
    x, y = rng.uniform(MARGIN / 2, len(scene) - MARGIN / 2, 2)
    radius = np.exp(rng.uniform(np.log(2), np.log(11)))
    light = rng.uniform(1.5, 10) * np.array(LIGHTS[rng.integers(len(LIGHTS))])
    down, right = np.mgrid[: len(scene), : len(scene)]
    glow = np.exp(-np.hypot(down - y, right - x) / (2 * radius)).astype(np.float32)
    disc, draw = _canvas(scene)
    draw.circle((x * SUPERSAMPLING, y * SUPERSAMPLING), radius * SUPERSAMPLING, 255)
    return _lit(scene + 0.02 * glow[..., None] * np.float32(light), disc, light)


def _canvas(scene: Array) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty mask of a scene, drawn larger so that edges have no steps."""
    mask = Image.new("L", (len(scene) * SUPERSAMPLING, len(scene) * SUPERSAMPLING))
    return mask, ImageDraw.Draw(mask)


def _rectangle(
    draw: ImageDraw.ImageDraw, left: float, top: float, width: float, height: float
) -> None:
    box = (left, top, left + width, top + height)
    draw.rectangle([side * SUPERSAMPLING for side in box], 255)


def _lit(scene: Array, mask: Image.Image, light: Array) -> Array:
    """Put a colour of light where a mask is white."""
    opacity = np.asarray(mask.reduce(SUPERSAMPLING), np.float32)[..., None] / 255
    return scene + opacity * (np.float32(light) - scene)
