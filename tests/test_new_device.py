"""A made-up device, to show that a new one takes one row; it can be full or lost.

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
from unblur.cli.option_types import DeviceName
from unblur.errors import DeviceError, PhotoError
from unblur.models.catalog import DEFAULT_MODEL, MODELS
from unblur.network import deblurrer as deblurrer_module
from unblur.network import device_kinds, self_test
from unblur.network.config import SCALES, SRNConfig
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.network.device_network import DeviceNetwork
from unblur.network.memory import LARGEST_TILE_PX, RESIDENT_SHARE, automatic_tile
from unblur.network.srn import SRN
from unblur.network.transfer import IN_MAIN_MEMORY, PlainTransfer
from unblur.options import SMALLEST_TILE_PX, NetworkOptions, Options

ROW = fakes.Played(
    "abacus",
    build=lambda torch: "",
    is_available=lambda torch: True,
    hardware=lambda torch: "wooden frame",
    has_bfloat16=lambda torch: False,
    free_memory=lambda torch: 3 << 30,
    memory_words=("no beads left",),
    lost_words=("fell from the table",),
)
HALF_ROW = replace(ROW, has_bfloat16=lambda torch: True)
LOST = RuntimeError("the abacus fell from the table\nlook under it")
HELP_WITH_ROW = """\
import sys
from unblur.network import device_kinds as kinds
row = kinds.DeviceKind("abacus", str, bool, str, bool)
kinds.KINDS = (row, *kinds.KINDS)
from unblur.cli import main
from unblur.cli.option_types import DeviceName
main(["--help"], standalone_mode=False)
assert "torch" not in sys.modules
"""


@pytest.fixture
def failures(monkeypatch):
    """Add the device to the table; return errors, one for each of its next bands.

    An error of ``None`` lets it compute.
    """
    run, failures = DeviceNetwork.run_scale, []

    def run_or_fail(self, *inputs):
        if self.kind is ROW and failures and (error := failures.pop(0)):
            raise error
        return run(self, *inputs)

    monkeypatch.setattr(DeviceNetwork, "run_scale", run_or_fail)
    monkeypatch.setattr(device_kinds, "KINDS", (ROW, *device_kinds.KINDS))
    monkeypatch.setattr(doctor, "find_gpus", lambda: ())
    option = next(option for option in main.params if option.name == "device")
    monkeypatch.setattr(option, "type", DeviceName(["auto", "abacus", "cpu"]))
    return failures


def tile_on_abacus(config):
    """Return the side of the largest tile that fits the device; a CPU would get smaller tiles."""
    return automatic_tile(config, torch.float32, ROW)


TILE = tile_on_abacus(fakes.Identity.config)


def full(error=None, tile=TILE):
    """Return the errors of a device without memory, from the first tile to the smallest."""
    errors = [error or RuntimeError("there are no beads left")]
    while tile > SMALLEST_TILE_PX:
        tile = max(SMALLEST_TILE_PX, tile // 2)
        errors.append(errors[0])
    return errors


def deblurrer_on_abacus(network=None, **options):
    said = []
    chosen = NetworkOptions(device="abacus", **options)
    return NetworkDeblurrer(network or fakes.Identity(), chosen, warn=said.append), said


def test_a_new_device_deblurs_and_is_what_auto_takes(failures):
    image = make_pixels(90, 70)
    for name in ("abacus", "auto"):
        deblur = NetworkDeblurrer(fakes.Identity(), NetworkOptions(device=name))
        assert np.array_equal(deblur(image), image)
        assert deblur.used == {"device": "abacus", "engine": "torch", "tile": TILE}


def test_a_new_device_is_a_value_of_the_option():
    program = [sys.executable, "-c", HELP_WITH_ROW]
    shown = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert "auto|abacus|cuda|mps|xpu|vulkan|cpu" in "".join(shown.split())


def test_doctor_tests_and_describes_a_new_device(failures, monkeypatch):
    for name in ("MOST_CPU_SIDE_PX", "MOST_SIDE_PX"):
        monkeypatch.setattr(self_test, name, 256)  # faster
    device = doctor.examine().pytorch.devices[0]
    assert (device.name, device.hardware, device.precision) == ("abacus", "wooden frame", "float32")
    tile = tile_on_abacus(MODELS[DEFAULT_MODEL].config)
    assert tile > max(LARGEST_TILE_PX.values())
    assert (device.free_bytes, device.tile, device.problem) == (3 << 30, tile, None)


def test_a_missing_new_device_is_told_from_a_build_without_it(failures, monkeypatch):
    absent = replace(ROW, is_available=lambda torch: False)
    built = replace(absent, build=lambda torch: "Abacus 2")
    for row, reason in ((absent, "a build without ABACUS"), (built, "sees no GPU or driver")):
        monkeypatch.setattr(device_kinds, "KINDS", (row, device_kinds.CPU))
        with pytest.raises(DeviceError, match=f"abacus is not available: .*{reason}"):
            NetworkDeblurrer(fakes.Identity(), NetworkOptions(device="abacus"))


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
    assert deblur.used == {"device": "abacus", "engine": "torch", "tile": TILE}


def test_smaller_tiles_are_for_the_photo_that_needed_them(failures):
    deblur, said = deblurrer_on_abacus()
    failures += [torch.OutOfMemoryError()]
    used = []
    for _ in range(2):
        deblur(make_pixels(90, 70))
        used.append(deblur.used["tile"])
    assert used == [TILE // 2, TILE]
    assert said == ["out of memory: going on with smaller tiles (--tile 544)"]


def test_a_device_that_stays_full_is_tried_for_each_photo_and_told_of_once(failures):
    deblur, said = deblurrer_on_abacus()
    for _ in range(3):
        failures += full()
        deblur(make_pixels(90, 70))
        assert deblur.used["device"] == "cpu"
    assert failures == []
    assert len(said) == len(set(said)) == 5


@pytest.mark.parametrize("before", [0, 2])
def test_a_photo_whose_device_was_lost_on_the_way_is_whole(failures, before):
    network, image = fakes.Leaning(), make_pixels(300, 200)
    expected = fakes.on_cpu(network, tile=SMALLEST_TILE_PX, precision=torch.float32)(image)
    deblur, said = deblurrer_on_abacus(network, tile=SMALLEST_TILE_PX)
    deblur._precision = torch.float32
    failures += [None] * before + [LOST]
    assert np.array_equal(deblur(image), expected)
    assert said == ["the abacus fell from the table on abacus: going on with the CPU"]


@pytest.fixture
def fail_when_fetched(monkeypatch):
    """Make the device's errors appear only when a result is waited for, as with GPUs."""
    errors, download = [], PlainTransfer.download

    def fetch(self, *tensors):
        finish = download(self, *tensors)

        def finish_or_fail():
            if errors:
                raise errors.pop(0)
            return finish()

        return finish_or_fail

    monkeypatch.setattr(PlainTransfer, "download", fetch)
    return errors


def test_a_loss_that_shows_only_when_a_result_is_fetched_counts_too(failures, fail_when_fetched):
    deblur, said = deblurrer_on_abacus()
    fail_when_fetched += [LOST]
    image = make_pixels(90, 70)
    assert np.array_equal(deblur(image), image)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("error", "later"), [(LOST, "cpu"), (RuntimeError("no beads left"), "abacus")]
)
def test_both_photos_in_flight_are_done_by_the_cpu_if_the_device_fails(
    failures, fail_when_fetched, error, later
):
    deblur, said = deblurrer_on_abacus()
    images = [make_pixels(90, 70), make_pixels(60, 80)]
    under_way = [deblur.start(image) for image in images]
    fail_when_fetched += [error] * 2
    for pending, image in zip(under_way, images, strict=True):
        assert np.array_equal(pending.result(), image)
        assert pending.used["device"] == "cpu"
    assert len(said) == 1
    assert deblur.start(images[0]).used["device"] == later


def test_each_photo_in_flight_tells_its_own_device(failures):
    deblur, _ = deblurrer_on_abacus()
    first = deblur.start(make_pixels(90, 70))
    failures += full()
    second, third = (deblur.start(make_pixels(90, 70)) for _ in range(2))
    devices = [pending.used["device"] for pending in (first, second, third)]
    assert devices == ["abacus", "cpu", "abacus"]


def test_a_device_works_from_the_start_on_and_a_cpu_when_the_result_is_wanted(failures):
    network, image = fakes.TileSizes(), make_pixels(90, 70)
    pending = fakes.on_cpu(network).start(image)
    assert network.largest == 0
    assert np.array_equal(pending.result(), image)
    seen = []
    pending = deblurrer_on_abacus(Telling(seen))[0].start(image)
    assert len(seen) == len(SCALES)
    assert np.array_equal(pending.result(), image)
    assert pending.result() is pending.result()


class Telling(fakes.Identity):
    """Notes the size of each of its bands; its copies note into the same list."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return self

    def run_scale(self, blurred, previous, state, buffers):
        self.seen.append(tuple(blurred.shape[2:]))
        return blurred, None


def test_a_photo_that_fits_into_a_devices_memory_is_one_piece(failures):
    seen, image = [], make_pixels(900, 1000)
    assert np.array_equal(deblurrer_on_abacus(Telling(seen))[0](image), image)
    assert seen == [(912 // scale, 1008 // scale) for scale in SCALES]


def test_an_error_of_the_photo_is_raised_when_its_result_is_wanted(failures):
    deblur, _ = deblurrer_on_abacus(max_memory=10**7)
    pending = deblur.start(make_pixels(90, 70))
    for _ in range(2):
        with pytest.raises(PhotoError, match="more than --max-memory allows"):
            pending.result()


NETWORKS = {
    "compact": SRNConfig(
        width=4, blocks=1, kernel=3, recurrent=True, unshuffle=2, residual=True, resample="area"
    ),
    "lstm": SRNConfig(channels=1, width=2, blocks=1, recurrent=True),
}


def random_network(name):
    torch.manual_seed(1)
    return SRN(NETWORKS[name]).eval().requires_grad_(False)


@pytest.mark.parametrize("views", [1, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_photo_that_stays_on_the_device_comes_out_as_one_in_bands(
    failures, monkeypatch, name, channels, dtype, views
):
    image = make_pixels(120, 180, channels, dtype)
    network, options, results = random_network(name), {"views": views, "strength": 0.9}, []
    for share, tile in ((RESIDENT_SHARE, "auto"), (0, "auto"), (0, 128)):
        monkeypatch.setattr(deblurrer_module, "RESIDENT_SHARE", share)
        deblur, _ = deblurrer_on_abacus(network, tile=tile, **options)
        results.append(deblur(image))
    results.append(fakes.on_cpu(network, 128, torch.float32, **options)(image))
    on_device, *others = (result.astype(int) for result in results)
    assert np.array_equal(on_device, others[0])
    rounding = 1 if dtype == np.uint8 else 9  # sums in another order
    assert all(np.abs(on_device - other).max() <= rounding for other in others)


def test_values_that_overflow_on_a_device_are_computed_again_in_float32(failures, monkeypatch):
    monkeypatch.setattr(device_kinds, "KINDS", (HALF_ROW, *device_kinds.KINDS[1:]))
    image = make_pixels(90, 70)
    deblur, _ = deblurrer_on_abacus(fakes.NotANumberInHalf(), views=2)
    assert np.array_equal(deblur(image), image)
    deblur, _ = deblurrer_on_abacus(fakes.NotANumber())
    with pytest.raises(PhotoError, match="values that are not numbers"):
        deblur(image)


def test_weights_are_cast_once_for_a_device_and_once_more_for_float32(failures, monkeypatch):
    monkeypatch.setattr(device_kinds, "KINDS", (HALF_ROW, *device_kinds.KINDS[1:]))
    network = random_network("compact")
    deblur, _ = deblurrer_on_abacus(network)
    deblur(make_pixels(90, 70))
    (on_device,) = (found._copies for found in deblur._networks.values())
    assert [key[0] for key in on_device] == [torch.bfloat16]
    for weight in next(iter(on_device.values())).parameters():
        assert weight.dtype == torch.bfloat16
        assert weight.ndim < 4 or weight.is_contiguous(memory_format=torch.channels_last)
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


def test_a_device_whose_memory_the_photo_fills_computes_it_from_main_memory(failures, monkeypatch):
    upload, image = PlainTransfer.upload, make_pixels(1500, 900)

    def upload_or_fail(self, photo):
        if self is not IN_MAIN_MEMORY:
            raise RuntimeError("no beads left")
        return upload(self, photo)

    monkeypatch.setattr(PlainTransfer, "upload", upload_or_fail)
    deblur, said = deblurrer_on_abacus(fakes.Small())
    assert np.array_equal(deblur(image), image)
    assert deblur.used["device"] == "abacus"
    assert said == []


def test_the_weights_are_on_the_cpu_still_after_a_loss(failures):
    class Moving(fakes.Identity):
        is_lost = False

        def to(self, device, dtype):
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
    """Deblur three photos; return the device of each, and standard error."""
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
        (
            full(tile=tile_on_abacus(fakes.unchanging_srn().config)),
            ["cpu", "abacus", "abacus"],
            "out of memory on abacus",
        ),
    ],
    ids=["lost", "lost later", "full once"],
)
def test_json_names_the_device_of_each_photo(
    failures, tmp_path, identity_weights, capfdbinary, errors, devices, words, monkeypatch
):
    monkeypatch.setattr(self_test, "find_problem", lambda *inputs: None)
    failures += errors
    one_at_a_time = ("--max-memory", "64G")  # with two under way, the second may still finish
    found, said = run(tmp_path, identity_weights, *one_at_a_time)
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
    options = Options(network=NetworkOptions(threads=torch.get_num_threads()))
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
    told = f"--device {name} cannot be used on clusters, only auto, cuda, vulkan, cpu"
    assert (result.exit_code, result.stderr) == (2, f"unblur: error: {told}\n")
