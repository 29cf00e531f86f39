from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image, ImageCms, ImageOps

from unblur.formats import any_format, bmff
from unblur.formats.bmff_boxes import make_box
from unblur.formats.bmff_items import ROTATION, Property
from unblur.formats.photo import JPEG, PNG, Photo
from unblur.pictures.display import Area, make_views


def view_of(data):
    photo = any_format.decode(data)
    return make_views(photo, photo.pixels)[0]


def with_orientation(pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode_image(Image.fromarray(pixels), "PNG", exif=exif)


def mean_difference(picture, other):
    return np.abs(np.asarray(picture, int) - np.asarray(other, int)).mean()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_shown_upright(orientation):
    data = with_orientation(make_pixels(40, 64), orientation)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
    view = view_of(data)
    assert view.size == upright.size
    assert np.array_equal(view.part(Area(0, 0, *view.size)), upright)
    assert np.array_equal(view.part(Area(3, 5, 20, 10)), upright.crop((3, 5, 23, 15)))
    assert np.array_equal(view.fitted(1000, 1000), upright)


def test_nothing_is_copied_to_turn_a_photo():
    photo = any_format.decode(with_orientation(make_pixels(40, 64), 6))
    before, after = make_views(photo, photo.pixels.copy())
    assert np.shares_memory(before.pixels, photo.pixels)
    assert before.pixels.shape == after.pixels.shape == (64, 40, 3)


@pytest.mark.parametrize("rotation", range(4))
def test_a_rotated_avif_is_shown_upright(rotation):
    pixels = make_pixels(24, 40)
    file = bmff.read(encode_image(Image.fromarray(pixels), "AVIF", quality=95))
    turn = Property(make_box(ROTATION, bytes([rotation])), True)
    primary = file.primary.without({ROTATION})
    primary = replace(primary, properties=(*primary.properties, turn))
    shown = view_of(bmff.write(file.with_primary(primary))).fitted(100, 100)
    assert shown.size == Image.fromarray(np.rot90(pixels, rotation)).size
    assert mean_difference(shown, np.rot90(pixels, rotation)) < 5


def test_a_photo_is_made_smaller_but_never_larger():
    pixels = make_pixels(300, 400)
    view = view_of(encode_image(Image.fromarray(pixels), "PNG"))
    small = view.fitted(100, 100)
    assert small.size == (100, 75)
    whole = Image.fromarray(pixels).resize((100, 75), Image.Resampling.LANCZOS)
    assert mean_difference(small, whole) < 3
    assert view.fitted(10_000, 10_000).size == (400, 300)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 500), (500, 1), (7, 3)])
def test_a_photo_of_any_shape_can_be_shown(width, height):
    view = view_of(encode_image(Image.fromarray(make_pixels(height, width)), "PNG"))
    assert view.fitted(32, 32).size == (
        max(1, min(32, width, round(32 * width / height))),
        max(1, min(32, height, round(32 * height / width))),
    )


def test_16_bits_and_grey_are_shown_in_8_bits_of_colour():
    deep = make_pixels(30, 40, channels=1, dtype=np.uint16)
    photo = Photo(deep, None, PNG, b"", {})
    picture = make_views(photo, deep)[0].fitted(40, 30)
    assert picture.mode == "RGB"
    assert np.abs(np.asarray(picture)[..., 0] - deep[..., 0] / 257).max() <= 0.5


def test_what_is_transparent_is_shown_on_white():
    pixels = np.zeros((20, 20, 3), np.uint8)
    alpha = np.zeros((20, 20), np.uint8)
    alpha[:, 10:] = 255
    view = make_views(Photo(pixels, alpha, PNG, b"", {}), pixels)[0]
    for picture in (view.fitted(20, 20), view.part(Area(0, 0, 20, 20))):
        assert picture.getpixel((2, 2)) == (255, 255, 255)
        assert picture.getpixel((18, 2)) == (0, 0, 0)


def linear_profile():
    """A profile whose values mean something else than sRGB's: XYZ does."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def swapped_profile():
    """sRGB with the primaries of red and blue exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_colours_are_converted_from_the_photos_profile(form):
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    shown = view_of(encode_image(red, form, icc_profile=swapped_profile())).fitted(32, 32)
    r, _, b = shown.getpixel((16, 16))
    assert (r < 40, b > 215) == (True, True)


@pytest.mark.parametrize("profile", [b"a colour profile" * 50, linear_profile()])
def test_a_profile_that_is_damaged_or_of_another_kind_changes_nothing(profile):
    data = make_jpeg(32, 32, channels=1, icc_profile=profile)
    plain = make_jpeg(32, 32, channels=1)
    assert np.array_equal(view_of(data).fitted(32, 32), view_of(plain).fitted(32, 32))


def test_a_damaged_container_is_shown_as_it_lies():
    pixels = make_pixels(8, 8)
    view = make_views(Photo(pixels, None, JPEG, b"\xff\xd8 nonsense", {}), pixels)[0]
    assert np.array_equal(view.fitted(8, 8), pixels)
