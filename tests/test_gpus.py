from __future__ import annotations

import os
import sys

import pytest
import torch

from unblur.errors import DeviceError
from unblur.network import devices, gpus
from unblur.network.gpus import Gpu, find_gpus, install_command


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Put a program of that name, and no other, on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def install(script):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return install


@pytest.fixture
def root(tmp_path):
    """A system's root with nothing in it."""
    return tmp_path / "root"


needs_sh = pytest.mark.skipif(os.name != "posix", reason="the fake program is a shell script")


def test_a_machine_with_nothing_has_no_gpu(nvidia_smi, root, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert find_gpus(root) == ()


@needs_sh
def test_nvidias_own_program_tells_of_every_gpu(nvidia_smi, root):
    nvidia_smi("echo 'NVIDIA GeForce RTX 4090, 580.95, 8.9'; echo 'Tesla K80, 470.1, [N/A]'")
    assert find_gpus(root)[:2] == (
        Gpu("NVIDIA", "GeForce RTX 4090", "580.95", 8.9),
        Gpu("NVIDIA", "Tesla K80", "470.1", None),
    )


@needs_sh
@pytest.mark.parametrize(
    "script", ["exit 9", "echo No devices were found", "printf '\\377, \\377, 1'"]
)
def test_a_program_that_fails_tells_of_none(nvidia_smi, root, script, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    nvidia_smi(script)
    assert find_gpus(root) == ()


@needs_sh
def test_a_program_that_hangs_is_not_waited_for(nvidia_smi, root, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(gpus, "_ANSWER_SECONDS", 0.1)
    nvidia_smi("exec /bin/sleep 60")
    assert find_gpus(root) == ()


def test_a_loaded_driver_tells_of_a_gpu_without_the_program(nvidia_smi, root):
    (root / "proc/driver/nvidia").mkdir(parents=True)
    (root / "proc/driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57.08  Release Build\n"
        "GCC version:  gcc version 12.2.0\n"
    )
    assert find_gpus(root)[0] == Gpu("NVIDIA", "GPU", "575.57.08")


def test_amds_driver_is_found(nvidia_smi, root):
    (root / "dev").mkdir(parents=True)
    (root / "dev/kfd").touch()
    assert Gpu("AMD", "GPU") in find_gpus(root)


def test_a_mac_with_apples_processor_has_apples_gpu(nvidia_smi, root, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert find_gpus(root) == (Gpu("Apple", "GPU"),)


@pytest.mark.parametrize(
    ("gpu", "ending"),
    [
        (Gpu("NVIDIA", "RTX 4090", "580.95", 8.9), "/cu130"),
        (Gpu("NVIDIA", "RTX 4090", "610.1", None), "/cu130"),
        (Gpu("NVIDIA", "RTX 4090", "560.35", 8.9), "/cu126"),  # a driver of CUDA 12's time
        (Gpu("NVIDIA", "GTX 1080", "580.95", 6.1), "/cu126"),  # CUDA 13 has dropped it
        (Gpu("NVIDIA", "GPU", ""), "/cu126"),
        (Gpu("AMD", "GPU"), "/rocm7.2"),
        (Gpu("Apple", "GPU"), " torch"),
    ],
    ids=str,
)
def test_the_install_command_fits_the_gpu_and_its_driver(gpu, ending):
    command = install_command(gpu)
    assert command.startswith("pip install --force-reinstall torch")
    assert command.endswith(ending)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU that PyTorch can use")
def test_asking_for_a_gpu_that_pytorch_cannot_use_tells_what_to_install(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(devices, "find_gpus", lambda: (Gpu("NVIDIA", "RTX 4090", "580.95", 8.9),))
    with pytest.raises(DeviceError, match=r"without CUDA .*pip install .*cu130"):
        devices.choose_device("cuda")
    monkeypatch.setattr(devices, "find_gpus", lambda: ())
    with pytest.raises(DeviceError, match=r"without CUDA; use --device auto or cpu"):
        devices.choose_device("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU that PyTorch can use")
def test_a_gpu_by_amd_needs_a_build_with_rocm(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(devices, "find_gpus", lambda: (Gpu("AMD", "GPU"),))
    with pytest.raises(DeviceError, match=r"a build without ROCm .*/rocm"):
        devices.choose_device("cuda")
