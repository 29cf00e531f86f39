"""A note names the pictures in a file that still show the blurred photo."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import pytest
from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image
from test_orientation import make_exif

from unblur.formats import any_format, bmff, jpeg_markers
from unblur.formats.bmff_items import Reference
from unblur.formats.metadata import Metadata
from unblur.formats.photo import CONVERSIONS
from unblur.formats.tiff_directory import LONG, UNDEFINED, Tag
from unblur.formats.tiff_fields import Field, write_block, write_numbers
from unblur.formats.tiff_writer import write_tiff

SMALL = encode_image(Image.fromarray(make_pixels(16, 24)), "JPEG")
NOTES = Field(Tag.MAKER_NOTE, UNDEFINED, len(SMALL) + 8, b"Maker\0\0\0" + SMALL)
RESOURCE = b"8BIM\x04\x0c\0\0" + len(SMALL).to_bytes(4, "big") + SMALL
OTHER_RESOURCE = b"8BIM\x04\x04\0\0" + bytes(8)


def tiff_with(tag, values):
    """A TIFF with one more field in its page."""
    block = write_block([Field(tag, UNDEFINED, len(values), values)], {}, "<")
    return write_tiff(make_pixels(40, 56), None, Metadata(block))


def tiff_with_sub_image():
    data = bytearray(tiff_with(65_000, bytes(4)))
    at = data.rindex(struct.pack("<HHI", 65_000, UNDEFINED, 4))
    struct.pack_into("<HHII", data, at, Tag.SUB_IFDS, LONG, 1, len(data))
    sub = write_block([write_numbers(Tag.IMAGE_WIDTH, "<", LONG, 8)], {}, "<")
    return bytes(data) + sub[8:]


def jpeg_with(marker, payload, tail=b""):
    data = make_jpeg(40, 56, exif=b"")
    return data[:2] + jpeg_markers.make_segment(marker, payload) + data[2:] + tail


def index_of_pictures(kind):
    """A multi-picture index of the photo and a second picture of a kind."""
    buffer = io.BytesIO()
    image = Image.fromarray(make_pixels(40, 56))
    image.save(buffer, "MPO", save_all=True, append_images=[image.resize((28, 20))])
    data = bytearray(buffer.getvalue())
    start = data.index(b"MPF\0") + 4
    entries = data.index(b"0100", start)
    order = "<" if data[start : start + 2] == b"II" else ">"
    at = entries + 4 + 12 + 12 + 4 + 16
    struct.pack_into(order + "I", data, at, kind)
    return bytes(data)


def avif_with_thumbnail():
    image = Image.fromarray(make_pixels(40, 56))
    file = bmff.read(encode_image(image, "AVIF", speed=10))
    key = max(file.items) + 1
    entry = bytearray(file.primary.entry)
    entry[12:14] = key.to_bytes(2, "big")  # after size, type and version
    small = replace(file.primary, entry=bytes(entry))
    references = (*file.references, Reference(b"thmb", key, (file.primary_id,)))
    return bmff.write(replace(file, items={**file.items, key: small}, references=references))


MAKER_EXIF = write_block([], {Tag.EXIF_IFD: [NOTES]}, "<")
PICTURES = {
    "layers": (lambda: tiff_with(Tag.LAYERS, b"Adobe Photoshop Document Data Block\0"), "layers"),
    "sub-images": (tiff_with_sub_image, "sub-images"),
    "thumbnail in TIFF": (lambda: tiff_with(Tag.PHOTOSHOP, RESOURCE), "Photoshop's thumbnail"),
    "thumbnail in JPEG": (
        lambda: jpeg_with(0xED, b"Photoshop 3.0\0" + RESOURCE),
        "Photoshop's thumbnail",
    ),
    "maker notes in JPEG": (lambda: jpeg_with(0xE1, b"Exif\0\0" + MAKER_EXIF), "previews"),
    "maker notes in TIFF": (
        lambda: write_tiff(make_pixels(40, 56), None, Metadata(MAKER_EXIF)),
        "previews",
    ),
    "large thumbnail": (lambda: index_of_pictures(0x010001), "previews"),
    "gain map": (lambda: jpeg_with(0xFE, b"hello", b"<x hdrgm:Version='1.0'/>"), "the gain map"),
    "thumbnail in AVIF": (avif_with_thumbnail, "thumbnails"),
}


@pytest.mark.parametrize(("make", "name"), PICTURES.values(), ids=PICTURES.keys())
def test_a_picture_that_still_shows_the_old_photo_is_named(make, name):
    photo = any_format.decode(make())
    (note,) = any_format.encode(photo, photo.pixels, refresh_thumbnail=False).notes
    assert note.startswith("still as in the old photo: ")
    assert name in note


@pytest.mark.parametrize(
    "data",
    [
        make_jpeg(40, 56, exif=b"Exif\0\0" + make_exif(1)),
        jpeg_with(0xED, b"Photoshop 3.0\0" + OTHER_RESOURCE),
        index_of_pictures(0x020002),
        tiff_with(Tag.PHOTOSHOP, OTHER_RESOURCE),
        encode_image(Image.fromarray(make_pixels(40, 56)), "AVIF", speed=10),
    ],
    ids=["thumbnail", "no thumbnail", "other view", "other resource", "nothing"],
)
def test_other_parts_of_a_file_give_no_note(data):
    photo = any_format.decode(data)
    assert any_format.encode(photo, photo.pixels).notes == ()


def test_what_is_left_out_is_not_said_to_be_old():
    photo = any_format.decode(jpeg_with(0xED, b"Photoshop 3.0\0" + RESOURCE))
    assert any_format.encode(photo, photo.pixels, strip_metadata=True).notes == ()
    (note,) = any_format.encode(photo, photo.pixels, form=CONVERSIONS["png"]).notes
    assert note == "left out of the PNG file: IPTC"
