"""Full, refusing and lost devices: the meaning of their errors, and how a run continues."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import make_jpeg, make_pixels
from test_new_device import LOST, ROW, deblurrer_on_abacus, failures
from test_self_test import NOWHERE

from unblur import __version__
from unblur.cli import main
from unblur.errors import DeviceError
from unblur.models.weights import load_network
from unblur.network import device_kinds, self_test
from unblur.network.device_errors import Trouble, is_out_of_memory, trouble_of
from unblur.network.device_kinds import KINDS
from unblur.options import NetworkOptions, Options

__all__ = ["failures"]

CUDA, MPS, XPU, VULKAN, CPU = KINDS


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.80 GiB total capacity)",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA driver error: out of memory",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "HIP out of memory. Tried to allocate 2.00 GiB",
        "HIP error: out of memory",
        "hipErrorOutOfMemory",
        "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
        "miopenStatusAllocFailed",
        "rocblas_status_memory_error",
        "MPS backend out of memory (MPS allocated: 6.00 GB, max allowed: 9.07 GB)",
        "Invalid buffer size: 48.00 GB",
        "XPU out of memory. Tried to allocate 4.00 GiB",
        "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
        "Native API failed. Native API returns: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 9 bytes",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.",
        "std::bad_alloc",
    ],
)
def test_every_kind_of_exhausted_memory_is_recognised(text):
    assert trouble_of(CUDA, RuntimeError(text)) is Trouble.FULL


def test_exhausted_memory_is_recognised_by_its_type_too():
    for error in (torch.OutOfMemoryError(), MemoryError(), OSError(errno.ENOMEM, "no memory")):
        assert is_out_of_memory(error)
    assert not is_out_of_memory(OSError(errno.ENOSPC, "the disk is full"))


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="PyTorch 2.8 introduced it")
def test_the_error_of_newer_pytorch_is_read_like_others():
    full_error = torch.AcceleratorError("CUDA error: out of memory")
    lost_error = torch.AcceleratorError("an error that nobody knows")
    assert trouble_of(CUDA, full_error) is Trouble.FULL
    assert trouble_of(CUDA, lost_error) is Trouble.LOST


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (CUDA, "CUDA error: an illegal memory access was encountered"),
        (CUDA, "CUDA error: unspecified launch failure"),
        (CUDA, "CUDA error: device-side assert triggered"),
        (CUDA, "CUDA error: uncorrectable ECC error encountered"),
        (CUDA, "HIP error: an illegal memory access was encountered"),
        (MPS, "Command buffer exited with error status."),
        (XPU, "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)"),
        (VULKAN, "Vulkan error -1 in change"),
    ],
)
def test_an_error_that_every_later_call_repeats_means_that_the_device_is_lost(kind, text):
    assert trouble_of(kind, RuntimeError(text)) is Trouble.LOST


REFUSALS = [
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a "
    "non-contiguous input.",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
    "CUDA error: invalid configuration argument",
    "CUDA error: no kernel image is available for execution on the device",
    "miopenStatusUnknownError",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_after_a_refused_operation_the_device_itself_tells_whether_it_works(text):
    words = KINDS[0].refusal_words
    works, is_gone = replace(ROW, refusal_words=words), replace(NOWHERE, refusal_words=words)
    assert trouble_of(works, RuntimeError(text)) is Trouble.REFUSAL
    assert trouble_of(is_gone, RuntimeError(text)) is Trouble.LOST


@pytest.mark.parametrize("text", ["sizes do not match", "invalid argument", ""])
def test_other_errors_say_nothing_of_the_device(text):
    assert [trouble_of(kind, RuntimeError(text)) for kind in KINDS] == [None] * len(KINDS)


def test_a_refused_photo_is_deblurred_by_the_cpu_and_the_next_on_the_device(failures, monkeypatch):
    row = replace(ROW, refusal_words=("beads stick",))
    monkeypatch.setattr("test_new_device.ROW", row)
    monkeypatch.setattr(device_kinds, "KINDS", (row, *KINDS))
    deblur, said = deblurrer_on_abacus()
    failures += [RuntimeError("two beads stick together")]
    image, used = make_pixels(90, 70), []
    for _ in range(2):
        assert np.array_equal(deblur(image), image)
        used.append(deblur.used["device"])
    assert used == ["cpu", "abacus"]
    assert said == ["two beads stick together on abacus: going on with the CPU"]


@pytest.fixture
def trusted(monkeypatch):
    """Let every device pass its self-test without one."""
    monkeypatch.setattr(self_test, "find_problem", lambda *inputs: None)
    monkeypatch.setattr(self_test, "_slowness", lambda *inputs: None)


@pytest.fixture
def run(tmp_path, identity_weights, capfdbinary):
    """Deblur four photos; return the exit code, the lines of JSON, and standard error."""

    def run(*options):
        folder = tmp_path / "photos"
        folder.mkdir(exist_ok=True)
        for name in "abcd":
            (folder / f"{name}.jpg").write_bytes(make_jpeg())
        capfdbinary.readouterr()
        arguments = [str(folder), "-r", "--json", "--model", str(identity_weights), *options]
        result = CliRunner().invoke(main, arguments)
        listed = result.stdout + capfdbinary.readouterr().out.decode()
        return result.exit_code, [json.loads(line) for line in listed.splitlines()], result.stderr

    return run


def test_a_named_device_that_is_lost_ends_the_run_with_one_line(failures, trusted, run):
    failures += [None] * 3 + [LOST] * 9
    code, lines, said = run("--device", "abacus")
    assert code == 5
    assert [line["status"] for line in lines] == ["done"]
    assert "1 done, 0 skipped, 0 failed, 3 not reached" in said
    errors = [line for line in said.splitlines() if "error:" in line]
    assert errors == [
        "unblur: error: device abacus was lost: the abacus fell from the table; run again, or with "
        "--device auto, which goes on with the CPU"
    ]
    assert said.splitlines()[-1] == errors[0]


def test_the_page_of_a_run_that_lost_its_device_tells_what_was_not_reached(
    failures, trusted, run, tmp_path
):
    failures += [None] * 3 + [LOST] * 9
    page = tmp_path / "report.html"
    assert run("--device", "abacus", "--report", str(page))[0] == 5
    assert "3 of 4 photos were not reached" in page.read_text("utf-8")


def test_the_page_names_the_device_of_photos_that_another_one_did(failures, trusted, run, tmp_path):
    failures += [None] * 6 + [LOST]
    page = tmp_path / "report.html"
    assert run("--report", str(page))[0] == 0
    assert page.read_text("utf-8").count("Device: cpu") == 2


def test_the_next_run_does_the_photos_that_were_not_reached(failures, trusted, run):
    failures += [None] * 3 + [LOST]
    assert run("--device", "abacus")[0] == 5
    code, lines, _ = run("--device", "abacus")
    assert (code, [line["status"] for line in lines].count("done")) == (0, 3)


def test_auto_goes_on_with_the_cpu_if_the_device_is_lost(failures, trusted, run):
    failures += [None] * 3 + [LOST]
    code, lines, said = run()
    assert code == 0
    assert [line["device"] for line in lines] == ["abacus", "cpu", "cpu", "cpu"]
    assert said.count("going on with the CPU") == 1


def test_a_failed_photo_tells_the_device_that_worked_on_it(failures, trusted, run, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "0.jpg").write_bytes(make_jpeg()[:300])
    failures += [RuntimeError("sizes do not match")]
    code, lines, _ = run()
    assert code == 1
    told = {Path(line["input"]).name: (line["status"], line["device"]) for line in lines}
    assert told["0.jpg"] == ("failed", None), "no device worked on it"
    assert told["a.jpg"] == ("failed", "abacus")
    assert told["d.jpg"] == ("done", "abacus")


def test_a_photo_that_failed_on_the_cpu_after_a_loss_tells_so(failures, trusted, run, monkeypatch):
    failures += [LOST]
    monkeypatch.setattr("unblur.network.views.Mean.add", None)  # fails with two views
    lines = run("--views", "2")[1]
    assert {(line["status"], line["device"]) for line in lines} == {("failed", "cpu")}


def test_a_device_that_is_full_at_the_start_is_tested_and_used_later(
    failures, run, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(self_test, "MOST_SIDE_PX", 256)
    failures += [RuntimeError("there are no beads left")] * 2
    code, lines, said = run()
    assert code == 0
    assert [line["device"] for line in lines] == ["cpu", "abacus", "abacus", "abacus"]
    assert said.count("out of memory on abacus: going on with the CPU") == 1
    assert "self-test" not in said


def test_a_device_that_hangs_when_it_is_full_is_not_used_without_memory_for_a_tile(monkeypatch):
    free = [1 << 20, 3 << 30, 3 << 30]
    row = replace(ROW, hangs_if_full=True, free_memory=lambda torch: free[0])
    monkeypatch.setattr(device_kinds, "KINDS", (row, *KINDS))
    deblur, said = deblurrer_on_abacus(tile=5000)
    image = make_pixels(90, 70)
    assert np.array_equal(deblur(image), image)
    assert deblur.used["device"] == "cpu"
    assert said == ["out of memory on abacus: going on with the CPU"]
    free.pop(0)
    assert np.array_equal(deblur(image), image)
    assert deblur.used["device"] == "abacus"
    assert deblur.used["tile"] < 5000, "memory is counted, whatever the user asks for"


@pytest.fixture
def worker(failures, trusted, identity_weights, monkeypatch):
    """Return a function that starts a worker whose GPU is the abacus."""
    pytest.importorskip("ray", reason="ray is not installed")
    from unblur.run import ray_worker

    gpu = replace(ROW, name="cuda")
    monkeypatch.setattr("test_new_device.ROW", gpu)
    monkeypatch.setattr(device_kinds, "KINDS", (gpu, KINDS[-1]))
    monkeypatch.setattr("ray.get", lambda network: network)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "a node")

    def worker(device):
        options = Options(network=NetworkOptions(device=device, threads=torch.get_num_threads()))
        shape = {"num_cpus": 1, "num_gpus": 1}
        worker = ray_worker.Worker([load_network(identity_weights)], options, shape)
        assert worker.prepare(__version__, [])["device"] == "cuda"
        return worker

    return worker


def test_a_worker_whose_named_gpu_is_lost_ends_with_a_clear_line(worker, failures, tmp_path):
    from unblur.run.jobs import Job

    photo = tmp_path / "a.jpg"
    photo.write_bytes(make_jpeg())
    failures += [LOST]
    with pytest.raises(DeviceError, match="^the worker on a node: device cuda was lost: the abac"):
        worker("cuda").start(0, Job(photo, tmp_path / "b.jpg"), None)


def test_a_worker_goes_on_with_the_cpu_on_a_cluster_that_chose_its_gpu(worker, failures, tmp_path):
    from unblur.run.jobs import Job

    photo = tmp_path / "a.jpg"
    photo.write_bytes(make_jpeg())
    failures += [LOST]
    outcome = worker("auto").start(0, Job(photo, tmp_path / "b.jpg"), None)
    assert outcome.used["device"] == "cpu"
    assert outcome.notes == ("the abacus fell from the table on cuda: going on with the CPU",)


def test_python_callers_get_an_error_if_their_device_is_lost(failures, trusted, identity_weights):
    import unblur

    image = make_pixels(64, 48)
    with unblur.Deblurrer(identity_weights, device="abacus") as deblur:
        failures += [LOST]
        with pytest.raises(DeviceError, match="abacus was lost"):
            deblur(image)


def test_the_self_test_never_falls_back_to_the_cpu():
    def fail(picture, right, buffers):
        raise LOST

    found = self_test.find_problem(fakes.Elsewhere(fail), ROW, torch.float32)
    assert found == "it cannot run the network (RuntimeError: the abacus fell from the table)"
