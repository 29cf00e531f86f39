"""Choose the device, the precision and the number of threads for the network."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil
import torch

from unblur.cgroups import own_groups
from unblur.errors import DeviceError, UsageError
from unblur.network import device_kinds, ncnn_library
from unblur.network.device_kinds import DeviceKind, parse_device
from unblur.network.engines import EngineName, choose_engine
from unblur.network.gpus import PLATFORMS, find_gpus, install_command
from unblur.network.thread_limit import THREADS_BESIDE, starts_threads
from unblur.options import NetworkOptions
from unblur.user_text import one_of

PARALLEL_NUMBERS = 1 << 18
"""Length of a vector that PyTorch adds in all of its threads."""


def choose_device(name: str, engine: str = "auto") -> DeviceKind:
    """Return the device with a name, such as ``cuda`` or ``cuda:1``.

    ``auto`` returns the fastest available device. It never returns a software GPU, a program on the
    CPU that Vulkan lists as a GPU.

    Args:
        name: Name of the device.
        engine: ``torch``, ``ncnn`` or ``auto``. With one of the first two, ``auto`` returns only
            GPUs that this engine can use.

    Raises:
        DeviceError: If the named device is missing; there is no silent fallback.
        UsageError: If no device can have this name.
    """
    return next(candidates(name, engine))


def candidates(name: str, engine: str) -> Iterator[DeviceKind]:
    """Yield devices in the order in which a run tries them, until one passes its self-test.

    ``auto`` ends with the CPU. A kind without a number stands for all of its devices, but a
    software GPU does not replace a real one. Drivers of slower kinds are loaded only if they are
    needed.

    Args:
        name: See `choose_device`, also for the errors raised with the first device.
        engine: See `choose_device`.
    """
    if name == "auto":
        for kind in _automatic_devices(engine):
            yield from _all_of(kind)
        return
    kind, number = parse_device(name)
    if not kind.is_available(torch):
        raise DeviceError(
            f"device {name} is not available: {_why_missing(kind)}; use --device auto or cpu"
        )
    if number is None:
        yield from _all_of(kind)
        return
    if number >= (count := kind.count(torch)):
        names = one_of([kind.numbered(number).name for number in range(count)])
        raise DeviceError(f"device {name} is not available: there is only {names}")
    yield kind.numbered(number)


def require_engine(options: NetworkOptions) -> None:
    """Raise `UsageError` if options name an engine and a GPU that this engine cannot use."""
    if options.device == "auto" or options.engine == "auto":
        return
    kind, _ = parse_device(options.device)
    if kind is not device_kinds.CPU and kind.engine != options.engine:
        raise UsageError(
            f"--device {options.device} needs --engine {kind.engine}, not {options.engine}"
        )


def kind_of(device: torch.device) -> DeviceKind:
    """Return the kind of a PyTorch device."""
    kinds = [kind for kind in device_kinds.KINDS if kind.engine == "torch"]
    return next(kind for kind in kinds if kind.torch_type == device.type)


def available_devices() -> list[DeviceKind]:
    """Return the kinds of devices that PyTorch or ncnn can use here, fastest first."""
    return [kind for kind in device_kinds.KINDS if kind.is_available(torch)]


def missed_gpus(engine: str) -> Iterator[str]:
    """Yield why kinds of GPUs cannot be used that ``auto`` would take, as far as it is known."""
    for kind in device_kinds.KINDS:
        if engine in ("auto", kind.engine) and (problem := kind.problem(torch)):
            yield f"{kind.name} cannot be used: {problem}"


def may_be_automatic(kind: DeviceKind) -> bool:
    """Return whether ``auto`` may take a device; other devices must be named."""
    with kind.selected(torch):
        return kind.is_automatic(torch)


def _all_of(kind: DeviceKind) -> Iterator[DeviceKind]:
    """Yield the first device of a kind, without a number, and the devices that can replace it."""
    yield kind
    yield from filter(may_be_automatic, kind.each(torch)[1:])


def _automatic_devices(engine: str) -> Iterator[DeviceKind]:
    """Yield the kinds that ``auto`` may take, fastest first; look for each only when needed."""
    for kind in device_kinds.KINDS:
        is_wanted = kind is device_kinds.CPU or engine in ("auto", kind.engine)
        if is_wanted and kind.is_available(torch) and kind.is_automatic(torch):
            yield kind


def _why_missing(kind: DeviceKind) -> str:
    if kind.engine == "ncnn":
        if not ncnn_library.has_ncnn():
            return "it needs ncnn; to install it, run: pip install 'unblur[ncnn]'"
        if problem := kind.problem(torch):
            return problem
        try:
            ncnn_library.load_ncnn()
        except DeviceError as error:
            return str(error)
        return "no driver for Vulkan was found"
    if kind.build(torch):
        return "PyTorch sees no GPU or driver"
    gpu = next((gpu for gpu in find_gpus() if gpu.maker in kind.makers), None)
    platform = PLATFORMS[gpu.maker] if gpu else kind.name.upper()
    reason = f"this PyTorch is a build without {platform}"
    return f"{reason} (for one with it, run: {install_command(gpu)})" if gpu else reason


class Devices(Protocol):
    """Chooses device, precision and engine for a `unblur.network.deblurrer.NetworkDeblurrer`."""

    def first(self) -> DeviceKind:
        """Return the device for the next photo."""

    def precision(self, kind: DeviceKind) -> torch.dtype:
        """Return the data type of convolutions on a device."""

    def engine(self, kind: DeviceKind, precision: torch.dtype) -> EngineName:
        """Return the engine that computes on a device in a precision."""


class OneDevice:
    """A single device, without a self-test, in its usual precision.

    Args:
        kind: The device.
        wanted: The engine that computes on a CPU; see `unblur.network.engines.choose_engine`.
    """

    def __init__(self, kind: DeviceKind, wanted: str) -> None:
        self._kind, self._wanted = kind, wanted

    def first(self) -> DeviceKind:
        """Return the device."""
        return self._kind

    def precision(self, kind: DeviceKind) -> torch.dtype:
        """Return the usual type; see `choose_precision`."""
        return choose_precision(kind, self._wanted)

    def engine(self, kind: DeviceKind, precision: torch.dtype) -> EngineName:
        """Return the engine of ``--engine``, or the faster engine."""
        return choose_engine(self._wanted, kind, precision).engine


def choose_precision(kind: DeviceKind, engine: str = "torch") -> torch.dtype:
    """Return the data type of convolutions: the fastest safe type.

    On a CPU without bfloat16 instructions, bfloat16 is slower than float32. With PyTorch, float16
    is avoided: on some GPUs its narrow range turns whole pictures black. ncnn uses float16 only for
    feature maps, and computes sums in float32.

    Args:
        kind: The device.
        engine: The engine that runs the network; on a CPU, ncnn computes in float32.
    """
    if kind is device_kinds.CPU and engine == "ncnn":
        return torch.float32
    with kind.selected(torch):
        if kind.has_float16(torch):
            return torch.float16
        return torch.bfloat16 if kind.has_bfloat16(torch) else torch.float32


def precision_name(precision: torch.dtype) -> str:
    """Return PyTorch's name of a data type: ``float32``."""
    return str(precision).removeprefix("torch.")


def use_threads(count: int | None = None) -> None:
    """Set PyTorch's number of threads, by default to `automatic_threads`.

    More threads than cores are slower, and many thousands of threads block the machine for minutes.
    So a larger number means one thread per core. If the system refuses to start these threads, and
    a few for reading and writing photos, PyTorch uses one: OpenMP would end the program.
    """
    threads = min(count or automatic_threads(), psutil.cpu_count() or 1)
    has_room = threads == 1 or starts_threads(threads + THREADS_BESIDE)
    torch.set_num_threads(threads if has_room else 1)
    torch.ones(PARALLEL_NUMBERS).add_(1)  # starts them now, before others take the room


def automatic_threads() -> int:
    """Return PyTorch's default number of threads, at most one per available core."""
    return min(torch.get_num_threads(), available_cores())


def threads_reason() -> str:
    """Return the reasons for the number that `automatic_threads` returns."""
    affinity, quota, there = affinity_cores(), tightest_quota(), psutil.cpu_count() or 1
    reasons = [f"{affinity} of {there} logical cores may be used"]
    if quota and quota[0] < affinity:
        reasons.append(f"the quota in {quota[1]} is {quota[0]:g} cores")
    if torch.get_num_threads() < available_cores():
        chosen = os.environ.get("OMP_NUM_THREADS")
        reasons.append(
            f"OMP_NUM_THREADS is {chosen}" if chosen else "torch counts only physical cores"
        )
    return "; ".join(reasons)


def available_cores() -> int:
    """Return the number of cores that affinity and the container's quota allow this process.

    More threads than a quota allows are no faster, because the kernel stops all of them for the
    rest of each period.
    """
    cores, quota = affinity_cores(), tightest_quota()
    return max(1, min(cores, math.ceil(quota[0]))) if quota else cores


def affinity_cores() -> int:
    """Return the number of logical cores that this process may run on."""
    try:
        process = psutil.Process()
    except (OSError, psutil.Error):  # a sandbox without /proc
        ask = getattr(os, "sched_getaffinity", None)
        return len(ask(0)) if ask else os.cpu_count() or 1
    # macOS has no affinity.
    cores = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count()
    return cores or 1


def tightest_quota() -> tuple[float, Path] | None:
    """Return the smallest quota of the process's control groups, in cores, and its file."""
    versions = {"": ["cpu.max"], "cpu": ["cpu.cfs_quota_us", "cpu.cfs_period_us"]}
    quotas = [
        (cores, group / names[0])
        for controller, names in versions.items()
        for group in own_groups(controller)
        if (cores := _quota([group / name for name in names])) is not None
    ]
    return min(quotas, default=None)


def _quota(files: list[Path]) -> float | None:
    """Return a group's quota in cores, or ``None`` if there is no group or no quota."""
    try:
        quota, period = " ".join(file.read_text("utf-8", "replace") for file in files).split()
        # Without a quota, version 1 has -1 and version 2 has "max".
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None
