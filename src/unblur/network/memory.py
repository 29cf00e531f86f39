"""How large a tile fits into memory, what a photo needs, and which errors mean that it ran out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.main_memory import free_main_memory, lack_of_memory, obtainable_memory
from unblur.network.config import SCALES, SRNConfig
from unblur.network.srn_memory import (
    image_bytes_per_pixel,
    line_buffer_bytes,
    scale_bytes_per_pixel,
    tile_bytes_per_pixel,
    weight_bytes,
)
from unblur.network.views import sum_type

RAM_SHARE, VRAM_SHARE = 0.5, 0.8
"""Shares of what is free that a tile may take: too much RAM freezes the whole machine."""
LARGEST_TILE_PX = 768
"""Larger tiles are no faster: their feature maps leave the processor's caches."""
SMALLEST_TILE_PX = 128
"""Smaller tiles save hardly any memory."""
TILE_STEP_PX = 64
PROGRAM_BYTES = 350 << 20
"""What Python and PyTorch take before the first photo, from above."""
CODING_BYTES_PER_PIXEL = 8
"""What coding a result takes at its peak besides the photo and the result themselves."""

_OUT_OF_MEMORY_WORDS = (
    "can't allocate memory",  # PyTorch's allocator for CPUs, on Linux and macOS
    "not enough memory",  # the same, on Windows
    "mps backend out of memory",
)


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device, within the container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_main_memory()


@dataclass(frozen=True)
class Needs:
    """What a photo takes of main memory, in bytes, estimated from above."""

    there: int
    """Python, PyTorch and the decoded photo."""
    more: int
    """What deblurring and coding take besides these and a band."""
    per_pixel: float
    """What a band takes for each of its pixels."""
    least_pixels: int
    """No band has fewer."""

    def total(self, tile: int) -> int:
        """Return what all takes, with bands of as many pixels as a square of this side."""
        band = max(tile**2, self.least_pixels)
        return self.there + self.more + math.ceil(band * self.per_pixel)

    def largest_tile(self, limit: int) -> int:
        """Return the largest side with which all stays within a limit; 0 if there is none."""
        pixels = int(max(0, limit - self.there - self.more) / self.per_pixel)
        return math.isqrt(pixels) if pixels >= self.least_pixels else 0


def photo_needs(
    image: NDArray[Any],
    config: SRNConfig,
    precision: torch.dtype,
    device: torch.device,
    views: int = 1,
) -> Needs:
    """Estimate what a photo takes of main memory.

    Args:
        image: The photo, (H, W, C), as the network sees it.
        config: The network's.
        precision: Type that convolutions compute in.
        device: Where the network runs.
        views: How many views the result is the mean of.
    """
    height, width = image.shape[:2]
    padded_width = config.padded(width)
    # The smaller scales' results are freed row by row as the photo's own grows.
    smaller = config.padded(height) * padded_width * scale_bytes_per_pixel(config)
    smaller *= sum(1 / scale**2 for scale in SCALES if scale > 1)
    result = image.nbytes + height * width * CODING_BYTES_PER_PIXEL * image.itemsize
    more = math.ceil(max(smaller, result)) + weight_bytes(config)
    if views > 1:
        more += image.size * sum_type(image.dtype).itemsize
    program, per_pixel = PROGRAM_BYTES, image_bytes_per_pixel()
    if is_main_memory(device):
        per_pixel = tile_bytes_per_pixel(config, precision.itemsize)
        more += line_buffer_bytes(padded_width, config, precision.itemsize)
    else:  # the GPU's libraries take gigabytes, more or less of them by their version
        program = max(program, psutil.Process().memory_info().rss - image.nbytes)
    return Needs(program + image.nbytes, more, per_pixel, config.stride * padded_width)


def is_main_memory(device: torch.device) -> bool:
    """Tell whether a device computes in main memory, as processors and Apple's GPUs do."""
    return device.type in ("cpu", "mps")


def largest_tile(needs: list[Needs], wanted: int, smallest: int, limit: int | None) -> int:
    """Return the largest tile, up to one that is wanted, with which a photo fits into memory.

    Args:
        needs: Of the photo, in each view.
        wanted: Side of a square of as many pixels as the largest tile has.
        smallest: Smaller tiles must not be used.
        limit: Bytes that the program may take, or ``None`` for what is free now.

    Raises:
        PhotoError: If it does not fit with the smallest tile.
    """
    greatest = max(needs, key=lambda need: need.total(smallest))
    allowed = obtainable_memory() + greatest.there if limit is None else limit
    fitting = min(need.largest_tile(allowed) for need in needs)
    if fitting >= smallest:
        return min(wanted, fitting)
    total = greatest.total(smallest)
    if limit is not None:
        raise PhotoError(
            f"with tiles of {smallest} pixels it takes about {total / 1e9:.1f} GB, "
            "more than --max-memory allows"
        )
    lack = lack_of_memory(total - greatest.there, allowed - greatest.there)
    raise PhotoError(f"{lack}; --max-memory {math.ceil(total / 1e9)}G tries anyway")


def automatic_tile(config: SRNConfig, precision: torch.dtype, device: torch.device) -> int:
    """Return the side in pixels of the tile to use with the memory that is free now."""
    share = VRAM_SHARE if device.type == "cuda" else RAM_SHARE
    return fitting_tile(config, precision, share * free_memory(device))


def fitting_tile(config: SRNConfig, precision: torch.dtype, budget: float) -> int:
    """Return the side in pixels of the largest square tile that fits into some bytes.

    It is from `SMALLEST_TILE_PX` to `LARGEST_TILE_PX`.
    """
    side = math.isqrt(int(max(0, budget) / tile_bytes_per_pixel(config, precision.itemsize)))
    return max(SMALLEST_TILE_PX, min(LARGEST_TILE_PX, side - side % TILE_STEP_PX))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out; others are never taken for it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(w in words for w in _OUT_OF_MEMORY_WORDS)
