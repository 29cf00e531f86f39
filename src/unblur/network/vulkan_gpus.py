"""List the GPUs with Vulkan drivers in this process, through ncnn."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from unblur.errors import DeviceError
from unblur.forks import PerProcess
from unblur.network import ncnn_library

INTEGRATED, SOFTWARE = 1, 3
"""Two of ncnn's device types."""
REAL_BY_SPEED = 0, 2, INTEGRATED
"""Types of real GPUs, fastest first: a graphics card, a virtual GPU, a part of the processor."""
NVIDIA = 0x10DE
"""NVIDIA's number in the list of makers of PCI devices."""


@dataclass(frozen=True)
class VulkanGpu:
    """A Vulkan device."""

    index: int
    """ncnn's index of the device."""
    name: str
    """Name of the model, as the driver reports it."""
    driver: str
    """Version of the driver."""
    type: int

    @property
    def described(self) -> str:
        """Name and driver, for users."""
        return f"{self.name}, Vulkan driver {self.driver}"

    @property
    def is_software(self) -> bool:
        """Whether the CPU does the work, or may do it; then `unblur` is faster without Vulkan."""
        return self.type not in REAL_BY_SPEED

    @property
    def rank(self) -> int:
        """Position of the type by speed; the fastest type has 0."""
        return len(REAL_BY_SPEED) if self.is_software else REAL_BY_SPEED.index(self.type)

    @property
    def shares_memory(self) -> bool:
        """Whether the device's memory is a part of main memory."""
        return self.type in (INTEGRATED, SOFTWARE)


@cache
def load_drivers() -> tuple[VulkanGpu, ...]:
    """Load the drivers of all devices, and return the devices, the fastest type first.

    This takes up to 0.2 seconds. A driver may end the process, so `unblur.network.vulkan_probe`
    first calls this in another process.
    """
    try:
        ncnn = ncnn_library.load_ncnn()
    except DeviceError:  # damaged; a run on the CPU says so
        return ()
    if not hasattr(ncnn, "create_gpu_instance"):  # built without Vulkan
        return ()
    with _without_messages():
        ncnn.create_gpu_instance()
        count = ncnn.get_gpu_count()
    found = [_describe(ncnn.get_gpu_info(index), index) for index in range(count)]
    return tuple(sorted(found, key=lambda gpu: gpu.rank))


def print_gpus() -> None:
    """Print the devices as a line of JSON, for the process that started this one."""
    sys.stdout.write(json.dumps([asdict(gpu) for gpu in load_drivers()]) + "\n")
    sys.stdout.flush()


def _describe(info: Any, index: int) -> VulkanGpu:  # noqa: ANN401 (ncnn has no types)
    driver = ".".join(map(str, _version(info.vendor_id(), info.driver_version())))
    return VulkanGpu(index, info.device_name(), driver, info.type())


def _version(maker: int, number: int) -> tuple[int, ...]:
    """Return the parts of a driver's version; NVIDIA packs them in its own way."""
    if maker == NVIDIA:
        return number >> 22, number >> 14 & 0xFF, number >> 6 & 0xFF, number & 0x3F
    return number >> 22, number >> 12 & 0x3FF, number & 0xFFF


_output = PerProcess(threading.Lock)


@contextmanager
def _without_messages() -> Iterator[None]:
    """Drop the output of C libraries on standard error, where ncnn describes each device."""
    try:
        os.fstat(2)
    except OSError:  # closed, as in a program without a terminal on Windows
        yield
        return
    with _output.get():
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
