"""How much memory is free, how large a tile fits into it, and which errors mean that it did not."""

from __future__ import annotations

import ctypes
import math
import sys
from pathlib import Path

import psutil
import torch

from unblur.srn_config import SRNConfig

RAM_SHARE, VRAM_SHARE = 0.5, 0.8
"""Shares of what is free that a tile may take: too much RAM freezes the whole machine."""
LARGEST_TILE_PX = 768
"""Larger tiles are no faster: their feature maps leave the processor's caches."""
TILE_STEP_PX = 64
MAPS_ALIVE = 18
"""Feature maps of the first level's size that are alive at once, measured at the peak."""
KEPT_MAPS = 8
"""What line buffers take of the first level's feature maps, over all rows that lag behind; twice
what was measured, since a band's own are filled before those of the one above are let go."""
PROGRAM_BYTES = 400 << 20
"""What Python, PyTorch and a network's weights take before the first photo, from above."""
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


def tile_bytes_per_pixel(config: SRNConfig, precision: torch.dtype) -> float:
    """Estimate the memory that a tile takes, from above."""
    return MAPS_ALIVE * _features_per_pixel(config) * precision.itemsize


def photo_bytes(height: int, width: int, itemsize: int, config: SRNConfig) -> int:
    """Estimate the memory that a photo takes besides a tile, from above.

    Args:
        height: In pixels.
        width: In pixels.
        itemsize: Bytes of a sample: 1 or 2.
        config: The network's; its state and image at half size are kept in half precision, and
            freed as the result grows.
    """
    halved = (2 * 3 + 2 * (3 // config.channels) * config.state_channels / config.stride**2) / 4
    result = 3 * itemsize + CODING_BYTES_PER_PIXEL * itemsize
    return math.ceil(height * width * (3 * itemsize + max(halved, result)))


def rows_behind(config: SRNConfig) -> int:
    """Return by how many rows a band's result lags behind what was put in, from above.

    Each convolution waits for the rows below that its kernel covers. A row is
    ``unshuffle`` pixels high at the first level and ``stride`` at the deepest.
    """
    half = config.kernel // 2
    at_each_level = 4 * config.blocks * half + half + 1
    at_the_deepest = 2 if config.recurrent else 1
    all_levels = 2 * config.stride - config.unshuffle
    return at_each_level * all_levels + at_the_deepest * config.stride


def line_buffer_bytes(width: int, config: SRNConfig, precision: torch.dtype) -> int:
    """Estimate what layers keep of one band for the next, from above.

    Args:
        width: Of the photo, in pixels.
        config: The network's.
        precision: Type that convolutions compute in.
    """
    per_pixel = KEPT_MAPS * _features_per_pixel(config) * precision.itemsize
    if config.residual:
        per_pixel += 2 * 3 * torch.float32.itemsize  # the blurred photo, until the change comes
    return math.ceil(per_pixel * rows_behind(config) * width)


def _features_per_pixel(config: SRNConfig) -> float:
    return 3 // config.channels * config.width / config.unshuffle**2


def fitting_tile(config: SRNConfig, precision: torch.dtype, budget: float) -> int:
    """Return the side in pixels of the largest square tile that fits into some bytes.

    It is not larger than `LARGEST_TILE_PX`, and may be too small to be used.
    """
    side = math.isqrt(int(max(0, budget) / tile_bytes_per_pixel(config, precision)))
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
