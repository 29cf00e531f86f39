"""The libraries that can compute the network on a CPU: PyTorch, or ncnn if it is installed.

ncnn computes in float32 only, but with fewer multiplications than PyTorch. Bfloat16 is faster
still, on CPUs that have instructions for it.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Literal, TypeAlias

import torch

from unblur.errors import DeviceError
from unblur.extras import load_extra
from unblur.network.device_kinds import CPU, DeviceKind

Backend: TypeAlias = Literal["torch", "ncnn"]
NCNN_SQUARE_PX = 4
"""ncnn computes whole squares of this side, also where fewer rows are needed."""


def load_ncnn() -> ModuleType:
    """Import ncnn.

    Raises:
        DeviceError: If it is not installed, with the command that installs it.
    """
    return load_extra("ncnn", "ncnn", "computations with ncnn", DeviceError)


@cache
def has_ncnn() -> bool:
    """Tell whether ncnn is installed and can be loaded."""
    try:
        load_ncnn()
    except (DeviceError, OSError):  # on Windows, a DLL that cannot be loaded
        return False
    return True


def choose_backend(wanted: str, kind: DeviceKind, precision: torch.dtype) -> Backend:
    """Return the library that computes on a device.

    Args:
        wanted: ``torch``, ``ncnn``, or ``auto``: the faster one that is installed.
        kind: The device.
        precision: Type that convolutions compute in there.
    """
    if kind is not CPU or precision != torch.float32 or wanted == "torch":
        return "torch"
    return "ncnn" if wanted == "ncnn" or has_ncnn() else "torch"


def backend_reason(wanted: str, kind: DeviceKind, precision: torch.dtype) -> str:
    """Explain what `choose_backend` returns, as the end of a sentence."""
    if wanted != "auto":
        return "as --engine says"
    if kind is not CPU:
        return "on a GPU"
    if precision != torch.float32:
        return "this CPU computes fastest in bfloat16"
    if has_ncnn():
        return "faster than torch in float32"
    return "ncnn would be faster; to install it: pip install 'unblur[ncnn]'"
