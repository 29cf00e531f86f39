"""Choose device, engine and precision for each photo, by the stored results of self-tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch

from unblur.errors import DeviceError
from unblur.network import processes
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.device_network import Network
from unblur.network.devices import candidates, choose_precision, missed_gpus, precision_name
from unblur.network.engines import EngineName, choose_engine
from unblur.network.ncnn_library import ncnn_version
from unblur.network.self_test import SelfTestResult, examine, largest_side, needs_test

ENDED = "its driver ended the program during the test"
"""Problem of a device whose test began, but never ended."""
_testing: set[str] = set()
"""Keys of the devices that this process is testing now, perhaps in another thread."""


class SelfTestResults(Protocol):
    """Stores the results of self-tests between runs."""

    def get(self, key: str) -> SelfTestResult | None:
        """Return the result for a key, or ``None``."""

    def put(self, key: str, result: SelfTestResult) -> None:
        """Store a result; delete the older one instead if the new one is temporary."""


class CheckedDevices:
    """The devices of a run; see `unblur.network.devices.Devices`.

    If a device's memory is too full for its test, the CPU deblurs the present photo, and the device
    is tested before the next one.

    Args:
        network: A network on the CPU; it stays there.
        name: Name of the device; see `unblur.network.devices.choose_device`, also for the errors
            raised.
        wanted: The engine that computes on a CPU; see `unblur.network.engines.choose_engine`.
        results: Stored results of earlier tests; new ones are added.
        warn: Called with the reason if ``auto`` cannot use a device or an engine.
        tell: Called with facts for ``--verbose``: a test begins, which engine computes and why,
            and why a device computes in float32 although it has a smaller type.
    """

    def __init__(
        self,
        network: Network,
        name: str,
        wanted: str,
        results: SelfTestResults,
        *,
        warn: Callable[[str], None],
        tell: Callable[[str], None],
    ) -> None:
        self._network, self._wanted, self._results = network, wanted, results
        self._candidates = candidates(name, wanted)
        self._kind = next(self._candidates)
        self._warn, self._tell = cache(warn), cache(tell)  # say each sentence once
        self._known: dict[tuple[str, EngineName], SelfTestResult] = {}
        if name == "auto" and self._kind is CPU:
            for text in missed_gpus(wanted):
                self._warn(f"{text}; going on with the CPU")

    def first(self) -> DeviceKind:
        """Return the device for the next photo.

        Raises:
            DeviceError: If the named device, or each device of the named kind, failed its test.
        """
        while self._kind is not CPU:
            try:
                problem = self._result(self._kind).problem
            except MemoryError:
                self._warn(f"out of memory on {self._kind.shown(torch)}: going on with the CPU")
                return CPU
            if not problem:
                break
            self._kind = self._replacement(self._kind.shown(torch), problem)
        return self._kind

    def _replacement(self, wrong: str, problem: str) -> DeviceKind:
        """Return the device to try after one that failed, and warn the user."""
        replacement = next(self._candidates, None)
        if replacement is None:
            raise DeviceError(
                f"device {wrong} failed its self-test: {problem}; use --device cpu, "
                "and see unblur doctor, which repeats the test"
            )
        following = "the CPU" if replacement is CPU else replacement.shown(torch)
        self._warn(f"{wrong} failed its self-test: {problem}; going on with {following}")
        return replacement

    def precision(self, kind: DeviceKind) -> torch.dtype:
        """Return the data type for a device: the fastest type with correct results."""
        if kind is CPU and self._wanted == "ncnn":
            return choose_precision(kind, "ncnn")
        try:
            result = self._result(kind)
        except MemoryError:
            return torch.float32
        if result.reason:
            self._tell(f"{kind.shown(torch)} computes in {result.precision}: {result.reason}")
        precision: torch.dtype = getattr(torch, result.precision)
        return precision

    def engine(self, kind: DeviceKind, precision: torch.dtype) -> EngineName:
        """Return the engine for a device: the fastest one with correct results.

        Raises:
            DeviceError: If ``--engine ncnn`` was given, and ncnn computes wrongly or cannot be
                loaded.
        """
        kernel = self._network.config.kernel
        choice = choose_engine(self._wanted, kind, precision, kernel)
        if kind is CPU and choice.engine == "ncnn" and not self._can_use_ncnn():
            return "torch"
        self._tell(f"{kind.shown(torch)} computes with {choice.engine}: {choice.reason}")
        return choice.engine

    def _can_use_ncnn(self) -> bool:
        """Return whether ncnn computes correctly on the CPU; if not, warn with the reason."""
        is_named = self._wanted == "ncnn"
        try:
            problem = self._result(CPU, "ncnn").problem
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

    def _result(self, kind: DeviceKind, engine: EngineName | None = None) -> SelfTestResult:
        """Return a test's result: from this run, from the stored results, or from a new test."""
        engine = engine or kind.engine
        if not needs_test(kind, engine):
            return SelfTestResult("float32")
        if (kind.name, engine) not in self._known:
            key = key_of(self._network, kind, engine)
            known = remembered(self._results, key)
            if not known:
                tested = engine if kind is CPU and engine != "torch" else kind.shown(torch)
                self._tell(f"testing {tested}, before it is first used")
                known = examine_again(self._network, kind, self._results, engine)
            self._known[kind.name, engine] = known
        return self._known[kind.name, engine]


def examine_again(
    network: Network, kind: DeviceKind, results: SelfTestResults, engine: EngineName
) -> SelfTestResult:
    """Test a device, and store the result; see `unblur.network.self_test.examine`."""
    key = key_of(network, kind, engine)
    if kind.ends_programs:
        results.put(_key_of_begun(key), unfinished_test())
        _testing.add(key)
    try:
        result = examine(network, kind, engine)
    finally:
        _testing.discard(key)
        if kind.ends_programs:
            results.put(_key_of_begun(key), SelfTestResult("float32", lasts=False))  # forgets it
    if needs_test(kind, engine):
        results.put(key, result)
    return result


def remembered(results: SelfTestResults, key: str) -> SelfTestResult | None:
    """Return the stored result for a key, or of an unfinished test; ``None`` without either."""
    begun = results.get(_key_of_begun(key))
    return begun if begun and not _is_under_way(begun, key) else results.get(key)


def unfinished_test() -> SelfTestResult:
    """Return the result for a device whose driver ends the program during the test."""
    return SelfTestResult("float32", problem=ENDED, process=processes.own_process())


def _key_of_begun(key: str) -> str:
    """Return the key of a note that a test began on this machine.

    The key names the machine: machines that share the user's folders cannot see each other's
    processes.
    """
    return f"{key}; begun on {processes.machine()}"


def _is_under_way(begun: SelfTestResult, key: str) -> bool:
    """Return whether the process that began a test still runs the test."""
    if not processes.is_running(begun.process):
        return False
    return key in _testing or not processes.is_own(begun.process)


def key_of(network: Network, kind: DeviceKind, engine: EngineName = "torch") -> str:
    """Return a text that contains everything that can change the result of a self-test."""
    with kind.selected(torch):
        # Without a number, the first device is meant.
        parts = [kind.name.removesuffix(":0"), kind.hardware(torch), kind.driver(torch)]
    precision = choose_precision(kind, engine)
    parts += [f"torch {torch.__version__}", precision_name(precision)]
    if engine == "ncnn":
        parts += [f"ncnn {ncnn_version()}"]
    parts += [f"{largest_side(network, kind, engine)} pixels"]
    if kind is CPU:
        parts += [f"{torch.get_num_threads()} threads"]
    return "; ".join([*parts, json.dumps(network.config.to_dict())])
