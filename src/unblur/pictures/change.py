"""Measure the difference of a result from its photo: the amount, and the strongest part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.network.exposure import tones_of
from unblur.pictures.display import Area

BLOCK_PX = 16
"""Height and width of a block; photos with a shorter side have smaller blocks."""

_PART_BYTES = 1 << 20
"""Bytes of differences that are measured at once; they fit into a core's cache."""

VISIBLE = 0.01
"""Least standard deviation of a visible change, as a share of white: 2.5 of 255."""


@dataclass(frozen=True)
class Change:
    """The difference of a result from its photo."""

    amount: float
    """Mean absolute difference, as a share of the full range."""
    blocks: NDArray[np.float32]
    """(rows, columns), float32: standard deviation of the difference in each block of pixels, as a
    share of white; in a dark or pale photo, of the difference of its brightest and darkest
    samples. This measures changed detail: a block that only became brighter has 0."""
    block: tuple[int, int]
    """Rows and columns of pixels in a block."""
    width: int
    height: int

    @property
    def share(self) -> float:
        """Share of the blocks whose detail changed visibly, from 0 to 1."""
        return float((self.blocks > VISIBLE).mean())

    def strongest(self, width: int, height: int) -> Area:
        """Return the part that changed most, of this size in pixels; less in a smaller photo."""
        width, height = min(width, self.width), min(height, self.height)
        rows, columns = (
            min(count, max(1, side // pixels))
            for side, pixels, count in zip(
                (height, width), self.block, self.blocks.shape, strict=True
            )
        )
        sums = np.pad(self.blocks, ((1, 0), (1, 0))).cumsum(0, np.float64).cumsum(1)
        lower, upper = sums[rows:], sums[:-rows]
        windows = lower[:, columns:] - lower[:, :-columns] - upper[:, columns:]
        windows += upper[:, :-columns]
        row, column = np.unravel_index(windows.argmax(), windows.shape)
        # Blocks are not as fine as pixels: the part is put around the middle of theirs.
        top = int((row + rows / 2) * self.block[0] - height / 2)
        left = int((column + columns / 2) * self.block[1] - width / 2)
        return Area(
            min(max(0, left), self.width - width),
            min(max(0, top), self.height - height),
            width,
            height,
        )


def measure_change(before: NDArray[Any], after: NDArray[Any]) -> Change:
    """Compare two photos, (H, W, C), of the same shape and integer type, in bounded memory."""
    height, width, channels = before.shape
    block = min(BLOCK_PX, height), min(BLOCK_PX, width)
    rows, columns = height // block[0], width // block[1]
    blocks, total = np.empty((rows, columns), np.float32), 0.0
    most = max(1, _PART_BYTES // (block[0] * block[1] * channels * np.float32().itemsize))
    for part in _parts(rows, columns, most):
        pixels = tuple(
            slice(size * lines.start, size * lines.stop)
            for size, lines in zip(block, part, strict=True)
        )
        difference = after[pixels].astype(np.float32)
        difference -= before[pixels]
        blocks[part] = _deviation(difference, block)
        total += float(np.abs(difference, out=difference).sum(dtype=np.float32))
    full = np.iinfo(before.dtype).max
    amount = total / (blocks.size * block[0] * block[1] * channels) / full
    return Change(amount, blocks / np.float32(tones_of(before).span), block, width, height)


def _parts(rows: int, columns: int, most: int) -> Iterator[tuple[slice, slice]]:
    """Divide a grid into groups of rows, or into parts of a row, of at most ``most`` cells."""
    across = min(columns, most)
    down = most // across
    for top in range(0, rows, down):
        for left in range(0, columns, across):
            yield slice(top, min(top + down, rows)), slice(left, min(left + across, columns))


def _deviation(values: NDArray[np.float32], block: tuple[int, int]) -> NDArray[np.float32]:
    """Return the standard deviation in each block, averaged over the channels."""
    height, width, channels = values.shape
    rows, columns = height // block[0], width // block[1]
    lines = values.reshape(rows, block[0], columns * block[1] * channels)
    # Products of matrices take a fraction of the time of sums along short axes.
    down = np.ones(block[0], np.float32)
    across = np.tile(np.eye(channels, dtype=np.float32) / (block[0] * block[1]), (block[1], 1))
    mean, square = (
        sums.reshape(rows, columns, block[1] * channels) @ across
        for sums in (down @ lines, np.einsum("rbc,rbc->rc", lines, lines))
    )
    deviation: NDArray[np.float32] = np.sqrt(np.maximum(0, square - mean**2)).mean(axis=-1)
    return deviation
