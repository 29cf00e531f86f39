from __future__ import annotations

import io
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from bombs import make_item
from conftest import (
    check_only_the_picture_changed,
    check_recoding,
    encode_image,
    make_exif,
    make_pixels,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unblur.errors import PhotoError
from unblur.formats import any_format, avif, bmff, pixels
from unblur.formats.bmff_boxes import make_box
from unblur.formats.bmff_items import MIRROR, ROTATION, Property, Reference, as_stored
from unblur.formats.photo import AVIF, PNG
from unblur.formats.refusals import ONE_FRAME


def make_avif(channels=3, size=(64, 63), **options):
    """The bytes of an AVIF photo."""
    pixels = make_pixels(*size, channels)
    image = Image.fromarray(pixels if channels > 1 else pixels[..., 0])
    return encode_image(image, "AVIF", **{"speed": 10} | options)


def recode(data, change=0):
    """The file with every pixel a little different, and its notes."""
    photo = any_format.decode(data)
    return any_format.encode(photo, photo.pixels ^ np.uint8(change))


def test_metadata_and_alpha_stay_byte_for_byte():
    options = {"exif": make_exif(6), "icc_profile": b"profile" * 90, "xmp": b"<x:xmpmeta/>"}
    before = bmff.read(make_avif(4, **options))
    after = bmff.read(recode(make_avif(4, **options), 1).data)
    types = [item.type for item in before.items.values()]
    assert sorted(types) == [b"Exif", b"av01", b"av01", b"mime"]
    check_only_the_picture_changed(before, after)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotation_and_profile_stay(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    original = make_avif(exif=exif, icc_profile=b"profile" * 90)
    before, after = bmff.read(original), bmff.read(recode(original).data)
    assert set(before.primary.properties) == set(after.primary.properties)
    assert any(map(before.primary.find, (ROTATION, MIRROR))) == (orientation != 1)


@pytest.mark.parametrize("subsampling", ["4:0:0", "4:2:0", "4:2:2", "4:4:4"])
def test_chroma_sampling_and_size_stay(subsampling):
    original = make_avif(1 if subsampling == "4:0:0" else 3, subsampling=subsampling)
    photo = any_format.decode(original)
    again = any_format.decode(any_format.encode(photo, photo.pixels).data)
    assert photo.coding["subsampling"] == again.coding["subsampling"] == subsampling
    assert photo.pixels.shape == again.pixels.shape == (64, 63, 1 if "0:0" in subsampling else 3)
    assert np.abs(photo.pixels.astype(int) - again.pixels).mean() < 6


@pytest.mark.parametrize("value_range", ["full", "limited"])
def test_brightness_stays_in_either_range(value_range):
    photo = any_format.decode(make_avif(range=value_range, quality=90))
    result = any_format.encode(photo, photo.pixels).data
    assert abs(any_format.decode(result).pixels.mean() - photo.pixels.mean()) < 0.5
    assert bmff.read(result).primary.color.full_range == (value_range == "full")


def test_colours_of_the_original_are_not_told_anew():
    original = make_avif()
    told = bytes([0, 12, 0, 16, 0, 6])  # primaries of P3, transfer of PQ
    original = original.replace(bytes([0, 1, 0, 13, 0, 6]), told)
    color = bmff.read(recode(original).data).primary.color
    assert (color.primaries, color.transfer) == (12, 16)


def test_other_programs_see_the_new_pixels_and_the_old_metadata(tmp_path):
    original = make_avif(4, exif=make_exif(), quality=95)
    photo = any_format.decode(original)
    path = tmp_path / "photo.avif"
    path.write_bytes(any_format.encode(photo, 255 - photo.pixels).data)
    with Image.open(path) as image:
        pixels = np.asarray(image).astype(int)
        assert image.info["exif"] == Image.open(io.BytesIO(original)).info["exif"]
    assert np.abs(pixels[..., :3] - (255 - photo.pixels)).mean() < 8


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_a_file_keeps_about_its_size(quality):
    original = make_avif(size=(256, 256), quality=quality)
    assert len(recode(original).data) == pytest.approx(len(original), rel=0.25)


GAIN = bytes(5) + b"\x40" + struct.pack(">14I", 0, 1, 2, 1, *(0, 1, 2, 1, 1, 1, 1, 64, 1, 64))
"""How a gain map is applied (ISO 21496-1): one channel, with headroom and gain from 0 to 2 stops,
gamma 1 and two offsets of 1/64, all of them fractions."""


BRANDS = {b"av01": b"avif", b"hvc1": b"heic"}
APPLE_MAP = b"urn:com:apple:photo:2020:aux:hdrgainmap\0"


def with_gain_map(major=b"avif", base=None, grouped=False, auxiliary=False, hidden=False):
    """A photo with a brighter rendition: an item of photo and gain map, announced by a brand."""
    file = bmff.read(base or make_avif(exif=make_exif()))
    first, coded = max(file.items) + 1, file.coded
    entry = bytearray(make_item(first, coded.type, None).entry)
    entry[11] = hidden  # the last of the flags
    gain = replace(coded, entry=bytes(entry))
    references = (*file.references, Reference(b"dimg", first + 1, (file.primary_id, first)))
    if auxiliary:
        kind = Property(make_box(b"auxC", bytes(4) + APPLE_MAP), False)
        gain = replace(gain, properties=(*gain.properties, kind))
        references += (Reference(b"auxl", first, (file.primary_id,)),)
    size = next(prop for prop in file.primary.properties if prop.type == b"ispe")
    toned = make_item(first + 1, b"tmap", GAIN, size)
    group = [100, 2, first + 1, file.primary_id]
    body = bytes(4) + b"".join(number.to_bytes(4, "big") for number in group)
    groups = (make_box(b"grpl", make_box(b"altr", body)),) if grouped else ()
    brands = make_box(b"ftyp", major + bytes(4) + b"mif1" + BRANDS[coded.type] + b"miaftmap")
    items = {**file.items, first: gain, first + 1: toned}
    meta = (*file.meta, *groups)
    return bmff.write(
        replace(file, items=items, references=references, meta=meta, before=(brands,))
    )


def make_grid(tile=None):
    """An AVIF of two tiles of 64x64 pixels."""
    tile = bmff.read(tile or make_avif(size=(64, 64)))
    size = Property(make_box(b"ispe", bytes(4) + bytes([0, 0, 0, 128, 0, 0, 0, 64])), False)
    others = tuple(prop for prop in tile.primary.properties if prop.type in (b"pixi", b"colr"))
    parts = {
        key: replace(tile.primary, entry=make_item(key, b"av01", None).entry) for key in (2, 3)
    }
    grid = make_item(1, b"grid", bytes([0, 0, 0, 1, 0, 128, 0, 64]), size, *others)
    references = (Reference(b"dimg", 1, (2, 3)),)
    return bmff.write(replace(tile, primary_id=1, items={1: grid, **parts}, references=references))


@pytest.mark.parametrize("base", [make_avif, lambda: make_avif(4), make_grid])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("auxiliary", [False, True])
def test_a_photo_with_a_gain_map_is_read_in_any_arrangement(base, grouped, auxiliary):
    original = with_gain_map(base=base(), grouped=grouped, auxiliary=auxiliary)
    result = recode(original, 1).data
    before, after = bmff.read(original), bmff.read(result)
    assert after.meta == before.meta
    assert after.before == before.before
    assert any(item.type == b"tmap" for item in after.items.values())
    photo = any_format.decode(result)
    stripped = any_format.encode(photo, photo.pixels, strip_metadata=True).data
    for data in (original, result, stripped):
        Image.open(io.BytesIO(data)).load()


@pytest.mark.parametrize("major", [b"avif", b"tmap"])
def test_a_gain_map_that_brands_announce_stays_with_them(major):
    original = with_gain_map(major)
    before, after = bmff.read(original), bmff.read(recode(original, 1).data)
    check_only_the_picture_changed(before, after)
    assert after.before == before.before


def test_a_copy_without_a_gain_map_does_not_announce_one():
    file = bmff.read(with_gain_map(b"tmap"))
    (brands,) = as_stored(file).before
    assert brands == make_box(b"ftyp", b"mif1" + bytes(4) + b"mif1avifmiaf")


def test_a_stripped_photo_without_its_gain_map_is_read_by_other_programs():
    photo = any_format.decode(with_gain_map())
    stripped = any_format.encode(photo, photo.pixels, strip_metadata=True).data
    assert b"tmap" not in stripped
    Image.open(io.BytesIO(stripped)).load()


@pytest.fixture
def coded(monkeypatch):
    """Collects the qualities at which AVIF is coded."""
    qualities = []

    def code_pixels(*inputs, **options):
        qualities.append(options["quality"])
        return pixels.code_pixels(*inputs, **options)

    monkeypatch.setattr(avif, "code_pixels", code_pixels)
    return qualities


def test_nothing_is_coded_to_find_a_quality_that_is_not_needed(coded):
    photo = any_format.decode(make_avif())
    any_format.decode_reduced(make_avif())
    any_format.encode(photo, photo.pixels, form=PNG)
    assert coded == []
    any_format.encode(photo, photo.pixels, quality=70)
    assert coded == [70]


def test_the_originals_quality_is_found_when_it_is_coded_again(coded):
    photo = any_format.decode(make_avif(quality=60))
    any_format.encode(photo, photo.pixels)
    assert 2 < len(coded) <= 5
    assert coded[-1] in coded[:-1]


def make_animation(count=2, channels=3, told=None):
    """An animation whose tracks state a wrong number of frames."""
    frames = [Image.fromarray(make_pixels(64, 64, channels, seed=seed)) for seed in range(count)]
    options = {"save_all": True, "append_images": frames[1:], "speed": 10}
    data = bytearray(encode_image(frames[0], "AVIF", **options))
    for found in re.finditer(b"stsz", data) if told is not None else ():
        at = found.end() + 8  # behind version and common size
        assert int.from_bytes(data[at : at + 4], "big") == count
        data[at : at + 4] = told.to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("told", [None, 0, 3])
def test_an_animation_is_refused(channels, told):
    with pytest.raises(PhotoError, match="animations"):
        any_format.decode(make_animation(2, channels, told))


@pytest.mark.parametrize("channels", [3, 4])
def test_an_animation_of_one_frame_becomes_a_still_photo(channels):
    original = make_animation(2, channels, told=1)
    photo = any_format.decode(original)
    first = Image.open(io.BytesIO(make_animation(2, channels))).convert("RGB")
    assert np.abs(photo.pixels.astype(int) - np.asarray(first)).mean() < 1
    encoded = any_format.encode(photo, 255 - photo.pixels)
    assert photo.notes == (ONE_FRAME,)
    assert not {b"avis", b"moov"} & set(re.findall(b"avis|moov", encoded.data))
    with Image.open(io.BytesIO(encoded.data)) as image:
        assert getattr(image, "n_frames", 1) == 1
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(shown - (255 - photo.pixels)).mean() < 8
    assert AVIF in (photo.format, any_format.decode(encoded.data).format)


def test_a_frame_that_is_not_the_photo_is_no_still_photo():
    original = bytearray(make_animation(told=1))
    at = original.index(b"stco") + 12
    offset = int.from_bytes(original[at : at + 4], "big") + 1
    original[at : at + 4] = offset.to_bytes(4, "big")
    with pytest.raises(PhotoError, match="animations"):
        any_format.decode(bytes(original))


def test_a_track_without_items_is_an_animation():
    original = make_animation().replace(b"meta", b"free", 1)
    with pytest.raises(PhotoError, match="animations"):
        any_format.decode(original)


def test_a_copy_for_a_library_announces_no_track():
    original = make_avif().replace(b"avifmif1", b"avismif1")
    assert b"avis" not in bmff.write(as_stored(bmff.read(original)))
    assert any_format.decode(original).pixels.shape == (64, 63, 3)


def test_a_pillow_without_avif_is_told(monkeypatch):
    original = make_avif()
    monkeypatch.setattr("PIL.features.check", lambda feature: False)
    with pytest.raises(PhotoError, match="libavif"):
        any_format.decode(original)


def test_an_avif_of_a_general_brand_is_known():
    general = make_avif().replace(b"ftypavif", b"ftypmif1")
    assert any_format.decode(general).format is AVIF


@pytest.mark.parametrize("keep", [12, 40, 200, -2])
def test_a_file_that_is_cut_off_is_refused(keep):
    with pytest.raises(PhotoError):
        any_format.decode(make_avif()[:keep])


SAMPLE = make_avif(size=(16, 16))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_a_photo_or_an_error(position, value):
    data = SAMPLE[:position] + bytes([value]) + SAMPLE[position + 1 :]
    check_recoding(data)
