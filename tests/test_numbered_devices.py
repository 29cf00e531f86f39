"""A number chooses one of several GPUs."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import ClassVar

import fakes
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import make_pixels

from unblur import doctor
from unblur.cli import main
from unblur.errors import DeviceError, UsageError
from unblur.network import device_kinds, self_test
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.network.device_kinds import CPU, KINDS
from unblur.network.devices import choose_device
from unblur.network.memory import free_memory
from unblur.options import NetworkOptions


class Pair:
    """Two devices, one of which is selected at a time."""

    selected = 0
    names = ("small frame", "large frame")
    free = (1 << 30, 3 << 30)

    @contextlib.contextmanager
    def select(self, torch, number):
        before, self.selected = self.selected, number
        yield
        self.selected = before


@pytest.fixture(autouse=True)
def pair(monkeypatch):
    """Put two devices of a kind into the table, under the name of a kind that options know."""
    pair = Pair()
    kind = replace(
        fakes.PLAYED,
        name="cuda",
        count=lambda torch: 2,
        select=pair.select,
        hardware=lambda torch: pair.names[pair.selected],
        free_memory=lambda torch: pair.free[pair.selected],
    )
    monkeypatch.setattr(device_kinds, "KINDS", (kind, CPU))
    monkeypatch.setattr(doctor, "find_gpus", lambda: ())
    for name in ("MOST_CPU_SIDE_PX", "MOST_SIDE_PX"):
        monkeypatch.setattr(self_test, name, 256)  # faster
    return pair


def test_a_number_chooses_one_of_several_devices(pair):
    image = make_pixels(64, 64)
    for number in (0, 1):
        deblur = NetworkDeblurrer(fakes.Identity(), NetworkOptions(device=f"cuda:{number}"))
        assert np.array_equal(deblur(image), image)
        assert deblur.used["device"] == f"cuda:{number}"
        assert free_memory(deblur.kind) == pair.free[number]
    assert pair.selected == 0


def test_the_work_is_done_while_the_device_is_selected(pair):
    class Noting(fakes.Identity):
        seen: ClassVar = []

        def run_scale(self, blurred, *others):
            self.seen.append(pair.selected)
            return blurred, None

    NetworkDeblurrer(Noting(), NetworkOptions(device="cuda:1"))(make_pixels(64, 64))
    assert set(Noting.seen) == {1}


def test_pytorch_gets_the_number():
    assert KINDS[0].numbered(1).device == "cuda:1"
    assert KINDS[0].numbered(1).torch_type == "cuda"
    assert torch.device(KINDS[2].numbered(3).device) == torch.device("xpu", 3)


def test_a_number_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(DeviceError, match=r"cuda:2 is not available: there is only cuda:0 or "):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    "name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:01", "cuda:1:2", "auto:1", "cuda:12345", ""]
)
def test_a_name_that_is_none_is_refused(name, jpeg):
    with pytest.raises(UsageError, match="is no device: choose one of auto"):
        choose_device(name)
    result = CliRunner().invoke(main, [str(jpeg), "--device", name])
    assert result.exit_code == 2
    problem = "Invalid value for '--device'" if name else "--device is empty"
    assert problem in result.stderr


@pytest.mark.parametrize("name", ["cpu:0", "cpu:1"])
def test_the_cpu_has_no_number(name, jpeg):
    message = f"'{name}' is no device: the CPU has no number; use cpu"
    with pytest.raises(UsageError, match=message):
        choose_device(name)
    result = CliRunner().invoke(main, [str(jpeg), "--device", name])
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_the_option_and_the_configuration_take_a_number(
    jpeg, identity_weights, capfdbinary, tmp_path
):
    settings = tmp_path / "unblur.toml"
    settings.write_text('device = "cuda:1"\n')
    for options in (["--device", "CUDA:1".lower()], ["--config", str(settings)]):
        capfdbinary.readouterr()
        arguments = [str(jpeg), "--model", str(identity_weights), "--json", "--overwrite", *options]
        result = CliRunner().invoke(main, arguments)
        line = json.loads(result.stdout or capfdbinary.readouterr().out)
        assert (result.exit_code, line["device"]) == (0, "cuda:1")


def test_a_missing_number_ends_with_one_line(jpeg, identity_weights):
    arguments = [str(jpeg), "--model", str(identity_weights), "--device", "cuda:7"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 5
    assert result.stderr == (
        "unblur: error: device cuda:7 is not available: there is only cuda:0 or cuda:1\n"
    )


def test_doctor_lists_each_device_with_its_number_name_and_memory():
    devices = doctor.examine().pytorch.devices
    assert [(device.name, device.hardware, device.free_bytes) for device in devices[:2]] == [
        ("cuda:0", "small frame", 1 << 30),
        ("cuda:1", "large frame", 3 << 30),
    ]
    assert devices[2].name == "cpu"


def test_clusters_refuse_what_ray_chooses_itself(jpeg):
    result = CliRunner().invoke(main, [str(jpeg), "--ray", "local", "--device", "cuda:1"])
    assert result.exit_code == 2
    assert "cuda:1 cannot be used on clusters, only auto, cuda, vulkan, cpu\n" in result.stderr


def test_rocm_is_named_as_such(monkeypatch):
    cuda = KINDS[0]
    assert cuda.shown(torch) == "cuda"
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert cuda.shown(torch) == "cuda (ROCm)"
    assert cuda.numbered(1).shown(torch) == "cuda:1 (ROCm)"
    assert cuda.build(torch) == "ROCm 6.4"


def test_doctor_names_rocm_beside_the_gpu(pair, monkeypatch):
    kind = replace(device_kinds.KINDS[0], alias=lambda torch: "ROCm")
    monkeypatch.setattr(device_kinds, "KINDS", (kind, CPU))
    assert doctor.examine().pytorch.devices[0].hardware == "small frame ROCm"
