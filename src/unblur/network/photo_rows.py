"""Convert rows of a photo to the network's input, and the network's output to rows.

Photo and result are tensors of whole numbers, in main memory or in the device's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.network.bands import Span
from unblur.network.config import SRNConfig
from unblur.network.exposure import Tones
from unblur.network.views import View, whole_numbers
from unblur.network.white_guard import keep_white

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

WIDE = 2
"""Photos with a larger ratio of width to height are transposed."""
LONG_ROW_PX = 4800
"""Photos with longer rows are transposed if their columns are shorter."""
CPU_ROWS_AT_ONCE = 64
"""Finished rows are rounded in parts of this height on CPUs, to save memory."""
MOST_TINT = 2 / 255
"""Largest difference between the channels of a grey photo, as a share of white: coding rounds."""


def is_wide(height: int, width: int) -> bool:
    """Return whether a photo of this size in pixels is transposed for the network.

    Line buffers hold rows of full width, so they are smaller if rows are the shorter side. For 24
    megapixels in float32, that saves a tenth of all memory. Other photos are not transposed,
    because they are read a little faster.
    """
    return width > WIDE * height or width > max(height, LONG_ROW_PX)


def is_grey(image: Pixels) -> bool:
    """Return whether a photo of three channels, (H, W, 3), has no colours.

    Only every fourth row is read, for speed. A spot of colour between these rows keeps its colour,
    because grey photos change by the same amount in all channels.
    """
    if image.shape[2] == 1:
        return False
    most, rows = MOST_TINT * np.iinfo(image.dtype).max, image[::4]
    for top in range(0, len(rows), CPU_ROWS_AT_ONCE):  # most photos show a colour soon
        red, green, blue = np.moveaxis(rows[top : top + CPU_ROWS_AT_ONCE], 2, 0).astype(np.int32)
        for other in (red, blue):
            other -= green
            if max(other.max(), -other.min()) > most:
                return False
    return True


@dataclass(frozen=True)
class PhotoRows:
    """Reads a photo as the network's input, and writes the network's output to the result."""

    photo: Tensor
    """The photo, (H, W, C): uint8, or the bits of uint16 as int16."""
    result: Tensor
    """The deblurred photo, of the same shape and type; it may be on another device."""
    view: View
    """The view of the photo: rotated or mirrored."""
    config: SRNConfig
    strength: float
    """Share of the change to apply, from 0 to 1."""
    device: torch.device
    """Device that runs the network."""
    tones: Tones
    """The samples that become 0 and 1 for the network."""
    is_grey: bool
    """Whether the photo has three channels, but no colours; then its result has none."""

    @cached_property
    def is_transposed(self) -> bool:
        """Whether the network sees the view transposed."""
        return is_wide(*self.view.size(*self.photo.shape[:2]))

    @cached_property
    def seen(self) -> View:
        """The view, transposed if the network's input is transposed."""
        return self.view.transposed() if self.is_transposed else self.view

    @property
    def largest(self) -> int:
        """The largest sample: 255 or 65535."""
        return 0xFF if self.photo.dtype == torch.uint8 else 0xFFFF

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input, without padding."""
        return self.seen.size(*self.photo.shape[:2])

    def padded(self, scale: int) -> tuple[int, int]:
        """Return height and width of the network's input at a scale, with padding."""
        height, width = map(self.config.padded, self.size)
        return height // scale, width // scale

    def read(self, rows: Span) -> Tensor:
        """Return rows of the padded photo as a batch (1, C, h, W), float32; `tones` become 0 and 1.

        Padding repeats the bottom row and the right column of the photo. The device converts the
        rows. Memory is laid out channels-last, as in the photo.
        """
        height, width = self.size
        band = self.seen.rows(self.photo, min(rows.start, height - 1), min(rows.stop, height)).to(
            self.device
        )
        band = _continued(band, 0, rows.stop - rows.start - len(band))
        band = _continued(band, 1, -width % self.config.multiple)
        values = whole_numbers(band).to(torch.float32, memory_format=torch.contiguous_format)
        return values.sub_(self.tones.black).div_(self.tones.span)[None].permute(0, 3, 1, 2)

    def write(self, top: int, values: Tensor) -> None:
        """Round finished rows to the photo's depth, and store them without padding.

        Args:
            top: Index of the first row.
            values: The rows, (h, W, 3), float32; they are overwritten.
        """
        height, width = self.size
        values = values[: max(0, height - top), :width]
        at_once = CPU_ROWS_AT_ONCE if self.device.type == "cpu" else max(1, len(values))
        for first in range(0, len(values), at_once):
            self._write_part(top + first, values[first : first + at_once])

    def _write_part(self, top: int, values: Tensor) -> None:
        rounded = self._blended(top, values).round_()
        # Through int32: larger numbers than int16 has cannot be converted directly.
        whole = rounded.byte() if self.largest == 0xFF else rounded.int().short()
        self.seen.write(self.result, top, whole)

    def _blended(self, top: int, values: Tensor) -> Tensor:
        """Blend result rows (h, W, 3) of the network with rows of the photo; return (h, W, C)."""
        above, below = max(0, top - 1), min(top + len(values) + 1, self.size[0])
        blurred = whole_numbers(self.seen.rows(self.photo, above, below).to(self.device))
        original = blurred[top - above :][: len(values)]
        if self.photo.shape[2] == 1:
            red, green, blue = values.unbind(2)
            values = red.add_(green).add_(blue).div_(3)[:, :, None]
        values = values.mul_(self.tones.span).add_(self.tones.black)
        if self.is_grey:  # all channels change by the same amount
            values = values.sub_(original).mean(2, keepdim=True).add(original)
        values = values.clamp_(0, self.largest)
        values = keep_white(values, blurred, top - above, self.largest)
        if self.strength == 1:
            return values
        return values.sub_(original).mul_(self.strength).add_(original)


def _continued(band: Tensor, dim: int, count: int) -> Tensor:
    """Repeat the last row or column."""
    if not count:
        return band
    shape = list(band.shape)
    shape[dim] = count
    return torch.cat([band, band.narrow(dim, -1, 1).expand(shape)], dim)


class _Writable:
    """Declares an array as writable, without a copy."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array  # so that its memory stays
        self.__array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}


def as_tensor(pixels: Pixels) -> Tensor:
    """Return a photo (H, W, C) as a tensor, (H, W, C): uint8, or the bits of uint16 as int16.

    The tensor shares the photo's memory if PyTorch supports its layout. Do not write to it.
    """
    array: NDArray[Any] = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if min(array.strides) < 0:
        array = np.ascontiguousarray(array)
    if array.itemsize == 2:
        array = array.view(np.int16)
    # PyTorch warns of arrays that are read-only, as Pillow's are.
    return torch.from_numpy(np.asarray(_Writable(array)))


def as_pixels(result: Tensor) -> Pixels:
    """Return a tensor in the form of `as_tensor`, on the CPU, as an array of uint8 or uint16."""
    array: NDArray[Any] = result.numpy()
    return array if array.itemsize == 1 else array.view(np.uint16)
