"""Draw shapes and text over photos, with edges as sharp as on signs, screens and pages.

Networks learn from scenes of overlapping shapes what they learn from photos, above all edges
(Achddou, Gousseau and Ladjal, "Synthetic Images as a Regularity Prior for Image Restoration Neural
Networks", SSVM 2021).
"""

from __future__ import annotations

import multiprocessing
import os
import string
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.data import Pixels

SUPERSAMPLING = 2
"""Factor by which everything is drawn larger, and then shrunk, so that slanted edges have no
steps."""
LEAST_OF_A_PROCESS = 12
"""Number of layers per process, so that drawing takes longer than starting the process."""
CHARACTERS = string.ascii_letters + string.digits + ".,:;!?&%-"
Colour = tuple[int, int, int]
Draw = Callable[[Image.Image, int, np.random.Generator], None]
"""Draws a number of things on an image."""


def draw_over(background: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw 3 to 20 shapes and blocks of text over a picture, HWC uint8.

    Half of the pictures are first covered by one colour.
    """
    height, width = background.shape[:2]
    image = Image.fromarray(background).resize((width * SUPERSAMPLING, height * SUPERSAMPLING))
    if rng.random() < 0.5:
        image.paste(_colour(rng), (0, 0, *image.size))
    _draw_things(image, int(rng.integers(3, 21)), rng)
    return np.asarray(image.reduce(SUPERSAMPLING))


def draw_overlay(size: int, rng: np.random.Generator) -> Pixels:
    """Draw shapes and blocks of text as a layer by itself; see `_draw_layer`.

    A square of 256 pixels has 2 to 12 shapes and blocks of text.
    """
    return _draw_layer(_draw_things, _draw_number(2, 12, size, rng), size, rng)


def draw_caption(size: int, rng: np.random.Generator) -> Pixels:
    """Draw text to print on a photo as a layer by itself; see `_draw_layer`.

    A square of 256 pixels has 1 or 2 blocks of text.
    """
    return _draw_layer(_draw_texts, _draw_number(1, 2, size, rng), size, rng)


def draw_many(
    draw: Callable[[int, np.random.Generator], Pixels], count: int, size: int, seed: int
) -> Pixels:
    """Draw layers, (count, size, size, 4), in a number of processes."""
    rngs = [np.random.default_rng([seed, number]) for number in range(count)]
    workers = min(os.cpu_count() or 1, count // LEAST_OF_A_PROCESS)
    if workers < 2:
        return np.stack([draw(size, rng) for rng in rngs])
    context = multiprocessing.get_context("spawn")  # a fork of a process that uses a GPU fails
    with ProcessPoolExecutor(workers, context) as pool:
        return np.stack([*pool.map(draw, [size] * count, rngs, chunksize=4)])


def _draw_number(least: int, most: int, size: int, rng: np.random.Generator) -> int:
    """Draw the number of things on a square, from the number on a square of 256 pixels."""
    return max(1, round(rng.uniform(least, most) * (size / 256) ** 2))


def _draw_layer(draw: Draw, count: int, size: int, rng: np.random.Generator) -> Pixels:
    """Return a drawn square as premultiplied red, green and blue, and alpha, HWC uint8.

    The same things are drawn on black and on white, which shows their colours and their opacity.
    """
    seed = rng.integers(2**32)
    drawn = []
    for background in ("black", "white"):
        image = Image.new("RGB", (size * SUPERSAMPLING, size * SUPERSAMPLING), background)
        draw(image, count, np.random.default_rng(seed))
        drawn.append(np.asarray(image.reduce(SUPERSAMPLING)))
    on_black, on_white = drawn
    clear = (on_white - on_black).min(axis=2, keepdims=True)
    return np.concatenate([on_black, 255 - clear], axis=2)


def _draw_things(image: Image.Image, count: int, rng: np.random.Generator) -> None:
    """Draw shapes and blocks of text."""
    for _ in range(count):
        draw = _draw_text if rng.random() < 0.4 else _draw_shape
        draw(image, rng)


def _draw_texts(image: Image.Image, count: int, rng: np.random.Generator) -> None:
    """Draw blocks of text."""
    for _ in range(count):
        _draw_text(image, rng)


def _colour(rng: np.random.Generator) -> Colour:
    """Return black, white, a random grey or a random colour."""
    kind = rng.random()
    if kind < 0.5:
        grey = int(rng.choice([0, 255])) if kind < 0.2 else int(rng.integers(256))
        return grey, grey, grey
    red, green, blue = rng.integers(256, size=3)
    return int(red), int(green), int(blue)


def _draw_shape(image: Image.Image, rng: np.random.Generator) -> None:
    """Draw a line, or a polygon or ellipse of 4 pixels to two thirds of the picture's width."""
    middle = rng.uniform(0, image.size)
    reach = np.exp(rng.uniform(np.log(4), np.log(max(image.size) / 3), 2))
    draw = ImageDraw.Draw(image)
    kind = rng.integers(3)
    if kind == 0:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        corners = middle + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        draw.polygon(corners.ravel().tolist(), fill=_colour(rng))
    elif kind == 1:
        draw.ellipse([*(middle - reach), *(middle + reach)], fill=_colour(rng))
    else:
        ends = [*rng.uniform(0, image.size), *middle]
        draw.line(ends, fill=_colour(rng), width=int(rng.integers(2, 13)))


def _draw_text(image: Image.Image, rng: np.random.Generator) -> None:
    """Draw up to six lines of letters of 7 to 40 pixels, mostly level, some on a panel."""
    font = ImageFont.load_default(float(np.exp(rng.uniform(np.log(14), np.log(80)))))
    words = [
        "".join(rng.choice(list(CHARACTERS), rng.integers(2, 9)))
        for _ in range(rng.integers(1, 13))
    ]
    text = "\n".join(" ".join(words[start : start + 2]) for start in range(0, len(words), 2))
    weight = float(rng.integers(3))
    left, top, right, bottom = ImageDraw.Draw(image).multiline_textbbox(
        (0, 0), text, font, stroke_width=weight
    )
    margin = 10
    mask = Image.new("L", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin))
    corner = (margin - left, margin - top)
    ImageDraw.Draw(mask).multiline_text(corner, text, 255, font, stroke_width=weight)
    angle = rng.normal(0, 4) if rng.random() < 0.7 else rng.uniform(0, 360)
    place = (rng.uniform(0, image.size) - np.array(mask.size) / 2).astype(int)
    if rng.random() < 0.5:
        _paste(image, Image.new("L", mask.size, 255), angle, place, _colour(rng))
    _paste(image, mask, angle, place, _colour(rng))


def _paste(
    image: Image.Image, mask: Image.Image, angle: float, place: NDArray[np.int_], colour: Colour
) -> None:
    """Paste a colour through a mask, turned anticlockwise by an angle in degrees."""
    turned = mask.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    image.paste(colour, (int(place[0]), int(place[1])), turned)
