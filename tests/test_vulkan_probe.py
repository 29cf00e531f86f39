"""Vulkan drivers that crash or hang the program that lists GPUs; another process tries them
first."""

from __future__ import annotations

import time

import fakes
import pytest

from unblur import config, doctor
from unblur.errors import DeviceError, ExitCode
from unblur.models.device_caches import keep_gpu_list
from unblur.models.loading import load_deblurrer
from unblur.network import examination, ncnn_library, processes, self_test, vulkan, vulkan_probe
from unblur.network.device_kinds import CPU
from unblur.network.devices import choose_device
from unblur.network.vulkan_gpus import SOFTWARE, VulkanGpu
from unblur.network.vulkan_probe import GpuListing, list_gpus
from unblur.options import NetworkOptions

NOBODY = 4_000_000
"""A process ID that no process has."""
GPU = VulkanGpu(0, "Integrated 620", "21.2.0", 1)
PROGRAM = VulkanGpu(0, "llvmpipe", "21.2.0", SOFTWARE)
ENDED = "a driver ended the program that listed GPUs (exit code -6)"


def answering(gpu):
    """The source of a library whose driver has a device."""
    return f"""
import types
__version__ = "1.0"
def create_gpu_instance(): pass
def get_gpu_count(): return 1
def get_gpu_info(index):
    answers = dict(
        vendor_id=0, driver_version=21 << 22 | 2 << 12, device_name={gpu.name!r}, type={gpu.type}
    )
    return types.SimpleNamespace(**{{k: lambda v=v: v for k, v in answers.items()}})
"""


ENDING = "import os\ndef create_gpu_instance(): os.abort()"
HANGING = "import time\ndef create_gpu_instance(): time.sleep(60)"
SILENT = "import os\ndef create_gpu_instance(): os._exit(0)"


@pytest.fixture
def library(monkeypatch, tmp_path):
    """Install a library as ncnn; each call replaces its source."""
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: True)
    monkeypatch.setattr(vulkan_probe, "ncnn_version", lambda: "1.0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "library")
    (tmp_path / "library").mkdir()
    monkeypatch.setattr(vulkan, "_find", vulkan._find.__wrapped__)
    monkeypatch.setattr(ncnn_library, "load_ncnn", lambda: pytest.fail("loaded here"))
    keep_gpu_list()

    def install(text):
        (tmp_path / "library" / "ncnn.py").write_text(text)

    return install


def test_another_process_lists_gpus_and_the_answer_is_remembered(library):
    library(answering(GPU))
    assert list_gpus() == GpuListing((GPU,))
    library(ENDING)
    assert list_gpus() == GpuListing((GPU,))
    vulkan_probe.forget()
    assert list_gpus() == GpuListing(problem=ENDED)


def test_without_a_real_gpu_no_driver_is_loaded_here(library, monkeypatch):
    library(answering(PROGRAM))
    monkeypatch.setattr(vulkan, "load_drivers", lambda: pytest.fail("loaded"))
    assert vulkan.find_gpus() == (PROGRAM,)


def test_a_driver_that_ends_programs_is_tried_in_another_one_and_only_once(library, monkeypatch):
    if choose_device("auto", "torch") is not CPU:
        pytest.skip("there is a GPU that PyTorch uses")
    library(ENDING)
    for _ in range(2):
        notes = []
        deblurrer = load_deblurrer(
            fakes.Identity(), NetworkOptions(engine="torch"), warn=notes.append
        )
        assert (deblurrer.kind, notes) == (CPU, [])  # it looks for none
        monkeypatch.setattr(self_test, "MOST_CPU_SIDE_PX", 192)
        deblurrer = load_deblurrer(fakes.Identity(), NetworkOptions(), warn=notes.append)
        assert deblurrer.kind is CPU
        assert notes[0] == f"vulkan cannot be used: {ENDED}; going on with the CPU"
        with pytest.raises(DeviceError, match="vulkan is not available: a driver ended"):
            choose_device("vulkan")
        monkeypatch.setattr(vulkan_probe, "_ask", lambda: pytest.fail("tried again"))


@pytest.mark.parametrize("text", [SILENT, "raise SystemExit(3)"])
def test_a_driver_that_ends_programs_without_an_error_is_found_too(library, text):
    library(text)
    assert "ended the program" in list_gpus().problem


def test_a_driver_that_hangs_is_left_after_a_while(library, monkeypatch):
    monkeypatch.setattr(vulkan_probe, "ANSWER_SECONDS", 2.0)
    library(HANGING)
    started = time.monotonic()
    assert list_gpus().problem == "a driver did not answer within 2 seconds"
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setenv("VK_DRIVER_FILES", "/other.json"),
        lambda patch: patch.setattr(vulkan_probe, "ncnn_version", lambda: "2.0"),
        lambda patch: patch.setattr(vulkan_probe, "VALID_SECONDS", 0),
        lambda patch: config.vulkan_file().write_text("{}"),
        lambda patch: config.vulkan_file().write_text("[1"),
    ],
    ids=["variable", "ncnn", "age", "empty", "damaged"],
)
def test_what_is_remembered_is_not_believed_for_ever(library, monkeypatch, change):
    library(answering(GPU))
    list_gpus()
    library(answering(PROGRAM))
    assert list_gpus() == GpuListing((GPU,))
    change(monkeypatch)
    assert list_gpus() == GpuListing((PROGRAM,))


def test_a_driver_that_ends_only_this_program_is_loaded_once(library, monkeypatch):
    def end():
        raise SystemExit  # of the process, without any handler

    library(answering(GPU))
    monkeypatch.setattr(vulkan_probe, "load_drivers", end)
    monkeypatch.setattr(processes, "own_process", lambda: f"{NOBODY} 1.0 {processes.machine()}")
    with pytest.raises(SystemExit):
        vulkan.find_gpus()
    for _ in range(2):
        assert vulkan.find_gpus() == ()
        assert vulkan.find_problem() == "a driver ended the program that loaded it"
        monkeypatch.setattr(vulkan_probe, "VALID_SECONDS", 0)  # on the next day
    monkeypatch.setattr(vulkan_probe, "load_drivers", lambda: (GPU,))
    vulkan_probe.forget()
    assert vulkan.find_gpus() == (GPU,)
    monkeypatch.setattr(vulkan_probe, "_remember", lambda *_: pytest.fail("written again"))
    monkeypatch.setattr(vulkan_probe, "VALID_SECONDS", 60)
    assert vulkan.find_gpus() == (GPU,)


@pytest.mark.parametrize("process", ["{number} {start} other", "{own}"])
def test_a_driver_that_another_program_loads_now_is_loaded_here_too(library, monkeypatch, process):
    library(answering(GPU))
    monkeypatch.setattr(vulkan_probe, "load_drivers", lambda: (GPU,))
    text = process.format(number=NOBODY, start=1.0, own=processes.own_process())
    assert vulkan_probe.load_here(GpuListing((GPU,), loaded_by=text)) == GpuListing((GPU,))


def test_a_new_driver_is_noticed_by_its_file(library, monkeypatch, tmp_path):
    before = vulkan_probe._state()
    folder = tmp_path / "data" / "vulkan" / "icd.d"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert vulkan_probe._state() == before
    (folder / "new.json").write_text("{}")
    assert vulkan_probe._state() != before


def test_a_folder_of_settings_that_cannot_be_read_has_no_drivers(monkeypatch, tmp_path):
    folder = tmp_path / "icd.d"
    folder.mkdir()
    (folder / "mine.json").write_text("{}")
    assert vulkan_probe._files_in(tmp_path, "icd.d/*.json") == [str(folder / "mine.json")]
    assert vulkan_probe._files_in(tmp_path / ("x" * 300), "icd.d/*.json") == []
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, f"/{'x' * 300}")
    assert vulkan_probe._state()


def test_the_doctor_tries_a_driver_again_that_ended_a_program(library, monkeypatch):
    monkeypatch.setattr(doctor, "find_gpus", lambda: ())
    monkeypatch.setattr(examination, "_examine_ncnn", lambda *_: None)
    monkeypatch.setattr(vulkan, "_find", vulkan.cache(vulkan._find))
    for name in ("MOST_CPU_SIDE_PX", "MOST_SIDE_PX"):
        monkeypatch.setattr(self_test, name, 192)
    library(ENDING)
    found = [finding for finding in doctor.findings(doctor.examine()) if "vulkan" in finding.text]
    text = f"vulkan cannot be used: {ENDED}. Update the driver."
    assert [(finding.text, finding.exit_code) for finding in found] == [(text, ExitCode.DEVICE)]
    library("")
    assert not any("vulkan" in finding.text for finding in doctor.findings(doctor.examine()))
