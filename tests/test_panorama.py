"""The left and right sides of a 360-degree panorama are deblurred as neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import encode_image, make_exif, make_pixels
from PIL import Image
from test_gain_maps import make_map

from unblur import api
from unblur.formats import any_format, jpeg, jpeg_metadata
from unblur.formats.companions import with_new_companions
from unblur.formats.panorama import MARGIN_PX, deblurred, is_round
from unblur.formats.photo import Companion

ATTRIBUTES = b"<x GPano:ProjectionType='equirectangular' GPano:FullPanoWidthPixels='%d' "
ATTRIBUTES += b"GPano:CroppedAreaImageWidthPixels='%d'/>"
ELEMENTS = b"<GPano:ProjectionType>equirectangular</GPano:ProjectionType>"
ELEMENTS += b"<GPano:FullPanoWidthPixels>\n%d</GPano:FullPanoWidthPixels>"
ELEMENTS += b"<GPano:CroppedAreaImageWidthPixels>%d</GPano:CroppedAreaImageWidthPixels>"


def make_photo(xmp, form="JPEG", width=192, **options):
    image = Image.fromarray(make_pixels(96, width))
    return any_format.decode(encode_image(image, form, xmp=xmp, **options))


def mean_of_neighbours(pixels, reach=20):
    """A filter that sees a number of columns on each side, and repeats the image's edges."""
    columns = np.pad(pixels.astype(float), ((0, 0), (reach, reach), (0, 0)), mode="edge")
    width = pixels.shape[1]
    total = sum(columns[:, at : at + width] for at in range(2 * reach + 1))
    return np.rint(total / (2 * reach + 1)).astype(pixels.dtype)


@pytest.mark.parametrize("xmp", [ATTRIBUTES, ELEMENTS], ids=["attributes", "elements"])
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("width", [192, 40])
def test_a_round_panorama_turned_to_another_side_gives_the_same_result(xmp, form, width):
    photo = make_photo(xmp % (8000, 8000), form, width)
    turned = np.roll(photo.pixels, width // 2, axis=1)
    middle = mean_of_neighbours(np.tile(turned, (1, 3, 1)))[:, width : 2 * width]
    expected = np.roll(middle, -width // 2, axis=1)
    assert np.array_equal(deblurred(photo.pixels, is_round(photo), mean_of_neighbours), expected)
    assert not np.array_equal(mean_of_neighbours(photo.pixels), expected)


@pytest.mark.parametrize(
    "xmp",
    [
        b"",
        ATTRIBUTES % (8000, 4000),
        ATTRIBUTES.replace(b"equirectangular", b"cylindrical") % (8000, 8000),
        b"<x GPano:ProjectionType='equirectangular' GPano:FullPanoWidthPixels='8000'/>",
    ],
    ids=["no panorama", "a part", "cylindrical", "a part by its own width"],
)
def test_other_photos_end_at_their_sides(xmp):
    photo = make_photo(xmp)
    assert not is_round(photo)
    alone = mean_of_neighbours(photo.pixels)
    assert np.array_equal(deblurred(photo.pixels, False, mean_of_neighbours), alone)


def test_a_panorama_stored_on_its_side_is_not_continued_at_the_wrong_sides():
    assert not is_round(make_photo(ATTRIBUTES % (96, 96), exif=make_exif(6)))


@pytest.mark.parametrize("use", ["command", "Python"])
def test_the_network_sees_the_other_side_of_a_panorama(use, tmp_path, unblur, monkeypatch):
    from unblur.network.deblurrer import NetworkDeblurrer

    widths, start = [], NetworkDeblurrer.start

    def noted(self, image, *rest):
        widths.append(image.shape[1])
        return start(self, image, *rest)

    monkeypatch.setattr(NetworkDeblurrer, "start", noted)
    path = tmp_path / "photo.jpg"
    path.write_bytes(make_photo(ATTRIBUTES % (192, 192)).container)
    if use == "command":
        assert unblur(path).code == 0
    else:
        api.deblur(path.read_bytes(), device="cpu")
    assert widths[-1] == 192 + 2 * MARGIN_PX  # before it, the self-test may run


def test_the_gain_map_of_a_panorama_is_continued_as_the_panorama_is():
    xmp = b"<x GPano:ProjectionType='equirectangular' GPano:FullPanoWidthPixels='192'/>"
    photo = make_photo(xmp)
    half = replace(photo, pixels=np.ascontiguousarray(photo.pixels[::2, ::2]))
    photo = replace(photo, companions=(Companion(half, None),))
    (new,) = with_new_companions(photo, is_round(photo), mean_of_neighbours).companions
    middle = mean_of_neighbours(np.tile(half.pixels, (1, 3, 1)))[:, 96:192]
    assert np.array_equal(new.pixels, middle)


def test_a_gain_map_needs_no_further_look_at_the_metadata(tmp_path, unblur, monkeypatch):
    reads = []

    def noted(data, index):
        reads.append(path)
        return jpeg_metadata.metadata(data, index)

    monkeypatch.setattr(jpeg, "CODEC", replace(jpeg.CODEC, metadata=noted))
    for name, tail in (("with.jpg", make_map()), ("without.jpg", b"")):
        path = tmp_path / name
        path.write_bytes(make_photo(b"").container + tail)
        assert unblur(path).code == 0
    assert reads.count(tmp_path / "with.jpg") == reads.count(tmp_path / "without.jpg") > 0
