from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from conftest import check_only_the_picture_changed, make_exif, make_pixels
from PIL import Image

from unblur.errors import PhotoError
from unblur.formats import any_format, bmff, heif
from unblur.formats.bmff_boxes import make_box
from unblur.formats.bmff_items import CROP, ROTATION
from unblur.formats.photo import HEIF, PNG

pillow_heif = pytest.importorskip("pillow_heif")


def make_heif(mode="RGB", size=(64, 96), **options):
    """The bytes of a HEIC photo."""
    dtype = np.uint16 if "16" in mode else np.uint8
    pixels = make_pixels(*size, channels=len(mode.split(";")[0]), dtype=dtype)
    file = pillow_heif.from_bytes(mode, (size[1], size[0]), pixels.tobytes())
    buffer = io.BytesIO()
    file.save(buffer, enc_params={"preset": "ultrafast"}, **options)
    return buffer.getvalue()


def recode(data, add=0, refresh_thumbnail=True):
    """The file with every pixel brighter."""
    photo = any_format.decode(data)
    pixels = photo.pixels + photo.pixels.dtype.type(add)
    return any_format.encode(photo, pixels, refresh_thumbnail).data


def upright(data):
    """The pixels that a viewer shows, (H, W, C) as signed integers."""
    return np.asarray(pillow_heif.open_heif(data, convert_hdr_to_8bit=False)).astype(int)


def test_metadata_alpha_and_thumbnails_stay_byte_for_byte():
    original = make_heif("RGBA", exif=make_exif(6), xmp=b"<x:xmpmeta/>", thumbnails=[32])
    before, after = bmff.read(original), bmff.read(recode(original, 1, False))
    assert {b"Exif", b"mime", b"hvc1"} == {item.type for item in before.items.values()}
    assert len(before.items) >= 5
    check_only_the_picture_changed(before, after)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_a_viewer_shows_does_not_turn(orientation):
    original = make_heif(exif=make_exif(orientation), quality=90)
    result = recode(original)
    assert upright(original).shape == upright(result).shape
    assert np.abs(upright(original) - upright(result)).mean() < 3
    assert bmff.read(result).primary.find(ROTATION) == bmff.read(original).primary.find(ROTATION)


def test_a_profile_stays():
    original = make_heif(icc_profile=b"profile" * 90)
    before, after = bmff.read(original).primary, bmff.read(recode(original)).primary
    (profile,) = [prop for prop in before.properties if prop.body.startswith(b"prof")]
    assert profile in after.properties


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full_range", [0, 1])
def test_the_meaning_of_colours_stays(matrix, full_range):
    colors = {"color_primaries": 12, "matrix_coefficients": matrix, "full_range_flag": full_range}
    original = make_heif(quality=90, **colors)
    result = recode(original)
    assert bmff.read(result).primary.color == bmff.read(original).primary.color
    assert np.abs(upright(original) - upright(result)).mean() < 3


@pytest.mark.parametrize("depth", [10, 12])
@pytest.mark.parametrize("mode", ["RGB;16", "L;16"])
def test_deep_photos_keep_their_bits(mode, depth):
    original = make_heif(mode, bit_depth=depth, quality=95)
    photo = any_format.decode(original)
    result = any_format.encode(photo, photo.pixels).data
    again = any_format.decode(result)
    assert photo.pixels.dtype == again.pixels.dtype == np.uint16
    assert pillow_heif.open_heif(result, convert_hdr_to_8bit=False).info["bit_depth"] == depth
    difference = again.pixels.astype(int) - photo.pixels
    assert np.abs(difference).mean() < 3 * 257  # three levels of an 8-bit photo
    assert abs(difference.mean()) < 1 << 15 - depth  # bits are rounded, not cut off


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
def test_chroma_sampling_stays(chroma):
    photo = any_format.decode(make_heif(chroma=chroma))
    result = any_format.encode(photo, photo.pixels).data
    assert any_format.decode(result).coding["chroma"] == photo.coding["chroma"] == chroma


@pytest.mark.parametrize("size", [(65, 97), (20, 33), (64, 97)])
def test_odd_sizes_stay(size):
    original = make_heif(size=size, quality=90)
    result = recode(original)
    assert upright(result).shape == (*size, 3)
    assert bmff.read(result).primary.find(CROP) == bmff.read(original).primary.find(CROP)


def test_grey_stays_grey():
    photo = any_format.decode(make_heif("L"))
    assert photo.pixels.shape == (64, 96, 1)
    assert any_format.decode(any_format.encode(photo, photo.pixels).data).pixels.shape == (
        64,
        96,
        1,
    )


def test_a_grid_stays_a_grid_of_such_tiles():
    original = make_heif(size=(150, 200), tile_size=64, exif=make_exif(6), quality=90)
    result = recode(original)
    before, after = bmff.read(original), bmff.read(result)
    assert before.primary.type == after.primary.type == b"grid"
    assert len(before.items) == len(after.items) == 1 + 12 + 1  # grid, tiles, EXIF
    assert np.abs(upright(original) - upright(result)).mean() < 3


def test_a_photo_keeps_about_its_size():
    original = make_heif(size=(256, 256), quality=60)
    assert len(recode(original)) == pytest.approx(len(original), rel=0.3)


def test_nothing_is_coded_to_find_a_quality_that_is_not_needed(monkeypatch):
    original, qualities, code = make_heif(), [], heif._code
    monkeypatch.setattr(
        heif, "_code", lambda *inputs, **o: qualities.append(o["quality"]) or code(*inputs, **o)
    )
    photo = any_format.decode(original)
    any_format.decode_reduced(original)
    any_format.encode(photo, photo.pixels, form=PNG)
    assert qualities == []
    any_format.encode(photo, photo.pixels, quality=70)
    assert qualities == [70]
    any_format.encode(photo, photo.pixels)
    assert 2 < len(qualities) - 1 <= 5


def test_a_photo_over_the_limit_is_refused():
    with pytest.raises(PhotoError, match="96x64"):
        any_format.decode(make_heif(), max_pixels=1000)


def test_a_photo_of_another_codec_is_refused():
    other = make_heif().replace(b"hvc1", b"jpeg")
    with pytest.raises(PhotoError, match="coded as jpeg"):
        any_format.decode(other)


def test_an_error_of_the_library_in_several_lines_is_told_in_one():
    data = make_heif()
    length = int.from_bytes(data[:4], "big")
    brands = make_box(b"ftyp", (b"heix" + bytes(4) + b"miaf").ljust(length - 8, b"\0"))
    with pytest.raises(PhotoError, match="brands") as caught:
        any_format.decode(brands + data[length:])
    assert str(caught.value).splitlines() == [str(caught.value)]


@pytest.mark.parametrize("keep", [12, 40, 300, -2])
def test_a_file_that_is_cut_off_is_refused(keep):
    with pytest.raises(PhotoError):
        any_format.decode(make_heif()[:keep])


@pytest.mark.parametrize("brand", [b"heix", b"mif1", b"msf1"])
def test_a_photo_of_another_brand_is_known(brand):
    assert any_format.decode(make_heif().replace(b"ftypheic", b"ftyp" + brand)).format is HEIF


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"unblur\[heif\]"):
        any_format.decode(make_heif())


def test_pillow_is_not_told_of_heif():
    any_format.decode(make_heif())
    assert "HEIF" not in Image.OPEN
