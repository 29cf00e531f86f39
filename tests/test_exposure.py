"""Dark and pale photos: the network sees usual tones, and the result has the photo's own."""

from __future__ import annotations

import fakes
import numpy as np
import pytest
import torch
from conftest import make_pixels
from scenes import make_scene, smeared
from test_verdict import judged

import unblur
from unblur.network.exposure import BRIGHT, MOST_BEYOND, MOST_TIMES, PALE, SEEN, Tones, tones_of
from unblur.pictures.change import measure_change

DEPTHS = pytest.mark.parametrize("dtype", [np.uint8, np.uint16])


class Seeing(fakes.Identity):
    """Notes the brightest and the darkest sample that it sees, and returns its input."""

    seen, darkest = 0.0, 1.0

    def run_scale(self, blurred, previous, state, buffers):
        self.seen = max(self.seen, float(blurred.max()))
        self.darkest = min(self.darkest, float(blurred.min()))
        return blurred, None


def dark_photo(times, dtype=np.uint8, channels=3):
    """A photo of random samples up to white, darkened by a factor."""
    return (make_pixels(90, 70, channels, dtype) / times).astype(dtype)


def pale_photo(black=0.45, span=0.3, dtype=np.uint8, channels=3):
    """A photo of random samples from one share of white to another, such as of fog."""
    largest = np.iinfo(dtype).max
    photo = black * largest + span * make_pixels(90, 70, channels, dtype)
    return np.rint(photo).astype(dtype)


@DEPTHS
@pytest.mark.parametrize("span", [0.1, 0.2, 0.29])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_sees_a_pale_photo_with_usual_contrast_and_paleness_is_given_back(
    span, channels, dtype
):
    photo, network = pale_photo(0.3, span, dtype, channels), Seeing()
    assert np.array_equal(fakes.on_cpu(network)(photo), photo)
    assert network.seen - network.darkest == pytest.approx(SEEN, abs=0.05)
    assert 0.1 < network.darkest < network.seen < 0.9


@pytest.mark.parametrize("black", [0.15, 0.3, 0.8])
def test_the_network_can_make_any_part_of_a_pale_photo_darker_and_brighter(black):
    tones = tones_of(pale_photo(black, 0.2))
    assert 0 <= tones.black < 255 * black
    assert 255 * (black + 0.2) - 10 < tones.white <= 255
    assert tones.span < 0.45 * 255


def test_a_photo_with_black_and_white_parts_or_of_one_tone_is_seen_as_it_is():
    assert tones_of(np.full((40, 50, 3), 120, np.uint8)) == Tones(0, 255)
    photo = pale_photo()
    photo[:1] = 0  # a black frame
    assert tones_of(photo) == Tones(0, 255)
    photo = pale_photo(0.16, PALE + 0.1)
    assert tones_of(photo) == Tones(0, 255)


@pytest.mark.parametrize("odd", [0, 255])
def test_a_few_odd_pixels_do_not_hide_that_a_photo_is_pale_nor_are_seen_far_from_its_tones(odd):
    photo, network = pale_photo(), Seeing()
    photo[40, 40] = odd
    assert tones_of(photo) != Tones(0, 255)
    assert np.array_equal(fakes.on_cpu(network)(photo), photo)
    assert network.darkest >= -MOST_BEYOND - 1e-6
    assert network.seen <= 1 + MOST_BEYOND + 1e-6


@DEPTHS
@pytest.mark.parametrize("times", [4, 6, 12])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_sees_a_dark_photo_up_to_white_and_darkness_is_given_back(
    times, channels, dtype
):
    photo, network = dark_photo(times, dtype, channels), Seeing()
    assert np.array_equal(fakes.on_cpu(network)(photo), photo)
    assert network.seen == pytest.approx(1, abs=0.1)


@DEPTHS
def test_a_photo_whose_brightest_parts_are_bright_is_seen_as_it_is(dtype):
    largest = np.iinfo(dtype).max
    photo = dark_photo(8, dtype)
    photo[:2] = int(BRIGHT * largest) + 1  # a window in a dark room
    assert tones_of(photo) == Tones(0, largest)


def test_a_few_hot_pixels_do_not_hide_that_a_photo_is_dark_nor_become_too_bright():
    photo = dark_photo(8)
    photo[40, 40] = 90
    assert tones_of(photo).white == pytest.approx(90 / (1 + MOST_BEYOND))
    photo[40, 40] = 255
    assert tones_of(photo).white == pytest.approx(255 / (1 + MOST_BEYOND))
    network = Seeing()
    assert np.array_equal(fakes.on_cpu(network)(photo), photo)
    assert network.seen == pytest.approx(1 + MOST_BEYOND)


@pytest.mark.parametrize("level", [0, 1, 3])
def test_a_nearly_black_photo_is_brightened_within_a_limit(level):
    photo = np.full((40, 50, 3), level, np.uint8)
    assert tones_of(photo).white == pytest.approx(255 / MOST_TIMES)
    assert np.array_equal(fakes.on_cpu(fakes.Identity())(photo), photo)


@pytest.mark.parametrize("photo", [dark_photo(6), pale_photo()], ids=["dark", "pale"])
def test_a_dark_or_pale_photo_is_the_same_bytes_for_any_tile_and_view(photo):
    photo = np.tile(photo, (4, 5, 1))
    whole = fakes.on_cpu(fakes.Brighter(), 1024)(photo)
    assert not np.array_equal(whole, photo)
    assert np.array_equal(fakes.on_cpu(fakes.Brighter(), 128)(photo), whole)
    assert np.array_equal(fakes.on_cpu(fakes.Brighter(), views=8)(photo), whole)


@pytest.mark.weights
def test_a_dark_photo_is_deblurred_as_a_bright_one():
    scene = make_scene(240, 320)
    bright = smeared(scene, 8)

    def gain(times):
        sharp, blurred = scene / times, np.round(bright / times).astype(np.uint8)
        errors = [((x - sharp) ** 2).mean() for x in (blurred, unblur.deblur(blurred))]
        return 10 * np.log10(errors[0] / errors[1])

    assert gain(1) > 1.4
    assert gain(6) > 0.8 * gain(1)


@pytest.mark.weights
def test_a_pale_photo_is_deblurred_as_one_of_usual_contrast():
    scene = make_scene(240, 320)
    usual = smeared(scene, 8)

    def gain(black, span):
        sharp, blurred = (black + span * photo.astype(float) for photo in (scene, usual))
        blurred = np.rint(blurred).astype(np.uint8)
        errors = [((x - sharp) ** 2).mean() for x in (blurred, unblur.deblur(blurred))]
        return 10 * np.log10(errors[0] / errors[1])

    assert gain(0, 1) > 1.4
    assert gain(115, 0.25) > 0.7 * gain(0, 1)
    assert gain(150, 0.15) > 0.7 * gain(0, 1)


def test_what_changes_in_a_dark_photo_is_as_visible_as_in_a_bright_one():
    scene = make_scene(480, 640)
    blurred = smeared(scene, 12)
    share = measure_change(blurred, scene).share
    dark_share = measure_change(blurred // 6, scene // 6).share
    assert dark_share == pytest.approx(share, abs=0.1)
    assert str(judged(blurred // 6, dark_share)).startswith("moved by about ")


class Tinting(fakes.Identity):
    """Makes red brighter and blue darker, and everything a little darker."""

    def run_scale(self, blurred, previous, state, buffers):
        return blurred + torch.tensor([0.1, -0.05, -0.2]).view(1, 3, 1, 1), None


@DEPTHS
@pytest.mark.parametrize("channels", [1, 3])
def test_a_black_and_white_photo_stays_black_and_white_in_any_number_of_channels(channels, dtype):
    one, largest = make_pixels(90, 70, 1, dtype), np.iinfo(dtype).max
    photo = np.repeat(one, channels, axis=2)
    result = fakes.on_cpu(Tinting())(photo)
    expected = np.clip(one - 0.05 * largest, 0, largest)
    inside = one < 0.9 * largest  # the guard keeps white
    assert np.abs(result - expected)[inside[:, :, 0]].max() <= 1
    assert np.ptp(result.astype(int), axis=2).max() == 0


def test_a_photo_that_is_grey_but_for_its_coding_keeps_its_trace_of_colour():
    photo = np.repeat(make_pixels(90, 70, 1), 3, axis=2) // 2 + 50
    photo[..., 2] += 2
    result = fakes.on_cpu(Tinting())(photo).astype(int)
    assert np.all(result[..., 2] - result[..., 0] == 2)
    photo[80, 60] = (100, 100, 110)
    assert np.ptp(fakes.on_cpu(Tinting())(photo).astype(int), axis=2).min() > 20
