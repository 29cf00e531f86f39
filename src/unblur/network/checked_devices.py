"""Choose device, library and precision for each photo, by self-tests whose results are stored."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from typing import Protocol

import psutil
import torch

from unblur.errors import DeviceError
from unblur.network.backends import Backend, choose_backend
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.device_network import Network
from unblur.network.devices import choose_device, choose_precision
from unblur.network.ncnn_library import ncnn_version
from unblur.network.self_test import Verdict, examine, largest_side, needs_test

ENDED = "its driver ended the program during the test, in process"
"""Problem of a device whose test has no end; the number of the process follows."""
_testing: set[str] = set()
"""Keys of the devices that this process is testing now, perhaps in another thread."""


class Verdicts(Protocol):
    """Stores the results of self-tests between runs."""

    def get(self, key: str) -> Verdict | None:
        """Return the verdict with a key, or ``None``."""

    def put(self, key: str, verdict: Verdict) -> None:
        """Remember a verdict that lasts."""


class CheckedDevices:
    """The devices of a run; see `unblur.network.devices.Devices`.

    A device whose memory is too full for its test is tested before the next photo, and the CPU
    deblurs this one.

    Args:
        network: A network on the CPU; it stays there.
        name: See `unblur.network.devices.choose_device`, which also says what is raised.
        wanted: The library that computes on a CPU; see `unblur.network.backends.choose_backend`.
        verdicts: Where verdicts are remembered.
        warn: Called with the reason if a device or a library is not used that ``auto`` would take.
        tell: Called before a test, with the library that computes and why, and with the reason if
            a device computes in float32, but could in less.
    """

    def __init__(
        self,
        network: Network,
        name: str,
        wanted: str,
        verdicts: Verdicts,
        *,
        warn: Callable[[str], None],
        tell: Callable[[str], None],
    ) -> None:
        self._network, self._wanted, self._verdicts = network, wanted, verdicts
        self._is_named, self._kind = name != "auto", choose_device(name, wanted)
        self._warn, self._tell = cache(warn), cache(tell)  # say each sentence once
        self._known: dict[tuple[str, Backend], Verdict] = {}

    def first(self) -> DeviceKind:
        """Return the device for the next photo.

        Raises:
            DeviceError: If the named device is wrong; there is no silent fallback.
        """
        if self._kind is CPU:
            return CPU
        shown = self._kind.shown(torch)
        try:
            problem = self._verdict(self._kind).problem
        except MemoryError:
            self._warn(f"out of memory on {shown}: going on with the CPU")
            return CPU
        if not problem:
            return self._kind
        if self._is_named:
            raise DeviceError(
                f"device {shown} failed its self-test: {problem}; use --device cpu, "
                "and see unblur doctor, which repeats the test"
            )
        self._warn(f"{shown} failed its self-test: {problem}; going on with the CPU")
        self._kind = CPU
        return CPU

    def precision(self, kind: DeviceKind) -> torch.dtype:
        """Return the data type for a device: the fastest one with right results."""
        if kind is CPU and self._wanted == "ncnn":
            return choose_precision(kind, "ncnn")
        try:
            verdict = self._verdict(kind)
        except MemoryError:
            return torch.float32
        if verdict.reason:
            self._tell(f"{kind.shown(torch)} computes in {verdict.precision}: {verdict.reason}")
        precision: torch.dtype = getattr(torch, verdict.precision)
        return precision

    def backend(self, kind: DeviceKind, precision: torch.dtype) -> Backend:
        """Return the library for a device: the fastest one with right results.

        Raises:
            DeviceError: If ncnn was asked for, and computes wrongly or cannot be loaded.
        """
        kernel = self._network.config.kernel
        choice = choose_backend(self._wanted, kind, precision, kernel)
        if kind is CPU and choice.backend == "ncnn" and not self._can_use_ncnn():
            return "torch"
        self._tell(f"{kind.shown(torch)} computes with {choice.backend}: {choice.reason}")
        return choice.backend

    def _can_use_ncnn(self) -> bool:
        """Return whether ncnn computes correctly on the CPU; if not, warn with the reason."""
        is_named = self._wanted == "ncnn"
        try:
            problem = self._verdict(CPU, "ncnn").problem
        except MemoryError:  # the photo itself may take less memory than the test
            return is_named
        if problem and is_named:
            raise DeviceError(
                f"ncnn failed its self-test: {problem}; use --engine torch, "
                "and see unblur doctor, which repeats the test"
            )
        if problem:
            self._warn(f"ncnn failed its self-test: {problem}; going on with torch")
        return not problem

    def _verdict(self, kind: DeviceKind, backend: Backend | None = None) -> Verdict:
        """Return a verdict: the one of this run, the remembered one, or a new one."""
        backend = backend or kind.library
        if not needs_test(kind, backend):
            return Verdict("float32")
        if (kind.name, backend) not in self._known:
            key = key_of(self._network, kind, backend)
            known = self._verdicts.get(key)
            if not known or _is_under_way(known, key):
                tested = backend if kind is CPU and backend != "torch" else kind.shown(torch)
                self._tell(f"testing {tested}, before it is first used")
                known = examine_again(self._network, kind, self._verdicts, backend)
            self._known[kind.name, backend] = known
        return self._known[kind.name, backend]


def examine_again(
    network: Network, kind: DeviceKind, verdicts: Verdicts, backend: Backend = "torch"
) -> Verdict:
    """Test a device, and remember the verdict; see `unblur.network.self_test.examine`."""
    key = key_of(network, kind, backend)
    if kind.ends_programs:
        verdicts.put(key, unfinished_test())
        _testing.add(key)
    try:
        verdict = examine(network, kind, backend)
    except BaseException:
        if kind.ends_programs:
            verdicts.put(key, Verdict("float32", lasts=False))  # forgets the one above
        raise
    finally:
        _testing.discard(key)
    if needs_test(kind, backend):
        verdicts.put(key, verdict)
    return verdict


def unfinished_test() -> Verdict:
    """Return the verdict on a device whose driver ends the program during the test."""
    return Verdict("float32", problem=f"{ENDED} {os.getpid()}")


def _is_under_way(verdict: Verdict, key: str) -> bool:
    """Tell whether a process that is still there has begun the test.

    In containers, each run may have the same number, so this one's may be that of a run that ended.
    """
    text, _, process = verdict.problem.rpartition(" ")
    if text != ENDED or not process.isdigit():
        return False
    return key in _testing if int(process) == os.getpid() else psutil.pid_exists(int(process))


def key_of(network: Network, kind: DeviceKind, backend: Backend = "torch") -> str:
    """Return everything that changes the result of a self-test, as text."""
    with kind.selected(torch):
        # Without a number, the first device is meant.
        parts = [kind.name.removesuffix(":0"), kind.hardware(torch), kind.driver(torch)]
    precision = choose_precision(kind, backend)
    parts += [f"torch {torch.__version__}", str(precision).removeprefix("torch.")]
    if backend == "ncnn":
        parts += [f"ncnn {ncnn_version()}"]
    parts += [f"{largest_side(network, kind, backend)} pixels"]
    if kind is CPU:
        parts += [f"{torch.get_num_threads()} threads"]
    return "; ".join([*parts, json.dumps(network.config.to_dict())])
