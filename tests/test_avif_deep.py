"""AVIF photos of 10 and 12 bits keep their depth."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import check_only_the_picture_changed, make_exif, make_pixels
from test_avif import make_avif, make_grid, recode

from unblur.errors import PhotoError
from unblur.formats import any_format, bmff
from unblur.formats.bmff_boxes import make_box
from unblur.formats.bmff_items import MIRROR, ROTATION, Property, splice
from unblur.formats.photo import CONVERSIONS
from unblur.formats.pixels import rounded, widened

imagecodecs = pytest.importorskip("imagecodecs")

LIGHT = Property(make_box(b"clli", b"\3\xe8\1\x90"), essential=False)
MASTERING = Property(make_box(b"mdcv", bytes(24)), essential=False)


def code_deep(depth=10, size=(64, 63), quality=80, subsampling="420"):
    """A file of an image with no metadata."""
    smooth = np.linspace(0, 1, size[1])[None, :, None] * np.linspace(0.5, 1, size[0])[:, None, None]
    pixels = np.round(smooth * [1, 0.9, 0.7] * (2**depth - 1)).astype(np.uint16)
    if subsampling == "400":
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    return imagecodecs.avif_encode(
        pixels, quality, speed=8, bitspersample=depth, pixelformat="yuv" + subsampling
    )


def make_deep(depth=10, container=None, color=None, **options):
    """A photo of 10 or 12 bits, in the container of one of 8 bits."""
    file = bmff.read(container or make_avif())
    file, _ = splice(file, bmff.read(code_deep(depth, **options)))
    primary = replace(file.primary, properties=(*file.primary.properties, LIGHT, MASTERING))
    if color:
        kept = primary.without({b"colr"}).properties
        box = make_box(b"colr", b"nclx" + bytes(color))
        primary = replace(primary, properties=(*kept, Property(box, essential=False)))
    return bmff.write(file.with_primary(primary))


def depths(data):
    """The depths of a file's pixels by pixi, and the coding by av1C."""
    primary = bmff.read(data).primary
    return primary.find(b"pixi")[5:], primary.find(b"av1C")[2]


@pytest.mark.parametrize("depth", [10, 12])
@pytest.mark.parametrize("subsampling", ["400", "420", "422", "444"])
def test_depth_and_chroma_sampling_stay(depth, subsampling):
    original = make_deep(depth, subsampling=subsampling, quality=90)
    photo = any_format.decode(original)
    result = any_format.encode(photo, photo.pixels).data
    again = any_format.decode(result)
    assert photo.pixels.dtype == again.pixels.dtype == np.uint16
    assert photo.pixels.shape == again.pixels.shape == (64, 63, 1 if subsampling == "400" else 3)
    assert depths(original) == depths(result)
    loses_more = imagecodecs.__version__ < "2025" and (subsampling, depth) == ("420", 12)
    levels = 3 if loses_more else 2  # of an 8-bit photo
    assert np.abs(photo.pixels.astype(int) - again.pixels).mean() < levels * 257


@pytest.mark.parametrize("subsampling", ["400", "420", "422"])
def test_a_photo_of_the_finest_quality_keeps_its_sampling(subsampling):
    photo = any_format.decode(make_deep(subsampling=subsampling))
    result = any_format.encode(photo, photo.pixels, quality=100).data
    assert depths(result) == depths(photo.container)


def test_alpha_metadata_and_rotation_stay_byte_for_byte():
    options = {"exif": make_exif(6), "icc_profile": b"profile" * 90, "xmp": b"<x:xmpmeta/>"}
    original = make_deep(container=make_avif(4, **options))
    before, after = bmff.read(original), bmff.read(recode_deep(original))
    assert sorted(item.type for item in before.items.values()) == [
        b"Exif",
        b"av01",
        b"av01",
        b"mime",
    ]
    check_only_the_picture_changed(before, after)
    for kind in (ROTATION, MIRROR, b"clli", b"mdcv"):
        assert before.primary.find(kind) == after.primary.find(kind)
    assert before.primary.find(ROTATION) is not None


def recode_deep(data, change=1 << 8):
    photo = any_format.decode(data)
    return any_format.encode(photo, photo.pixels ^ np.uint16(change)).data


@pytest.mark.parametrize("subsampling", ["400", "420", "444"])
@pytest.mark.parametrize("full_range", [0, 0x80])
@pytest.mark.parametrize("matrix", [1, 9])
def test_hdr_colours_stay_in_any_matrix_and_range(matrix, full_range, subsampling):
    color = (0, 9, 0, 16, 0, matrix, full_range)  # primaries of BT.2020, transfer of PQ
    original = make_deep(color=color, quality=95, subsampling=subsampling)
    photo = any_format.decode(original)
    result = any_format.encode(photo, photo.pixels).data
    told = bmff.read(result).primary.color
    assert (told.primaries, told.transfer) == (9, 16)
    difference = np.abs(any_format.decode(result).pixels.astype(int) - photo.pixels)
    assert difference.mean() < 3 * 257


@pytest.mark.parametrize("quality", [50, 75])
def test_a_file_keeps_about_its_size(quality):
    noisy = widened(make_pixels(256, 256, dtype=np.uint16) >> np.uint16(6), 10)
    coded = imagecodecs.avif_encode(
        rounded(noisy, 10), quality, speed=6, bitspersample=10, pixelformat="yuv420"
    )
    photo = any_format.decode(coded)
    assert len(any_format.encode(photo, photo.pixels).data) == pytest.approx(len(coded), rel=0.25)


def test_a_grid_of_deep_tiles_becomes_one_image():
    photo = any_format.decode(make_grid(code_deep(size=(64, 64))))
    assert photo.pixels.shape == (64, 128, 3)
    after = bmff.read(any_format.encode(photo, photo.pixels).data)
    assert [item.type for item in after.items.values()] == [b"av01"]


def test_a_deep_photo_is_converted_to_16_bits():
    photo = any_format.decode(make_deep())
    result = any_format.decode(any_format.encode(photo, photo.pixels, form=CONVERSIONS["png"]).data)
    assert np.array_equal(photo.pixels, result.pixels)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_samples_of_any_depth_come_back_and_white_stays_white(bits):
    levels = np.arange(1 << bits).astype(np.uint16)
    wide = widened(levels, bits)
    assert (wide[0], wide[-1]) == (0, 0xFFFF)
    assert np.array_equal(rounded(wide, bits), levels)
    assert np.array_equal(
        rounded(wide.clip(200) - np.uint16(7), bits), rounded(wide.clip(200), bits)
    )


def test_a_header_that_tells_another_depth_is_refused():
    original = make_avif()
    deep = bytearray(original)
    deep[original.index(b"av1C") + 6] |= 0x40
    with pytest.raises(PhotoError, match="damaged"):
        any_format.decode(bytes(deep))


@pytest.mark.parametrize("depth", [10, 12])
def test_without_the_extra_it_is_named(depth, monkeypatch):
    original = make_deep(depth)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(PhotoError, match=rf"{depth}-bit AVIF .*unblur\[deep\]"):
        any_format.decode(original)


@pytest.mark.parametrize("keep", [200, -2])
def test_a_file_that_is_cut_off_is_refused(keep):
    with pytest.raises(PhotoError):
        any_format.decode(make_deep()[:keep])


def test_photos_of_8_bits_do_not_need_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    recode(make_avif())
