"""Which device computes, with which precision, and with how many threads."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import torch

from unblur.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes the fastest that is there.

    Raises:
        DeviceError: If a device was asked for and is not there; there is no
            silent fallback.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        reason = {
            "cuda": "this PyTorch is a build without CUDA"
            if torch.version.cuda is None
            else "PyTorch sees no NVIDIA GPU or driver",
            "mps": "PyTorch sees no Apple GPU",
        }[name]
        raise DeviceError(f"device {name} is not available: {reason}; use --device auto or cpu")
    return torch.device(name)


def choose_precision(device: torch.device) -> torch.dtype:
    """Return the type that convolutions compute in: the fastest that is safe.

    A CPU computes in bfloat16 only where it has instructions for it; without
    them that is slower than float32. Float16 is avoided: on some GPUs its
    narrow range turns whole pictures black.
    """
    if device.type == "cpu":
        # PyTorch 2.10 and newer tell; older ones get the precision that always works.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        return torch.bfloat16 if fast else torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def use_threads(count: int | None = None) -> None:
    """Let PyTorch compute with a number of threads, or with as many as there are cores for it."""
    torch.set_num_threads(count or min(torch.get_num_threads(), available_cores()))


def available_cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the cores that this process may use, by its affinity and its container's quota.

    Threads beyond a quota do not compute faster: the kernel stops all of them
    for the rest of each period.
    """
    process = psutil.Process()
    # macOS has no affinity.
    cores = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count()
    quota = _cgroup_cores(root)
    return max(1, min(cores or 1, math.ceil(quota))) if quota else cores or 1


def _cgroup_cores(root: Path) -> float | None:
    """Return how many cores' time a container may use, or ``None`` without a limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((root / file).read_text() for file in files).split()
            # Version 1 says -1 where version 2 says "max".
            return int(quota) / int(period) if int(quota) > 0 else None
        except (OSError, ValueError):
            continue
    return None
