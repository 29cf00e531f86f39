from __future__ import annotations

import numpy as np
import pytest
from conftest import encode_image
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scenes import make_scene, noisy, smeared, unfocused

import unblur
from unblur.blur import Blur, Kind, find_blur


@pytest.fixture(scope="module")
def scene():
    return make_scene()


def apart(angle, other):
    """The angle between two paths, in degrees."""
    return abs((angle - other + 90) % 180 - 90)


def test_a_sharp_photo_is_sharp(scene):
    assert find_blur(scene).kind is Kind.SHARP
    assert str(find_blur(scene)) == "sharp"


@pytest.mark.parametrize("degrees", range(0, 180, 20))
def test_motion_is_found_in_any_direction(scene, degrees):
    found = find_blur(smeared(scene, 12, degrees))  # its angles go clockwise
    assert found.kind is Kind.MOTION
    assert apart(found.angle, -degrees) <= 15


@pytest.mark.parametrize("length", [5, 8, 16, 30, 40, 80])
def test_the_length_of_a_motion_is_found_within_a_third(length):
    found = find_blur(smeared(make_scene(960, 1280), length))
    assert found.kind is Kind.MOTION
    assert found.length == pytest.approx(length, rel=1 / 3)


@pytest.mark.parametrize("radius", [2, 3, 4.5, 6])
def test_a_photo_out_of_focus_is_no_motion(scene, radius):
    found = find_blur(unfocused(scene, radius))
    assert (found.kind, found.length, found.angle) == (Kind.FOCUS, None, None)


@pytest.mark.parametrize(
    ("subject", "background", "kind"),
    [(1.4, 12, Kind.SHARP), (3, 12, Kind.UNCLEAR), (3, 3, Kind.FOCUS)],
)
def test_a_soft_background_is_no_photo_out_of_focus(subject, background, kind):
    photo = unfocused(make_scene(960, 1280), background)
    photo[360:600, 480:800] = unfocused(make_scene(960, 1280), subject)[360:600, 480:800]
    assert find_blur(photo).kind is kind


def test_noise_and_night_hide_no_motion(scene):
    moved = smeared(scene, 12)
    assert find_blur(noisy(moved, 10)).kind is Kind.MOTION
    assert find_blur(noisy(moved // 8, 1)).kind is Kind.MOTION


@pytest.mark.parametrize(
    "pixels", [np.full((300, 400, 3), 128, np.uint8), make_scene(90, 640)], ids=["plain", "small"]
)
def test_a_photo_without_contours_or_room_is_unclear_and_not_sharp(pixels):
    found = find_blur(pixels)
    assert found.kind is Kind.UNCLEAR
    assert str(found).startswith("too small, too plain or too noisy")


def test_what_is_neither_motion_nor_focus_blur_is_said_to_be_unclear():
    assert str(Blur(Kind.UNCLEAR, 1.0)) == "blurred, but unclear how"


@pytest.mark.parametrize(
    ("angle", "way"),
    [
        (0, "sideways"),
        (45, "rising to the right"),
        (90, "up and down"),
        (135, "rising to the left"),
        (169, "sideways"),
    ],
)
def test_a_direction_is_told_in_words(angle, way):
    assert str(Blur(Kind.MOTION, 1.0, 12.3, angle)) == f"moved by about 12 pixels, {way}"


def test_length_is_that_in_the_whole_photo(scene):
    moved = Image.fromarray(smeared(scene, 8)).resize((2600, 1950), Image.Resampling.BICUBIC)
    found = unblur.find_blur(encode_image(moved, "JPEG", quality=95))
    assert found.length == pytest.approx(8 * 2600 / 640, rel=1 / 3)


def test_the_angle_is_that_of_the_upright_photo(scene):
    moved = Image.fromarray(smeared(scene, 12, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    for form in ("JPEG", "PNG"):
        found = unblur.find_blur(encode_image(moved, form, exif=exif))
        assert apart(found.angle, 90) <= 15


def test_a_path_a_pillow_image_and_an_array_are_judged_alike(scene, tmp_path):
    moved = Image.fromarray(smeared(scene, 12))
    moved.save(tmp_path / "photo.png")
    photos = (tmp_path / "photo.png", str(tmp_path / "photo.png"), moved, np.asarray(moved))
    assert len({unblur.find_blur(photo) for photo in photos}) == 1


@given(
    arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 130), st.integers(1, 130), st.sampled_from([1, 3])),
        fill=st.integers(0, 255),
    )
)
def test_any_pixels_are_judged(pixels):
    assert str(find_blur(pixels))
