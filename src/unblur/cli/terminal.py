"""Show pictures in a terminal: with kitty's protocol, sixel, or half blocks of two colours.

One query finds out what the terminal supports. It asks for kitty's graphics protocol ("Querying
support and available transmission mediums") and then for the primary device attributes, which every
ECMA-48 terminal reports; attribute 4 is sixel (DEC, VT330/VT340 Programmer Reference, chapter 14).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from unblur.options import USUAL_CELL, Screen, TerminalGraphics
from unblur.pictures.preview import Preview, half_blocks

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
ATTRIBUTES = re.compile(rb"\x1b\[\?([0-9;]*)c")
KITTY_OK = b"_Gi=31;OK"
SIXEL = b"4"
ANSWER_SECONDS = 1.0
"""Longest wait for an answer, in seconds; the terminal may be at a remote machine."""

ENOUGH_COLORS = ("256", "truecolor")
"""Rich's names of color systems with enough colours for half blocks."""


@dataclass(frozen=True)
class Printed:
    """A picture that Rich can print, also above progress bars."""

    preview: Preview

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the codes and characters for the terminal."""
        from rich.color import Color
        from rich.segment import ControlType, Segment
        from rich.style import Style

        if self.preview.blocks is None:
            # Rich sends a control code unchanged, and does not count it as text.
            yield Segment(self.preview.code, None, [(ControlType.CURSOR_FORWARD, 0)])
            yield Segment.line()
            return
        for line in half_blocks(self.preview.blocks):
            for upper, lower in line:
                colors = Color.from_rgb(*upper), Color.from_rgb(*lower)
                yield Segment("▀", Style.from_color(*colors))
            yield Segment.line()


def find_screen(stream: TextIO) -> Screen | None:
    """Return how a stream's terminal shows pictures; ``None`` if it cannot."""
    if not stream.isatty():
        return None
    from rich.console import Console

    console, graphics, cell = Console(file=stream), TerminalGraphics.BLOCKS, USUAL_CELL
    if console.is_dumb_terminal:
        return None
    with contextlib.suppress(ImportError, OSError):  # Windows, or not a real terminal
        graphics = read_answer(_ask(stream.fileno()))
        cell = _cell_size(stream.fileno())
    has_colors = console.color_system in ENOUGH_COLORS and not console.no_color
    if graphics is TerminalGraphics.BLOCKS and not has_colors:
        return None
    return Screen(graphics, console.width, console.height, cell)


def read_answer(answer: bytes) -> TerminalGraphics:
    """Return how a terminal shows pictures, by its answer to `QUESTION`."""
    if KITTY_OK in answer:
        return TerminalGraphics.KITTY
    attributes = ATTRIBUTES.search(answer)
    has_sixel = attributes and SIXEL in attributes[1].split(b";")
    return TerminalGraphics.SIXEL if has_sixel else TerminalGraphics.BLOCKS


def _ask(stream: int) -> bytes:
    """Return the answer of a descriptor's terminal, or nothing if we run in the background.

    Raises:
        ImportError: On Windows.
        OSError: If the terminal cannot be read or written.
    """
    import termios
    import tty

    descriptor = os.open(os.ttyname(stream), os.O_RDWR | os.O_NOCTTY)
    try:
        if not has_foreground(descriptor):
            return b""  # changing the terminal's settings from the background would stop us
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


def has_foreground(descriptor: int) -> bool:
    """Return whether the program is in the foreground of its terminal, not started with ``&``.

    Raises:
        OSError: If the descriptor is not the terminal that controls this program.
    """
    if sys.platform == "win32":  # has no background
        return True
    return os.tcgetpgrp(descriptor) == os.getpgrp()


def _read_answer(descriptor: int) -> bytes:
    answer, stop = b"", time.monotonic() + ANSWER_SECONDS
    while not ATTRIBUTES.search(answer):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, stop - time.monotonic()))
        if not ready:
            break
        answer += os.read(descriptor, 1024)
    return answer


def _cell_size(descriptor: int) -> tuple[int, int]:
    """Return the width and height of a character in pixels, by the terminal's driver."""
    import fcntl
    import struct
    import termios

    size = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    rows, columns, width, height = struct.unpack("4H", size)
    if not (rows and columns and width and height):
        return USUAL_CELL
    return max(1, width // columns), max(1, height // rows)
