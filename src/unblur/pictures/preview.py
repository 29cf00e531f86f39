"""Encode a photo before and after for a terminal.

See "Kitty graphics protocol" for kitty's protocol, and chapter 14 of DEC's VT330/VT340 Programmer
Reference for sixel.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unblur.options import Screen, TerminalGraphics
from unblur.pictures.compare import BeforeAfter, draw_coarsely, draw_comparison

WIDEST_PX, WIDEST_COLUMNS = 1600, 160
SHARE_OF_ROWS = 0.8
"""Share of the terminal's height for one picture."""
KITTY_CHUNK = 4096
SIXEL_COLORS = 255
SIXEL_ROWS = 6
SIXEL_ZERO = ord("?")
REPETITION = re.compile(r"(.)\1{3,}")


@dataclass(frozen=True)
class Preview:
    """A picture for a terminal."""

    code: str
    """Text for the terminal; empty if it cannot show pictures."""
    blocks: Image.Image | None = None
    """The picture to draw with characters; ``None`` if ``code`` shows it."""


def draw_preview(pair: BeforeAfter, screen: Screen) -> Preview:
    """Draw a photo before and after, in a size that fits into the terminal."""
    columns = min(screen.columns, WIDEST_COLUMNS)
    if screen.graphics is TerminalGraphics.BLOCKS:
        height = int(2 * screen.rows * SHARE_OF_ROWS)
        return Preview("", draw_coarsely(pair, max(1, (columns - 1) // 2), height))
    width = min(columns * screen.cell[0], WIDEST_PX)
    height = int(screen.rows * screen.cell[1] * SHARE_OF_ROWS)
    picture = draw_comparison(pair, side=max(1, min(width, height) // 2))
    picture.thumbnail((width, height))
    is_kitty = screen.graphics is TerminalGraphics.KITTY
    return Preview(to_kitty(picture) if is_kitty else to_sixel(picture))


def to_kitty(picture: Image.Image) -> str:
    """Encode a picture in kitty's graphics protocol, as PNG in chunks ("Remote client")."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    data = base64.b64encode(buffer.getvalue()).decode()
    chunks = [data[start : start + KITTY_CHUNK] for start in range(0, len(data), KITTY_CHUNK)]
    output = []
    for index, chunk in enumerate(chunks):
        keys = "a=T,f=100,q=2," if index == 0 else ""
        more = int(index < len(chunks) - 1)
        output.append(f"\x1b_G{keys}m={more};{chunk}\x1b\\")
    return "".join(output)


def to_sixel(picture: Image.Image) -> str:
    """Encode a picture as sixels: six rows at a time, one colour after another."""
    indexed = picture.convert("RGB").quantize(SIXEL_COLORS, dither=Image.Dither.FLOYDSTEINBERG)
    palette = np.array(indexed.getpalette(), int).reshape(-1, 3)
    pixels = np.asarray(indexed)
    height, width = pixels.shape
    output = [f'\x1bP0;1q"1;1;{width};{height}']
    for index, color in enumerate(palette):
        red, green, blue = (round(value * 100 / 255) for value in color)
        output.append(f"#{index};2;{red};{green};{blue}")
    columns = np.arange(width)
    for top in range(0, height, SIXEL_ROWS):
        band = np.zeros((len(palette), width), np.uint8)  # a bit for each row, of each colour
        for bit, row in enumerate(pixels[top : top + SIXEL_ROWS]):
            band[row, columns] |= 1 << bit
        lines = (f"#{index}{_repeated(band[index])}" for index in np.flatnonzero(band.any(axis=1)))
        output.append("$".join(lines) + "-")
    return "".join([*output, "\x1b\\"])


def _repeated(sixels: NDArray[np.uint8]) -> str:
    """Return a line of sixels as text, with run-length encoding."""
    text = (sixels + SIXEL_ZERO).tobytes().decode()
    return REPETITION.sub(lambda match: f"!{len(match[0])}{match[1]}", text)


Color = tuple[int, int, int]


def half_blocks(picture: Image.Image) -> Iterator[Iterator[tuple[Color, Color]]]:
    """Yield lines of characters; each character is the colours of its upper and lower half."""
    pixels = np.asarray(picture.convert("RGB"))
    for top in range(0, len(pixels) - 1, 2):
        upper, lower = pixels[top].tolist(), pixels[top + 1].tolist()
        yield zip(map(tuple, upper), map(tuple, lower), strict=True)
