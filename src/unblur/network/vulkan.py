"""The GPUs that ncnn can compute on through Vulkan, an interface that all makers' drivers have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from unblur.main_memory import free_main_memory
from unblur.network import ncnn_library, vulkan_probe
from unblur.network.vulkan_gpus import VulkanGpu, load_drivers
from unblur.network.vulkan_probe import Listing

MAIN_MEMORY_SHARE = 0.6
"""Share of the free main memory that a device without its own memory may count on."""
_MIB = 1 << 20

_selected: ContextVar[int] = ContextVar("selected", default=0)


def find_gpus() -> tuple[VulkanGpu, ...]:
    """Return all devices, those of the fastest type first; none without ncnn or a driver."""
    return _find().gpus if ncnn_library.has_ncnn() else ()


def find_problem() -> str:
    """Return why no device can be used, though there may be some; nothing if all is well."""
    return _find().problem if ncnn_library.has_ncnn() else ""


def look_again() -> None:
    """Let devices be looked for once more, as if they had never been."""
    vulkan_probe.forget()
    _find.cache_clear()


@cache
def _find() -> Listing:
    """Find all devices; drivers that only play a GPU are not loaded for that."""
    listing = vulkan_probe.list_gpus()
    if all(gpu.is_software for gpu in listing.gpus):
        return listing
    return vulkan_probe.load_here(listing)


def current() -> VulkanGpu:
    """Return the selected device; by default the first."""
    return find_gpus()[_selected.get()]


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
    load_drivers()
    budget = int(ncnn_library.load_ncnn().get_gpu_device(gpu.index).get_heap_budget()) * _MIB
    if gpu.shares_memory:
        return min(budget, int(free_main_memory() * MAIN_MEMORY_SHARE))
    return budget


@cache
def has_float16(index: int) -> bool:
    """Tell whether the device with ncnn's index can keep maps in float16.

    ncnn tells it only by an option that it takes back when it loads a graph.
    """
    load_drivers()
    ncnn = ncnn_library.load_ncnn()
    net = ncnn.Net()
    net.opt.use_vulkan_compute = net.opt.use_fp16_storage = True
    net.set_vulkan_device(index)
    net.load_param_mem("7767517\n1 1\nInput x 0 1 x\n")
    return bool(net.opt.use_fp16_storage)
