"""A photo is turned upright when it is written in another format, whatever the formats."""

from __future__ import annotations

import functools
import io
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from conftest import encode_image, make_pixels
from PIL import Image, ImageOps

from unblur.formats import any_format, bmff, exif_thumbnail
from unblur.formats.bmff_boxes import make_box
from unblur.formats.bmff_items import Property
from unblur.formats.codec import codec_of
from unblur.formats.metadata import (
    Metadata,
    find_thumbnail,
    read_orientation,
    upright_exif,
    upright_xmp,
)
from unblur.formats.photo import CONVERSIONS
from unblur.formats.pixels import turned
from unblur.formats.tiff_directory import BYTE, LONG, SHORT, Tag, read_tiff
from unblur.formats.tiff_fields import write_block, write_numbers
from unblur.formats.tiff_writer import write_tiff

PIXELS = make_pixels(96, 144)
PIXELS[:40, :60] = (250, 40, 40)  # so that no turn looks like another

XMP = b"""<rdf:Description tiff:Orientation='%d' tiff:ImageWidth="144" tiff:ImageLength = '96'>
<exif:PixelXDimension>144</exif:PixelXDimension><exif:PixelYDimension>
96</exif:PixelYDimension></rdf:Description>"""


def make_exif(orientation, kind=SHORT):
    """EXIF with an orientation and a thumbnail in the same orientation as the photo."""
    first = [write_numbers(Tag.ORIENTATION, "<", kind, orientation)]
    sides = {Tag.PIXEL_X_DIMENSION: 144, Tag.PIXEL_Y_DIMENSION: 96}
    exif = [write_numbers(tag, "<", LONG, side) for tag, side in sides.items()]
    block = write_block(first, {Tag.EXIF_IFD: exif}, "<")
    thumbnail = encode_image(Image.fromarray(PIXELS).resize((48, 32)), "JPEG") + bytes(200)
    start = len(block) + 2 + 3 * 12 + 4
    fields = [
        struct.pack("<HHII", 0x0103, 4, 1, 6),
        struct.pack("<HHII", 0x0201, 4, 1, start),
        struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail)),
    ]
    file = read_tiff(block)
    link = file.directory(file.first).stop - 4
    block = block[:link] + struct.pack("<I", len(block)) + block[link + 4 :]
    return block + struct.pack("<H", 3) + b"".join(fields) + bytes(4) + thumbnail


def make_photo(form, orientation):
    """The bytes of a photo with its orientation in EXIF and in XMP."""
    exif = make_exif(orientation)
    xmp = XMP % orientation
    image = Image.fromarray(PIXELS)
    if form == "TIFF":
        return write_tiff(PIXELS, None, Metadata(exif, xmp))
    if form == "HEIF":
        heif = pytest.importorskip("pillow_heif")
        buffer = io.BytesIO()
        file = heif.from_bytes("RGB", image.size, image.tobytes())
        file.save(buffer, exif=exif, xmp=xmp, enc_params={"preset": "ultrafast"}, quality=90)
        return buffer.getvalue()
    options = {"AVIF": {"speed": 10}, "WEBP": {"quality": 95}}.get(form, {})
    options |= {} if form == "PNG" else {"xmp": xmp}
    return encode_image(image, form, exif=b"Exif\0\0" + exif, **options)


def shown(pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode_image(Image.fromarray(pixels), "PNG", exif=exif)
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).astype(int)


PAIRS = [
    (source, target)
    for source in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
    for target in CONVERSIONS
    if target != source.lower()
]


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_converted_photo_is_upright_for_viewers_that_ignore_orientations(
    orientation, source, target
):
    photo = any_format.decode(make_photo(source, orientation))
    form = CONVERSIONS[target]
    result = any_format.encode(photo, photo.pixels, form=form)
    found = codec_of(form).metadata(result.data, None)
    upright = shown(PIXELS, orientation)
    with Image.open(io.BytesIO(result.data)) as image:
        stored = np.asarray(image.convert("RGB")).astype(int)
    assert stored.shape == upright.shape
    assert np.abs(stored - upright).mean() < 6
    assert read_orientation(found.exif) == 1
    assert found.xmp == upright_xmp(found.xmp)


def told_sizes(metadata):
    """Every width and height in EXIF and XMP, as pairs."""
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + metadata.exif)
    inner = exif.get_ifd(0x8769)
    yield inner[Tag.PIXEL_X_DIMENSION], inner[Tag.PIXEL_Y_DIMENSION]
    names = ("tiff:ImageWidth", "tiff:ImageLength", "exif:PixelXDimension", "exif:PixelYDimension")
    found = [
        re.search(name + r"(?: = | ?=|>)\D{0,2}(\d+)", metadata.xmp.decode()) for name in names
    ]
    sides = [int(match[1]) for match in found if match]
    yield from zip(sides[::2], sides[1::2], strict=True)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_converted_photo_tells_its_true_width_and_height(orientation, source, target):
    photo = any_format.decode(make_photo(source, orientation))
    form = CONVERSIONS[target]
    result = any_format.encode(photo, photo.pixels, form=form)
    with Image.open(io.BytesIO(result.data)) as image:
        size = image.size
    told = list(told_sizes(codec_of(form).metadata(result.data, None)))
    assert told == [size] * (1 if source == "PNG" else 3)


def test_a_rotation_that_exif_does_not_tell_counts_for_width_and_height():
    turn = Property(make_box(b"irot", b"\1"), True)
    for orientation, properties, size in ((1, (turn,), (96, 144)), (6, (), (144, 96))):
        file = bmff.read(make_photo("AVIF", orientation))
        kept = file.primary.without({b"irot", b"imir"})
        items = {
            key: replace(item, data=bytes(4) + make_exif(orientation))  # Pillow changes EXIF
            if item.type == b"Exif"
            else item
            for key, item in file.items.items()
        }
        items[file.primary_id] = replace(kept, properties=(*kept.properties, *properties))
        photo = any_format.decode(bmff.write(replace(file, items=items)))
        result = any_format.encode(photo, photo.pixels, form=CONVERSIONS["jpeg"])
        found = codec_of(CONVERSIONS["jpeg"]).metadata(result.data, None)
        with Image.open(io.BytesIO(result.data)) as image:
            assert image.size == size
        assert set(told_sizes(found)) == {size}
        assert read_orientation(found.exif) == 1
        with Image.open(io.BytesIO(found.exif[find_thumbnail(found.exif)])) as thumbnail:
            assert thumbnail.size == tuple(side // 3 for side in size)


def test_a_false_width_and_height_become_true():
    photo = any_format.decode(
        encode_image(Image.fromarray(PIXELS[:50]), "PNG", exif=b"Exif\0\0" + make_exif(1))
    )
    result = any_format.encode(photo, photo.pixels, form=CONVERSIONS["webp"])
    found = codec_of(CONVERSIONS["webp"]).metadata(result.data, None)
    assert list(told_sizes(found)) == [(144, 50)]


def test_a_width_beyond_16_bits_is_told_in_32():
    fields = [write_numbers(Tag.PIXEL_X_DIMENSION, ">", SHORT, 144)]
    exif = write_block([], {Tag.EXIF_IFD: fields}, ">")
    changed = Metadata(exif).with_size(70_000, 1).exif
    assert len(changed) == len(exif)
    file = read_tiff(changed)
    inner = file.directory(file.value(file.directory(file.first), Tag.EXIF_IFD))
    assert file.value(inner, Tag.PIXEL_X_DIMENSION) == 70_000


def test_a_thumbnail_that_is_upright_already_is_not_turned():
    exif = make_exif(6)
    place = find_thumbnail(exif)
    small = Image.fromarray(np.rot90(PIXELS, -1)).resize((32, 48))
    picture = encode_image(small, "JPEG").ljust(place.stop - place.start, b"\0")
    exif = exif[: place.start] + picture + exif[place.start + len(picture) :]
    assert find_thumbnail(exif) == place
    turn = functools.partial(turned, orientation=6)
    assert exif_thumbnail.turned_upright(exif, PIXELS, turn) == exif


@pytest.mark.parametrize("keep", [False, True], ids=["redrawn", "kept"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_thumbnail_of_a_converted_photo_is_turned_too(orientation, keep):
    photo = any_format.decode(make_photo("WEBP", orientation))
    result = any_format.encode(photo, photo.pixels, not keep, form=CONVERSIONS["jpeg"])
    exif = codec_of(CONVERSIONS["jpeg"]).metadata(result.data, None).exif
    with Image.open(io.BytesIO(exif[find_thumbnail(exif)])) as image:
        thumbnail = np.asarray(image).astype(int)
    upright = Image.fromarray(shown(PIXELS, orientation).astype(np.uint8))
    expected = np.asarray(upright.resize(thumbnail.shape[1::-1])).astype(int)
    assert thumbnail.shape[:2] == ((32, 48) if orientation < 5 else (48, 32))
    assert np.abs(thumbnail - expected).mean() < 12


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_damaged_thumbnail_is_left_out_of_a_photo_that_is_turned(orientation):
    exif = make_exif(orientation)
    place = find_thumbnail(exif)
    damaged = exif[: place.start] + bytes(place.stop - place.start)
    turn = functools.partial(turned, orientation=orientation)
    left = find_thumbnail(exif_thumbnail.turned_upright(damaged, PIXELS, turn))
    assert left == (place if orientation == 1 else None)


@pytest.mark.parametrize("kind", [BYTE, SHORT, LONG])
def test_an_orientation_is_read_and_set_in_every_type_of_number(kind):
    exif = make_exif(6, kind)
    assert read_orientation(exif) == 6
    assert read_orientation(upright_exif(exif)) == 1


def test_a_photo_turned_by_a_quarter_exchanges_width_and_height_in_exif():
    for quarter_turn, sides in ((False, (144, 96)), (True, (96, 144))):
        exif = Image.Exif()
        exif.load(b"Exif\0\0" + upright_exif(make_exif(6), quarter_turn))
        inner = exif.get_ifd(0x8769)
        assert (inner[Tag.PIXEL_X_DIMENSION], inner[Tag.PIXEL_Y_DIMENSION]) == sides


@pytest.mark.parametrize(
    "packet", [b"tiff:Orientation = '6'", b'tiff:Orientation="6"', b"<tiff:Orientation>\n 6\n</"]
)
def test_every_spelling_of_an_orientation_in_xmp_becomes_upright(packet):
    assert upright_xmp(packet) == packet.replace(b"6", b"1")
