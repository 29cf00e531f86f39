"""A made-up device, to show that a new one takes one row; it can be full, and it can be lost.

The CPU plays it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import fakes
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import make_jpeg, make_pixels

from unblur import __version__, doctor
from unblur.cli import main
from unblur.errors import DeviceError
from unblur.network import device_kinds
from unblur.network.deblurrer import Deblurrer
from unblur.network.device_kinds import DeviceKind
from unblur.options import SMALLEST_TILE_PX, Engine, Options

ROW = DeviceKind(
    "abacus",
    build=lambda torch: "",
    is_available=lambda torch: True,
    hardware=lambda torch: "wooden frame",
    has_bfloat16=lambda torch: False,
    free_memory=lambda torch: 3 << 30,
    memory_words=("no beads left",),
    lost_words=("fell from the table",),
    torch_type="cpu",
)
LOST = RuntimeError("the abacus fell from the table\nlook under it")
HELP_WITH_ROW = """\
import sys
from unblur.network import device_kinds as kinds
row = kinds.DeviceKind("abacus", str, bool, str, bool)
kinds.KINDS = (row, *kinds.KINDS)
from unblur.cli import main
main(["--help"], standalone_mode=False)
assert "torch" not in sys.modules
"""


@pytest.fixture
def failures(monkeypatch):
    """Add the device to the table; return errors, one for each of its next bands.

    An error of ``None`` lets it compute.
    """
    launch, failures = Deblurrer.launch, []

    def launch_or_fail(self, *inputs):
        if self.kind is ROW and failures and (error := failures.pop(0)):
            raise error
        return launch(self, *inputs)

    monkeypatch.setattr(Deblurrer, "launch", launch_or_fail)
    monkeypatch.setattr(device_kinds, "KINDS", (ROW, *device_kinds.KINDS))
    monkeypatch.setattr(doctor, "find_gpus", lambda: ())
    return failures


def full(error=None, tile=768):
    """Return the errors of a device that has no memory, from a first tile to the smallest."""
    error = error or RuntimeError("there are no beads left")
    return [error] * (tile.bit_length() - SMALLEST_TILE_PX.bit_length() + 2)


def deblurrer_on_abacus(network=None, **options):
    said = []
    engine = Engine(device="abacus", **options)
    return Deblurrer(network or fakes.Identity(), engine, warn=said.append), said


def test_a_new_device_deblurs_and_is_what_auto_takes(failures):
    image = make_pixels(90, 70)
    for name in ("abacus", "auto"):
        deblur = Deblurrer(fakes.Identity(), Engine(device=name))
        assert np.array_equal(deblur(image), image)
        assert deblur.used == {"device": "abacus", "tile": 768}


def test_a_new_device_is_a_value_of_the_option():
    program = [sys.executable, "-c", HELP_WITH_ROW]
    shown = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert "auto|abacus|cuda|mps|xpu|cpu" in "".join(shown.split())


def test_doctor_tests_and_describes_a_new_device(failures):
    device = doctor.examine({}).pytorch.devices[0]
    assert (device.name, device.hardware, device.precision) == ("abacus", "wooden frame", "float32")
    assert (device.free_bytes, device.tile, device.problem) == (3 << 30, 768, None)


def test_a_missing_new_device_is_told_from_a_build_without_it(failures, monkeypatch):
    absent = replace(ROW, is_available=lambda torch: False)
    built = replace(absent, build=lambda torch: "Abacus 2")
    for row, reason in ((absent, "a build without ABACUS"), (built, "sees no GPU or driver")):
        monkeypatch.setattr(device_kinds, "KINDS", (row, device_kinds.CPU))
        with pytest.raises(DeviceError, match=f"abacus is not available: .*{reason}"):
            Deblurrer(fakes.Identity(), Engine(device="abacus"))


@pytest.mark.parametrize(
    "words",
    [
        "there are no beads left",
        "CUDA error: out of memory",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_a_full_device_leaves_one_photo_to_the_cpu_with_usual_tiles(failures, words):
    deblur, said = deblurrer_on_abacus()
    image = make_pixels(90, 70)
    failures += full(RuntimeError(words))
    assert np.array_equal(deblur(image), image)
    assert deblur.used["device"] == "cpu"
    assert deblur.used["tile"] > SMALLEST_TILE_PX
    assert said[-1] == "out of memory on abacus: going on with the CPU"
    assert np.array_equal(deblur(image), image)
    assert deblur.used == {"device": "abacus", "tile": 768}


def test_smaller_tiles_are_for_the_photo_that_needed_them(failures):
    deblur, said = deblurrer_on_abacus()
    failures += [torch.OutOfMemoryError()]
    used = []
    for _ in range(2):
        deblur(make_pixels(90, 70))
        used.append(deblur.used["tile"])
    assert used == [384, 768]
    assert said == ["out of memory: going on with smaller tiles (--tile 384)"]


def test_a_device_that_stays_full_is_tried_for_each_photo_and_told_of_once(failures):
    deblur, said = deblurrer_on_abacus()
    for _ in range(3):
        failures += full()
        deblur(make_pixels(90, 70))
        assert deblur.used["device"] == "cpu"
    assert failures == []
    assert len(said) == len(set(said)) == 4


@pytest.mark.parametrize("before", [0, 2])
def test_a_photo_whose_device_was_lost_on_the_way_is_whole(failures, before):
    network, image = fakes.Leaning(), make_pixels(300, 200)
    expected = fakes.on_cpu(network, tile=SMALLEST_TILE_PX, precision=torch.float32)(image)
    deblur, said = deblurrer_on_abacus(network, tile=SMALLEST_TILE_PX)
    deblur._precision = torch.float32
    failures += [None] * before + [LOST]
    assert np.array_equal(deblur(image), expected)
    assert said == ["the abacus fell from the table on abacus: going on with the CPU"]


def test_a_loss_that_shows_only_when_a_result_is_fetched_counts_too(failures, monkeypatch):
    from unblur.network import deblurrer

    download = deblurrer.download
    deblur, said = deblurrer_on_abacus()

    def fetch(*tensors):
        finish = download(*tensors)
        return finish if deblur.kind is not ROW else lambda: (_ for _ in ()).throw(LOST)

    monkeypatch.setattr(deblurrer, "download", fetch)
    image = make_pixels(90, 70)
    assert np.array_equal(deblur(image), image)
    assert len(said) == 1


def test_the_weights_are_on_the_cpu_still_after_a_loss(failures):
    class Moving(fakes.Identity):
        is_lost = False

        def to(self, device):
            self.is_lost = True  # in place, as PyTorch does
            return self

        def run_scale(self, blurred, *others):
            if self.is_lost:
                raise LOST
            return blurred, None

    image = make_pixels(90, 70)
    deblur, _ = deblurrer_on_abacus(Moving())
    assert np.array_equal(deblur(image), image)


def test_a_bug_on_a_device_is_no_reason_to_leave_it(failures):
    deblur, said = deblurrer_on_abacus(fakes.Broken())
    with pytest.raises(RuntimeError, match="sizes do not match"):
        deblur(make_pixels(64, 64))
    assert said == []


def run(folder, weights, *options):
    """Deblur three photos; return each one's device, and standard error."""
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(make_jpeg())
    arguments = [str(folder), "-r", "--json", "--model", str(weights), *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [line["device"] for line in lines], result.stderr


@pytest.mark.parametrize(
    ("errors", "devices", "words"),
    [
        ([LOST], ["cpu", "cpu", "cpu"], "the abacus fell from the table on abacus"),
        ([None] * 3 + [LOST], ["abacus", "cpu", "cpu"], "the abacus fell"),
        (full(), ["cpu", "abacus", "abacus"], "out of memory on abacus"),
    ],
    ids=["lost", "lost later", "full once"],
)
def test_json_names_the_device_of_each_photo(
    failures, tmp_path, identity_weights, capfdbinary, errors, devices, words
):
    failures += errors
    found, said = run(tmp_path, identity_weights)
    listed = capfdbinary.readouterr().out
    found = found or [json.loads(line)["device"] for line in listed.splitlines()]
    assert found == devices
    assert said.count(words) == said.count("going on with the CPU") == 1


def test_a_clusters_node_names_the_device_of_each_photo(monkeypatch, tmp_path, identity_weights):
    pytest.importorskip("ray", reason="ray is not installed")
    from unblur.models.weights import load_network
    from unblur.run.jobs import Job
    from unblur.run.ray_worker import Worker

    monkeypatch.setattr("ray.get", lambda network: network)
    photo, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    photo.write_bytes(make_jpeg())
    options = Options(engine=Engine(threads=torch.get_num_threads()))
    worker = Worker([load_network(identity_weights)], options, {"num_cpus": 1})
    settings = worker.prepare(__version__, [])
    assert worker.start(0, Job(photo, target), None).used == settings
    assert worker.publish(0).used == settings


@pytest.mark.parametrize("name", ["mps", "xpu"])
def test_a_device_that_clusters_do_not_have_is_refused_before_anything_is_loaded(
    name, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(make_jpeg())
    result = CliRunner().invoke(main, [str(photo), "--ray", "local", "--device", name])
    told = f"--device {name} cannot be used on clusters, only auto, cuda, cpu"
    assert (result.exit_code, result.stderr) == (2, f"unblur: error: {told}\n")
