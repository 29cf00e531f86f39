"""How much a result differs from its photo, and where most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.display import Box
from unblur.pixels import STRIP_BYTES

BLOCK_PX = 16


@dataclass(frozen=True)
class Change:
    """How a result differs from its photo; all as shares of the full range."""

    amount: float
    """Mean absolute difference."""
    blocks: NDArray[np.float32]
    """(rows, columns), the standard deviation of the difference in each block of pixels: that of
    its detail, since what only became brighter has none."""
    block_px: int
    width: int
    height: int

    def strongest(self, width: int, height: int) -> Box:
        """Return the part of a size, or of the photo's if that is smaller, that changed most."""
        width, height = min(width, self.width), min(height, self.height)
        rows, columns = (
            min(count, max(1, side // self.block_px))
            for side, count in zip((height, width), self.blocks.shape, strict=True)
        )
        sums = np.pad(self.blocks, ((1, 0), (1, 0))).cumsum(0, np.float64).cumsum(1)
        lower, upper = sums[rows:], sums[:-rows]
        windows = lower[:, columns:] - lower[:, :-columns] - upper[:, columns:]
        windows += upper[:, :-columns]
        row, column = np.unravel_index(windows.argmax(), windows.shape)
        # Blocks are not as fine as pixels: the part is put around the middle of theirs.
        top = int((row + rows / 2) * self.block_px - height / 2)
        left = int((column + columns / 2) * self.block_px - width / 2)
        return Box(
            min(max(0, left), self.width - width),
            min(max(0, top), self.height - height),
            width,
            height,
        )


def measure_change(before: NDArray[Any], after: NDArray[Any]) -> Change:
    """Compare two photos of the same shape and type, (H, W, C), in bounded memory."""
    height, width, channels = before.shape
    block = min(BLOCK_PX, height, width)
    rows, columns = height // block, width // block
    blocks, total = np.empty((rows, columns), np.float32), 0.0
    step = max(1, STRIP_BYTES // (block * width * channels * np.float32().itemsize))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        area = np.s_[start * block : stop * block, : columns * block]
        difference = after[area].astype(np.float32) - before[area]
        blocks[start:stop] = _deviation(difference, block)
        total += float(np.abs(difference, out=difference).sum(dtype=np.float64))
    full = np.iinfo(before.dtype).max
    amount = total / (rows * columns * block * block * channels) / full
    return Change(amount, blocks / np.float32(full), block, width, height)


def _deviation(values: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Return the standard deviation in each block, the mean of all channels."""
    height, width, channels = values.shape
    rows, columns = height // block, width // block
    lines = values.reshape(rows, block, columns * block * channels)
    mean, square = (
        # Whole lines first: that is far quicker than along two axes at once.
        sums.sum(axis=1).reshape(rows, columns, block, channels).sum(axis=2) / block**2
        for sums in (lines, np.square(lines))
    )
    deviation: NDArray[np.float32] = np.sqrt(np.maximum(0, square - mean**2)).mean(axis=-1)
    return deviation
