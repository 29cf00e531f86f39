"""The engine finds devices that compute wrongly, before it deblurs a photo on one."""

from __future__ import annotations

import re
from dataclasses import replace

import fakes
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from unblur import __version__
from unblur.cli import main
from unblur.errors import DeviceError
from unblur.models.catalog import DEFAULT_MODEL, find_weights
from unblur.models.weights import load_network
from unblur.network import device_kinds, self_test
from unblur.network.config import SRNConfig
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.self_test import MOST_CPU_SIDE_PX, examine, find_problem
from unblur.network.srn import SRN
from unblur.options import SMALLEST_TILE_PX, NetworkOptions, Options


class Nowhere(DeviceKind):
    """A device that accepts every picture and returns none."""

    torch_type = "meta"


NOWHERE = Nowhere(**vars(replace(fakes.PLAYED, name="nowhere")))


@pytest.fixture(autouse=True)
def _smaller(monkeypatch):
    """Shrink the self-test's large picture: the CPU, which plays devices, deblurs it quickly."""
    monkeypatch.setattr(self_test, "MOST_SIDE_PX", MOST_CPU_SIDE_PX)


def noisy(size):
    def act(picture, right, buffers):
        noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(1))
        return right + size * noise

    return act


def raising(error):
    def act(picture, right, buffers):
        raise error

    return act


CRASH = raising(RuntimeError("no kernel image is available\nfor execution on the device"))


def with_wrong_column(picture, right, buffers):
    return right.index_fill(3, torch.tensor([5]), torch.inf)


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (lambda picture, right, buffers: torch.zeros_like(right), "black"),
        (lambda picture, right, buffers: right * torch.nan, "not numbers"),
        (with_wrong_column, "not numbers"),
        (lambda picture, right, buffers: picture, "unchanged"),
        (lambda picture, right, buffers: right.roll(1, 3), "dB"),
        (noisy(5 / 255), "dB"),
        (CRASH, r"cannot run the network \(RuntimeError: no kernel image is available\)$"),
    ],
    ids=["black", "nan", "one-column-infinite", "unchanged", "shifted", "noisy", "crashing"],
)
def test_a_device_that_computes_something_else_is_caught(act, problem):
    verdict = examine(fakes.Elsewhere(act), fakes.PLAYED)
    assert re.search(problem, verdict.problem)
    assert verdict.lasts == (act is not CRASH)


def test_a_device_that_rounds_otherwise_is_right():
    assert (
        examine(fakes.Elsewhere(lambda picture, right, buffers: right), fakes.PLAYED).problem == ""
    )
    assert examine(fakes.Elsewhere(noisy(0.5 / 255)), fakes.PLAYED).problem == ""


@pytest.mark.parametrize("side", [SMALLEST_TILE_PX + 64, MOST_CPU_SIDE_PX - 1])
def test_a_device_that_is_wrong_only_at_large_sizes_is_found(side):
    def act(picture, right, buffers):
        is_large = right.shape[2] * right.shape[3] > side**2
        return right.roll(1, 2) if is_large else right

    assert "dB" in examine(fakes.Elsewhere(act), fakes.PLAYED).problem


def test_a_device_that_is_wrong_in_one_place_of_a_large_picture_is_found():
    def act(picture, right, buffers):
        if right.shape[2] * right.shape[3] > 500_000:
            right[:, :, 600:620, 500:540] = 0
        return right

    assert "dB" in examine(fakes.Elsewhere(act), fakes.PLAYED).problem


def test_a_device_that_is_wrong_only_in_bands_is_found():
    def act(picture, right, buffers):
        return right if buffers.is_last else right.roll(1, 2)

    assert "dB" in examine(fakes.Elsewhere(act), fakes.PLAYED).problem


def test_a_device_whose_rows_lag_wrongly_is_found(monkeypatch):
    """Only a real network uses the operations of bands."""
    from unblur.network.bands import LineBuffers

    torch.manual_seed(0)
    network = SRN(SRNConfig(width=4, blocks=1)).eval()
    add = LineBuffers.add_delayed

    def add_wrongly(self, name, x, ahead):
        return add(self, name, x, ahead if self.is_whole else ahead.flip(2))

    monkeypatch.setattr(LineBuffers, "add_delayed", add_wrongly)
    assert "dB" in find_problem(network, fakes.PLAYED, torch.float32)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA error: out of memory"), torch.OutOfMemoryError()]
)
def test_a_device_that_is_full_is_not_called_wrong(error):
    with pytest.raises(MemoryError):
        examine(fakes.Elsewhere(raising(error)), fakes.PLAYED)


@pytest.fixture
def half(monkeypatch):
    """Let the CPU, and the other device, have instructions for bfloat16; return the latter."""
    cpu = replace(CPU, has_bfloat16=lambda torch: True)
    monkeypatch.setattr(device_kinds, "CPU", cpu)
    monkeypatch.setattr(self_test, "CPU", cpu)
    monkeypatch.setattr("unblur.network.deblurrer.CPU", cpu)
    return cpu


def right(picture, expected, buffers):
    return expected


def slow(picture, expected, buffers):
    for _ in range(20):
        torch.rand(1000, 1000).exp()
    return expected


def test_a_cpus_bfloat16_that_is_right_and_faster_is_used(half, monkeypatch):
    monkeypatch.setattr(self_test, "_slowness", lambda network, usual: None)
    assert examine(fakes.InHalf(right), half).precision == "bfloat16"


def test_a_cpus_bfloat16_that_seems_slower_on_a_busy_machine_is_used(half, monkeypatch):
    ratios = [2.7, 1.4, 0.7]
    monkeypatch.setattr(self_test, "_time_ratio", lambda one, other: ratios.pop(0))
    assert examine(fakes.InHalf(right), half).precision == "bfloat16"
    assert ratios == []


def test_a_cpus_bfloat16_that_is_slower_is_not_used(half, monkeypatch):
    monkeypatch.setattr(self_test, "TRIES", 2)  # for speed
    verdict = examine(fakes.InHalf(slow), half)
    assert (verdict.precision, verdict.problem) == ("float32", "")
    assert re.fullmatch(r"with bfloat16 it takes [0-9.]+ times as long", verdict.reason)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda picture, right, buffers: right.roll(1, 3), "with bfloat16 .*dB"),
        (lambda picture, right, buffers: right * torch.nan, "with bfloat16 .*not numbers"),
        (CRASH, "with bfloat16 it cannot run the network"),
    ],
    ids=["wrong", "nan", "crashing"],
)
def test_a_cpus_bfloat16_that_is_wrong_is_not_used(half, act, reason):
    verdict = examine(fakes.InHalf(act), half)
    assert (verdict.precision, verdict.problem) == ("float32", "")
    assert re.match(reason, verdict.reason)


def test_a_gpu_that_is_wrong_only_in_bfloat16_computes_in_float32():
    gpu = replace(fakes.PLAYED, has_bfloat16=lambda torch: True)
    verdict = examine(fakes.InHalf(lambda picture, right, buffers: picture), gpu)
    assert (verdict.precision, verdict.problem) == ("float32", "")
    assert verdict.reason == "with bfloat16 it returns the picture unchanged"


def test_a_network_that_changes_nothing_does_not_make_a_device_wrong(identity_weights):
    assert find_problem(load_network(identity_weights), fakes.PLAYED, torch.float32) is None


@pytest.mark.parametrize(
    "config",
    [SRNConfig(width=4, blocks=1), SRNConfig(channels=1, width=4, blocks=1, recurrent=True)],
    ids=["colour", "grey"],
)
def test_every_kind_of_network_can_be_tested(config, monkeypatch):
    monkeypatch.setattr(self_test, "MOST_CPU_SIDE_PX", 256)
    torch.manual_seed(0)
    assert find_problem(SRN(config).eval(), fakes.PLAYED, torch.float32) is None


@pytest.mark.weights
def test_the_shipped_network_does_enough_to_the_test_picture_to_tell_it_from_doing_nothing():
    network = load_network(find_weights(DEFAULT_MODEL))
    picture = self_test._blurred_squares(*self_test.STRIP_PX)
    expected = self_test._run(network, {}, CPU, torch.float32, "torch", picture)
    parts = [part[None, :, None] for part in (picture, expected, picture)]
    assert "unchanged" in self_test._difference(*parts, self_test.LEAST_PSNR_DB["torch"])


def test_devices_are_compared_with_pytorch_even_where_ncnn_is_installed(
    identity_weights, monkeypatch
):
    monkeypatch.setattr("unblur.network.ncnn_library.has_ncnn", lambda: True)
    network = load_network(identity_weights)
    deblur = self_test._deblurrer(network, {}, CPU, torch.float32, "torch", SMALLEST_TILE_PX)
    assert deblur.used["engine"] == "torch"


def test_the_test_leaves_the_network_on_the_cpu(identity_weights):
    network = load_network(identity_weights)
    assert "cannot run" in find_problem(network, NOWHERE, torch.float32)
    assert {weight.device for weight in network.parameters()} == {torch.device("cpu")}


def test_a_periodic_picture_continues_at_its_other_edge():
    picture = self_test._blurred_squares(64, 64).astype(int)
    steps = np.abs(np.diff(np.concatenate([picture, picture], axis=1), axis=1)).max(axis=(0, 2))
    assert steps[63] <= steps.max() / 2 + 30


@pytest.fixture
def broken_gpu(monkeypatch):
    """Add a GPU that returns no picture."""
    gpu = replace(NOWHERE, name="cuda")
    monkeypatch.setattr(device_kinds, "KINDS", (gpu, CPU))


def run(jpeg, weights, device):
    arguments = [str(jpeg), "--model", str(weights), "--device", device]
    return CliRunner().invoke(main, arguments)


def test_a_photo_is_deblurred_on_the_cpu_instead(broken_gpu, jpeg, identity_weights):
    result = run(jpeg, identity_weights, "auto")
    assert result.exit_code == 0
    assert result.stderr.count("failed its self-test") == 1
    assert jpeg.with_name("photo-unblurred.jpg").exists()


def test_no_photo_is_written_with_a_wrong_device(broken_gpu, jpeg, identity_weights):
    result = run(jpeg, identity_weights, "cuda")
    assert result.exit_code == 5
    assert result.stderr.startswith("unblur: error: device cuda failed its self-test")
    assert [path.name for path in jpeg.parent.iterdir()] == ["photo.jpg"]


def test_a_clusters_node_with_a_wrong_gpu_does_no_photo(broken_gpu, identity_weights, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed")
    from unblur.run.ray_worker import Worker

    monkeypatch.setattr("ray.get", lambda network: network)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "a node")
    options = Options(network=NetworkOptions(threads=torch.get_num_threads()))
    shape = {"num_cpus": 1, "num_gpus": 1}
    worker = Worker([load_network(identity_weights)], options, shape)
    reason = worker.prepare(__version__, [])
    assert isinstance(reason, DeviceError)
    assert str(reason).startswith("the worker on a node: device cuda failed its self-test")
