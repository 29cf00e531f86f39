"""The guard of contrast: fine patterns that a network would blur stay as they are."""

from __future__ import annotations

import fakes
import numpy as np
import pytest
import torch

import unblur
from unblur.network.contrast_guard import BLOCK_PX, keep_contrast

DEPTHS = pytest.mark.parametrize("dtype", [np.uint8, np.uint16])


class Blurring(fakes.Identity):
    """Halves all contrast, as no deblurring does."""

    def run_scale(self, blurred, previous, state, buffers):
        return 0.5 * blurred + 0.2, None


class Sharpening(fakes.Identity):
    """Raises all contrast, and keeps the mean."""

    def run_scale(self, blurred, previous, state, buffers):
        return 1.2 * blurred - 0.066, None


def dots(height=150, width=170, period=8.0, degrees=15.0, dtype=np.uint8, channels=3):
    """A printed picture: round black dots that imitate grey."""
    y, x = np.mgrid[:height, :width]
    turn = np.deg2rad(degrees)
    along = np.cos(2 * np.pi / period * (x * np.cos(turn) + y * np.sin(turn)))
    across = np.cos(2 * np.pi / period * (-x * np.sin(turn) + y * np.cos(turn)))
    ink = np.clip((along + across) * 2 + 0.5, 0, 1)
    light = (0.05 + 0.9 * ink) * np.iinfo(dtype).max
    return np.repeat(np.rint(light).astype(dtype)[..., None], channels, 2)


def halved(photo):
    """The result of `Blurring` without the guard."""
    return np.rint(0.5 * photo + 0.2 * np.iinfo(photo.dtype).max).astype(photo.dtype)


@DEPTHS
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(150, 170), (41, 97), (200, 64)])
def test_dots_that_the_network_makes_greyer_stay_as_they_are(size, channels, dtype):
    photo = dots(*size, dtype=dtype, channels=channels)
    assert np.array_equal(fakes.on_cpu(Blurring())(photo), photo)


class Darkening(fakes.Identity):
    """Makes everything darker by a tenth of white, and keeps the contrast."""

    def run_scale(self, blurred, previous, state, buffers):
        return blurred - 0.1, None


def test_dots_on_white_that_the_network_fills_with_grey_stay_as_they_are():
    photo = 255 - dots() // 4 * 3
    assert np.array_equal(fakes.on_cpu(Darkening())(photo), photo)


def test_dots_that_the_network_makes_clearer_are_what_the_network_made():
    photo = dots() // 2 + 20
    result = fakes.on_cpu(Sharpening())(photo).astype(int)
    assert np.abs(result - (1.2 * photo - 0.066 * 255)).max() <= 1


@DEPTHS
@pytest.mark.parametrize("place", [0, 0.5])
def test_dots_of_a_dark_or_pale_photo_stay_since_the_network_sees_their_contrast_higher(
    place, dtype
):
    photo = dots(dtype=dtype) // 8 + int(place * np.iinfo(dtype).max)
    assert np.array_equal(fakes.on_cpu(Blurring())(photo), photo)


@DEPTHS
def test_a_place_of_less_contrast_is_what_the_network_made(dtype):
    photo = np.full((150, 170, 3), np.iinfo(dtype).max // 3, dtype)
    photo[:, 85:] //= 8
    assert np.array_equal(fakes.on_cpu(Blurring())(photo), halved(photo))


def test_stripes_are_what_the_network_made_because_motion_along_them_does_not_blur_them():
    photo = np.full((150, 170, 3), 20, np.uint8)
    photo[:, ::4] = 230
    assert np.array_equal(fakes.on_cpu(Blurring())(photo), halved(photo))


def test_only_the_place_with_the_dots_stays():
    photo = np.full((192, 320, 3), 90, np.uint8)
    photo[:, :96] = dots(192, 96)
    result = fakes.on_cpu(Blurring())(photo)
    assert np.array_equal(result[:, :96], photo[:, :96])
    right = np.s_[:, 96 + 3 * BLOCK_PX :]
    assert np.array_equal(result[right], halved(photo)[right])


@DEPTHS
def test_dots_are_the_same_bytes_for_any_strip_tile_and_view(dtype, monkeypatch):
    rng = np.random.default_rng(5)
    photo = dots(330, 420, dtype=dtype)
    photo[rng.random(photo.shape[:2]) < 0.3] //= 2
    photo[:, 200:] //= 3
    whole = fakes.on_cpu(Blurring(), 1024)(photo)
    assert not np.array_equal(whole, halved(photo))
    assert not np.array_equal(whole, photo)
    assert np.array_equal(fakes.on_cpu(Blurring(), 128)(photo), whole)
    assert np.array_equal(fakes.on_cpu(Blurring(), views=8)(photo), whole)
    monkeypatch.setattr("unblur.network.contrast_guard.CPU_PIXELS_AT_ONCE", 1)
    assert np.array_equal(fakes.on_cpu(Blurring())(photo), whole)


@pytest.mark.parametrize("strength", [0.25, 0.5, 0])
def test_the_guard_judges_the_whole_change_at_any_strength(strength):
    photo = dots()
    assert np.array_equal(fakes.on_cpu(Blurring(), strength=strength)(photo), photo)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (15, 16), (17, 33)])
def test_photos_of_any_size_are_guarded(size):
    photo = dots(*size)
    result = torch.from_numpy(halved(photo))
    keep_contrast(result, torch.from_numpy(photo), 255)
    assert np.array_equal(result.numpy(), halved(photo) if 1 in size else photo)


@pytest.mark.weights
@pytest.mark.parametrize(("period", "degrees"), [(4, 0), (6, 0), (7, 45), (8, 15), (12, 30)])
def test_a_sharp_printed_picture_is_hardly_changed(period, degrees):
    photo = dots(224, 224, period, degrees)
    change = np.abs(unblur.deblur(photo).astype(int) - photo)
    assert change.mean() < 2
