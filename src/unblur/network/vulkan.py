"""The GPUs that ncnn can compute on through Vulkan, an interface that all makers' drivers have."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

from unblur.errors import DeviceError
from unblur.main_memory import free_main_memory
from unblur.network import ncnn_library

INTEGRATED, SOFTWARE = 1, 3
"""Two of ncnn's numbers for types of devices."""
REAL_BY_SPEED = 0, 2, INTEGRATED
"""Types that compute by themselves: a graphics card, a share of one, a part of the processor."""
NVIDIA = 0x10DE
"""Its number in the list of makers of PCI devices."""
MAIN_MEMORY_SHARE = 0.6
"""Share of the free main memory that a device without its own memory may count on."""
_MIB = 1 << 20

_selected: ContextVar[int] = ContextVar("selected", default=0)


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


def find_gpus() -> tuple[VulkanGpu, ...]:
    """Return all devices, those of the fastest type first; none without ncnn or a driver."""
    return _load_drivers() if ncnn_library.has_ncnn() else ()


@cache
def _load_drivers() -> tuple[VulkanGpu, ...]:
    """Load the drivers of all devices, which takes up to 0.2 seconds, and describe the devices."""
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


def _describe(info: Any, index: int) -> VulkanGpu:  # noqa: ANN401 (ncnn has no types)
    driver = ".".join(map(str, _version(info.vendor_id(), info.driver_version())))
    return VulkanGpu(index, info.device_name(), driver, info.type())


def current() -> VulkanGpu:
    """Return the selected device; by default the first."""
    return find_gpus()[_selected.get()]


def _version(maker: int, number: int) -> tuple[int, ...]:
    """Return the parts of a driver's version; NVIDIA packs them in its own way."""
    if maker == NVIDIA:
        return number >> 22, number >> 14 & 0xFF, number >> 6 & 0xFF, number & 0x3F
    return number >> 22, number >> 12 & 0x3FF, number & 0xFFF


@contextmanager
def select(number: int) -> Iterator[None]:
    """Make the device with a number, as in `find_gpus`, the current one while the context lasts."""
    token = _selected.set(number)
    try:
        yield
    finally:
        _selected.reset(token)


def free_memory() -> int:
    """Return the bytes that the current device allows this program to use."""
    gpu = current()
    budget = int(ncnn_library.load_ncnn().get_gpu_device(gpu.index).get_heap_budget()) * _MIB
    if gpu.shares_memory:
        return min(budget, int(free_main_memory() * MAIN_MEMORY_SHARE))
    return budget


@cache
def has_float16(index: int) -> bool:
    """Tell whether the device with ncnn's index can keep maps in float16.

    ncnn tells it only by an option that it takes back when it loads a graph.
    """
    ncnn = ncnn_library.load_ncnn()
    net = ncnn.Net()
    net.opt.use_vulkan_compute = net.opt.use_fp16_storage = True
    net.set_vulkan_device(index)
    net.load_param_mem("7767517\n1 1\nInput x 0 1 x\n")
    return bool(net.opt.use_fp16_storage)


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
