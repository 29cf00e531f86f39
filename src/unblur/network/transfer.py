"""Copy photos to a device and back; with CUDA, copies overlap with computing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast

import torch
from torch import Tensor

Finish: TypeAlias = Callable[[], tuple[Tensor, bool]]
"""Waits for copies of a result and of a flag in main memory, and returns them."""


class Transfer(Protocol):
    """Copies photos to a device, and results back."""

    def upload(self, photo: Tensor) -> Tensor:
        """Return a photo on the device; on a CPU, the photo itself."""

    def download(self, result: Tensor, flag: Tensor) -> Finish:
        """Start to copy a result and a flag, a tensor of one element, to main memory."""


class PlainTransfer:
    """Copies and waits for the copy; with the CPU as the device, photos are not copied."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def upload(self, photo: Tensor) -> Tensor:
        """See `Transfer.upload`."""
        return photo.to(self.device)

    def download(self, result: Tensor, flag: Tensor) -> Finish:
        """See `Transfer.download`."""
        return lambda: (result.cpu(), bool(flag))


class PinnedBuffers:
    """Reusable page-locked main memory, which a GPU reads and writes by itself.

    Args:
        allocate: Returns a uint8 tensor of the given number of bytes in this memory.
    """

    def __init__(self, allocate: Callable[[int], Tensor]) -> None:
        self._allocate = allocate
        self._free: list[Tensor] = []

    def take(self, like: Tensor) -> tuple[Tensor, Callable[[], None]]:
        """Return memory of the shape and type of a tensor, and a function that gives it back."""
        size = like.numel() * like.element_size()
        buffer = self._free.pop() if self._free else None
        if buffer is None or buffer.numel() < size:
            buffer = None  # freed before a larger one is made
            buffer = self._allocate(size)
        memory = buffer[:size].view(like.dtype).view(like.shape)
        return memory, lambda: self._free.append(buffer)


class CudaTransfer:
    """Copies through page-locked memory, in CUDA streams of its own.

    While the GPU computes one photo, the next photo is copied to the GPU, and the last result back.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self._cuda = device, cast("Any", torch.cuda)  # partly untyped
        self._in, self._out = self._cuda.Stream(device), self._cuda.Stream(device)
        self._buffers = PinnedBuffers(
            lambda size: torch.empty(size, dtype=torch.uint8, pin_memory=True)
        )
        self._uploads: deque[tuple[Any, Callable[[], None]]] = deque()
        """For each upload, the event at its end, and the function that returns its memory."""

    def upload(self, photo: Tensor) -> Tensor:
        """See `Transfer.upload`; later computations on the GPU wait for the copy."""
        self._reclaim()
        pinned, give_back = self._buffers.take(photo)
        pinned.copy_(photo)
        computing, done = self._cuda.current_stream(self.device), self._cuda.Event()
        with self._cuda.stream(self._in):
            copy = pinned.to(self.device, non_blocking=True)
            done.record()
        self._uploads.append((done, give_back))
        computing.wait_event(done)
        copy.record_stream(computing)  # so that its memory is not used again too early
        return copy

    def _reclaim(self) -> None:
        """Take back the memory of finished uploads; uploads finish in order."""
        while self._uploads and self._uploads[0][0].query():
            self._uploads.popleft()[1]()

    def download(self, result: Tensor, flag: Tensor) -> Finish:
        """See `Transfer.download`; the copy begins when the result has been computed."""
        pinned, give_back = self._buffers.take(result)
        pinned_flag = torch.empty(flag.shape, dtype=flag.dtype, pin_memory=True)
        computed, done = self._cuda.Event(), self._cuda.Event()
        computed.record(self._cuda.current_stream(self.device))
        with self._cuda.stream(self._out):
            self._out.wait_event(computed)
            pinned.copy_(result, non_blocking=True)
            pinned_flag.copy_(flag, non_blocking=True)
            done.record()
        for tensor in (result, flag):
            tensor.record_stream(self._out)

        def finish() -> tuple[Tensor, bool]:
            done.synchronize()
            copy = torch.empty_like(result, device="cpu").copy_(pinned)
            give_back()
            return copy, bool(pinned_flag)

        return finish


IN_MAIN_MEMORY = PlainTransfer(torch.device("cpu"))
"""The transfer of photos that do not fit into the device's memory."""


def make_transfer(device: torch.device) -> Transfer:
    """Return the `Transfer` for a device."""
    return CudaTransfer(device) if device.type == "cuda" else PlainTransfer(device)
