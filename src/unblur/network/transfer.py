"""Copies between main memory and a device; with CUDA, they overlap with computing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.network.device_kinds import DeviceKind

Finish: TypeAlias = Callable[[], tuple[Tensor, Tensor]]
"""Waits for a band; returns its image (N, C, H, W) and state (N, S, h, w), float32 on the CPU."""


def upload(array: NDArray[Any], kind: DeviceKind) -> Tensor:
    """Copy an array to a device, if possible without waiting."""
    tensor = torch.from_numpy(array)
    if kind.device == "cuda":
        return tensor.pin_memory().to("cuda", non_blocking=True)
    return tensor.to(kind.device)


def download(image: Tensor, state: Tensor | None) -> Finish:
    """Start to copy results to main memory; return a function that waits for them."""
    if state is None:
        state = image.new_empty(image.shape[0], 0, 0, 0)
    if not image.is_cuda:
        return lambda: (image.float().cpu(), state.float().cpu())
    copies = [torch.empty(t.shape, dtype=torch.float32, pin_memory=True) for t in (image, state)]
    for copy, tensor in zip(copies, (image, state), strict=True):
        copy.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call, unused-ignore]
    done.record()

    def finish() -> tuple[Tensor, Tensor]:
        done.synchronize()
        return copies[0], copies[1]

    return finish
