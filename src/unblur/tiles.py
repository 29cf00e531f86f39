"""Where tiles lie and how they are joined; plain geometry, no network.

Along each axis an image is cut into spans of equal length that overlap. In the
middle quarter of an overlap one span fades into the next; the rest is only seen
as context, because a network is least sure at a tile's border. There is no fade
at the border of the image itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]


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
    """Puts tiles together that arrive in reading order, one row of tiles in memory.

    Args:
        rows: Spans along the height.
        columns: Spans along the width.
        channels: Channels of every tile.
        write: Called with the first row's number and finished rows, (channels,
            rows, width) float32, from top to bottom without gaps.
    """

    def __init__(
        self,
        rows: list[Span],
        columns: list[Span],
        channels: int,
        write: Callable[[int, Floats], None],
    ) -> None:
        self._rows, self._columns, self._write = rows, columns, write
        self._band = np.empty((channels, rows[0].length, columns[-1].stop), np.float32)
        self._above = np.empty((channels, 0, columns[-1].stop), np.float32)

    def add(self, row: int, column: int, tile: Floats) -> None:
        """Add the tile of a row and column of spans, (channels, height, width).

        ``a + (b - a) * w`` rather than ``a * (1 - w) + b * w``: where two tiles
        agree, the result is theirs to the last bit.
        """
        span = self._columns[column]
        left = self._columns[column - 1].stop if column else 0
        shared = max(0, left - span.start)
        before = self._band[..., span.start : span.start + shared]
        before += (tile[..., :shared] - before) * fade(shared)
        self._band[..., span.start + shared : span.stop] = tile[..., shared:]
        if column == len(self._columns) - 1:
            self._finish(row)

    def _finish(self, row: int) -> None:
        """Fade the row above into this one, and write what no later row touches."""
        shared = self._above.shape[1]
        top = self._band[:, :shared]
        top[...] = self._above + (top - self._above) * fade(shared)[:, None]
        start = self._rows[row].start
        last = row == len(self._rows) - 1
        end = self._rows[row].stop if last else self._rows[row + 1].start
        self._write(start, self._band[:, : end - start])
        self._above = self._band[:, end - start :].copy()
