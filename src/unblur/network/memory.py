"""Compute how large tiles may be for the free memory; see also `unblur.network.srn_memory`."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.main_memory import free_main_memory, lack_of_memory, obtainable_memory
from unblur.network.config import SRNConfig
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.engines import EngineName
from unblur.network.overlaps import SIDE_IN_MARGINS, margin_of
from unblur.network.srn_memory import (
    IMAGE_BYTES_PER_PIXEL,
    coarse_result_bytes,
    line_buffer_bytes,
    tile_bytes_per_pixel,
    vulkan_pixels,
    weight_bytes,
)
from unblur.network.views import sum_bytes
from unblur.options import SMALLEST_TILE_PX
from unblur.user_text import size

RAM_SHARE, VRAM_SHARE = 0.5, 0.8
"""Shares of free main memory and of free GPU memory that a tile may take. Too little free main
memory freezes the machine."""
LARGEST_TILE_PX = {2: 768, 4: 512}
"""Side of the largest tile on a CPU, by the bytes of its data type. Larger tiles are no faster,
because their feature maps do not fit into the caches."""
LARGEST_MAP = 1 << 30
"""Numbers in the largest feature map of a GPU's tile; some GPU kernels fail above 2 to 4 GB."""
RESIDENT_SHARE = 0.5
"""Share of a tile's budget that a whole photo with its results at all scales may take."""
TILE_STEP_PX = 64
VULKAN_IMAGE_BYTES_PER_PIXEL = 3 * IMAGE_BYTES_PER_PIXEL
"""Main memory for the images of a band, and for the buffers through which ncnn copies them."""
VULKAN_DRIVER_BYTES = 128 << 20
"""Main memory of a Vulkan driver and of the shaders that it compiles for the network."""
PROGRAM_BYTES = 350 << 20
"""Memory of Python and PyTorch before the first photo; an upper bound."""
CODING_BYTES_PER_PIXEL = 8
"""Peak memory of encoding a result, in addition to the photo and the result."""


def free_memory(kind: DeviceKind) -> int:
    """Return the bytes that are free on a device, within the container's limit."""
    if not kind.free_memory:
        return free_main_memory()
    with kind.selected(torch):
        return kind.free_memory(torch)


def require_device_memory(kind: DeviceKind, config: SRNConfig, precision: torch.dtype) -> None:
    """Raise `MemoryError` if a device that hangs when it is full lacks memory for any tile."""
    if kind.hangs_if_full:
        needed = SMALLEST_TILE_PX**2 * tile_bytes_per_pixel(config, precision.itemsize)
        if needed > VRAM_SHARE * free_memory(kind):
            raise MemoryError


@dataclass(frozen=True)
class Needs:
    """Upper bound of the main memory that a photo needs, in bytes."""

    there: int
    """Bytes in memory already: Python, PyTorch and the decoded photo."""
    more: int
    """Further bytes for deblurring and encoding, without a band."""
    per_pixel: float
    """Bytes per pixel of a band."""
    least_pixels: int
    """Pixels of the smallest band."""

    def total(self, tile: int) -> int:
        """Return all bytes, for bands of as many pixels as a tile of this side has."""
        band = max(tile**2, self.least_pixels)
        return self.there + self.more + math.ceil(band * self.per_pixel)

    def largest_tile(self, limit: int) -> int:
        """Return the largest side in pixels for a limit in bytes; 0 if no tile fits."""
        left = limit - self.there - self.more
        if not self.per_pixel:
            return sys.maxsize if left >= 0 else 0
        pixels = int(max(0, left) / self.per_pixel)
        return math.isqrt(pixels) if pixels >= self.least_pixels else 0


def photo_needs(
    image: NDArray[Any],
    config: SRNConfig,
    precision: torch.dtype,
    kind: DeviceKind,
    views: int,
    *,
    is_resident: bool,
    engine: EngineName,
) -> Needs:
    """Estimate the main memory that a photo needs.

    Args:
        image: The photo, (H, W, C), as the network sees it.
        config: Shape of the network.
        precision: Type that convolutions compute in.
        kind: Where the network runs.
        views: Number of passes that are averaged.
        is_resident: Whether the photo and its result are copied to the device's memory.
        engine: The engine that computes.
    """
    height, width = image.shape[:2]
    padded_width = config.padded(width)
    result = image.nbytes + height * width * CODING_BYTES_PER_PIXEL * image.itemsize
    # Coarse results are freed row by row as the photo's own result grows.
    more = math.ceil(max(coarse_result_bytes(height, width, config), result))
    figures = engine if kind.engine == "torch" else "vulkan"  # their key in `srn_memory`
    more += weight_bytes(config, figures)
    if views > 1:
        more += image.size * sum_bytes(image.itemsize)
    program, per_pixel = PROGRAM_BYTES, IMAGE_BYTES_PER_PIXEL
    least_rows = config.stride
    if kind.engine == "ncnn":
        per_pixel, least_rows = VULKAN_IMAGE_BYTES_PER_PIXEL, SIDE_IN_MARGINS * margin_of(config)
        more += VULKAN_DRIVER_BYTES
    if not kind.free_memory:  # it uses main memory
        per_pixel = tile_bytes_per_pixel(config, precision.itemsize, engine)
        more += line_buffer_bytes(padded_width, config, precision.itemsize)
    else:  # the GPU's libraries take gigabytes, how many depends on their version
        program = max(program, psutil.Process().memory_info().rss - image.nbytes)
        with kind.selected(torch):
            if kind.shares_memory(torch):
                per_pixel += tile_bytes_per_pixel(config, precision.itemsize, figures)
        if is_resident:
            per_pixel = 0
    if is_resident:  # copies on their way to the device, or in it if it uses main memory
        more += 2 * image.nbytes
    least_pixels = min(least_rows, config.padded(height)) * padded_width
    return Needs(program + image.nbytes, more, per_pixel, least_pixels)


def largest_tile(
    needs: list[Needs], wanted: int, smallest: int, limit: int | None, reserved: int = 0
) -> int:
    """Return the side in pixels of the largest tile with which a photo fits into memory.

    Args:
        needs: Memory that the photo needs in each view.
        wanted: Side of the largest tile, a square, in pixels.
        smallest: Side of the smallest tile that may be used.
        limit: Bytes that the program may use; ``None``: the memory that is free now.
        reserved: Bytes to leave free for other uses.

    Raises:
        PhotoError: If the photo does not fit even with the smallest tile.
    """
    greatest = max(needs, key=lambda need: need.total(smallest))
    allowed = obtainable_memory() + greatest.there if limit is None else limit
    fitting = min(need.largest_tile(allowed - reserved) for need in needs)
    if fitting >= smallest:
        return min(wanted, fitting)
    total = greatest.total(smallest) + reserved
    if limit is not None:
        raise PhotoError(
            f"with tiles of {smallest} pixels it takes about {size(total, math.ceil)}, "
            "more than --max-memory allows"
        )
    lack = lack_of_memory(total - greatest.there, allowed - greatest.there)
    raise PhotoError(f"{lack}; --max-memory {math.ceil(total / 1e9)}G tries anyway")


def resident_bytes(image: NDArray[Any], config: SRNConfig, views: int) -> int:
    """Return the bytes of a photo, its results at all scales, and the sum of several views."""
    height, width = image.shape[:2]
    total = 2 * image.nbytes + coarse_result_bytes(height, width, config)
    return math.ceil(total) + (image.size * sum_bytes(image.itemsize) if views > 1 else 0)


def tile_budget(kind: DeviceKind) -> float:
    """Return the bytes of a device's memory that a tile may take now."""
    return (VRAM_SHARE if kind.free_memory else RAM_SHARE) * free_memory(kind)


def automatic_tile(
    config: SRNConfig,
    precision: torch.dtype,
    kind: DeviceKind,
    resident: int = 0,
    engine: EngineName = "torch",
) -> int:
    """Return the side in pixels of the largest tile for the memory that is free now.

    Args:
        config: Shape of the network.
        precision: Type that convolutions compute in.
        kind: The device.
        resident: Bytes of the device's memory for a whole photo, which the tile cannot use.
        engine: The engine that computes.
    """
    if kind.engine == "ncnn":
        side = math.isqrt(vulkan_pixels(config, precision.itemsize, tile_budget(kind)))
        return max(SMALLEST_TILE_PX, side - side % TILE_STEP_PX)
    per_pixel = math.ceil(max(6, 3 / config.channels * config.width / config.unshuffle**2))
    on_cpu, on_gpu = LARGEST_TILE_PX[precision.itemsize], math.isqrt(LARGEST_MAP // per_pixel)
    largest = on_cpu if kind is CPU else on_gpu
    return fitting_tile(config, precision, tile_budget(kind) - resident, largest, engine)


def fitting_tile(
    config: SRNConfig,
    precision: torch.dtype,
    budget: float,
    largest: int,
    engine: EngineName = "torch",
) -> int:
    """Return the side in pixels of the largest square tile that fits into a budget in bytes.

    The side is at least `SMALLEST_TILE_PX` and at most ``largest``.
    """
    per_pixel = tile_bytes_per_pixel(config, precision.itemsize, engine)
    side = math.isqrt(int(max(0, budget) / per_pixel))
    return max(SMALLEST_TILE_PX, min(largest, side - side % TILE_STEP_PX))
