"""Examine PyTorch, ncnn and each device for `unblur doctor`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch

from unblur.main_memory import limiting_file
from unblur.network import device_kinds, devices, ncnn_library, vulkan
from unblur.network.checked_devices import SelfTestResults, examine_again, key_of, remembered
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.devices import choose_precision
from unblur.network.engines import Choice, EngineName, choose_engine
from unblur.network.memory import automatic_tile, free_memory
from unblur.network.self_test import SelfTestResult
from unblur.network.srn import SRN
from unblur.options import NetworkOptions


@dataclass(frozen=True, kw_only=True)
class Tested:
    """The result of a self-test."""

    problem: str | None
    """Error of the self-test; ``None`` if the test passed, or there was no test."""
    seconds: float | None
    """Duration of the self-test; ``None`` if there was none."""
    untested: str
    """Why there was no self-test; empty if there was one."""
    failed_before: bool
    """Whether an earlier test failed, so that runs did not use the device."""


@dataclass(frozen=True, kw_only=True)
class Device(Tested):
    """A device and the result of its self-test."""

    name: str
    """Value for ``--device``."""
    is_automatic: bool
    """Whether ``--device auto`` may take it."""
    hardware: str
    precision: str
    """Data type of convolutions: the fastest type with correct results."""
    precision_reason: str
    """Why this type is float32, although the device has a smaller type; or empty."""
    engine: str
    """Engine that runs the network: ``torch`` or ``ncnn``."""
    engine_reason: str
    """Reason for this engine, as the end of a sentence."""
    free_bytes: int
    """Free memory, within the container's limit."""
    limited_by: str | None
    """The control group's file that limits the free memory; ``None`` if no file does."""
    tile: int | None
    """Side in pixels of the tile that ``--tile auto`` chooses; ``None`` if no test passed."""


@dataclass(frozen=True, kw_only=True)
class Ncnn(Tested):
    """The installed ncnn, and the result of its self-test on the CPU."""

    version: str


@dataclass(frozen=True)
class PyTorch:
    """The installed PyTorch, its devices and its threads."""

    build: str
    """Platform of the build: CUDA, ROCm or CPU."""
    warning: str
    """PyTorch's warning about an unusable driver; empty if there is none."""
    devices: tuple[Device, ...]
    """Fastest first."""
    missed: tuple[str, ...]
    """Why kinds of GPUs cannot be used, although there may be such GPUs."""
    ncnn: Ncnn | None
    """``None`` if it is not installed."""
    chosen: str
    """The device that ``--device auto`` takes."""
    threads: int
    threads_reason: str
    bf16_instructions: dict[str, bool]
    """Whether the CPU has each instruction set for bfloat16."""


def examine_pytorch(network: SRN | None, results: SelfTestResults) -> PyTorch:
    """Test each device.

    Args:
        network: The network for the tests, on the CPU; ``None``: only list devices.
        results: Stored results of earlier tests; new ones are added.
    """
    vulkan.look_again()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kinds = [device for kind in devices.available_devices() for device in kind.each(torch)]
    ncnn = _examine_ncnn(network, results)
    examined = tuple(_examine_device(kind, network, results, ncnn) for kind in kinds)
    right = (device.name for device in examined if device.is_automatic and not device.problem)
    return PyTorch(
        build=_build(),
        warning=" ".join(str(caught[0].message).split()) if caught else "",
        devices=examined,
        missed=tuple(devices.missed_gpus("auto")),
        ncnn=ncnn,
        # As unblur.network.checked_devices.CheckedDevices does.
        chosen=next(right, CPU.name),
        threads=devices.automatic_threads(),
        threads_reason=devices.threads_reason(),
        bf16_instructions=device_kinds.bf16_instructions(torch),
    )


def _build() -> str:
    return next(build for kind in device_kinds.KINDS if (build := kind.build(torch)))


def _examine_ncnn(network: SRN | None, results: SelfTestResults) -> Ncnn | None:
    if not ncnn_library.has_ncnn():
        return None
    _, tested = _test(network, CPU, results, "ncnn")
    return Ncnn(version=ncnn_library.ncnn_version(), **vars(tested))


def _examine_device(
    kind: DeviceKind, network: SRN | None, results: SelfTestResults, ncnn: Ncnn | None
) -> Device:
    limit = limiting_file()
    result, tested = _test(network, kind, results, kind.engine)
    precision = getattr(torch, result.precision) if result else choose_precision(kind)
    is_right = result is not None and not result.problem
    choice = choose_engine(NetworkOptions.engine, kind, precision)
    if kind is CPU and choice.engine == "ncnn" and ncnn and ncnn.problem:
        choice = Choice("torch", "ncnn failed its self-test")
    with kind.selected(torch):
        hardware = " ".join(filter(None, (kind.hardware(torch), kind.alias(torch))))
    return Device(
        name=kind.name,
        hardware=hardware,
        precision=devices.precision_name(precision),
        precision_reason=result.reason if result else "",
        engine=choice.engine,
        engine_reason=choice.reason,
        free_bytes=free_memory(kind),
        limited_by=None if kind.free_memory or not limit else str(limit),
        tile=automatic_tile(network.config, precision, kind) if network and is_right else None,
        is_automatic=devices.may_be_automatic(kind),
        **vars(tested),
    )


def _test(
    network: SRN | None, kind: DeviceKind, results: SelfTestResults, engine: EngineName
) -> tuple[SelfTestResult | None, Tested]:
    """Test a device, and store the result; the result is ``None`` if there was no test."""
    result = before = None
    untested = "no weights" if network is None else ""
    if network is not None:
        before = remembered(results, key_of(network, kind, engine))
        if devices.may_be_automatic(kind) or (before and before.problem):
            try:
                result = examine_again(network, kind, results, engine)
            except MemoryError:
                untested = "its memory is full"
        else:
            untested = "it is a program on the CPU, and only used by name"
    return result, Tested(
        problem=(result.problem or None) if result else None,
        seconds=result.seconds if result else None,
        untested=untested,
        failed_before=bool(before and before.problem),
    )
