"""List the GPUs that have drivers for Vulkan, through ncnn, in this process."""

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
from unblur.network import ncnn_library

INTEGRATED, SOFTWARE = 1, 3
"""Two of ncnn's numbers for types of devices."""
REAL_BY_SPEED = 0, 2, INTEGRATED
"""Types that compute by themselves: a graphics card, a share of one, a part of the processor."""
NVIDIA = 0x10DE
"""Its number in the list of makers of PCI devices."""


@dataclass(frozen=True)
class VulkanGpu:
    """A device of Vulkan."""

    index: int
    """Number that ncnn knows it by."""
    name: str
    """Name of the model, as its driver spells it."""
    driver: str
    """Version of the driver."""
    type: int

    @property
    def described(self) -> str:
        """Name and driver, for people."""
        return f"{self.name}, Vulkan driver {self.driver}"

    @property
    def is_software(self) -> bool:
        """Whether the CPU does the work, or may do it; `unblur` is faster there without Vulkan."""
        return self.type not in REAL_BY_SPEED

    @property
    def rank(self) -> int:
        """Place of the type; the fastest has 0."""
        return len(REAL_BY_SPEED) if self.is_software else REAL_BY_SPEED.index(self.type)

    @property
    def shares_memory(self) -> bool:
        """Whether its memory is a part of main memory."""
        return self.type in (INTEGRATED, SOFTWARE)


@cache
def load_drivers() -> tuple[VulkanGpu, ...]:
    """Load the drivers of all devices, and describe the devices, those of the fastest type first.

    That takes up to 0.2 seconds. A driver may end the process; `unblur.network.vulkan_probe` tries
    it in another one.
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


_OUTPUT = threading.Lock()


@contextmanager
def _without_messages() -> Iterator[None]:
    """Drop what C libraries write to standard error: ncnn describes each device there."""
    try:
        os.fstat(2)
    except OSError:  # closed, as in a program without a terminal on Windows
        yield
        return
    with _OUTPUT:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
