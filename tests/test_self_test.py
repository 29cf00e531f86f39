from __future__ import annotations

import re
from dataclasses import replace

import fakes
import pytest
import torch
from click.testing import CliRunner

from unblur import __version__
from unblur.cli import main
from unblur.errors import DeviceError
from unblur.models.catalog import DEFAULT_MODEL, find_weights
from unblur.models.weights import load_network
from unblur.network import self_test as module
from unblur.network.device_kinds import CPU
from unblur.network.self_test import self_test, working_device
from unblur.network.srn import SRN, SRNConfig
from unblur.options import Engine, Options

NOWHERE = replace(CPU, name="cuda", torch_type="meta")
"""A device that takes every picture and gives none back."""


def noisy(size):
    def act(picture, right):
        noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(1))
        return right + size * noise

    return act


def crash(picture, right):
    raise RuntimeError("no kernel image is available\nfor execution on the device")


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (lambda picture, right: torch.zeros_like(right), "black"),
        (lambda picture, right: right * torch.nan, "not numbers"),
        (lambda picture, right: right.index_fill(3, torch.tensor([5]), torch.inf), "not numbers"),
        (lambda picture, right: picture, "unchanged"),
        (lambda picture, right: right.roll(1, 3), "dB"),
        (noisy(5 / 255), "dB"),
        (crash, r"cannot run the network \(RuntimeError: no kernel image is available\)$"),
    ],
    ids=["black", "nan", "one-column-infinite", "unchanged", "shifted", "noisy", "crashing"],
)
def test_a_device_that_computes_something_else_is_caught(act, problem):
    found = self_test(fakes.Elsewhere(act), CPU)
    assert found is not None
    assert re.search(problem, found)


def test_a_device_that_rounds_otherwise_is_right():
    assert self_test(fakes.Elsewhere(lambda picture, right: right), CPU) is None
    assert self_test(fakes.Elsewhere(noisy(0.5 / 255)), CPU) is None


def test_a_network_that_changes_nothing_does_not_make_a_device_wrong(identity_weights):
    assert self_test(load_network(identity_weights), CPU) is None


@pytest.mark.parametrize(
    "config",
    [SRNConfig(width=4, blocks=1), SRNConfig(channels=1, width=4, blocks=1, recurrent=True)],
    ids=["colour", "grey"],
)
def test_every_kind_of_network_can_be_tested(config):
    torch.manual_seed(0)
    assert self_test(SRN(config).eval(), CPU) is None


def test_the_shipped_network_does_enough_to_the_test_picture_to_tell_it_from_doing_nothing():
    network = load_network(find_weights(DEFAULT_MODEL))
    picture = module._blurred_squares(network)
    expected = module._run(network, picture, torch.float32)
    assert "unchanged" in module._difference(picture, expected, picture)
    assert self_test(network, CPU) is None


def test_the_test_leaves_the_network_on_the_cpu(identity_weights):
    network = load_network(identity_weights)
    assert "cannot run" in self_test(network, NOWHERE)
    assert {weight.device for weight in network.parameters()} == {torch.device("cpu")}


@pytest.fixture
def broken_gpu(monkeypatch):
    """Let there be a GPU that gives no picture back."""
    monkeypatch.setattr(module, "choose_device", lambda name: CPU if name == "cpu" else NOWHERE)


def test_auto_takes_the_cpu_if_the_gpu_is_wrong_and_says_so(broken_gpu, identity_weights):
    said = []
    assert working_device(load_network(identity_weights), "auto", said.append) == CPU
    assert len(said) == 1
    assert "going on with the CPU" in said[0]


def test_a_device_that_was_asked_for_is_never_replaced(broken_gpu, identity_weights):
    with pytest.raises(DeviceError, match="cuda failed its self-test.*unblur doctor"):
        working_device(load_network(identity_weights), "cuda", pytest.fail)


def test_a_gpu_that_is_right_is_taken(monkeypatch, identity_weights):
    monkeypatch.setattr(module, "choose_device", lambda name: NOWHERE)
    monkeypatch.setattr(module, "self_test", lambda network, device: None)
    network = load_network(identity_weights)
    assert working_device(network, "cuda", pytest.fail) == NOWHERE


def test_the_cpu_is_not_compared_with_itself(monkeypatch, identity_weights):
    monkeypatch.setattr(module, "self_test", lambda *_: pytest.fail("a test for nothing"))
    assert working_device(load_network(identity_weights), "cpu", pytest.fail) == CPU


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
    options = Options(engine=Engine(threads=torch.get_num_threads()))
    shape = {"num_cpus": 1, "num_gpus": 1}
    worker = Worker([load_network(identity_weights)], options, shape)
    reason = worker.prepare(__version__, [])
    assert isinstance(reason, DeviceError)
    assert str(reason).startswith("the worker on a node: device cuda failed its self-test")
