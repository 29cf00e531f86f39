"""How much memory is free, how large a tile fits into it, and which errors mean that it did not."""

from __future__ import annotations

import ctypes
import math
import sys
from pathlib import Path

import psutil
import torch

from unblur.srn_config import SRNConfig
from unblur.srn_memory import scale_bytes_per_pixel, tile_bytes_per_pixel

RAM_SHARE, VRAM_SHARE = 0.5, 0.8
"""Shares of what is free that a tile may take: too much RAM freezes the whole machine."""
LARGEST_TILE_PX = 768
"""Larger tiles are no faster: their feature maps leave the processor's caches."""
TILE_STEP_PX = 64
PROGRAM_BYTES = 350 << 20
"""What Python and PyTorch take before the first photo, from above."""
CODING_BYTES_PER_PIXEL = 8
"""What coding a result takes at its peak besides the photo and the result themselves."""

_CGROUP_FILES = (
    ("memory.max", "memory.current"),  # version 2
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # version 1
)
_OUT_OF_MEMORY_WORDS = (
    "can't allocate memory",  # PyTorch's allocator for CPUs, on Linux and macOS
    "not enough memory",  # the same, on Windows
    "mps backend out of memory",
)


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device, within the container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    limit = cgroup_free_memory()
    return free if limit is None else min(free, limit)


def cgroup_free_memory(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return what a container's limit leaves, in bytes, or ``None`` without a limit."""
    for limit, usage in _CGROUP_FILES:
        try:
            allowed = int((root / limit).read_text())
            return max(0, allowed - int((root / usage).read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None


def return_freed_memory() -> None:
    """Hand memory that was freed back to the system, where the C library keeps it (glibc).

    A decoder frees as much as a photo takes; kept, it would count twice.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim:
            trim(0)


def photo_bytes(height: int, width: int, itemsize: int, config: SRNConfig) -> int:
    """Estimate the memory that a photo takes besides a tile, from above.

    Args:
        height: In pixels.
        width: In pixels.
        itemsize: Bytes of a sample: 1 or 2.
        config: The network's; its state and image at half size are freed as the result grows.
    """
    halved = scale_bytes_per_pixel(config) / 2**2
    for side in (height, width):
        halved *= config.padded(side)
    result = height * width * (3 * itemsize + CODING_BYTES_PER_PIXEL * itemsize)
    return height * width * 3 * itemsize + math.ceil(max(halved, result))


def fitting_tile(config: SRNConfig, precision: torch.dtype, budget: float) -> int:
    """Return the side in pixels of the largest square tile that fits into some bytes.

    It is not larger than `LARGEST_TILE_PX`, and may be too small to be used.
    """
    side = math.isqrt(int(max(0, budget) / tile_bytes_per_pixel(config, precision.itemsize)))
    return min(LARGEST_TILE_PX, side - side % TILE_STEP_PX)


def automatic_tile(config: SRNConfig, precision: torch.dtype, device: torch.device) -> int:
    """Return the side in pixels of the tile to use with the memory that is free now."""
    share = VRAM_SHARE if device.type == "cuda" else RAM_SHARE
    return fitting_tile(config, precision, share * free_memory(device))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out; others are never taken for it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(w in words for w in _OUT_OF_MEMORY_WORDS)
