"""Find and select the GPUs that ncnn can use through Vulkan, which all makers support."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from unblur.main_memory import free_main_memory
from unblur.network import ncnn_library, vulkan_probe
from unblur.network.vulkan_gpus import VulkanGpu, load_drivers
from unblur.network.vulkan_probe import GpuListing

MAIN_MEMORY_SHARE = 0.6
"""Share of the free main memory that a device without memory of its own may use."""
_MIB = 1 << 20

_selected: ContextVar[int] = ContextVar("selected", default=0)


def find_gpus() -> tuple[VulkanGpu, ...]:
    """Return all devices, the fastest type first; none without ncnn or a driver."""
    return _find().gpus if ncnn_library.has_ncnn() else ()


def find_problem() -> str:
    """Return why no device can be used, although there may be devices; or an empty text."""
    return _find().problem if ncnn_library.has_ncnn() else ""


def look_again() -> None:
    """Forget which devices were found, so that the next call looks for them again."""
    vulkan_probe.forget()
    _find.cache_clear()


@cache
def _find() -> GpuListing:
    """Find all devices; if all of them are software, load no driver in this process."""
    listing = vulkan_probe.list_gpus()
    if all(gpu.is_software for gpu in listing.gpus):
        return listing
    return vulkan_probe.load_here(listing)


def current() -> VulkanGpu:
    """Return the selected device; by default the first device."""
    return find_gpus()[_selected.get()]


@contextmanager
def select(number: int) -> Iterator[None]:
    """Select a device by its index in `find_gpus` while the context lasts."""
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
    """Return whether a device, given by ncnn's index, can keep feature maps in float16.

    ncnn reports this only by resetting an option when it loads a graph.
    """
    load_drivers()
    ncnn = ncnn_library.load_ncnn()
    net = ncnn.Net()
    net.opt.use_vulkan_compute = net.opt.use_fp16_storage = True
    net.set_vulkan_device(index)
    net.load_param_mem("7767517\n1 1\nInput x 0 1 x\n")
    return bool(net.opt.use_fp16_storage)
