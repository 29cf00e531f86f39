from __future__ import annotations

import itertools
from dataclasses import replace

import fakes
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_pixels

from unblur.errors import DeviceError, PhotoError, UsageError
from unblur.network import memory, photo_rows
from unblur.network.bands import RowQueue
from unblur.network.config import SCALES, SRNConfig
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.network.device_kinds import CPU
from unblur.network.device_network import DeviceNetwork
from unblur.network.devices import OneDevice, available_devices
from unblur.network.exposure import Tones
from unblur.network.photo_rows import PhotoRows
from unblur.network.srn import SRN, enlarge, shrink
from unblur.network.views import ALL_VIEWS
from unblur.options import SMALLEST_TILE_PX, NetworkOptions

NETWORKS = {
    "color": SRNConfig(width=2, blocks=1),
    "lstm": SRNConfig(channels=1, width=2, blocks=1, recurrent=True),
    "compact": SRNConfig(
        width=4, blocks=1, kernel=3, recurrent=True, unshuffle=2, residual=True, resample="area"
    ),
    "deep": SRNConfig(
        width=2, levels=4, blocks=(1, 1, 2, 2), kernel=3, recurrent=True, unshuffle=2, residual=True
    ),
    "folded by 4": SRNConfig(
        width=4, blocks=1, kernel=3, unshuffle=4, residual=True, resample="area"
    ),
}


def random_network(config):
    torch.manual_seed(1)
    return SRN(config).eval().requires_grad_(False)


def read_only(array):
    array = array.view()
    array.flags.writeable = False
    return array


def deblur_whole(network, image):
    """One untiled pass in float32: what tiles are judged by."""
    multiple = network.config.multiple
    height, width, _ = image.shape
    planes = torch.from_numpy(image).permute(2, 0, 1).float().div(255)[None]
    padded = F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    batch = padded.reshape(-1, network.config.channels, *padded.shape[2:])
    result = network(batch)[-1].reshape(padded.shape)[0, :, :height, :width]
    return result.clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()


@pytest.fixture
def network_alone(monkeypatch):
    """Photos as the network sees and returns them, without the rules around it."""

    def usual(image):
        return Tones(0, float(np.iinfo(image.dtype).max))

    monkeypatch.setattr("unblur.network.photo_run.tones_of", usual)
    monkeypatch.setattr("unblur.network.photo_run.keep_contrast", lambda *_: None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (33, 17), (401, 233)])
def test_the_identity_network_returns_every_bit(size, channels, dtype):
    image = make_pixels(*size, channels, dtype)
    result = fakes.on_cpu(fakes.Identity(), tile=SMALLEST_TILE_PX)(image)
    assert result.dtype == dtype
    assert np.array_equal(result, image)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("tile", [SMALLEST_TILE_PX, 192, 256, 1024])
@pytest.mark.usefixtures("network_alone")
def test_tiles_compute_what_one_whole_pass_computes(name, tile):
    network = random_network(NETWORKS[name])
    image = make_pixels(403, 517)
    result = fakes.on_cpu(network, tile, torch.float32)(image)
    difference = result.astype(float) - deblur_whole(network, image)
    assert np.abs(difference).max() <= 1  # where two roundings differ
    assert np.square(difference).mean() <= 255**2 / 10**7  # 70 dB


def by_definition(network, image, strength, precision):
    """Deblur a photo scale by scale, whole, with NumPy for all but the network."""
    config, largest = network.config, np.iinfo(image.dtype).max
    height, width, channels = image.shape
    padding = (0, -height % config.multiple), (0, -width % config.multiple), (0, 0)
    values = np.pad(image, padding, mode="edge").transpose(2, 0, 1).astype(np.float32)
    values /= np.float32(largest)
    whole = torch.from_numpy(np.ascontiguousarray(values))[None]
    split = (3 // config.channels, config.channels)

    def batch(planes):
        planes = planes.reshape(split[0], -1, *planes.shape[2:])
        return planes.contiguous(memory_format=torch.channels_last)

    def passed_on(planes):
        rounded = planes.float().numpy().astype(np.float16)
        joined = torch.from_numpy(rounded.astype(np.float32)).flatten(0, 1)
        return batch(enlarge(joined.contiguous()[None], config))

    previous = state = None
    for scale in SCALES:
        blurred = batch(shrink(whole, scale, config).expand(-1, 3, -1, -1).contiguous())
        with torch.autocast("cpu", precision, precision != torch.float32):
            before = blurred if previous is None else passed_on(previous)
            memory = None if state is None else passed_on(state)
            previous, state = network.run_scale(blurred, before, memory)
    result = previous.float().flatten(0, 1).numpy()[:, :height, :width].transpose(1, 2, 0)
    result = result.mean(axis=2, keepdims=True) if channels == 1 else result
    result = np.clip(result, 0, 1) * np.float32(largest)
    if strength < 1:
        result = image + np.float32(strength) * (result - image)
    return np.rint(result).astype(image.dtype)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("network_alone")
def test_each_bit_is_that_of_the_definition(name, channels, dtype, precision):
    network = random_network(NETWORKS[name])
    for (height, width), strength in (((1, 1), 1), ((67, 101), 1), ((90, 75), 0.7)):
        image = make_pixels(height, width, channels, dtype)
        result = fakes.on_cpu(network, 1024, precision, strength=strength)(image)
        expected = by_definition(network, image, strength, precision)
        assert np.array_equal(result, expected)


@pytest.mark.parametrize("change", [lambda x: x[::-1, ::-1], np.asfortranarray, read_only])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_how_an_array_lies_in_memory_changes_nothing(change, dtype):
    image = make_pixels(40, 50, 3, dtype)
    assert np.array_equal(
        fakes.on_cpu(fakes.Identity(), strength=0.5)(change(image)), change(image)
    )


WIDE_SIZES = [(1, 70), (2, 300), (97, 403), (130, 261)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", WIDE_SIZES)
@pytest.mark.usefixtures("network_alone")
def test_a_wide_photo_is_computed_as_one_whole_pass_computes_it(name, size):
    network = random_network(NETWORKS[name])
    image = make_pixels(*size)
    result = fakes.on_cpu(network, SMALLEST_TILE_PX, torch.float32)(image)
    difference = result.astype(float) - deblur_whole(network, image)
    assert np.abs(difference).max() <= 1  # where two roundings differ
    assert np.square(difference).mean() <= 255**2 / 10**7  # 70 dB


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("dtype", "rounding"), [(np.uint8, 1), (np.uint16, 9)])
def test_bands_of_columns_come_out_as_bands_of_rows_do(name, dtype, rounding, monkeypatch):
    network = random_network(NETWORKS[name])
    image = make_pixels(203, 317, dtype=dtype)
    results = []
    for ratio in (1, 2):
        monkeypatch.setattr(photo_rows, "WIDE", ratio)
        assert photo_rows.is_wide(*image.shape[:2]) == (ratio == 1)
        results.append(fakes.on_cpu(network, SMALLEST_TILE_PX, torch.float32)(image))
    difference = np.abs(results[0].astype(int) - results[1])
    assert difference.max() <= rounding  # sums in another order
    assert dtype == np.uint16 or (difference > 0).mean() < 0.001


def test_a_wide_photo_takes_line_buffers_of_its_height_only():
    class Widths(fakes.Identity):
        widest = 0

        def run_scale(self, blurred, previous, state, buffers):
            self.widest = max(self.widest, blurred.shape[3])
            return blurred, None

    network, image = Widths(), make_pixels(3, 5000)
    assert np.array_equal(fakes.on_cpu(network, SMALLEST_TILE_PX)(image), image)
    assert network.widest == network.config.multiple


@pytest.mark.skipif(available_devices() == [CPU], reason="PyTorch sees no GPU")
@pytest.mark.parametrize("size", [(403, 517), (97, 403)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_gpu_computes_what_the_cpu_does(name, size, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # 10 bits are too few here
    image = make_pixels(*size)
    on_gpu, on_cpu = (
        NetworkDeblurrer(
            random_network(NETWORKS[name]),
            NetworkOptions(device=device, tile=192),
            precision=torch.float32,
        )(image)
        for device in (available_devices()[0].name, "cpu")
    )
    assert np.abs(on_gpu.astype(int) - on_cpu).max() <= 1  # where two roundings differ


def test_the_original_is_not_changed():
    image = make_pixels(40, 40)
    before = image.copy()
    fakes.on_cpu(fakes.Brighter())(image)
    assert np.array_equal(image, before)


def test_values_beyond_white_are_clipped_not_wrapped():
    result = fakes.on_cpu(fakes.Brighter())(np.full((8, 8, 3), 200, np.uint8))
    assert np.all(result == 255)


def test_values_are_rounded_not_cut():
    result = fakes.on_cpu(fakes.Brighter())(np.full((8, 8, 3), 120, np.uint8))
    assert np.all(result == 248)  # 120 + 127.5


def test_a_photo_that_overflows_is_redone_in_full_precision():
    image = make_pixels(40, 40)
    result = fakes.on_cpu(fakes.NotANumberInHalf(), precision=torch.bfloat16)(image)
    assert np.array_equal(result, image)


def test_a_photo_that_overflows_late_is_redone_from_its_start():
    class LateOverflow(fakes.Identity):
        seen = 0

        def run_scale(self, blurred, previous, state, buffers):
            if not torch.is_autocast_enabled("cpu"):
                return blurred, None
            self.seen += blurred.shape[2] * blurred.shape[3]
            overflowed = self.seen > 300 * 500
            return (torch.full_like(blurred, torch.nan) if overflowed else blurred + 0.5), None

    image = make_pixels(300, 500)
    result = fakes.on_cpu(LateOverflow(), SMALLEST_TILE_PX, precision=torch.bfloat16)(image)
    assert np.array_equal(result, image)


def test_a_network_that_makes_no_numbers_at_all_is_an_error_not_a_black_photo():
    with pytest.raises(PhotoError, match="values that are not numbers"):
        fakes.on_cpu(fakes.NotANumber(), precision=torch.bfloat16)(make_pixels(40, 40))


@pytest.mark.parametrize(("strength", "value"), [(0.0, 120), (0.5, 184), (1.0, 248)])
def test_strength_is_the_share_of_the_change_that_is_made(strength, value):
    image = np.full((8, 9, 3), 120, np.uint8)
    assert np.all(fakes.on_cpu(fakes.Brighter(), strength=strength)(image) == value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_no_strength_leaves_every_bit(dtype):
    image = make_pixels(40, 50, 3, dtype)
    assert np.array_equal(fakes.on_cpu(fakes.Brighter(), strength=0)(image), image)


def test_a_strength_that_is_no_share_is_refused():
    with pytest.raises(UsageError, match="from 0 to 1"):
        fakes.on_cpu(fakes.Identity(), strength=1.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 17), (201, 133)])
def test_the_identity_network_returns_every_bit_of_all_views(size, channels, dtype):
    image = make_pixels(*size, channels, dtype)
    result = fakes.on_cpu(fakes.Identity(), tile=SMALLEST_TILE_PX, views=8)(image)
    assert result.dtype == dtype
    assert np.array_equal(result, image)


@pytest.mark.parametrize(("views", "errs"), [(1, True), (2, True), (4, False), (8, False)])
def test_what_a_network_errs_by_in_one_direction_opposite_views_cancel(views, errs):
    image = np.full((64, 96, 3), 100, np.uint8)
    result = fakes.on_cpu(fakes.Leaning(), views=views)(image)
    assert (np.abs(result.astype(int) - image).max() > 1) == errs


@pytest.mark.parametrize("name", NETWORKS)
def test_the_mean_of_views_is_that_of_whole_passes_over_each(name):
    network = random_network(NETWORKS[name])
    image = make_pixels(203, 317)
    result = fakes.on_cpu(network, SMALLEST_TILE_PX, torch.float32, views=8)(image)
    passes = []
    for view in ALL_VIEWS:
        seen = view.rows(torch.from_numpy(image), 0, view.size(203, 317)[0])
        whole = torch.from_numpy(deblur_whole(network, seen.numpy()))
        passes.append(np.empty(image.shape, np.float32))
        view.write(torch.from_numpy(passes[-1]), 0, whole)
    assert np.abs(result - np.mean(passes, axis=0)).max() <= 1.5  # roundings


@pytest.mark.parametrize("views", [0, 9])
def test_views_that_there_are_not_are_refused(views):
    with pytest.raises(UsageError, match="views are from 1 to 8"):
        fakes.on_cpu(fakes.Identity(), views=views)


def test_views_that_need_more_memory_than_allowed_are_refused_before_any_is_made():
    network, image = fakes.TileSizes(), make_pixels(1500, 800)
    limits = {"precision": torch.bfloat16, "max_memory": 531 << 20}
    fakes.on_cpu(network, **limits, views=4)(image)
    network.largest = 0
    with pytest.raises(PhotoError, match="more than --max-memory allows"):
        fakes.on_cpu(network, **limits, views=5)(image)  # the fifth lies on its side
    assert network.largest == 0


def test_less_memory_makes_smaller_tiles():
    tiles = fakes.TileSizes()
    image, sizes = make_pixels(700, 900), []
    for gigabytes in (2, 0.6, 0.57):
        tiles.largest = 0
        limit = int(gigabytes * (1 << 30))
        deblurrer = fakes.on_cpu(tiles, precision=torch.bfloat16, max_memory=limit)
        assert np.array_equal(deblurrer(image), image)
        sizes.append(tiles.largest)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


@pytest.mark.parametrize("size", [(300, 900), (900, 300)])
def test_no_tile_is_larger_than_the_user_asked_for(size):
    tiles = fakes.TileSizes()
    fakes.on_cpu(tiles, tile=200)(make_pixels(*size))
    assert 100**2 < tiles.largest <= 200**2


def test_a_photo_that_needs_more_memory_than_allowed_is_refused():
    with pytest.raises(PhotoError, match=r"takes about \d+\.\d MB, more than --max-memory"):
        fakes.on_cpu(fakes.Identity(), max_memory=300 << 20)(make_pixels(64, 64))


def test_a_tile_that_the_user_typed_is_refused_rather_than_changed():
    with pytest.raises(PhotoError, match="with tiles of 1024 pixels"):
        fakes.on_cpu(fakes.Identity(), tile=1024, max_memory=500 << 20)(make_pixels(64, 64))


@pytest.fixture
def megabytes_free(monkeypatch):
    """Let so much memory be free."""

    def let(count):
        monkeypatch.setattr(memory, "obtainable_memory", lambda: count << 20)

    return let


def test_a_photo_that_needs_more_memory_than_is_free_is_refused_in_one_line(megabytes_free):
    network = fakes.TileSizes()
    megabytes_free(90)
    words = (
        r"^needs about \d+\.\d MB more memory, \d+\.\d MB are free: close other programs, or use "
        r"--jobs 1; --max-memory 1G tries anyway$"
    )
    with pytest.raises(PhotoError, match=words):
        fakes.on_cpu(network, precision=torch.bfloat16)(make_pixels(500, 500))
    assert network.largest == 0


def test_the_users_word_on_memory_is_believed(megabytes_free):
    megabytes_free(90)
    image = make_pixels(500, 500)
    deblurrer = fakes.on_cpu(fakes.Identity(), precision=torch.bfloat16, max_memory=10**9)
    assert np.array_equal(deblurrer(image), image)


def test_tiles_shrink_before_a_photo_is_refused(megabytes_free):
    tiles, image, sizes = fakes.TileSizes(), make_pixels(700, 900), []
    for count in (4000, 300, 200):
        megabytes_free(count)
        tiles.largest = 0
        deblurrer = fakes.on_cpu(tiles, tile=768, precision=torch.bfloat16)
        assert np.array_equal(deblurrer(image), image)
        sizes.append(tiles.largest)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def leaving_free(network, megabytes):
    """Return a deblurrer on the CPU that leaves memory for other uses."""
    devices, engine = OneDevice(CPU, "torch"), NetworkOptions(tile=768)
    options = {"precision": torch.bfloat16, "reserved": megabytes << 20}
    return NetworkDeblurrer(network, engine, devices=devices, **options)


def test_tiles_leave_memory_for_other_uses_free(megabytes_free):
    sizes = []
    for free, other_uses in ((300, 0), (380, 80), (300, 80)):
        tiles = fakes.TileSizes()
        megabytes_free(free)
        leaving_free(tiles, other_uses)(make_pixels(700, 900))
        sizes.append(tiles.largest)
    assert sizes[0] == sizes[1] > sizes[2]


def test_a_photo_that_would_leave_no_memory_for_other_uses_is_refused(megabytes_free):
    megabytes_free(300)
    with pytest.raises(PhotoError, match=r"^needs about .* more memory, 314\.\d MB are free"):
        leaving_free(fakes.Identity(), 250)(make_pixels(500, 500))


@pytest.mark.parametrize(("allowed", "fits"), [(10**7, False), (64 * 10**9, True)])
def test_a_bound_on_main_memory_holds_on_a_gpu_too(allowed, fits):
    gpu = replace(fakes.PLAYED, name="GPU", free_memory=lambda torch: 1 << 40)
    options = NetworkOptions(tile=512, max_memory=allowed)
    deblurrer = NetworkDeblurrer(fakes.Identity(), options, devices=OneDevice(gpu, "torch"))
    image = make_pixels(64, 64)
    if fits:
        assert np.array_equal(deblurrer(image), image)
        assert deblurrer.used == {"device": "GPU", "engine": "torch", "tile": 512}
    else:
        with pytest.raises(PhotoError, match="more than --max-memory allows"):
            deblurrer(image)


def test_progress_rises_to_one():
    seen = []
    fakes.on_cpu(fakes.Identity(), SMALLEST_TILE_PX)(make_pixels(300, 300), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)
    assert len(seen) > 3


def test_progress_is_the_share_of_all_views():
    seen = []
    fakes.on_cpu(fakes.Identity(), views=2)(make_pixels(300, 300), seen.append)
    assert seen == sorted(seen)
    assert 0.5 in seen
    assert seen[-1] == pytest.approx(1)


def test_the_same_photo_gives_the_same_bytes():
    network = random_network(NETWORKS["compact"])
    first, second = (fakes.on_cpu(network)(make_pixels(90, 110)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_halves_the_tiles_and_goes_on(error):
    network = fakes.OutOfMemoryAbove(300**2, error)
    image, said = make_pixels(900, 700), []
    deblurrer = fakes.on_cpu(network, tile=800, warn=said.append)
    assert np.array_equal(deblurrer(image), image)
    assert said == [
        "out of memory: going on with smaller tiles (--tile 400)",
        "out of memory: going on with smaller tiles (--tile 200)",
    ]


def test_out_of_memory_in_mid_photo_loses_no_finished_tile():
    class LaterOutOfMemory(fakes.OutOfMemoryAbove):
        def run_scale(self, blurred, previous, state, buffers):
            if self.finished < 900 * 900:
                self.finished += blurred.shape[2] * blurred.shape[3]
                return blurred, None
            return super().run_scale(blurred, previous, state, buffers)

    network = LaterOutOfMemory(300**2)
    image = make_pixels(1500, 800)
    assert np.array_equal(fakes.on_cpu(network, tile=600)(image), image)
    assert network.finished < 2 * 1500 * 800 * (1 + 1 / 4 + 1 / 16)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_photo_whose_tiles_shrink_on_the_way_comes_out_the_same(name, monkeypatch):
    image, run = make_pixels(300, 420), DeviceNetwork.run_scale
    deblurrer = fakes.on_cpu(random_network(NETWORKS[name]), 256, torch.float32)
    whole = deblurrer(image)

    def run_little(self, precision, blurred, *others):
        if blurred.shape[2] * blurred.shape[3] > 128**2 and blurred.shape[3] > 210:
            raise torch.OutOfMemoryError
        return run(self, precision, blurred, *others)

    monkeypatch.setattr(DeviceNetwork, "run_scale", run_little)
    assert np.abs(deblurrer(image).astype(int) - whole).max() <= 1
    assert deblurrer.used["tile"] == 128


@pytest.mark.parametrize("place", ["copied", "write"])
@pytest.mark.parametrize("views", [1, 2])
def test_memory_that_runs_out_when_rows_are_kept_loses_and_doubles_none(place, views, monkeypatch):
    network, image = random_network(NETWORKS["compact"]), make_pixels(300, 420)
    deblurrer = fakes.on_cpu(network, 256, torch.float32, views=views)
    whole, owner = deblurrer(image), {"copied": RowQueue, "write": PhotoRows}[place]
    act, calls = getattr(owner, place), itertools.count()

    def fail_once(*inputs):
        if next(calls) == 3:
            raise MemoryError
        return act(*inputs)

    monkeypatch.setattr(owner, place, fail_once)
    assert np.abs(deblurrer(image).astype(int) - whole).max() <= 1
    assert deblurrer.used["tile"] == 128


def test_memory_that_is_never_enough_is_an_error():
    with pytest.raises(MemoryError):
        fakes.on_cpu(fakes.OutOfMemoryAbove(0))(make_pixels(64, 64))


def test_other_errors_are_not_taken_for_out_of_memory():
    with pytest.raises(RuntimeError, match="sizes do not match"):
        fakes.on_cpu(fakes.Broken())(make_pixels(64, 64))


def test_a_tile_too_small_to_save_memory_is_refused():
    with pytest.raises(UsageError, match="at least"):
        fakes.on_cpu(fakes.Identity(), tile=SMALLEST_TILE_PX - 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_missing_is_refused_not_replaced():
    with pytest.raises(DeviceError, match="cuda is not available"):
        NetworkDeblurrer(fakes.Identity(), NetworkOptions(device="cuda"))
