"""The kinds of devices that can run the network, one row each.

The functions of a row take the module `torch` as an argument, so that ``--help`` can list the names
without importing it. They describe the device that PyTorch has selected; see `DeviceKind.selected`.

`torch.accelerator` could replace some of the functions. But it needs PyTorch 2.6, reports free
memory only from 2.9 on, and has neither names of the hardware nor its data types.
"""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

from unblur.errors import UsageError

Torch: TypeAlias = Any
"""The module `torch`, or the part of it for one kind."""


@dataclass(frozen=True)
class DeviceKind:
    """A kind of device, or one device of a kind."""

    name: str
    """Value for ``--device``, with the number of the device if there is one: ``cuda:1``."""
    build: Callable[[Torch], str]
    """Returns the platform that PyTorch was built for, such as the CUDA version; empty if PyTorch
    was built without this kind."""
    is_available: Callable[[Torch], bool]
    hardware: Callable[[Torch], str]
    """Returns the name of the model."""
    has_bfloat16: Callable[[Torch], bool]
    """Returns whether bfloat16 is faster than float32."""
    engine: Literal["torch", "ncnn"] = "torch"
    """The engine that computes on the device. With ncnn, PyTorch's tensors stay on the CPU. A CPU
    can use either engine."""
    is_automatic: Callable[[Torch], bool] = lambda torch: True
    """Returns whether ``auto`` may take the device, if it is available."""
    has_float16: Callable[[Torch], bool] = lambda torch: False
    """Returns whether float16 is faster than float32, and safe after a test."""
    count: Callable[[Torch], int] = lambda torch: 1
    """Returns the number of devices of an available kind."""
    select: Callable[[Torch, int], AbstractContextManager[Any]] = lambda torch, number: (
        contextlib.nullcontext()
    )
    """Returns a context in which the device with this number is the current one of its kind."""
    free_memory: Callable[[Torch], int] | None = None
    """Returns the free bytes of the device's own memory; ``None``: the device uses main memory."""
    shares_memory: Callable[[Torch], bool] = lambda torch: False
    """Returns whether the memory that ``free_memory`` counts is a part of main memory."""
    hangs_if_full: bool = False
    """Whether the program hangs or ends if the device's memory runs out. If so, free memory is
    checked beforehand."""
    ends_programs: bool = False
    """Whether drivers may end the program. If so, the start of a self-test is recorded."""
    empty_cache: Callable[[Torch], None] = lambda torch: None
    """Gives memory that PyTorch keeps for later use back to the system."""
    driver: Callable[[Torch], str] = lambda torch: ""
    """Returns the version of the driver, as far as it is known, in no measurable time."""
    alias: Callable[[Torch], str] = lambda torch: ""
    """Returns another name that users know, such as ``ROCm`` for ``cuda``; or empty."""
    problem: Callable[[Torch], str] = lambda torch: ""
    """Returns why no device of the kind can be used, although there may be devices; or empty."""
    makers: tuple[str, ...] = ()
    """Makers of the GPUs, as in `unblur.network.gpus.Gpu`."""
    memory_words: tuple[str, ...] = ()
    """Parts of PyTorch's error messages, in lower case, that mean that memory ran out."""
    lost_words: tuple[str, ...] = ()
    """Parts of messages, in lower case, that mean that the device can no longer be used."""
    refusal_words: tuple[str, ...] = ()
    """Parts of messages, in lower case, about one operation, after which the device may work."""
    number: int | None = None
    """Number of the device; ``None``: PyTorch's default device."""

    @property
    def torch_type(self) -> str:
        """PyTorch's name for the kind, without a number."""
        return self.name.partition(":")[0] if self.engine == "torch" else CPU.name

    @property
    def device(self) -> str:
        """PyTorch's name for the device."""
        has_number = self.number is not None and self.engine == "torch"
        return f"{self.torch_type}:{self.number}" if has_number else self.torch_type

    def numbered(self, number: int) -> DeviceKind:
        """Return one device of the kind."""
        return replace(self, name=f"{self.name}:{number}", number=number)

    def each(self, torch: Torch) -> tuple[DeviceKind, ...]:
        """Return every device of an available kind; a single device has no number."""
        count = self.count(torch)
        return (self,) if count == 1 else tuple(self.numbered(number) for number in range(count))

    def selected(self, torch: Torch) -> AbstractContextManager[Any]:
        """Return a context in which the device is the current one of its kind."""
        if self.number is None:
            return contextlib.nullcontext()
        return self.select(torch, self.number)

    def shown(self, torch: Torch) -> str:
        """Return the name for messages: ``cuda:1``, or ``cuda (ROCm)``."""
        alias = self.alias(torch)
        return f"{self.name} ({alias})" if alias else self.name


def bf16_instructions(torch: Torch) -> dict[str, bool]:
    """Return for each set of bfloat16 instructions, by name, whether the CPU has it.

    With PyTorch before 2.10, all values are false.
    """
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    names = {"AVX512-BF16": "avx512_bf16", "AMX-BF16": "amx_bf16"}
    return {name: bool(capabilities.get(key)) for name, key in names.items()}


def _cpu_name(torch: Torch) -> str:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return str(capabilities.get("cpu_name") or platform.processor() or platform.machine())


def _vulkan() -> ModuleType:
    """Import the module that needs PyTorch and ncnn."""
    from unblur.network import vulkan

    return vulkan


def _cuda_build(torch: Torch) -> str:
    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    return f"ROCm {torch.version.hip}" if torch.version.hip else ""


def _cuda_driver(torch: Torch) -> str:
    """Return Linux's report on the loaded driver, and the GPU's compute capability."""
    reports = ("/proc/driver/nvidia/version", "/sys/module/amdgpu/version")
    parts = [platform.release(), *(_first_line(Path(report)) for report in reports)]
    return " ".join((*parts, str(torch.cuda.get_device_capability())))


def _first_line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").partition("\n")[0]
    except (OSError, UnicodeError):
        return ""


def _free(module: Torch) -> int:
    """Return the free bytes: the driver's, and the unused ones that PyTorch keeps."""
    return int(module.mem_get_info()[0] + module.memory_reserved() - module.memory_allocated())


HARMLESS_TEXTS = (
    *("invalid argument", "invalid configuration argument", "operation not supported"),
    *("no kernel image is available", "too many resources requested for launch"),
    *("invalid device function", "invalid resource handle", "invalid value"),
)
"""Errors of CUDA and HIP after which a process can go on. After most other errors, each later call
fails, too. https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html (cudaError)"""

CPU = DeviceKind(
    "cpu",
    build=lambda torch: "CPU",
    is_available=lambda torch: True,
    hardware=_cpu_name,
    has_bfloat16=lambda torch: any(bf16_instructions(torch).values()),
    # PyTorch's allocator on Linux and macOS, and on Windows; C++ libraries
    memory_words=("can't allocate memory", "not enough memory", "bad_alloc"),
)

KINDS = (
    DeviceKind(
        "cuda",  # ROCm, too
        build=_cuda_build,
        is_available=lambda torch: torch.cuda.is_available(),
        hardware=lambda torch: str(torch.cuda.get_device_name()),
        has_bfloat16=lambda torch: torch.cuda.is_bf16_supported(including_emulation=False),
        count=lambda torch: int(torch.cuda.device_count()),
        select=lambda torch, number: torch.cuda.device(number),
        free_memory=lambda torch: _free(torch.cuda),
        empty_cache=lambda torch: torch.cuda.empty_cache(),
        driver=_cuda_driver,
        alias=lambda torch: "ROCm" if torch.version.hip else "",
        makers=("NVIDIA", "AMD"),
        # If memory is full, cuBLAS and cuDNN fail to initialise, and cuDNN finds no algorithm.
        memory_words=(
            *("out of memory", "outofmemory", "memoryallocation", "memory_error"),
            *("alloc_failed", "allocation_failed", "allocfailed", "status_not_initialized"),
            *("unable to find a valid cudnn algorithm", "unable to find an engine to execute"),
        ),
        lost_words=("cuda error", "cuda driver error", "hip error"),
        refusal_words=(
            *("cudnn error", "cudnn_status_", "cublas_status_", "cudnn frontend error"),
            *("hipblas_status_", "rocblas_status_", "miopen error", "miopenstatus"),
            *(f"{name} error: {text}" for name in ("cuda", "hip") for text in HARMLESS_TEXTS),
        ),
    ),
    DeviceKind(
        "mps",
        build=lambda torch: "CPU and Apple GPU (MPS)" if torch.backends.mps.is_built() else "",
        is_available=lambda torch: torch.backends.mps.is_available(),
        hardware=lambda torch: "Apple GPU",
        has_bfloat16=lambda torch: False,
        empty_cache=lambda torch: torch.mps.empty_cache(),
        driver=lambda torch: platform.mac_ver()[0],
        makers=("Apple",),
        memory_words=(
            *("mps backend out of memory", "insufficient memory", "outofmemory"),
            *("failed to allocate private mtlbuffer", "invalid buffer size"),
        ),
        lost_words=("command buffer exited with error", "kiogpucommandbuffercallbackerror"),
    ),
    DeviceKind(
        "xpu",  # Intel's GPUs
        build=lambda torch: f"XPU {v}" if (v := getattr(torch.version, "xpu", None)) else "",
        # PyTorch before 2.7 cannot tell how much memory is free.
        is_available=lambda torch: torch.xpu.is_available() and hasattr(torch.xpu, "mem_get_info"),
        hardware=lambda torch: str(torch.xpu.get_device_name()),
        has_bfloat16=lambda torch: bool(
            getattr(torch.xpu.get_device_properties(), "has_bfloat16_conversions", False)
        ),
        count=lambda torch: int(torch.xpu.device_count()),
        select=lambda torch, number: torch.xpu.device(number),
        free_memory=lambda torch: _free(torch.xpu),
        hangs_if_full=True,
        empty_cache=lambda torch: torch.xpu.empty_cache(),
        driver=lambda torch: str(
            getattr(torch.xpu.get_device_properties(), "driver_version", "unknown")
        ),
        memory_words=(
            *("xpu out of memory", "out_of_device_memory", "out_of_host_memory"),
            *("out_of_resources", "allocation_failure"),
        ),
        lost_words=("device_lost", "backend failed with error", "native api failed"),
        refusal_words=("could not create a primitive", "could not execute a primitive"),
    ),
    DeviceKind(
        "vulkan",
        engine="ncnn",
        build=lambda torch: "",
        is_available=lambda torch: bool(_vulkan().find_gpus()),
        is_automatic=lambda torch: not _vulkan().current().is_software,
        hardware=lambda torch: str(_vulkan().current().described),
        has_bfloat16=lambda torch: False,
        has_float16=lambda torch: bool(_vulkan().has_float16(_vulkan().current().index)),
        count=lambda torch: len(_vulkan().find_gpus()),
        select=lambda torch, number: _vulkan().select(number),
        free_memory=lambda torch: int(_vulkan().free_memory()),
        shares_memory=lambda torch: bool(_vulkan().current().shares_memory),
        hangs_if_full=True,
        ends_programs=True,
        driver=lambda torch: str(_vulkan().current().driver),
        problem=lambda torch: str(_vulkan().find_problem()),
        lost_words=("vulkan error",),
    ),
    CPU,
)
"""All kinds, fastest first; ``auto`` takes the first available kind."""


def parse_device(name: str) -> tuple[DeviceKind, int | None]:
    """Parse a device's name: the name of a kind, and optionally a number.

    Raises:
        UsageError: If there is no such kind, or the number is invalid.
    """
    match = re.fullmatch(r"([a-z]+)(?::(0|[1-9][0-9]{0,3}))?", name)
    kind = next((kind for kind in KINDS if match and kind.name == match[1]), None)
    if match is None or kind is None:
        names = ", ".join(["auto", *(kind.name for kind in KINDS)])
        raise UsageError(f"{name!r} is no device: choose one of {names}, or cuda:1")
    if kind is CPU and match[2]:
        raise UsageError(f"{name!r} is no device: the CPU has no number; use cpu")
    return kind, int(match[2]) if match[2] else None
