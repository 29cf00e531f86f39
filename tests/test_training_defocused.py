"""The validation sets of photos out of focus, and the scores that they give to networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_pixels
from fakes import unchanging_srn
from PIL import Image

from training.data import FIRST_HELD_OUT, HELD_OUT_BY_KIND, SHARED, photo_paths
from training.judging import defocused, fixed_blur, validation
from training.judging.defocused import SHARP, WANTED_GAINS, defocused_pairs, defocused_sets
from training.judging.fixed_focus import defocus_crop, draw_kernels
from training.judging.inference import deblur_all, unchanged
from training.judging.judges import Subject, judge_defocused

CPU = torch.device("cpu")
SEEDS = (1, 2, 5, 9)
"""Spots: a disc, a Gaussian, an octagon and a heptagon."""
PINNED_SQUARES = [0.812, 1.038, 0.813, 0.967, 1.305, 0.845, 0.99, 0.974, 0.961, 0.822, 1.051, 1.184]
PINNED_MIDDLES = [
    0.1053,
    0.0786,
    0.1053,
    0.1697,
    0.1263,
    0.1936,
    0.1064,
    0.1084,
    0.11,
    0.1449,
    0.1078,
    0.0932,
]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with two held-out photos and one other photo; crops are small."""
    monkeypatch.setattr(defocused, "CROP", 64)
    for seed, name in enumerate((FIRST_HELD_OUT[0], HELD_OUT_BY_KIND["night"][0], "other")):
        image = Image.fromarray(make_pixels(320, 340, seed=seed))
        image.save(tmp_path / f"{name}.png", compress_level=1)
    return tmp_path


def sharpness(pixels):
    return np.abs(np.diff(pixels.astype(int), axis=1)).mean()


def test_each_held_out_photo_gives_a_crop_at_its_size_and_one_at_half_of_it(photos):
    pairs = defocused_pairs(photos, 2)
    assert len(pairs) == len({pair.name for pair in pairs}) == 4
    assert sum("half size" in pair.name for pair in pairs) == 2
    assert all(pair.blurred.shape == pair.sharp.shape == (64, 64, 3) for pair in pairs)
    again = defocused_pairs(photos, 2)
    assert all(np.array_equal(a.blurred, b.blurred) for a, b in zip(pairs, again, strict=True))


def test_larger_radii_leave_less_detail_of_the_same_places(photos):
    sets = defocused_sets(photos)
    assert list(sets) == ["defocus of 1 px", "defocus of 2 px", "defocus of 4 px", SHARP]
    crops = zip(*sets.values(), strict=True)
    for one, two, four, _ in crops:
        assert np.array_equal(one.sharp, four.sharp)
        steps = [sharpness(pixels) for pixels in (one.sharp, two.blurred, four.blurred)]
        assert steps == sorted(steps, reverse=True)


def test_sharp_photos_have_noise_and_coding_and_must_stay_so(photos):
    [plain, *_], [sharp, *_] = defocused_pairs(photos, 1), defocused_pairs(photos, 0)
    assert np.array_equal(sharp.blurred, sharp.sharp)
    assert not np.array_equal(sharp.sharp, plain.sharp)
    assert np.abs(sharp.sharp.astype(int) - plain.sharp).mean() < 8


def test_the_spots_of_the_sets_are_those_of_all_earlier_figures():
    half_widths, middles = [], []
    for seed in SEEDS:
        kernels = draw_kernels(2.0, np.random.default_rng(seed))
        places = np.arange(kernels.shape[1]) - kernels.shape[1] // 2
        half_widths += (kernels.sum(1) * places**2).sum(1).tolist()
        middles += kernels[:, len(places) // 2, len(places) // 2].tolist()
    assert half_widths == pytest.approx(PINNED_SQUARES, abs=2e-3)
    assert middles == pytest.approx(PINNED_MIDDLES, abs=2e-4)


def test_light_is_neither_lost_nor_made_nor_moved():
    for seed in range(12):
        kernels = draw_kernels(4.0, np.random.default_rng(seed))
        places = np.arange(kernels.shape[1]) - kernels.shape[1] // 2
        assert kernels.sum((1, 2)) == pytest.approx(1, abs=1e-5)
        for axis in (1, 2):
            assert kernels.sum(axis) @ places == pytest.approx(0, abs=0.01)


def test_no_defocus_leaves_noise_and_coding_alone(monkeypatch):
    monkeypatch.setattr(fixed_blur, "NOISE_SHARE", 0)
    monkeypatch.setattr(fixed_blur, "JPEG_SHARE", 0)
    monkeypatch.setattr(fixed_blur, "LAMP_SHARE", 0)
    photo = make_pixels(60, 60) // 2
    blurred, wanted = defocus_crop(photo, 10, 0, np.random.default_rng(0))
    assert np.array_equal(blurred, wanted)
    assert np.array_equal(wanted, photo[10:-10, 10:-10])


def test_gains_are_printed_beside_what_is_wanted_of_weights_that_ship(photos):
    column = judge_defocused(defocused_sets(photos), Subject(unchanged, CPU))
    for radius, wanted in WANTED_GAINS.items():
        assert column[f"defocus of {radius} px: gain, dB (to ship: +{wanted:.2f})"] == "+0.00"
    assert column[f"{SHARP} changed by, of 255 (to ship: below 0.10)"] == "0.000"


def test_a_network_that_changes_sharp_photos_is_said_to(photos):
    network = unchanging_srn()
    network.output.bias.data[:] = 0.02

    def deblur(pixels):
        return deblur_all(network, pixels)

    column = judge_defocused(defocused_sets(photos), Subject(deblur, CPU, network))
    for what in (SHARP, f"{SHARP} with noise and coding"):
        changed = float(column[f"{what} changed by, of 255 (to ship: below 0.10)"])
        assert changed == pytest.approx(0.02 * 255, abs=0.5)
    assert float(column["defocus of 1 px: gain, dB (to ship: +1.50)"]) < 0


@pytest.mark.shared
def test_all_held_out_photos_have_room_for_a_crop_at_half_their_size():
    for path in photo_paths(SHARED / "photos", held_out=True):
        with Image.open(path) as photo:
            assert min(photo.size) // 2 >= validation.CROP + 2 * validation.MARGIN
