"""Make pairs of photos at night: from held-out photos with lamps, and from drawn scenes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data import BLUR_LENGTHS, Pair, Pixels
from training.judging.fixed_blur import Array, expose
from training.judging.validation import CROP, MARGIN, NIGHT, pairs_of_kind

NEARLY_WHITE, MOST_LAMPS = 235, 0.1
"""Least value of a possible lamp in a photo at night, and range of the share of lamps."""
LAMP_CANDIDATES = 30
"""Number of places to search for lamps."""

SCENES, SIZE = 24, CROP + 2 * MARGIN
SUPERSAMPLING = 2
LIGHTS = ((1.0, 1.0, 1.0), (1.0, 0.75, 0.45), (1.0, 0.08, 0.06), (0.1, 1.0, 0.4), (0.15, 0.35, 1.0))
"""White, warm, red, green and blue; in the last three, one channel clips first."""
SIGNS = ("OPEN", "HOTEL", "BAR 24", "TAXI", "CAFE", "EXIT")


def photo_pairs(photos: Path) -> list[Pair]:
    """Make pairs from the places with most lamps in the held-out photos at night."""
    return pairs_of_kind(photos, NIGHT, liking=area_of_lamps, candidates=LAMP_CANDIDATES)


def area_of_lamps(crop: Pixels) -> float:
    """Return the nearly white share of a crop; 0 if it is too large for lamps."""
    share = float((crop.min(axis=2) >= NEARLY_WHITE).mean())
    return share if share < MOST_LAMPS else 0.0


def drawn_pairs(count: int = SCENES) -> list[Pair]:
    """Photograph synthetic nights with a moving and a still camera, always the same."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_drawn_pair, range(count)))


def _drawn_pair(index: int) -> Pair:
    rng = np.random.default_rng([20262, index])
    scene = draw_night(SIZE, rng)
    longest = list(BLUR_LENGTHS.values())[index % len(BLUR_LENGTHS)]
    length, gamma = rng.uniform(0.5, 1) * longest, rng.uniform(1.8, 2.4)
    return Pair(f"night {index + 1}", *expose(scene, MARGIN, length, gamma, rng))


def draw_night(size: int, rng: np.random.Generator) -> Array:
    """Draw a dark street with windows, lamps and lit signs.

    Returns:
        Linear light (size, size, 3); 1 is white, and lamps and signs have 1.5 to 10.
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
    """Draw letters on a panel; either the letters or the panel is lit."""
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
    """Draw a disc of light with the faint glow of a lens around it."""
    x, y = rng.uniform(MARGIN / 2, len(scene) - MARGIN / 2, 2)
    radius = np.exp(rng.uniform(np.log(2), np.log(11)))
    light = rng.uniform(1.5, 10) * np.array(LIGHTS[rng.integers(len(LIGHTS))])
    down, right = np.mgrid[: len(scene), : len(scene)]
    glow = np.exp(-np.hypot(down - y, right - x) / (2 * radius)).astype(np.float32)
    disc, draw = _canvas(scene)
    draw.circle((x * SUPERSAMPLING, y * SUPERSAMPLING), radius * SUPERSAMPLING, 255)
    return _lit(scene + 0.02 * glow[..., None] * np.float32(light), disc, light)


def _canvas(scene: Array) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty mask of a scene, larger than the scene so that edges have no steps."""
    mask = Image.new("L", (len(scene) * SUPERSAMPLING, len(scene) * SUPERSAMPLING))
    return mask, ImageDraw.Draw(mask)


def _rectangle(
    draw: ImageDraw.ImageDraw, left: float, top: float, width: float, height: float
) -> None:
    box = (left, top, left + width, top + height)
    draw.rectangle([side * SUPERSAMPLING for side in box], 255)


def _lit(scene: Array, mask: Image.Image, light: Array) -> Array:
    """Paint a colour of light where a mask is white."""
    opacity = np.asarray(mask.reduce(SUPERSAMPLING), np.float32)[..., None] / 255
    return scene + opacity * (np.float32(light) - scene)
