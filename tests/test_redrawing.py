"""Thumbnails and previews inside files of every format show the new photo."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import encode_image, make_pixels
from PIL import Image
from test_avif import make_avif, with_gain_map
from test_tiff import make_pages

from unblur.errors import PhotoError
from unblur.formats import any_format, bmff, bmff_thumbnails, jpeg_markers, png_chunks
from unblur.formats.bmff_boxes import make_box
from unblur.formats.bmff_gain_maps import find_companions, gain_map_keys
from unblur.formats.bmff_items import MIRROR, ROTATION, Property, Reference
from unblur.formats.bmff_thumbnails import find_thumbnails
from unblur.formats.codec import codec_of
from unblur.formats.drawing import draw_like
from unblur.formats.embedded_pictures import Redraw
from unblur.formats.metadata import Metadata, find_thumbnail
from unblur.formats.photo import CONVERSIONS
from unblur.formats.tiff_directory import LONG, UNDEFINED, Tag, read_tiff
from unblur.formats.tiff_fields import Field, read_fields, write_block, write_numbers
from unblur.formats.tiff_writer import write_tiff

OLD = make_pixels(96, 144)
OLD[:40, :60] = (250, 40, 40)  # so that no turn looks like another
NEW = np.clip(OLD.astype(int) // 2 + 90, 0, 255).astype(np.uint8)
"""The same picture in other colours, so that a change shows."""
PREVIEWS = "still as in the old photo: previews of the camera"


def shrink(photo, width=48, height=32):
    return Image.fromarray(photo).resize((width, height), Image.Resampling.BOX)


def difference(picture, photo):
    """The mean difference between a picture and the photo reduced to its size."""
    picture = np.asarray(picture.convert("RGB")).astype(int)
    return np.abs(picture - np.asarray(shrink(photo, *picture.shape[1::-1]), int)).mean()


def is_new(picture):
    """Whether a small picture, in bytes or decoded, shows the new photo rather than the old one."""
    if isinstance(picture, bytes):
        picture = Image.open(io.BytesIO(picture))
    assert min(difference(picture, NEW), difference(picture, OLD)) < 8
    return difference(picture, NEW) < difference(picture, OLD) / 2


def small(photo=OLD, **options):
    return encode_image(shrink(photo), "JPEG", **options)


def exif_with_thumbnail(picture=None):
    picture = picture or small()
    first = write_block([Field(Tag.MAKE, 2, 4, b"Cam\0")], {}, "<")
    start = len(first) + 2 + 3 * 12 + 4
    fields = ((0x0103, 6), (0x0201, start), (0x0202, len(picture)))
    second = b"".join(struct.pack("<HHII", tag, 4, 1, number) for tag, number in fields)
    file = read_tiff(first)
    link = file.directory(file.first).stop - 4
    first = first[:link] + struct.pack("<I", len(first)) + first[link + 4 :]
    return first + struct.pack("<H", 3) + second + bytes(4) + picture


def exif_with_preview(picture=None):
    """EXIF with a JPEG picture between other data in its maker notes."""
    notes = b"Maker\0\0\0" + (picture or small()) + bytes(30) + b"more notes"
    field = Field(Tag.MAKER_NOTE, UNDEFINED, len(notes), notes)
    return write_block([], {Tag.EXIF_IFD: [field]}, "<")


def encode(image, form, **options):
    if form == "HEIF":
        heif = pytest.importorskip("pillow_heif")
        buffer = io.BytesIO()
        heif.from_bytes("RGB", image.size, image.tobytes()).save(
            buffer, enc_params={"preset": "ultrafast"}, quality=90, **options
        )
        return buffer.getvalue()
    options |= {"AVIF": {"speed": 10}, "WEBP": {"quality": 95}}.get(form, {})
    return encode_image(image, form, **options)


def with_exif(form, exif):
    header = b"" if form == "HEIF" else b"Exif\0\0"
    return encode(Image.fromarray(OLD), form, exif=header + exif)


def encoded(data, refresh_thumbnail=True):
    """The result for a file whose pixels become the new photo."""
    photo = any_format.decode(data)
    return any_format.encode(photo, NEW.astype(photo.pixels.dtype), refresh_thumbnail)


def exif_of(data):
    photo = any_format.decode(data)
    return codec_of(photo.format).metadata(data, photo.index).exif


FORMS = ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"]


@pytest.mark.parametrize("form", FORMS)
def test_the_thumbnail_in_exif_shows_the_new_photo_in_every_format(form):
    exif = exif_with_thumbnail()
    data = with_exif(form, exif)
    place = find_thumbnail(exif)
    result = exif_of(encoded(data).data)
    assert is_new(result[place])
    assert result[: place.start] == exif[: place.start]
    assert len(result) == len(exif)
    assert exif_of(encoded(data, refresh_thumbnail=False).data) == exif


@pytest.mark.parametrize("form", FORMS)
def test_a_preview_in_maker_notes_shows_the_new_photo_in_every_format(form):
    exif = exif_with_preview()
    data = with_exif(form, exif)
    result = encoded(data)
    start = exif.index(b"\xff\xd8\xff")
    stop = start + len(small())
    new = exif_of(result.data)
    assert result.notes == ()
    assert is_new(new[start:stop])
    assert new[:start] + new[stop:] == exif[:start] + exif[stop:]
    kept = encoded(data, refresh_thumbnail=False)
    assert (exif_of(kept.data), kept.notes) == (exif, (PREVIEWS,))


def test_a_preview_of_something_else_stays_and_is_named():
    exif = exif_with_preview(small(OLD[::-1]))
    for form in ("JPEG", "WEBP"):
        result = encoded(with_exif(form, exif))
        assert exif_of(result.data) == exif
        assert result.notes == (PREVIEWS,)


def test_a_new_thumbnail_in_png_has_a_true_checksum():
    for chunk in png_chunks.chunks(encoded(with_exif("PNG", exif_with_thumbnail())).data):
        assert zlib.crc32(chunk.raw[4:-4]) == int.from_bytes(chunk.raw[-4:], "big")


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
@pytest.mark.parametrize("name", [b"exif", b"APP1"])
def test_a_thumbnail_in_exif_that_is_a_text_of_png_shows_the_new_photo(name, kind):
    exif = exif_with_thumbnail()
    block = (b"Exif\0\0" + exif).hex().encode()
    lines = b"\n".join(block[at : at + 72] for at in range(0, len(block), 72))
    text = b"\n%s\n    %d\n%s\n" % (name, len(exif) + 6, lines)
    coded = text if kind == b"tEXt" else b"\0" + zlib.compress(text)
    chunk = png_chunks.make_chunk(kind, b"Raw profile type " + name + b"\0" + coded)
    data = encode_image(Image.fromarray(OLD), "PNG")
    result = encoded(data[:33] + chunk + data[33:]).data
    with Image.open(io.BytesIO(result)) as image:
        found = image.text["Raw profile type " + name.decode()]
    lengths = [len(line) for line in found.splitlines()]
    assert lengths == [len(line) for line in text.splitlines()]
    new = bytes.fromhex("".join(found.splitlines()[3:]))
    assert is_new(new[6:][find_thumbnail(exif)])
    assert new[:6] == b"Exif\0\0"


def test_a_damaged_text_of_exif_in_png_stays():
    data = encode_image(Image.fromarray(OLD), "PNG")
    for text in (b"", b"\nexif\n 4\nno digits", b"\nexif\n4\nabc"):
        chunk = png_chunks.make_chunk(b"tEXt", b"Raw profile type exif\0" + text)
        assert chunk in encoded(data[:33] + chunk + data[33:]).data


def test_only_the_exif_chunk_of_a_webp_changes():
    data = with_exif("WEBP", exif_with_thumbnail()) + b"and more"
    kept, new = (encoded(data, refresh).data for refresh in (False, True))
    place = kept.index(b"EXIF")
    assert len(new) == len(kept)
    assert new[:place] == kept[:place]
    assert new.endswith(b"and more")


def test_a_picture_that_is_too_detailed_for_its_room_is_coded_more_coarsely():
    blurred = np.asarray(shrink(OLD, 24, 16).resize((144, 96), Image.Resampling.BICUBIC))
    exif = exif_with_thumbnail(small(blurred, quality=95))
    photo = any_format.decode(with_exif("JPEG", exif))
    sharp = np.clip(OLD + np.random.default_rng(0).normal(0, 25, OLD.shape), 0, 255)
    result = exif_of(any_format.encode(photo, sharp.astype(np.uint8)).data)
    place = find_thumbnail(exif)
    new, old = (Image.open(io.BytesIO(block[place])) for block in (result, exif))
    assert sum(new.quantization[0]) > 1.1 * sum(old.quantization[0])
    assert difference(new, sharp.astype(np.uint8)) < difference(old, sharp.astype(np.uint8))


def add_segment(marker, payload):
    jpeg = encode_image(Image.fromarray(OLD), "JPEG", quality=95)
    return jpeg[:2] + jpeg_markers.make_segment(marker, payload) + jpeg[2:]


def index_of_preview(kind=0x010002, preview=None, third=b""):
    """A JPEG file with a multi-picture index of the photo, a preview and a third picture."""
    preview = preview or encode_image(shrink(OLD, 96, 64), "JPEG", quality=90)
    entries = bytearray(48)
    fields = [write_numbers(0xB001, "<", LONG, 3), Field(0xB002, UNDEFINED, 48, b"?" * 48)]
    index = write_block(fields, {}, "<")
    first = add_segment(jpeg_markers.APP2, b"MPF\0" + index)
    base = first.index(b"MPF\0") + 4
    end = len(first)
    struct.pack_into("<IIIHH", entries, 0, 0x030000, end, 0, 0, 0)
    struct.pack_into("<IIIHH", entries, 16, kind, len(preview), end - base, 0, 0)
    struct.pack_into("<IIIHH", entries, 32, 0x020002, len(third), end + len(preview) - base, 0, 0)
    at = base + index.index(b"?" * 48)
    return first[:at] + bytes(entries) + first[at + 48 :] + preview + third


def listed_pictures(data):
    """The pictures of a multi-picture index as Pillow finds them, in bytes."""
    base = data.index(b"MPF\0") + 4
    with Image.open(io.BytesIO(data)) as image:
        for entry in image.mpinfo[0xB002][1:]:
            start = base + entry["DataOffset"]
            yield data[start : start + entry["Size"]]


@pytest.mark.parametrize("kind", [0x010001, 0x010002, 0x010003])
def test_a_large_thumbnail_shows_the_new_photo(kind):
    data = index_of_preview(kind, third=b"\xff\xd8\xff another view \xff\xd9")
    result = encoded(data)
    preview, third = listed_pictures(result.data)
    assert result.notes == ()
    assert is_new(preview)
    assert Image.open(io.BytesIO(preview)).size == (96, 64)
    assert third == b"\xff\xd8\xff another view \xff\xd9"


@pytest.mark.parametrize("kind", [0x020001, 0x020002, 0x020003, 0x000000])
def test_a_second_view_of_the_scene_is_no_preview(kind):
    preview = encode_image(shrink(OLD, 96, 64), "JPEG")
    result = encoded(index_of_preview(kind, preview))
    assert next(listed_pictures(result.data)) == preview
    assert result.notes == ()


def test_a_large_thumbnail_keeps_its_own_metadata():
    preview = encode_image(shrink(OLD, 96, 64), "JPEG", exif=b"Exif\0\0" + exif_with_preview(b"-"))
    new = next(listed_pictures(encoded(index_of_preview(preview=preview)).data))
    assert is_new(new)
    assert jpeg_markers.first_exif(new) == jpeg_markers.first_exif(preview)


def test_an_index_with_a_wrong_length_harms_nothing():
    data = bytearray(index_of_preview(third=b"third"))
    at = data.index(struct.pack("<I", 0x010002)) + 4
    for size, notes in ((10**9, ()), (3, (PREVIEWS,)), (0, (PREVIEWS,))):
        data[at : at + 4] = size.to_bytes(4, "little")
        result = encoded(bytes(data))
        assert result.notes == notes
        assert result.data.endswith(b"third" if size > 3 else data[-200:])


def test_an_index_that_points_into_the_photo_changes_no_pixel():
    data = bytearray(index_of_preview())
    at = data.index(struct.pack("<I", 0x010002)) + 8
    data[at : at + 4] = (1).to_bytes(4, "little")
    result = encoded(bytes(data))
    assert result.notes == (PREVIEWS,)
    assert result.data == encoded(bytes(data), refresh_thumbnail=False).data


def resource(picture, mark=b"\x04\x0c", name=b"\0\0"):
    head = struct.pack(">IIIIIIHH", 1, 48, 32, 144, 4608, len(picture), 24, 1)
    content = head + picture
    return b"8BIM" + mark + name + len(content).to_bytes(4, "big") + content


@pytest.mark.parametrize("name", [b"\0\0", b"\x03abc", b"\x04abcd\0"])
def test_photoshops_thumbnail_shows_the_new_photo(name):
    other = b"8BIM\x04\x04\0\0\0\0\0\x04text"
    start = b"Photoshop 3.0\0" + other
    for place in (resource(small(), name=name), resource(small(), name=name) + other):
        result = encoded(add_segment(jpeg_markers.APP13, start + place))
        at = result.data.index(start) + len(start)
        new = result.data[at : at + len(place)]
        assert result.notes == ()
        assert is_new(new[place.index(b"\xff\xd8") :])
        assert new[: place.index(b"\xff\xd8")] == place[: place.index(b"\xff\xd8")]
        assert new.endswith(other) == place.endswith(other)


def test_a_thumbnail_of_old_photoshop_keeps_its_exchanged_colours():
    place = resource(small(OLD[..., ::-1]), b"\x04\x09")
    result = encoded(add_segment(jpeg_markers.APP13, b"Photoshop 3.0\0" + place))
    at = result.data.index(b"8BIM")
    new = result.data[at : at + len(place)]
    assert result.notes == ()
    shown = Image.open(io.BytesIO(new[place.index(b"\xff\xd8") :]))
    assert is_new(Image.fromarray(np.asarray(shown)[..., ::-1]))
    kept = encoded(
        add_segment(jpeg_markers.APP13, b"Photoshop 3.0\0" + place), refresh_thumbnail=False
    )
    assert kept.notes == ("still as in the old photo: Photoshop's thumbnail",)


def jfif(head, picture):
    """A JPEG file whose JFIF segments hold a thumbnail."""
    jpeg = encode_image(Image.fromarray(OLD), "JPEG", quality=95)
    first = jpeg_markers.make_segment(jpeg_markers.APP0, head + picture)
    if head.startswith(b"JFXX"):
        return jpeg[:20] + first + jpeg[20:]
    return jpeg[:2] + first + jpeg[20:]


def test_a_thumbnail_in_jfif_shows_the_new_photo():
    pixels = shrink(OLD).tobytes()
    heads = {
        b"JFIF\0\1\2\0\0\1\0\1\x30\x20": pixels,
        b"JFXX\0\x13\x30\x20": pixels,
        b"JFXX\0\x10": small(),
    }
    for head, picture in heads.items():
        result = encoded(jfif(head, picture))
        at = result.data.index(head) + len(head)
        new = result.data[at : at + len(picture)]
        assert result.notes == ()
        assert is_new(new if picture != pixels else Image.frombytes("RGB", (48, 32), new))


@pytest.mark.parametrize("shape", [(10, 2000), (2000, 10)])
def test_a_very_thin_photo_takes_its_place_in_any_thumbnail(shape):
    photo = make_pixels(*shape)
    for height, width in ((4, 4), (120, 160), (1, 255), (255, 1), (3, 2)):
        thumbnail = np.zeros((height, width, 3), np.uint8)
        assert draw_like(thumbnail, photo) is None


def test_a_thin_photo_between_wide_bars_is_redrawn():
    photo = make_pixels(10, 2000)
    row = np.asarray(Image.fromarray(photo).resize((160, 1), Image.Resampling.BILINEAR))
    old = np.zeros((40, 160, 3), np.uint8)
    old[19:21] = row
    drawn = draw_like(old, photo)
    assert drawn is not None
    assert not drawn[:19].any()
    assert not drawn[21:].any()


def test_a_thumbnail_in_jfif_with_a_palette_is_named():
    result = encoded(jfif(b"JFXX\0\x11", b"\x30\x20" + bytes(768 + 48 * 32)))
    assert result.notes == ("still as in the old photo: thumbnails",)


def with_thumbnail_item(form, photo=OLD, properties=(), **options):
    """A file of items with a small image that refers to the large one."""
    file = bmff.read(encode(Image.fromarray(OLD), form))
    item = bmff.read(encode(shrink(photo), form, **options)).primary
    key = max(file.items) + 1
    entry = bytearray(item.entry)
    entry[12:14] = key.to_bytes(2, "big")  # after size, type and version
    item = replace(item, entry=bytes(entry), properties=(*item.properties, *properties))
    primary = file.primary
    primary = replace(primary, properties=(*primary.properties, *properties))
    references = (*file.references, Reference(b"thmb", key, (file.primary_id,)))
    items = {**file.items, file.primary_id: primary, key: item}
    return bmff.write(replace(file, items=items, references=references))


def shown_thumbnail(data):
    """The thumbnail of a file of items, decoded as it is stored."""
    file = bmff.read(data)
    (key,) = find_thumbnails(file)
    item = file.items[key]
    form = "AVIF" if item.type == b"av01" else "HEIF"
    alone = bmff.read(encode(shrink(OLD), form))
    kept = item.without({ROTATION, MIRROR}).properties
    alone = alone.with_primary(replace(alone.primary, data=item.data, properties=kept))
    return Image.fromarray(any_format.decode(bmff.write(alone)).pixels)


TURN = Property(make_box(b"irot", b"\1"), True)


@pytest.mark.parametrize("properties", [(), (TURN,)], ids=["upright", "turned"])
@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_a_thumbnail_image_shows_the_new_photo(form, properties):
    data = with_thumbnail_item(form, properties=properties)
    result = encoded(data)
    before, after = bmff.read(data), bmff.read(result.data)
    assert not is_new(shown_thumbnail(data))
    assert is_new(shown_thumbnail(result.data))
    assert result.notes == ()
    assert (after.primary_id, after.meta) == (before.primary_id, before.meta)
    assert after.references == before.references
    assert [item.entry for item in after.items.values()] == [
        item.entry for item in before.items.values()
    ]
    for old, new in zip(before.items.values(), after.items.values(), strict=True):
        assert [prop.type for prop in old.properties if prop == TURN] == [
            prop.type for prop in new.properties if prop == TURN
        ]


def test_a_thumbnail_image_of_something_else_stays_and_is_named():
    data = with_thumbnail_item("AVIF", OLD[::-1].copy())
    result = encoded(data)
    before, after = bmff.read(data), bmff.read(result.data)
    (key,) = find_thumbnails(before)
    assert after.items[key] == before.items[key]
    assert result.notes == ("still as in the old photo: thumbnails",)


@pytest.mark.parametrize("error", [RuntimeError, SyntaxError, OSError])
def test_a_thumbnail_image_that_a_library_cannot_read_stays_and_is_named(error):
    def fail(*unused):
        raise error("no image item")

    data = with_thumbnail_item("AVIF")
    redraw = Redraw(lambda pixels: pixels, lambda data: data)
    result = bmff_thumbnails.redraw(data, redraw, None, fail, fail)
    assert result.data == data
    assert result.stale == ("thumbnails",)
    assert find_companions(bmff.read(with_gain_map()), fail, 10**6) == ()


def test_a_thumbnail_that_is_upright_already_is_redrawn_upright():
    upright = np.rot90(OLD)
    data = with_thumbnail_item("AVIF", upright.copy(), properties=())
    file = bmff.read(data)
    primary = replace(file.primary, properties=(*file.primary.properties, TURN))
    result = encoded(bmff.write(file.with_primary(primary)))
    drawn = shown_thumbnail(result.data)
    assert result.notes == ()
    assert difference(drawn, np.rot90(NEW).copy()) < difference(drawn, upright.copy()) / 2


@pytest.mark.parametrize("is_first", [False, True])
def test_a_reduced_page_of_a_tiff_shows_the_new_photo(is_first):
    pages = [(OLD, 0), (np.asarray(shrink(OLD)), 1)]
    data = make_pages(*(reversed(pages) if is_first else pages))
    result = encoded(data)
    with Image.open(io.BytesIO(result.data)) as image:
        image.seek(not is_first)
        assert image.size == (48, 32)
        assert is_new(image)
        image.seek(is_first)
        assert np.array_equal(np.asarray(image), NEW)
    assert not any("still" in note for note in result.notes)


def test_a_jpeg_thumbnail_in_a_tiff_shows_the_new_photo():
    data = bytearray(write_tiff(OLD, None, Metadata()))
    picture = small()
    file = read_tiff(bytes(data))
    link = file.directory(file.first).stop - 4
    data += bytes(len(data) % 2)
    struct.pack_into("<I", data, link, len(data))
    start = len(data) + 2 + 3 * 12 + 4
    fields = ((0x0103, 6), (0x0201, start), (0x0202, len(picture)))
    data += struct.pack("<H", 3)
    data += b"".join(struct.pack("<HHII", tag, 4, 1, number) for tag, number in fields)
    data += bytes(4) + picture
    result = encoded(bytes(data))
    assert is_new(result.data[start : start + len(picture)])
    assert not any("still" in note for note in result.notes)
    kept = encoded(bytes(data), refresh_thumbnail=False)
    assert picture in kept.data
    assert kept.notes[-1] == "still as in the old photo: thumbnails"


def test_photoshops_thumbnail_and_a_makers_preview_in_a_tiff_show_the_new_photo():
    block = read_tiff(exif_with_preview())
    field = Field(Tag.PHOTOSHOP, UNDEFINED, len(resource(small())), resource(small()))
    data = write_tiff(OLD, None, Metadata(write_block([field], {}, "<")))
    result = encoded(data)
    file = read_tiff(result.data)
    resources = read_fields(file, file.first)[Tag.PHOTOSHOP].values
    assert is_new(resources[resources.index(b"\xff\xd8\xff") :])
    assert result.notes == ()
    result = encoded(write_tiff(OLD, None, Metadata(block.data)))
    assert is_new(result.data[result.data.index(b"\xff\xd8\xff") :])
    assert result.notes == ()


def test_a_converted_photo_takes_a_new_preview_along():
    photo = any_format.decode(with_exif("JPEG", exif_with_preview()))
    result = any_format.encode(photo, NEW, form=CONVERSIONS["webp"])
    new = exif_of(result.data)
    assert is_new(new[new.index(b"\xff\xd8\xff") :])
    kept = any_format.encode(photo, NEW, refresh_thumbnail=False, form=CONVERSIONS["webp"])
    assert kept.notes == (PREVIEWS,)


def with_lost_item(data, kind, damage):
    """A file in which the location of an item besides the photo is damaged."""
    data = bmff.write(bmff.read(data))
    file = bmff.read(data)
    found = {"Exif": [k for k, item in file.items.items() if item.type == b"Exif"]}
    found |= {"thumbnail": find_thumbnails(file), "gain map": gain_map_keys(file)}
    entry = found[kind][0].to_bytes(2, "big") + b"\0\0\0\0\0\1"  # method, file, number of pieces
    at = data.index(entry, data.index(b"iloc"))
    return data[: at + 2] + damage(data[at + 2 : at + 16]) + data[at + 16 :]


LOST = {
    "outside the file": lambda place: place[:6] + b"\x7f\0\0\0" + place[10:],
    "too long": lambda place: place[:10] + b"\x7f\0\0\0",
    "in another item": lambda place: b"\0\2" + place[2:],
    "in another file": lambda place: place[:2] + b"\0\1" + place[4:],
}


@pytest.mark.parametrize("damage", LOST.values(), ids=LOST.keys())
@pytest.mark.parametrize("kind", ["Exif", "thumbnail", "gain map"])
def test_an_item_that_is_not_in_the_file_does_not_stop_the_photo(kind, damage):
    make = {"thumbnail": partial(with_thumbnail_item, "AVIF"), "gain map": with_gain_map}
    whole = make.get(kind, lambda: make_avif(exif=exif_with_thumbnail()))()
    data = with_lost_item(whole, kind, damage)
    photo = any_format.decode(data)
    assert photo.notes == (bmff.LOST,)
    result = any_format.encode(photo, photo.pixels // 2)
    assert np.abs(any_format.decode(result.data).pixels.astype(int) - photo.pixels // 2).mean() < 8


@pytest.mark.parametrize("damage", LOST.values(), ids=LOST.keys())
def test_a_photo_whose_own_data_are_not_in_the_file_is_refused(damage):
    data = bmff.write(bmff.read(with_thumbnail_item("AVIF")))
    key = bmff.read(data).primary_id
    entry = key.to_bytes(2, "big") + b"\0\0\0\0\0\1"
    at = data.index(entry, data.index(b"iloc")) + 2
    with pytest.raises(PhotoError, match="damaged or cut off AVIF"):
        any_format.decode(data[:at] + damage(data[at : at + 14]) + data[at + 14 :])
