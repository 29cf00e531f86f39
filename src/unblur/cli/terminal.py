"""Pictures in a terminal: kitty's protocol, sixel, or else half blocks of two colours.

What the terminal can do is asked of it in one question whose last part every
terminal answers: kitty's graphics protocol ("Querying support and available
transmission mediums") and the primary device attributes of ECMA-48 terminals,
where 4 means sixel (DEC, VT330/VT340 Programmer Reference, chapter 14). iTerm2,
Windows Terminal's newer versions, foot, xterm -ti vt340, Konsole and others have
sixel; kitty, Ghostty and WezTerm have kitty's.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from unblur.pictures.compare import Pair

QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
ATTRIBUTES = re.compile(rb"\x1b\[\?([0-9;]*)c")
KITTY_OK = b"_Gi=31;OK"
SIXEL = b"4"
ANSWER_SECONDS = 1.0
"""How long to wait for a terminal that does not answer; one that does may be far away."""

ENOUGH_COLORS = ("256", "truecolor")
"""Rich's names for what half blocks are worth while in."""

USUAL_CELL = 10, 20
WIDEST_PX, WIDEST_COLUMNS = 1600, 160
SHARE_OF_ROWS = 0.8
"""Of the terminal's height, for one photo."""
KITTY_CHUNK = 4096
SIXEL_COLORS = 255
SIXEL_ROWS = 6
SIXEL_ZERO = ord("?")
REPETITION = re.compile(r"(.)\1{3,}")


class Way(Enum):
    """How a terminal shows pictures."""

    KITTY = "kitty"
    SIXEL = "sixel"
    BLOCKS = "half blocks"


@dataclass(frozen=True)
class Screen:
    """A terminal that can show pictures."""

    way: Way
    columns: int
    rows: int
    cell: tuple[int, int] = USUAL_CELL
    """Width and height of a character in pixels."""

    def draw(self, pair: Pair) -> Preview:
        """Draw a photo before and after, as large as is sensible."""
        from unblur.pictures.compare import draw_coarsely, draw_comparison

        columns = min(self.columns, WIDEST_COLUMNS)
        if self.way is Way.BLOCKS:
            height = int(2 * self.rows * SHARE_OF_ROWS)
            return Preview("", draw_coarsely(pair, max(1, (columns - 1) // 2), height))
        width = min(columns * self.cell[0], WIDEST_PX)
        height = int(self.rows * self.cell[1] * SHARE_OF_ROWS)
        picture = draw_comparison(pair, side=max(1, min(width, height) // 2))
        picture.thumbnail((width, height))
        return Preview(to_kitty(picture) if self.way is Way.KITTY else to_sixel(picture))


@dataclass(frozen=True)
class Preview:
    """A picture that Rich prints, also above its progress bars."""

    code: str
    """What the terminal is sent as it is; empty if it knows no pictures."""
    blocks: Image.Image | None = None
    """What is shown by characters then."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what the terminal is sent."""
        from rich.segment import ControlType, Segment
        from rich.style import Style

        if self.blocks is None:
            # As a control code Rich sends it unchanged, and does not count it as text.
            yield Segment(self.code, None, [(ControlType.CURSOR_FORWARD, 0)])
            yield Segment.line()
            return
        for line in half_blocks(self.blocks):
            for upper, lower in line:
                yield Segment("▀", Style(color=_hex(upper), bgcolor=_hex(lower)))
            yield Segment.line()


def find_screen(stream: TextIO) -> Screen | None:
    """Find out how a stream's terminal shows pictures; ``None`` if it cannot at all."""
    if not stream.isatty():
        return None
    from rich.console import Console

    console, way, cell = Console(file=stream), Way.BLOCKS, USUAL_CELL
    if console.is_dumb_terminal:
        return None
    with contextlib.suppress(ImportError, OSError):  # Windows, and what is a terminal in name only
        way = read_answer(_ask(os.ttyname(stream.fileno())))
        cell = _cell_size(stream.fileno())
    has_colors = console.color_system in ENOUGH_COLORS and not console.no_color
    if way is Way.BLOCKS and not has_colors:
        return None
    return Screen(way, console.width, console.height, cell)


def read_answer(answer: bytes) -> Way:
    """Tell from a terminal's answer how it shows pictures."""
    if KITTY_OK in answer:
        return Way.KITTY
    attributes = ATTRIBUTES.search(answer)
    return Way.SIXEL if attributes and SIXEL in attributes[1].split(b";") else Way.BLOCKS


def _ask(terminal: str) -> bytes:
    """Ask a terminal what it can do, unless it belongs to another program now.

    Raises:
        ImportError: On Windows.
        OSError: If it cannot be asked.
    """
    import termios
    import tty

    descriptor = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    try:
        if os.tcgetpgrp(descriptor) != os.getpgrp():
            return b""  # in the background, where a change of its settings would stop us
        before = termios.tcgetattr(descriptor)
        try:
            tty.setcbreak(descriptor, termios.TCSANOW)
            os.write(descriptor, QUESTION)
            return _read_answer(descriptor)
        finally:
            termios.tcsetattr(descriptor, termios.TCSANOW, before)
    except termios.error as error:
        raise OSError(str(error)) from error
    finally:
        os.close(descriptor)


def _read_answer(descriptor: int) -> bytes:
    answer, stop = b"", time.monotonic() + ANSWER_SECONDS
    while not ATTRIBUTES.search(answer):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, stop - time.monotonic()))
        if not ready:
            break
        answer += os.read(descriptor, 1024)
    return answer


def _cell_size(descriptor: int) -> tuple[int, int]:
    """Return the width and height of a character in pixels, as the terminal's driver says."""
    import fcntl
    import struct
    import termios

    size = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    rows, columns, width, height = struct.unpack("4H", size)
    if not (rows and columns and width and height):
        return USUAL_CELL
    return max(1, width // columns), max(1, height // rows)


def to_kitty(picture: Image.Image) -> str:
    """Code a picture in kitty's graphics protocol, as PNG in chunks ("Remote client")."""
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
    """Code a picture as sixels: six rows at a time, one colour after the other."""
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
    """Write a line of sixels, with repetitions counted."""
    text = (sixels + SIXEL_ZERO).tobytes().decode()
    return REPETITION.sub(lambda match: f"!{len(match[0])}{match[1]}", text)


Color = tuple[int, int, int]


def half_blocks(picture: Image.Image) -> Iterator[Iterator[tuple[Color, Color]]]:
    """Yield lines of characters, each the colours of its upper and of its lower half."""
    pixels = np.asarray(picture.convert("RGB"))
    for top in range(0, len(pixels) - 1, 2):
        upper, lower = pixels[top].tolist(), pixels[top + 1].tolist()
        yield zip(map(tuple, upper), map(tuple, lower), strict=True)


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
