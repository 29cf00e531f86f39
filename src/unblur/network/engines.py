"""Choose the engine, the library that computes the network: PyTorch, or ncnn if it is installed.

ncnn computes only in float32, but with fewer multiplications than PyTorch. On CPUs with bfloat16
instructions, PyTorch in bfloat16 is the fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from unblur.network import ncnn_library
from unblur.network.device_kinds import CPU, DeviceKind

EngineName: TypeAlias = Literal["torch", "ncnn"]
FAST_KERNEL = 3
"""Side of the kernels in pixels for which ncnn has a fast algorithm."""
NCNN_SQUARE_PX = 4
"""Side in pixels of the squares that ncnn computes; it always computes whole squares."""


@dataclass(frozen=True)
class Choice:
    """The chosen engine."""

    engine: EngineName
    reason: str
    """Reason for the choice, as the end of a sentence."""


def choose_engine(
    wanted: str, kind: DeviceKind, precision: torch.dtype, kernel: int = FAST_KERNEL
) -> Choice:
    """Choose the engine for a device.

    Args:
        wanted: ``torch``, ``ncnn``, or ``auto``: the faster one that is installed.
        kind: The device.
        precision: Data type of convolutions on the device.
        kernel: Side of the network's kernels in pixels.
    """
    if kind is not CPU:
        return Choice(kind.engine, "it computes on GPUs")
    if wanted == "torch":
        return Choice("torch", "chosen by --engine")
    if precision != torch.float32:
        return Choice("torch", "this CPU computes fastest in bfloat16")
    if wanted == "ncnn":
        return Choice("ncnn", "chosen by --engine")
    if kernel != FAST_KERNEL:
        return Choice("torch", f"it is faster for kernels of {kernel}x{kernel} pixels")
    if ncnn_library.has_ncnn():
        return Choice("ncnn", "it is faster than torch in float32")
    return Choice("torch", "ncnn would be faster; to install it: pip install 'unblur[ncnn]'")
