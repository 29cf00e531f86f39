"""Find the machine's GPUs without PyTorch, and the builds of PyTorch that can use them."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unblur.extras import find_program

PLATFORMS = {"NVIDIA": "CUDA", "AMD": "ROCm", "Apple": "MPS"}
"""The platform of PyTorch for the GPUs of each maker."""
INSTALL_PAGE = "https://pytorch.org/get-started/locally/"
_WHEELS = "https://download.pytorch.org/whl"
_NEW_DRIVER, _NEW_COMPUTE = 580, 7.5
"""CUDA 13 needs at least this driver and this compute capability (Turing).
https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/"""
_ANSWER_SECONDS = 10
"""Time limit for a driver that has to wake its GPUs."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that the operating system reports."""

    maker: Literal["NVIDIA", "AMD", "Apple"]
    name: str
    """Name of the model, or ``GPU`` if it is unknown."""
    driver: str = ""
    """Version of NVIDIA's driver, such as ``580.95``; empty if unknown."""
    compute: float | None = None
    """NVIDIA's compute capability."""


def find_gpus(root: Path = Path("/")) -> tuple[Gpu, ...]:
    """Return the machine's GPUs, found without PyTorch.

    Args:
        root: Folder that contains ``proc`` and ``dev``.
    """
    gpus = _ask_nvidia_smi() or _read_nvidia_driver(root)
    if (root / "dev" / "kfd").exists():  # what ROCm computes through
        gpus += (Gpu("AMD", "GPU"),)
    if sys.platform == "darwin" and platform.machine() == "arm64":
        gpus += (Gpu("Apple", "GPU"),)
    return gpus


def install_command(gpu: Gpu) -> str:
    """Return the command that installs a PyTorch for a GPU; see `INSTALL_PAGE`.

    The command names the oldest suitable build, which each release of PyTorch includes.
    """
    command = "pip install --force-reinstall torch"
    if gpu.maker == "Apple":
        return command
    if gpu.maker == "AMD":
        return f"{command} -i {_WHEELS}/rocm7.2"
    is_old = _major(gpu.driver) < _NEW_DRIVER or (gpu.compute or _NEW_COMPUTE) < _NEW_COMPUTE
    return f"{command} -i {_WHEELS}/{'cu126' if is_old else 'cu130'}"


def _ask_nvidia_smi() -> tuple[Gpu, ...]:
    """Return the GPUs that nvidia-smi lists; none if that program is missing or fails."""
    program = find_program("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        run = subprocess.run(query, capture_output=True, text=True, timeout=_ANSWER_SECONDS)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ()
    if run.returncode:
        return ()
    return tuple(_parse_line(line) for line in run.stdout.splitlines() if line.count(",") == 2)


def _parse_line(line: str) -> Gpu:
    name, driver, compute = (part.strip() for part in line.split(","))
    name = name.removeprefix("NVIDIA ")
    is_number = re.fullmatch(r"\d+\.\d+", compute)
    return Gpu("NVIDIA", name, driver, float(compute) if is_number else None)


def _read_nvidia_driver(root: Path) -> tuple[Gpu, ...]:
    """Return one GPU if NVIDIA's driver is loaded; Linux reports only the driver's version."""
    try:
        text = (root / "proc" / "driver" / "nvidia" / "version").read_text("utf-8", "replace")
    except OSError:
        return ()
    version = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return (Gpu("NVIDIA", "GPU", version[0] if version else ""),)


def _major(version: str) -> int:
    match = re.match(r"\d+", version)
    return int(match[0]) if match else 0
