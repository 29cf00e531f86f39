"""GPUs with Vulkan; a software device, Mesa's llvmpipe, is enough for these tests."""

from __future__ import annotations

import os
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_pixels
from test_bands import in_bands, random_network

from unblur.errors import DeviceError, UsageError
from unblur.models.loading import load_deblurrer
from unblur.network import (
    checked_devices,
    examination,
    ncnn_library,
    processes,
    self_test,
    vulkan,
)
from unblur.network.bands import LineBuffers
from unblur.network.config import SRNConfig
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.network.device_kinds import CPU, KINDS
from unblur.network.devices import OneDevice, choose_device
from unblur.network.overlaps import SIDE_IN_MARGINS, margin_of
from unblur.network.vulkan_gpus import INTEGRATED, SOFTWARE, VulkanGpu, load_drivers
from unblur.network.vulkan_probe import GpuListing
from unblur.options import NetworkOptions

pytest.importorskip("ncnn")
needs_driver = pytest.mark.skipif(not load_drivers(), reason="no driver for Vulkan is installed")
VULKAN = next(kind for kind in KINDS if kind.name == "vulkan")
SMALL = SRNConfig(width=4, levels=2, blocks=1, kernel=3, recurrent=True, unshuffle=2, residual=True)
SHAPES = [
    SMALL,
    SRNConfig(width=8, blocks=(1, 2, 1), kernel=5, channels=1),
    SRNConfig(width=4, levels=2, blocks=1, kernel=3, recurrent=True, channels=1, resample="area"),
]
ROUNDING = 2e-6
LAPTOP = VulkanGpu(0, "Integrated 620", "21.2", INTEGRATED)
PLAYED = VulkanGpu(1, "llvmpipe", "0.0.1", SOFTWARE)


@pytest.fixture(autouse=True)
def _with_ncnn(monkeypatch, tmp_path):
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def gpus(monkeypatch):
    """Replace the machine's GPUs by these."""
    return lambda *gpus: monkeypatch.setattr(vulkan, "_find", lambda: GpuListing(gpus))


@pytest.fixture(scope="module")
def small_on_vulkan():
    from unblur.network.vulkan_network import VulkanNetwork

    side = SIDE_IN_MARGINS * margin_of(SMALL)
    return VulkanNetwork(random_network(SMALL), 0, torch.float32, most_pixels=side**2)


def random_maps(config, height, width):
    """A blurred image, a coarser result and a state of a scale."""
    torch.manual_seed(1)
    planes, stride = 3 // config.channels, config.stride
    image, previous = torch.rand(2, planes, config.channels, height, width)
    state = torch.randn(planes, config.state_channels, height // stride, width // stride)
    return image, previous, state if config.recurrent else None


@needs_driver
@pytest.mark.parametrize("config", SHAPES)
def test_a_scale_is_computed_as_by_torch(config):
    from unblur.network.vulkan_network import VulkanNetwork

    network = random_network(config)
    on_gpu = VulkanNetwork(network, 0, torch.float32)
    maps = random_maps(config, 6 * config.stride, 5 * config.stride)
    with torch.inference_mode():
        for part in (maps, (*maps[:2], None)):
            expected = network.run_scale(*part)
            found = on_gpu.run_scale(*part, LineBuffers())
            assert (found[0] - expected[0]).abs().max() < ROUNDING
            assert config.recurrent == (found[1] is not None)
            if config.recurrent:
                assert (found[1] - expected[1]).abs().max() < ROUNDING


@needs_driver
@pytest.mark.parametrize("heights", [[4] * 30, [60, 60], [4, 112, 4], [100, 20]])
@pytest.mark.parametrize("width", [12, 300])
def test_pieces_give_what_torch_gives_for_the_whole(small_on_vulkan, heights, width):
    network, stride = random_network(SMALL), SMALL.stride
    image, previous, state = random_maps(SMALL, sum(heights), width)
    tops = iter([0, *np.cumsum(heights)])

    def run(band, before, buffers):
        top = next(tops)
        part = state[:, :, top // stride : (top + band.shape[2]) // stride]
        return small_on_vulkan.run_scale(band, before, part, buffers)

    with torch.inference_mode():
        expected = network.run_scale(image, previous, state)
        found = zip(*in_bands(run, heights, image, previous), strict=True)
    for whole, parts in zip(expected, found, strict=True):
        assert (torch.cat(parts, dim=2) - whole).abs().max() < ROUNDING


@pytest.fixture(scope="module")
def network():
    return random_network(SMALL)


def deblur(network, kind, picture, precision=torch.float32, **options):
    options = {"device": kind.name, "tile": 128} | options
    devices = OneDevice(kind, "auto")
    deblurrer = NetworkDeblurrer(
        network, NetworkOptions(**options), devices=devices, precision=precision
    )
    return deblurrer(picture), deblurrer.used


@needs_driver
@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((300, 64, 3), np.uint8, {}),
        ((1, 40, 3), np.uint8, {}),
        ((40, 1, 3), np.uint8, {}),
        ((33, 90, 1), np.uint8, {"strength": 0.5}),
        ((30, 40, 3), np.uint16, {"views": 3}),
    ],
)
def test_photos_are_the_same_as_from_the_cpu(network, shape, dtype, options):
    picture = make_pixels(*shape, dtype=dtype)
    expected, _ = deblur(network, CPU, picture, engine="torch", **options)
    found, used = deblur(network, VULKAN, picture, **options)
    assert (used["device"], used["engine"]) == ("vulkan", "ncnn")
    assert expected.dtype == found.dtype
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (expected != picture).any()


@needs_driver
def test_maps_may_be_float16_while_images_keep_16_bits(network):
    picture = make_pixels(40, 30, dtype=np.uint16)
    expected, _ = deblur(network, CPU, picture, engine="torch")
    found, _ = deblur(network, VULKAN, picture, precision=torch.float16)
    errors = found.astype(int) - expected
    assert errors.any()
    assert -20 * np.log10(np.sqrt((errors**2).mean()) / 65535) > 60


@needs_driver
def test_a_device_without_room_for_a_piece_leaves_the_photo_to_the_cpu(network, monkeypatch):
    picture, notes = make_pixels(300, 200), []
    monkeypatch.setattr(vulkan, "free_memory", lambda: 1 << 20)
    monkeypatch.setattr("unblur.network.deblurrer.require_device_memory", lambda *_: None)
    deblurrer = NetworkDeblurrer(
        network,
        NetworkOptions(device="vulkan"),
        devices=OneDevice(VULKAN, "auto"),
        warn=notes.append,
    )
    assert deblurrer(picture).shape == picture.shape
    assert deblurrer.used["device"] == "cpu"
    assert "out of memory on vulkan: going on with the CPU" in notes


@needs_driver
def test_with_little_main_memory_the_cpu_goes_on_because_its_bands_may_be_lower(network):
    picture, notes, devices = make_pixels(1200, 900), [], OneDevice(VULKAN, "torch")
    options = NetworkOptions(device="vulkan", engine="torch", max_memory=450_000_000)
    deblurrer = NetworkDeblurrer(network, options, devices=devices, warn=notes.append)
    assert deblurrer(picture).shape == picture.shape
    assert deblurrer.used["device"] == "cpu"
    assert notes == ["out of memory on vulkan: going on with the CPU"]


@needs_driver
def test_a_test_compiles_the_network_for_the_gpu_once(real, network, monkeypatch):
    from unblur.network.vulkan_network import VulkanNetwork

    compiled, compile_network = [], VulkanNetwork.__init__
    monkeypatch.setattr(
        VulkanNetwork, "__init__", lambda *a: compiled.append(a) or compile_network(*a)
    )
    assert self_test.find_problem(network, VULKAN, torch.float32, "ncnn") is None
    assert len(compiled) == 1


@needs_driver
def test_each_convolution_is_compiled_for_one_algorithm(small_on_vulkan):
    options = small_on_vulkan._net.opt
    assert options.use_winograd_convolution
    assert not options.use_winograd23_convolution


def test_auto_takes_a_real_gpu_but_no_program_that_plays_one(gpus):
    if choose_device("auto") not in (VULKAN, CPU):
        pytest.skip("there is a GPU that PyTorch uses")
    gpus(LAPTOP, PLAYED)
    assert choose_device("auto") is VULKAN
    assert choose_device("auto", "ncnn") is VULKAN
    assert choose_device("auto", "torch") is CPU
    gpus(PLAYED)
    assert choose_device("auto") is CPU
    assert choose_device("vulkan") is VULKAN


def test_a_gpu_is_chosen_by_its_number(gpus):
    gpus(LAPTOP, PLAYED)
    second = choose_device("vulkan:1")
    with second.selected(torch):
        assert (second.name, second.device, second.hardware(torch)) == (
            *("vulkan:1", "cpu", "llvmpipe, Vulkan driver 0.0.1"),
        )
    assert VULKAN.hardware(torch) == "Integrated 620, Vulkan driver 21.2"
    with pytest.raises(DeviceError, match="there is only vulkan:0 or vulkan:1"):
        choose_device("vulkan:2")


def test_a_missing_driver_and_a_missing_ncnn_are_told_apart(gpus, monkeypatch):
    gpus()
    with pytest.raises(DeviceError, match="no driver for Vulkan was found"):
        choose_device("vulkan")
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: False)
    with pytest.raises(DeviceError, match=r"needs ncnn; to install it, run: pip install 'unblur"):
        choose_device("vulkan")


def test_a_device_and_a_library_must_fit_together(gpus, identity_weights):
    gpus(LAPTOP)
    options = NetworkOptions(model=str(identity_weights), device="vulkan", engine="torch")
    with pytest.raises(UsageError, match="--device vulkan needs --engine ncnn, not torch"):
        load_deblurrer(random_network(SMALL), options, warn=print)


@pytest.fixture
def real(monkeypatch):
    """Make the software device count as a GPU, with a small self-test."""
    if choose_device("auto") is not CPU:
        pytest.skip("there is a GPU")
    monkeypatch.setattr(VulkanGpu, "is_software", False)
    monkeypatch.setattr(self_test, "MOST_SIDE_PX", 128)
    monkeypatch.setattr(self_test, "STRIP_PX", (128, 64))


@needs_driver
def test_a_right_device_is_used_in_float16(real, network):
    deblurrer = load_deblurrer(network, NetworkOptions(), warn=print)
    deblurrer(make_pixels(20, 20))
    assert (deblurrer.used["device"], deblurrer.used["engine"]) == ("vulkan", "ncnn")
    assert deblurrer._precision_on(deblurrer.kind) in (torch.float16, torch.float32)


@needs_driver
def test_a_device_that_computes_wrongly_is_not_used(real, network, monkeypatch):
    from unblur.network.vulkan_network import VulkanNetwork

    run = VulkanNetwork._run_graph
    monkeypatch.setattr(
        VulkanNetwork, "_run_graph", lambda *inputs: (run(*inputs)[0] + 0.1, run(*inputs)[1])
    )
    notes = []
    deblurrer = load_deblurrer(network, NetworkOptions(), warn=notes.append)
    assert deblurrer.kind is CPU
    assert "vulkan failed its self-test" in notes[0]
    with pytest.raises(DeviceError, match="device vulkan failed its self-test"):
        load_deblurrer(network, NetworkOptions(device="vulkan"), warn=print)


@pytest.fixture
def two_gpus_and_a_program(gpus, monkeypatch):
    """Two GPUs and a program; a test decides by their numbers which compute wrongly."""
    gpus(LAPTOP, VulkanGpu(2, "Arc 370", "21.2", INTEGRATED), PLAYED)
    monkeypatch.setattr(vulkan, "has_float16", lambda index: False)
    monkeypatch.setattr(vulkan, "free_memory", lambda: 1 << 30)

    def let_fail(*numbers):
        def examine(network, kind, engine):
            is_wrong = kind is not CPU and (kind.number or 0) in numbers
            return self_test.SelfTestResult("float32", problem="noise" if is_wrong else "")

        monkeypatch.setattr(checked_devices, "examine", examine)

    return let_fail


def first_of(network, name):
    """The name of the device that a run begins with, and the run's messages."""
    notes = []
    devices = checked_devices.CheckedDevices(
        network, name, "ncnn", _OnlyFirst({}), warn=notes.append, tell=lambda text: None
    )
    return devices.first().name, notes


SECOND = "vulkan failed its self-test: noise; going on with vulkan:1"


@pytest.mark.parametrize("name", ["auto", "vulkan"])
def test_the_next_gpu_replaces_one_that_computes_wrongly(two_gpus_and_a_program, network, name):
    two_gpus_and_a_program()
    assert first_of(network, name) == ("vulkan", [])
    two_gpus_and_a_program(0)
    assert first_of(network, name) == ("vulkan:1", [SECOND])


def test_if_all_gpus_are_wrong_the_cpu_goes_on_but_not_a_program(two_gpus_and_a_program, network):
    two_gpus_and_a_program(0, 1)
    third = "vulkan:1 failed its self-test: noise; going on with the CPU"
    assert first_of(network, "auto") == ("cpu", [SECOND, third])
    for name in ("vulkan", "vulkan:1"):
        with pytest.raises(DeviceError, match="device vulkan:1 failed its self-test: noise; use"):
            first_of(network, name)


def test_a_gpu_with_a_number_is_not_replaced(two_gpus_and_a_program, network):
    two_gpus_and_a_program(0)
    with pytest.raises(DeviceError, match="device vulkan:0 failed its self-test"):
        first_of(network, "vulkan:0")
    assert first_of(network, "vulkan:1") == ("vulkan:1", [])


@needs_driver
def test_after_a_failure_of_the_driver_the_cpu_goes_on(network, monkeypatch):
    from unblur.network.vulkan_network import VulkanNetwork

    def fail(*_):
        raise RuntimeError("Vulkan error -1 in change")

    monkeypatch.setattr(VulkanNetwork, "_run_graph", fail)
    notes, picture = [], make_pixels(20, 20)
    devices = OneDevice(VULKAN, "auto")
    deblurrer = NetworkDeblurrer(
        network, NetworkOptions(device="vulkan"), devices=devices, warn=notes.append
    )
    assert deblurrer(picture).shape == picture.shape
    assert deblurrer.used["device"] == "cpu"
    assert notes == ["Vulkan error -1 in change on vulkan: going on with the CPU"]


def test_devices_of_unknown_types_are_used_by_name_only(gpus):
    unknown = VulkanGpu(0, "mystery", "1.0.0", -1)
    gpus(unknown)
    assert unknown.is_software
    assert choose_device("vulkan") is VULKAN
    assert choose_device("auto") is not VULKAN


def begun_in(process):
    """The stored result while a process tests a device, or after that process ended without one."""
    return self_test.SelfTestResult("float32", problem=checked_devices.ENDED, process=process)


def other_process(monkeypatch, number=4_000_000, start=1000.0):
    """Let another process run; it began at a time in seconds."""
    monkeypatch.setattr(processes.psutil, "pid_exists", lambda pid: pid == number)
    monkeypatch.setattr(
        processes.psutil, "Process", lambda pid: SimpleNamespace(create_time=lambda: start)
    )


@needs_driver
@pytest.mark.parametrize("start", [1000.0, 999.5, 5000.0, None], ids=str)
def test_a_device_that_ended_the_program_is_not_tried_again(real, network, monkeypatch, start):
    def end(*_):
        raise SystemExit  # of the process, without any handler

    results = {}
    begun = begun_in(f"4000000 1000.0 {processes.machine()}")
    monkeypatch.setattr(checked_devices, "examine", end)
    monkeypatch.setattr(checked_devices, "unfinished_test", lambda: begun)
    with pytest.raises(SystemExit):
        checked_devices.examine_again(network, VULKAN, _OnlyFirst(results), "ncnn")
    if start is None:
        monkeypatch.setattr(processes.psutil, "pid_exists", lambda pid: False)
    else:
        other_process(monkeypatch, start=start)
    is_alive = start in (1000.0, 999.5)  # another start is that of another process
    tested = []
    monkeypatch.setattr(
        checked_devices,
        "examine",
        lambda *_: tested.append(1) or self_test.SelfTestResult("float32"),
    )
    notes = []
    devices = checked_devices.CheckedDevices(
        network, "auto", "auto", _OnlyFirst(results), warn=notes.append, tell=lambda text: None
    )
    assert devices.first() is (VULKAN if is_alive else CPU)
    assert bool(tested) == is_alive
    assert is_alive or "its driver ended the program during the test" in notes[0]


@needs_driver
@pytest.mark.parametrize("name", ["vulkan", "vulkan:0"])
@pytest.mark.parametrize(
    "process",
    [processes.own_process(), f"{os.getpid()} 1000.0 {processes.machine()}"],
    ids=["itself", "another process of this number"],
)
def test_a_run_with_the_number_of_the_one_that_ended_does_not_try_the_device(
    real, network, monkeypatch, name, process
):
    key = checked_devices.key_of(network, VULKAN, "ncnn")
    # In a container, each run is number 1.
    results = {checked_devices._key_of_begun(key): begun_in(process)}
    monkeypatch.setattr(checked_devices, "examine", lambda *_: pytest.fail("tested"))
    run = partial(
        checked_devices.CheckedDevices, network, name, "auto", _OnlyFirst(results),
        warn=print, tell=print,
    )  # fmt: skip
    with pytest.raises(DeviceError, match="its driver ended the program during the test"):
        run().first()


@needs_driver
def test_what_another_machine_tests_says_nothing_of_this_one(real, network, monkeypatch):
    key, notes = checked_devices.key_of(network, VULKAN, "ncnn"), []
    monkeypatch.setattr(processes.platform, "node", lambda: "other")
    results = {
        checked_devices._key_of_begun(key): begun_in(f"4000000 1000.0 {processes.machine()}")
    }
    monkeypatch.setattr(processes.platform, "node", lambda: "own")
    monkeypatch.setattr(checked_devices, "examine", lambda *_: self_test.SelfTestResult("float32"))
    devices = checked_devices.CheckedDevices(
        network, "auto", "auto", _OnlyFirst(results), warn=notes.append, tell=notes.append
    )
    assert devices.first() is VULKAN
    assert notes == ["testing vulkan, before it is first used"]


@needs_driver
def test_two_threads_may_test_a_device_at_once(real, network, monkeypatch):
    results = _OnlyFirst({})
    inner = []

    def examine(*_):
        if not inner:
            inner.append(1)
            other = checked_devices.CheckedDevices(
                network, "vulkan", "auto", results, warn=print, tell=print
            )
            inner.append(other.first())
        return self_test.SelfTestResult("float32")

    monkeypatch.setattr(checked_devices, "examine", examine)
    checked_devices.examine_again(network, VULKAN, results, "ncnn")
    assert inner[1] is VULKAN


@needs_driver
def test_the_doctor_repeats_a_failed_test_of_a_program_that_plays_a_gpu(network, monkeypatch):
    monkeypatch.setattr(vulkan.VulkanGpu, "is_software", property(lambda gpu: True))
    monkeypatch.setattr(
        examination, "examine_again", lambda *_: self_test.SelfTestResult("float32", seconds=1.0)
    )
    results = {}
    assert examination._test(network, VULKAN, _OnlyFirst(results), "ncnn")[1].untested
    key = checked_devices.key_of(network, VULKAN, "ncnn")
    results[checked_devices._key_of_begun(key)] = checked_devices.unfinished_test()
    result, tested = examination._test(network, VULKAN, _OnlyFirst(results), "ncnn")
    assert result
    assert not tested.problem
    assert tested.failed_before


class _OnlyFirst:
    """SelfTestResults of a process that could write only once."""

    def __init__(self, results):
        self._results = results

    def get(self, key):
        return self._results.get(key)

    def put(self, key, result):
        self._results.setdefault(key, result)
