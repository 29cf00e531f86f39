from __future__ import annotations

import numpy as np
import pytest
from conftest import encode_image
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFilter
from scenes import make_scene, noisy, smeared

from unblur.errors import PhotoError
from unblur.formats import any_format
from unblur.options import BLURRY_LEVEL
from unblur.score import MOST_PIXELS, blur_score, reduction


@pytest.fixture(scope="module")
def scene():
    return make_scene()


@pytest.fixture(scope="module")
def blurred(scene):
    return smeared(scene, 12)


def test_a_sharp_photo_is_below_the_level(scene):
    assert blur_score(scene) < BLURRY_LEVEL / 2


@pytest.mark.parametrize("degrees", range(0, 180, 20))
def test_motion_in_any_direction_is_found(scene, degrees):
    assert blur_score(smeared(scene, 12, degrees)) > 2 * BLURRY_LEVEL


def test_longer_motion_scores_more(scene):
    scores = [blur_score(smeared(scene, length)) for length in (0.1, 6, 12, 24)]
    assert scores == sorted(set(scores))


def test_focus_blur_is_found(scene):
    soft = Image.fromarray(scene).filter(ImageFilter.GaussianBlur(6))
    assert blur_score(np.asarray(soft)) > 2 * BLURRY_LEVEL


def test_a_soft_background_is_no_blur(scene):
    soft = np.array(Image.fromarray(scene).filter(ImageFilter.GaussianBlur(8)))
    soft[120:360, 200:440] = scene[120:360, 200:440]
    assert blur_score(soft) < BLURRY_LEVEL


@pytest.mark.parametrize("deviation", [5, 15])
def test_noise_hides_neither_sharpness_nor_blur(scene, blurred, deviation):
    assert blur_score(noisy(scene, deviation)) < BLURRY_LEVEL
    assert blur_score(noisy(blurred, deviation)) > 1.5 * BLURRY_LEVEL


def test_a_dark_photo_is_judged_as_a_bright_one(scene, blurred):
    assert blur_score(noisy(scene // 8, 1)) < BLURRY_LEVEL
    assert blur_score(noisy(blurred // 8, 1)) > 1.5 * BLURRY_LEVEL


@pytest.mark.parametrize("quality", [30, 95])
def test_jpeg_hides_neither_sharpness_nor_blur(scene, blurred, quality):
    sharp, soft = (
        any_format.decode(encode_image(Image.fromarray(pixels), "JPEG", quality=quality)).pixels
        for pixels in (scene, blurred)
    )
    assert blur_score(sharp) < BLURRY_LEVEL < 1 < blur_score(soft)


def test_the_score_does_not_depend_on_the_size(scene):
    moved = Image.fromarray(smeared(scene, 16))
    twice = np.asarray(moved.resize((1280, 960), Image.Resampling.BICUBIC))
    assert blur_score(twice) == pytest.approx(blur_score(np.asarray(moved)), rel=0.25)


def test_depth_and_colour_do_not_matter(blurred):
    deep = blurred.astype(np.uint16) * 257
    assert blur_score(deep) == pytest.approx(blur_score(blurred), abs=0.01)
    grey = np.asarray(Image.fromarray(blurred).convert("L"))[..., None]
    assert blur_score(grey) == pytest.approx(blur_score(blurred), rel=0.05)


def test_a_dot_or_two_do_not_make_a_photo_sharp(blurred):
    dotted = blurred.copy()
    dotted[::240, ::320] = 255
    assert blur_score(dotted) > BLURRY_LEVEL


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_photo_of_nothing_is_not_called_blurred(level):
    assert blur_score(np.full((300, 400, 3), level, np.uint8)) == 0


@given(
    arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 130), st.integers(1, 130), st.sampled_from([1, 3])),
        fill=st.integers(0, 255),
    )
)
def test_any_pixels_have_a_score(pixels):
    assert 0 <= blur_score(pixels) < 1000


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_no_more_pixels_are_measured_than_needed(width, height):
    factor = reduction(width, height)
    assert (width // factor) * (height // factor) <= MOST_PIXELS
    assert factor == 1 or (width // (factor // 2)) * (height // (factor // 2)) > MOST_PIXELS


def test_a_jpeg_photo_is_decoded_no_finer_than_it_is_measured():
    large = Image.fromarray(smeared(make_scene(), 16)).resize((2600, 1950))
    data = encode_image(large, "JPEG", quality=95)
    reduced, whole = any_format.decode_reduced(data)
    assert (reduced.pixels.shape, reduced.factor, whole) == ((975, 1300, 1), 2, None)
    full = blur_score(any_format.decode(data).pixels)
    assert blur_score(reduced.pixels) == pytest.approx(full, abs=0.05)


def test_another_photo_is_decoded_once_and_as_a_whole(scene):
    reduced, whole = any_format.decode_reduced(encode_image(Image.fromarray(scene), "PNG"))
    assert whole is not None
    assert np.shares_memory(reduced.pixels, whole.pixels)


@pytest.mark.parametrize("data", [b"", b"no photo", b"\xff\xd8\xff\xe0"])
def test_what_cannot_be_decoded_is_told(data):
    with pytest.raises(PhotoError):
        any_format.decode_reduced(data)


def test_a_large_jpeg_photo_is_refused_before_it_is_decoded(scene):
    data = encode_image(Image.fromarray(scene), "JPEG")
    with pytest.raises(PhotoError, match="more than the limit of 1,000"):
        any_format.decode_reduced(data, max_pixels=1000)


@pytest.mark.parametrize("shape", [(1, MOST_PIXELS + 2, 1), (MOST_PIXELS + 2, 1, 1)])
def test_a_line_of_pixels_that_is_too_long_to_be_halved_scores_0(shape):
    assert blur_score(np.zeros(shape, np.uint8)) == 0
