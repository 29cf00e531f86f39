"""The kinds of devices that can run the network, one row each.

The functions of a row take the module `torch` as their argument. So ``--help`` can list the names
without importing it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Torch: TypeAlias = Any
"""The module `torch`, or the part of it for one kind."""


@dataclass(frozen=True)
class DeviceKind:
    """A kind of device."""

    name: str
    """Value for ``--device``, and the name of the type in PyTorch."""
    build: Callable[[Torch], str]
    """Names what PyTorch was built for; empty if it was built without this kind."""
    is_available: Callable[[Torch], bool]
    hardware: Callable[[Torch], str]
    """Returns the name of the model."""
    has_bfloat16: Callable[[Torch], bool]
    """Tells whether bfloat16 is faster than float32."""
    free_memory: Callable[[Torch], int] | None = None
    """Returns the free bytes of the device's own memory; ``None``: it uses main memory."""
    empty_cache: Callable[[Torch], None] = lambda torch: None
    """Returns memory that PyTorch keeps for later use to the system."""
    makers: tuple[str, ...] = ()
    """Makers of the GPUs, as in `unblur.network.gpus.Gpu`."""
    memory_words: tuple[str, ...] = ()
    """Parts of PyTorch's error messages that mean that memory ran out, in lower case."""
    lost_words: tuple[str, ...] = ()
    """Parts of messages that mean that the device cannot be used any more, in lower case."""
    torch_type: str = ""
    """Name of the type in PyTorch if it is not ``name``."""

    @property
    def device(self) -> str:
        """What PyTorch takes as a device."""
        return self.torch_type or self.name


def bf16_instructions(torch: Torch) -> dict[str, bool]:
    """Tell for each set of bfloat16 instructions, by name, whether the CPU has it.

    With PyTorch before 2.10, the answer is always no.
    """
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    names = {"AVX512-BF16": "avx512_bf16", "AMX-BF16": "amx_bf16"}
    return {name: bool(capabilities.get(key)) for name, key in names.items()}


def _cpu_name(torch: Torch) -> str:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return str(capabilities.get("cpu_name") or platform.processor() or platform.machine())


def _cuda_build(torch: Torch) -> str:
    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    return f"ROCm {torch.version.hip}" if torch.version.hip else ""


def _cuda_hardware(torch: Torch) -> str:
    name, count = torch.cuda.get_device_name(0), torch.cuda.device_count()
    return f"{name}, the first of {count}" if count > 1 else str(name)


def _free(module: Torch) -> int:
    """Return the bytes that the driver has, and those that PyTorch keeps for later use."""
    return int(module.mem_get_info()[0] + module.memory_reserved() - module.memory_allocated())


CPU = DeviceKind(
    "cpu",
    build=lambda torch: "CPU",
    is_available=lambda torch: True,
    hardware=_cpu_name,
    has_bfloat16=lambda torch: any(bf16_instructions(torch).values()),
    # PyTorch's allocator on Linux and macOS, and on Windows
    memory_words=("can't allocate memory", "not enough memory"),
)

KINDS = (
    DeviceKind(
        "cuda",  # ROCm, too
        build=_cuda_build,
        is_available=lambda torch: torch.cuda.is_available(),
        hardware=_cuda_hardware,
        has_bfloat16=lambda torch: torch.cuda.is_bf16_supported(including_emulation=False),
        free_memory=lambda torch: _free(torch.cuda),
        empty_cache=lambda torch: torch.cuda.empty_cache(),
        makers=("NVIDIA", "AMD"),
        # cuBLAS and cuDNN fail to initialise, and cuDNN finds no algorithm, if memory is full.
        memory_words=(
            *("out of memory", "alloc_failed", "allocation_failed", "allocfailed"),
            *("status_not_initialized", "unable to find a valid cudnn algorithm"),
        ),
        lost_words=(
            *("cuda error", "cuda driver error", "cudnn error", "cudnn_status_"),
            *("cublas_status_", "hip error", "hipblas_status_", "miopen error", "miopenstatus"),
        ),
    ),
    DeviceKind(
        "mps",
        build=lambda torch: "CPU and Apple GPU (MPS)" if torch.backends.mps.is_built() else "",
        is_available=lambda torch: torch.backends.mps.is_available(),
        hardware=lambda torch: "Apple GPU",
        has_bfloat16=lambda torch: False,
        empty_cache=lambda torch: torch.mps.empty_cache(),
        makers=("Apple",),
        memory_words=("mps backend out of memory", "insufficient memory"),
        lost_words=("command buffer exited with error", "kiogpucommandbuffercallbackerror"),
    ),
    DeviceKind(
        "xpu",  # Intel's GPUs
        build=lambda torch: f"XPU {v}" if (v := getattr(torch.version, "xpu", None)) else "",
        # PyTorch before 2.7 cannot tell how much memory is free.
        is_available=lambda torch: torch.xpu.is_available() and hasattr(torch.xpu, "mem_get_info"),
        hardware=lambda torch: str(torch.xpu.get_device_name(0)),
        has_bfloat16=lambda torch: bool(
            getattr(torch.xpu.get_device_properties(0), "has_bfloat16_conversions", False)
        ),
        free_memory=lambda torch: _free(torch.xpu),
        empty_cache=lambda torch: torch.xpu.empty_cache(),
        memory_words=("xpu out of memory", "out_of_device_memory", "out_of_host_memory"),
        lost_words=("device_lost", "backend failed with error", "native api failed"),
    ),
    CPU,
)
"""All kinds, fastest first: ``auto`` takes the first that is available."""
