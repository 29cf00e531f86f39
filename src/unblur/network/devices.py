"""The device, the precision and the number of threads to compute with."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import torch

from unblur.cgroups import own_groups
from unblur.errors import DeviceError
from unblur.network.gpus import find_gpus, install_command


def choose_device(name: str) -> torch.device:
    """Return the device with a name; ``auto`` takes the fastest that is available.

    Raises:
        DeviceError: If the named device is missing; there is no silent fallback.
    """
    available = available_devices()
    if name == "auto":
        return torch.device(available[0])
    if name not in available:
        raise DeviceError(
            f"device {name} is not available: {_why_missing(name)}; use --device auto or cpu"
        )
    return torch.device(name)


def available_devices() -> list[str]:
    """Return the names of the devices that PyTorch sees, fastest first."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    return [name for name, is_there in there.items() if is_there]


def _why_missing(name: str) -> str:
    if name == "mps":
        return "PyTorch sees no Apple GPU"
    if torch.version.cuda or torch.version.hip:
        return "PyTorch sees no GPU or driver"
    reason = "this PyTorch is a build without CUDA"
    gpu = next((gpu for gpu in find_gpus() if gpu.maker != "Apple"), None)
    return f"{reason} (for one with it, run: {install_command(gpu)})" if gpu else reason


def choose_precision(device: torch.device) -> torch.dtype:
    """Return the type that convolutions compute in: the fastest that is safe.

    On a CPU without instructions for it, bfloat16 is slower than float32. Float16 is
    avoided: on some GPUs its narrow range turns whole pictures black.
    """
    if device.type == "cpu":
        return torch.bfloat16 if any(bf16_instructions().values()) else torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def bf16_instructions() -> dict[str, bool]:
    """Tell for each set of bfloat16 instructions, by name, whether the CPU has it.

    With PyTorch before 2.10, the answer is always no.
    """
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    names = {"AVX512-BF16": "avx512_bf16", "AMX-BF16": "amx_bf16"}
    return {name: bool(capabilities.get(key)) for name, key in names.items()}


def use_threads(count: int | None = None) -> None:
    """Set PyTorch's number of threads, by default to `automatic_threads`."""
    torch.set_num_threads(count or automatic_threads())


def automatic_threads() -> int:
    """Return PyTorch's own choice of threads, but no more than there are cores."""
    return min(torch.get_num_threads(), available_cores())


def available_cores() -> int:
    """Return the number of cores that affinity and the container's quota allow this process.

    More threads than a quota allows are no faster: the kernel stops all of them for the
    rest of each period.
    """
    cores, quota = affinity_cores(), tightest_quota()
    return max(1, min(cores, math.ceil(quota[0]))) if quota else cores


def affinity_cores() -> int:
    """Return the number of logical cores that this process may run on."""
    process = psutil.Process()
    # macOS has no affinity.
    cores = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count()
    return cores or 1


def tightest_quota() -> tuple[float, Path] | None:
    """Return the tightest quota of the process's control groups in cores, and its file."""
    versions = {"": ["cpu.max"], "cpu": ["cpu.cfs_quota_us", "cpu.cfs_period_us"]}
    quotas = [
        (cores, group / names[0])
        for controller, names in versions.items()
        for group in own_groups(controller)
        if (cores := _quota([group / name for name in names])) is not None
    ]
    return min(quotas, default=None)


def _quota(files: list[Path]) -> float | None:
    """Return a group's quota in cores, or ``None`` if there is no group or no quota."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        # Without a quota, version 1 has -1 and version 2 has "max".
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None
