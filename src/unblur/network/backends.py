"""The libraries that can compute the network on a CPU: PyTorch, or ncnn if it is installed.

ncnn computes in float32 only, but with fewer multiplications than PyTorch. Bfloat16 is faster
still, on CPUs that have instructions for it.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Literal, TypeAlias

import torch

from unblur.errors import DeviceError
from unblur.extras import load_extra
from unblur.network.device_kinds import CPU, DeviceKind

Backend: TypeAlias = Literal["torch", "ncnn"]
FAST_KERNEL = 3
"""ncnn has a fast algorithm for kernels of this side only."""
NCNN_SQUARE_PX = 4
"""ncnn computes whole squares of this side, also where fewer rows are needed."""


@cache
def has_ncnn() -> bool:
    """Tell whether ncnn is installed; it may be damaged, so that it cannot be loaded."""
    return importlib.util.find_spec("ncnn") is not None


def load_ncnn() -> ModuleType:
    """Import ncnn.

    Raises:
        DeviceError: If it is not installed or cannot be loaded, with the command that installs it.
    """
    if not has_ncnn():
        return load_extra("ncnn", "ncnn", "computations with ncnn", DeviceError)
    try:
        return importlib.import_module("ncnn")
    except Exception as error:  # whatever a damaged or unsuitable library raises
        raise DeviceError(
            f"ncnn cannot be loaded ({error}): use --engine torch, or install it again: "
            "pip install --force-reinstall --no-deps ncnn"
        ) from error


def ncnn_version() -> str:
    """Return the version of ncnn as far as it is known."""
    try:
        return metadata.version("ncnn")
    except metadata.PackageNotFoundError:  # compiled by the user
        return "unknown"


@dataclass(frozen=True)
class Choice:
    """The library that shall compute."""

    backend: Backend
    reason: str
    """Why this one, as the end of a sentence."""


def choose_backend(
    wanted: str, kind: DeviceKind, precision: torch.dtype, kernel: int = FAST_KERNEL
) -> Choice:
    """Choose the library that computes on a device.

    Args:
        wanted: ``torch``, ``ncnn``, or ``auto``: the faster one that is installed.
        kind: The device.
        precision: Type that convolutions compute in there.
        kernel: Side of the network's kernels in pixels.
    """
    if kind is not CPU:
        return Choice("torch", "it computes on GPUs")
    if wanted == "torch":
        return Choice("torch", "chosen by --engine")
    if precision != torch.float32:
        return Choice("torch", "this CPU computes fastest in bfloat16")
    if wanted == "ncnn":
        return Choice("ncnn", "chosen by --engine")
    if kernel != FAST_KERNEL:
        return Choice("torch", f"it is faster for kernels of {kernel}x{kernel} pixels")
    if has_ncnn():
        return Choice("ncnn", "it is faster than torch in float32")
    return Choice("torch", "ncnn would be faster; to install it: pip install 'unblur[ncnn]'")
