"""Where tiles lie and how they are joined; plain geometry, no network.

Along each axis an image is cut into spans of equal length that overlap. In the
middle quarter of an overlap one span fades into the next; the rest is only seen
as context, because a network is least sure at a tile's border. There is no fade
at the border of the image itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

OVERLAP_PX = 128
"""What neighbouring tiles share, in pixels of their own scale; less if they are small."""


@dataclass(frozen=True)
class Span:
    """A tile's extent along one axis: from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.stop - self.start

    def divided(self, divisor: int) -> Span:
        """Return the same extent on a grid that is ``divisor`` times coarser."""
        return Span(self.start // divisor, self.stop // divisor)

    def shifted(self, offset: int) -> Span:
        """Return the extent moved by ``offset``."""
        return Span(self.start + offset, self.stop + offset)


def plan_spans(length: int, tile: int, overlap: int, multiple: int) -> list[Span]:
    """Cut an axis into spans of equal length.

    Equal spans rather than a thin remainder, because a network sees less
    context in a sliver, and because equal shapes reuse prepared kernels.

    Args:
        length: Length of the axis; a multiple of ``multiple``.
        tile: Upper bound of a span's length, overlaps included.
        overlap: Lower bound of what two neighbours share.
        multiple: Every start and stop is a multiple of it.

    Returns:
        Spans in order; the first starts at 0, the last stops at ``length``.

    Raises:
        ValueError: If ``length`` is not a positive multiple, or ``tile`` is
            shorter than two overlaps and one multiple.
    """
    if length <= 0 or length % multiple:
        raise ValueError(f"length {length} is not a positive multiple of {multiple}")
    tile -= tile % multiple
    overlap += -overlap % multiple
    if tile < 2 * overlap + multiple:
        raise ValueError(f"a tile of {tile} is too short for overlaps of {overlap}")
    if length <= tile:
        return [Span(0, length)]
    count = math.ceil((length - overlap) / (tile - overlap))
    side = math.ceil((length + (count - 1) * overlap) / count / multiple) * multiple
    room = (length - side) // multiple
    starts = [room * index // (count - 1) * multiple for index in range(count)]
    return [Span(start, start + side) for start in starts]


def fade(overlap: int) -> Floats:
    """Return the weight of the later of two spans over their overlap, from 0 to 1."""
    position = (np.arange(overlap, dtype=np.float32) + 0.5) / max(overlap, 1)
    return np.clip(4 * position - 1.5, 0, 1)


class Joiner:
    """Puts tiles together that arrive in reading order; only what is still to be faded is kept.

    Args:
        rows: Spans along the height.
        columns: Spans along the width.
        channels: Channels of every tile.
        write: Called with the first row, the first column and finished values,
            (channels, height, width) float32, once for each tile; together they
            are the whole image.
    """

    def __init__(
        self,
        rows: list[Span],
        columns: list[Span],
        channels: int,
        write: Callable[[int, int, Floats], None],
    ) -> None:
        self._rows, self._columns, self._write = rows, columns, write
        shared = max((a.stop - b.start for a, b in itertools.pairwise(rows)), default=0)
        self._above = np.empty((channels, shared, columns[-1].stop), np.float32)
        self._left = np.empty((channels, 0, 0), np.float32)

    def add(self, row: int, column: int, tile: Floats) -> None:
        """Add the tile of a row and column of spans, (channels, height, width); it is changed."""
        y, bottom, top = _place(self._rows, row)
        x, right, left = _place(self._columns, column)
        if left:
            _fade_in(tile[..., :left], self._left, fade(left))
        self._left = tile[..., right:].copy()
        tile = tile[..., :right]
        above = self._above[..., x : x + right]
        _fade_in(tile[:, :top], above[:, :top], fade(top)[:, None])
        above[:, : tile.shape[1] - bottom] = tile[:, bottom:]
        self._write(y, x, tile[:, :bottom])


def _place(spans: list[Span], index: int) -> tuple[int, int, int]:
    """Return a span's start, the length that no later one touches, and what it shares before."""
    span = spans[index]
    stop = spans[index + 1].start if index + 1 < len(spans) else span.stop
    shared = spans[index - 1].stop - span.start if index else 0
    return span.start, stop - span.start, max(0, shared)


def _fade_in(later: Floats, earlier: Floats, weight: Floats) -> None:
    """Fade from the earlier of two tiles into the later one, in place.

    ``a + (b - a) * w`` rather than ``a * (1 - w) + b * w``: where two tiles
    agree, the result is theirs to the last bit.
    """
    later[...] = earlier + (later - earlier) * weight
