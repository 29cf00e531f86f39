from __future__ import annotations

import fakes
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_pixels

from unblur.deblurrer import SMALLEST_TILE_PX, Deblurrer
from unblur.errors import DeviceError, PhotoError, UsageError
from unblur.srn import SRN
from unblur.srn_config import SRNConfig

NETWORKS = {
    "color": SRNConfig(width=2, blocks=1),
    "lstm": SRNConfig(channels=1, width=2, blocks=1, recurrent=True),
    "compact": SRNConfig(
        width=4, blocks=1, kernel=3, recurrent=True, unshuffle=2, residual=True, resample="area"
    ),
}


def random_network(config):
    torch.manual_seed(1)
    return SRN(config).eval().requires_grad_(False)


def deblur_whole(network, image):
    """One untiled pass in float32: what tiles are judged by."""
    multiple = network.config.multiple
    height, width, _ = image.shape
    planes = torch.from_numpy(image).permute(2, 0, 1).float().div(255)[None]
    padded = F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    batch = padded.reshape(-1, network.config.channels, *padded.shape[2:])
    result = network(batch)[-1].reshape(padded.shape)[0, :, :height, :width]
    return result.clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (33, 17), (401, 233)])
def test_the_identity_network_returns_every_bit(size, channels, dtype):
    image = make_pixels(*size, channels, dtype)
    result = Deblurrer(fakes.Identity(), "cpu", tile=SMALLEST_TILE_PX)(image)
    assert result.dtype == dtype
    assert np.array_equal(result, image)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("tile", [SMALLEST_TILE_PX, 192, 256, 1024])
def test_tiles_compute_what_one_whole_pass_computes(name, tile):
    network = random_network(NETWORKS[name])
    image = make_pixels(403, 517)
    result = Deblurrer(network, "cpu", tile, torch.float32)(image)
    difference = result.astype(float) - deblur_whole(network, image)
    assert np.abs(difference).max() <= 2
    assert np.square(difference).mean() <= 255**2 / 10**6  # 60 dB


def test_the_original_is_not_changed():
    image = make_pixels(40, 40)
    before = image.copy()
    Deblurrer(fakes.Brighter(), "cpu")(image)
    assert np.array_equal(image, before)


def test_values_beyond_white_are_clipped_not_wrapped():
    result = Deblurrer(fakes.Brighter(), "cpu")(np.full((8, 8, 3), 200, np.uint8))
    assert np.all(result == 255)


def test_values_are_rounded_not_cut():
    result = Deblurrer(fakes.Brighter(), "cpu")(np.full((8, 8, 3), 20, np.uint8))
    assert np.all(result == 148)  # 20 + 127.5


def test_a_tile_that_overflows_is_redone_in_full_precision():
    image = make_pixels(40, 40)
    result = Deblurrer(fakes.NotANumberInHalf(), "cpu", precision=torch.bfloat16)(image)
    assert np.array_equal(result, image)


@pytest.mark.parametrize(("strength", "value"), [(0.0, 20), (0.5, 84), (1.0, 148)])
def test_strength_is_the_share_of_the_change_that_is_made(strength, value):
    image = np.full((8, 9, 3), 20, np.uint8)
    assert np.all(Deblurrer(fakes.Brighter(), "cpu", strength=strength)(image) == value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_no_strength_leaves_every_bit(dtype):
    image = make_pixels(40, 50, 3, dtype)
    assert np.array_equal(Deblurrer(fakes.Brighter(), "cpu", strength=0)(image), image)


def test_a_strength_that_is_no_share_is_refused():
    with pytest.raises(UsageError, match="from 0 to 1"):
        Deblurrer(fakes.Identity(), "cpu", strength=1.5)


def test_less_memory_makes_smaller_tiles():
    tiles = fakes.TileSizes()
    image, sides = make_pixels(700, 900), []
    for gigabytes in (2, 0.55, 0.5):
        tiles.largest = 0
        deblurrer = Deblurrer(tiles, "cpu", max_memory=int(gigabytes * (1 << 30)))
        assert np.array_equal(deblurrer(image), image)
        sides.append(tiles.largest)
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides)) == 3


def test_a_photo_that_needs_more_memory_than_allowed_is_refused():
    with pytest.raises(PhotoError, match=r"takes about 0\.\d GB, more than --max-memory"):
        Deblurrer(fakes.Identity(), "cpu", max_memory=300 << 20)(make_pixels(64, 64))


def test_a_tile_that_the_user_typed_is_refused_rather_than_changed():
    with pytest.raises(PhotoError, match="with tiles of 1024 pixels"):
        Deblurrer(fakes.Identity(), "cpu", tile=1024, max_memory=500 << 20)(make_pixels(64, 64))


def test_progress_rises_to_one():
    seen = []
    Deblurrer(fakes.Identity(), "cpu", SMALLEST_TILE_PX)(make_pixels(300, 300), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)
    assert len(seen) > 3


def test_the_same_photo_gives_the_same_bytes():
    network = random_network(NETWORKS["compact"])
    first, second = (Deblurrer(network, "cpu")(make_pixels(90, 110)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_halves_the_tiles_and_goes_on(error):
    network = fakes.OutOfMemoryAbove(300**2, error)
    image, said = make_pixels(900, 700), []
    deblurrer = Deblurrer(network, "cpu", tile=800, warn=said.append)
    assert np.array_equal(deblurrer(image), image)
    assert said == [
        "out of memory: going on with tiles of 400 pixels",
        "out of memory: going on with tiles of 200 pixels",
    ]


def test_out_of_memory_in_mid_photo_loses_no_finished_tile():
    class LaterOutOfMemory(fakes.OutOfMemoryAbove):
        def run_scale(self, blurred, previous, state):
            if self.finished < 900 * 900:
                self.finished += blurred.shape[2] * blurred.shape[3]
                return blurred, None
            return super().run_scale(blurred, previous, state)

    network = LaterOutOfMemory(300**2)
    image = make_pixels(1500, 800)
    assert np.array_equal(Deblurrer(network, "cpu", tile=600)(image), image)
    assert network.finished < 2 * 1500 * 800 * (1 + 1 / 4 + 1 / 16)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tile_in_parts_computes_what_a_whole_one_does(name):
    network = random_network(NETWORKS[name])
    image = make_pixels(300, 420)
    deblurrer = Deblurrer(network, "cpu", 512, torch.float32)
    whole, real_tile = deblurrer(image), deblurrer.infer

    def infer(blurred, previous, state):
        if blurred.shape[3] > 256:
            raise torch.OutOfMemoryError
        return real_tile(blurred, previous, state)

    deblurrer.infer = infer
    assert np.abs(deblurrer(image).astype(int) - whole).max() <= 2
    assert deblurrer.tile == 256


@pytest.mark.parametrize("name", NETWORKS)
def test_a_device_that_computes_on_its_own_gets_one_tile_ahead(name, monkeypatch):
    network = random_network(NETWORKS[name])
    image = make_pixels(300, 420)
    deblurrer = Deblurrer(network, "cpu", 192, torch.float32)
    expected, events, launch = deblurrer(image), [], deblurrer._launch

    def launch_later(*inputs):
        number = sum(event[0] == "begun" for event in events)
        events.append(("begun", number))

        def finish():
            events.append(("finished", number))
            return result()

        result = launch(*inputs)
        return finish

    monkeypatch.setattr(deblurrer, "_launch", launch_later)
    monkeypatch.setattr(Deblurrer, "is_asynchronous", True)
    monkeypatch.setattr(deblurrer, "upload", torch.from_numpy)
    assert np.array_equal(deblurrer(image), expected)
    last_of_scales = 0
    for number in range(1, sum(event[0] == "begun" for event in events)):
        ahead = events.index(("begun", number)) < events.index(("finished", number - 1))
        last_of_scales += not ahead
    assert last_of_scales == 2  # a scale waits for the whole of the one before


def test_memory_that_is_never_enough_is_an_error():
    with pytest.raises(MemoryError):
        Deblurrer(fakes.OutOfMemoryAbove(0), "cpu")(make_pixels(64, 64))


def test_other_errors_are_not_taken_for_out_of_memory():
    with pytest.raises(RuntimeError, match="sizes do not match"):
        Deblurrer(fakes.Broken(), "cpu")(make_pixels(64, 64))


def test_a_tile_too_small_for_its_overlaps_is_refused():
    with pytest.raises(UsageError, match="at least"):
        Deblurrer(fakes.Identity(), "cpu", tile=SMALLEST_TILE_PX - 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_missing_is_refused_not_replaced():
    with pytest.raises(DeviceError, match="cuda is not available"):
        Deblurrer(fakes.Identity(), "cuda")
