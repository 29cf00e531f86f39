"""A photo as rows of numbers for the network, and its result as rows from the network."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.network.bands import Span
from unblur.network.config import SRNConfig

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

ROWS_AT_ONCE = 32
"""Rows that are rounded together; they fit into the processor's cache."""
WIDE = 2
"""Photos with a larger ratio of width to height are transposed."""


def as_seen(image: Pixels) -> Pixels:
    """Return a photo (H, W, C) as the network sees it: very wide photos are transposed.

    Line buffers hold rows of full width, so they are smaller if rows are the shorter side.
    Other photos stay as they are, because they are read a little faster.
    """
    height, width = image.shape[:2]
    return image.swapaxes(0, 1) if width > WIDE * height else image


class PhotoRows:
    """A photo and its result, row by row."""

    def __init__(self, image: Pixels, config: SRNConfig, strength: float) -> None:
        self.config, self.strength = config, strength
        self.result = np.empty_like(image)
        """The deblurred photo."""
        self.image, self.output = as_seen(image), as_seen(self.result)
        self.is_transposed = self.image is not image
        self.height, self.width, self.channels = self.image.shape
        self.planes = 3 // config.channels

    def padded(self, scale: int) -> tuple[int, int]:
        """Return height and width of what the network sees at a scale."""
        height, width = self.config.padded(self.height), self.config.padded(self.width)
        return height // scale, width // scale

    def split(self, band: Tensor) -> Tensor:
        """Split (planes * C, H, W) into a batch (planes, C, H, W) laid out channels-last."""
        batch = band.reshape(self.planes, -1, *band.shape[1:])
        return batch.contiguous(memory_format=torch.channels_last)

    def read(self, rows: Span) -> NDArray[Any]:
        """Return rows of the padded photo, (C, H, W), uint8 or int32.

        Padding repeats the bottom and right edge of the photo.
        """
        band: NDArray[Any] = self.image[min(rows.start, self.height - 1) : rows.stop]
        missing = (rows.stop - rows.start - len(band), -self.width % self.config.multiple)
        if any(missing):
            band = np.pad(band, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        # PyTorch has hardly any operators for uint16.
        kind = np.uint8 if band.itemsize == 1 else np.int32
        return np.ascontiguousarray(band.transpose(2, 0, 1), kind)

    def write(self, top: int, values: NDArray[np.float32]) -> None:
        """Round finished rows (3, H, W) to the photo's depth, and store them without padding."""
        whole = values[:, : max(0, self.height - top), : self.width].transpose(1, 2, 0)
        for start in range(0, len(whole), ROWS_AT_ONCE):
            rows = whole[start : start + ROWS_AT_ONCE]
            place = np.s_[top + start : top + start + len(rows)]
            self.output[place] = self._rounded(rows, self.image[place])

    def _rounded(self, rows: NDArray[np.float32], original: Pixels) -> NDArray[np.float32]:
        """Blend (h, w, 3) in [0, 1] with the original; return whole numbers (h, w, channels)."""
        if self.channels == 1:
            rows = rows.mean(axis=2, keepdims=True)
        rows = np.clip(rows, 0, 1) * np.float32(np.iinfo(original.dtype).max)
        if self.strength < 1:
            rows = original + self.strength * (rows - original)
        return np.rint(rows)
