"""Overlapping pieces of a photo, for a network that computes each piece as a whole.

Near a piece's edge, the network sees zeros instead of the neighbouring pixels; these rows and
columns are discarded. All others are exact: the network sees all pixels that they depend on.
`unblur.network.bands` needs no overlaps, but it must handle each layer of the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.network.bands import LineBuffers
from unblur.network.config import SRNConfig
from unblur.network.srn_memory import rows_behind

SIDE_IN_MARGINS = 4
"""Least length of a piece, in margins. It has a margin at each end, so at most half of its rows or
columns is discarded."""


def margin_of(config: SRNConfig) -> int:
    """Return how many pixels from a piece's edge results may be wrong, at one scale.

    It is a multiple of ``config.stride``.
    """
    return math.ceil(rows_behind(config) / config.stride) * config.stride


def new_rows(most: int, height: int, margin: int) -> int:
    """Return the largest number of new rows in a band, besides the rows of the band above.

    Args:
        most: Rows that may be computed at once.
        height: Rows of the photo.
        margin: See `margin_of`; 0 for a network that needs no overlaps.
    """
    if not margin or most >= height:
        return most
    return max(most, SIDE_IN_MARGINS * margin) - 2 * margin


@dataclass(frozen=True)
class Rows:
    """The rows of a piece: some were finished with the piece above, some are not yet right."""

    above: int
    """Number of rows at the top that were finished with the band above."""
    ready: int
    """The first row that is not right yet; those from ``above`` to it are finished."""
    kept_from: int
    """The first row that the next band needs again."""

    def finished(self, x: Tensor, divisor: int = 1) -> Tensor:
        """Return the finished rows of a map (B, C, H, W) on a grid that is coarser."""
        return x[:, :, self.above // divisor : self.ready // divisor]


def rows_of_band(buffers: LineBuffers, x: Tensor, margin: int) -> Rows:
    """Find the finished rows of a piece, and the rows that the next band needs.

    Args:
        buffers: Whether the piece is the first or the last one.
        x: The piece with the rows kept above, (B, C, H, W).
        margin: See `margin_of`.
    """
    height = x.shape[2]
    # Without 2 margins above, the rows kept begin at the top of the photo, where all are right.
    above = max(0, buffers.above[PIXELS].shape[2] - margin) if buffers.above else 0
    ready = height if buffers.is_last else max(above, height - margin)
    return Rows(above, ready, max(0, height - 2 * margin))


PIXELS, STATE = "pixels", "state"
"""Names of the rows that bands keep: of images, and of the recurrent state."""


def join(buffers: LineBuffers, name: str, x: Tensor) -> Tensor:
    """Return the rows that the band above kept, followed by those of a band."""
    return torch.cat([buffers.above[name], x], dim=2) if buffers.above else x


def keep(buffers: LineBuffers, name: str, x: Tensor, first: int) -> None:
    """Keep rows for the band below, from a first one on."""
    if not buffers.is_last:
        buffers.kept[name] = x[:, :, first:].clone()


@dataclass(frozen=True)
class Columns:
    """The columns of a piece."""

    start: int
    stop: int
    left: int
    """First column that is right, counted from ``start``."""
    right: int
    """End of the right columns: the index after the last one."""

    def cut(self, x: Tensor, divisor: int = 1) -> Tensor:
        """Return the columns of a map (B, C, H, W) on a grid that is coarser."""
        return x[..., self.start // divisor : self.stop // divisor]

    def right_part(self, x: Tensor, divisor: int = 1) -> Tensor:
        """Return the columns of a piece's result that are right."""
        return x[..., self.left // divisor : self.right // divisor]


def cut_columns(width: int, most: int, margin: int, multiple: int) -> list[Columns]:
    """Cut rows into pieces of about equal width.

    Args:
        width: Columns of the photo, a multiple of ``multiple``.
        most: Columns that may be computed at once.
        margin: Columns to discard at a piece's inner edges.
        multiple: Each piece starts and stops at a multiple of this.

    Raises:
        MemoryError: If the pieces would consist of margins for the most part.
    """
    if width <= most:
        return [Columns(0, width, 0, width)]
    inside = (most - 2 * margin) // multiple * multiple
    if most < SIDE_IN_MARGINS * margin:
        raise MemoryError
    count = math.ceil(width / inside)
    step = math.ceil(width / count / multiple) * multiple
    edges = [(left, min(width, left + step)) for left in range(0, width, step)]
    starts = [(max(0, left - margin), min(width, right + margin)) for left, right in edges]
    return [
        Columns(start, stop, left - start, right - start)
        for (left, right), (start, stop) in zip(edges, starts, strict=True)
    ]
