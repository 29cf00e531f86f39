"""ncnn is tested before its first use; where it is wrong, PyTorch computes."""

from __future__ import annotations

import json
import sys

import fakes
import pytest
import torch
from click.testing import CliRunner
from conftest import make_pixels

from unblur import doctor
from unblur.cli import main
from unblur.errors import DeviceError, ExitCode
from unblur.models.loading import load_deblurrer
from unblur.network import device_kinds, device_network, engines, ncnn_library, self_test, vulkan
from unblur.network.checked_devices import key_of
from unblur.network.config import SRNConfig
from unblur.network.device_kinds import CPU
from unblur.network.devices import choose_device
from unblur.network.self_test import examine
from unblur.network.srn import SRN
from unblur.options import NetworkOptions

FASTER = "cpu computes with ncnn: it is faster than torch in float32"
TESTING = "testing ncnn, before it is first used"


class WithSmallKernels(fakes.Elsewhere):
    """A network whose convolutions ncnn computes faster than PyTorch."""

    config = SRNConfig(kernel=3)


def right(picture, expected, buffers):
    return expected


def a_little_wrong(picture, expected, buffers):
    return expected + 1.5 / 255


def wrong(picture, expected, buffers):
    return expected.roll(1, 2)


def raising(error):
    def act(picture, expected, buffers):
        raise error

    return act


@pytest.fixture
def ncnn_does(monkeypatch, tmp_path):
    """Install an ncnn that does what the test says, on a CPU that has no bfloat16."""
    monkeypatch.setattr(device_kinds, "bf16_instructions", lambda torch: {})
    monkeypatch.setattr(device_kinds, "KINDS", (CPU,))
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: True)
    monkeypatch.setattr(ncnn_library, "ncnn_version", lambda: "1.0")  # as doctor reads it
    monkeypatch.setattr("unblur.network.checked_devices.ncnn_version", lambda: "1.0")
    monkeypatch.setattr(self_test, "MOST_CPU_SIDE_PX", 192)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def install(act):
        def with_ncnn(network):
            moved = WithSmallKernels(act)
            moved.is_moved = True
            return moved

        monkeypatch.setattr(device_network, "_with_ncnn", with_ncnn)

    return install


def deblur(engine="auto"):
    """Deblur a photo as a run does.

    Returns:
        The library that computed, warnings, and sentences for the curious.
    """
    warned, told = [], []
    chosen = NetworkOptions(device="auto", engine=engine, threads=None)
    network = WithSmallKernels(right)
    deblurrer = load_deblurrer(network, chosen, warn=warned.append, tell=told.append)
    deblurrer(make_pixels(40, 50))
    return deblurrer.used["engine"], warned, told


def test_ncnn_is_tested_once_and_used_from_then_on(ncnn_does):
    ncnn_does(right)
    assert deblur() == ("ncnn", [], [TESTING, FASTER])
    assert deblur() == ("ncnn", [], [FASTER])


def test_another_ncnn_is_tested_again(ncnn_does, monkeypatch):
    ncnn_does(right)
    deblur()
    monkeypatch.setattr("unblur.network.checked_devices.ncnn_version", lambda: "2.0")
    assert TESTING in deblur()[2]


def test_the_verdict_on_ncnn_is_not_the_one_on_the_cpu():
    network = fakes.Identity()
    assert key_of(network, CPU) != key_of(network, CPU, "ncnn")


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (wrong, "dB"),
        (a_little_wrong, "dB"),
        (lambda picture, expected, buffers: expected * torch.nan, "not numbers"),
        (raising(RuntimeError("bad layer")), r"cannot run the network \(RuntimeError: bad layer\)"),
        (raising(TypeError("no Mat")), r"cannot run the network \(TypeError: no Mat\)"),
    ],
    ids=["wrong", "imprecise", "nan", "failing", "changed"],
)
def test_where_ncnn_is_wrong_torch_goes_on_with_one_note(ncnn_does, act, problem):
    ncnn_does(act)
    used, warned, _ = deblur()
    assert used == "torch"
    assert len(warned) == 1
    assert warned[0].startswith("ncnn failed its self-test: ")
    assert warned[0].endswith("; going on with torch")
    with pytest.raises(
        DeviceError, match=f"ncnn failed its self-test: .*{problem}.*--engine torch"
    ):
        deblur("ncnn")


def test_an_ncnn_that_raised_is_tested_again_by_the_next_run(ncnn_does):
    ncnn_does(raising(RuntimeError("bad layer")))
    assert deblur()[0] == "torch"
    ncnn_does(right)
    assert deblur()[0] == "ncnn"


def test_an_ncnn_without_memory_for_its_test_is_not_called_wrong(ncnn_does):
    ncnn_does(raising(MemoryError()))
    assert deblur()[:2] == ("torch", [])
    ncnn_does(right)
    assert deblur()[0] == "ncnn"


@pytest.fixture
def damaged(monkeypatch, tmp_path):
    """Let ncnn be installed, but not to be loaded."""
    monkeypatch.setattr(engines, "FAST_KERNEL", 1)  # as the fixtures' network has
    monkeypatch.setattr(device_kinds, "bf16_instructions", lambda torch: {})
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: True)
    monkeypatch.setattr(self_test, "MOST_CPU_SIDE_PX", 192)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    package = tmp_path / "damaged" / "ncnn.py"
    package.parent.mkdir()
    package.write_text("raise ImportError('libgomp.so.1 is missing')")
    monkeypatch.delitem(sys.modules, "ncnn", raising=False)
    monkeypatch.syspath_prepend(package.parent)


def test_an_ncnn_that_cannot_be_loaded_is_replaced_by_torch(damaged, unblur, jpeg):
    result = unblur(jpeg, "--json")
    assert (result.code, json.loads(result.stdout.splitlines()[0])["engine"]) == (0, "torch")
    assert result.stderr.count("(ImportError: libgomp.so.1 is missing); going on with torch") == 1


def test_an_ncnn_that_was_asked_for_and_cannot_be_loaded_is_an_error(damaged, unblur, jpeg):
    result = unblur(jpeg, "--engine", "ncnn")
    assert result.code == 5
    assert "ncnn cannot be loaded (libgomp.so.1 is missing): use --engine torch" in result.stderr
    assert "Traceback" not in result.stderr


def test_vulkan_with_an_ncnn_that_cannot_be_loaded_names_ncnn_and_no_driver(damaged, monkeypatch):
    monkeypatch.setattr(vulkan, "_find", vulkan.GpuListing)
    with pytest.raises(DeviceError, match="ncnn cannot be loaded .libgomp") as caught:
        choose_device("vulkan")
    assert "driver" not in str(caught.value)


def test_a_verbose_run_names_the_library_and_says_why(unblur, jpeg):
    assert "cpu computes with torch: chosen by --engine" in said_by(unblur, jpeg, "torch")
    assert "cpu computes with torch: " in said_by(unblur, jpeg, "auto")


def said_by(unblur, jpeg, engine):
    result = unblur(jpeg, "--engine", engine, "--device", "cpu", "-v", "--overwrite")
    assert result.code == 0
    return result.stderr


@pytest.fixture
def doctor_says(ncnn_does, monkeypatch):
    """Ask for the answer of ``unblur doctor`` where ncnn adds a number to PyTorch's results."""
    monkeypatch.setattr(doctor, "find_gpus", lambda: ())

    class Adding(SRN):
        def run_scale(self, *inputs):
            image, state = super().run_scale(*inputs)
            return image + self.added, state

    def ask(added, *arguments):
        def with_ncnn(network):
            copy = Adding(network.config)
            copy.load_state_dict(network.state_dict())
            copy.added = added
            return copy.eval().requires_grad_(False)

        monkeypatch.setattr(device_network, "_with_ncnn", with_ncnn)
        result = CliRunner().invoke(main, ["doctor", *arguments])
        return result.exit_code, " ".join(result.stdout.split())

    return ask


def test_doctor_tests_ncnn_and_says_that_runs_use_it(doctor_says):
    code, said = doctor_says(0)
    assert code == 0
    assert "ncnn 1.0 on the CPU; correct, tested in" in said
    assert "--engine auto uses ncnn: it is faster than torch in float32" in said


def test_doctor_finds_a_wrong_ncnn_and_clears_the_name_of_a_right_one(doctor_says):
    code, said = doctor_says(0.2)
    assert code == ExitCode.DEVICE
    assert "ncnn failed its self-test: a part of its result has a PSNR of 1" in said
    assert "--engine auto uses torch: ncnn failed its self-test" in said
    assert "an earlier test failed, so it was not used until now" in doctor_says(0)[1]
    values = json.loads(doctor_says(0, "--json")[1])
    assert (values["pytorch"]["ncnn"]["version"], values["findings"]) == ("1.0", [])


def test_the_real_ncnn_passes_the_test():
    pytest.importorskip("ncnn")
    from test_bands import random_network

    from unblur.network.config import SRNConfig

    network = random_network(SRNConfig(width=4, blocks=1, kernel=3, unshuffle=2, residual=True))
    verdict = examine(network, CPU, "ncnn")
    assert (verdict.precision, verdict.problem) == ("float32", "")
