from __future__ import annotations

import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from conftest import encode_image, make_exif, make_jpeg, make_pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from unblur.errors import PhotoError
from unblur.formats import (
    any_format,
    bmff,
    jpeg_markers,
    jpeg_metadata,
    metadata,
    png_chunks,
    png_metadata,
    webp,
)
from unblur.formats.bmff_boxes import make_box
from unblur.formats.bmff_items import MIRROR, ROTATION, Property
from unblur.formats.codec import codec_of
from unblur.formats.jpeg_markers import APP2, make_segment
from unblur.formats.metadata import Metadata, make_orientation, read_orientation
from unblur.formats.photo import AVIF, CONVERSIONS, JPEG, PNG, TIFF, WEBP
from unblur.formats.pixels import rounded, turned
from unblur.formats.tiff_directory import Tag, read_tiff
from unblur.formats.tiff_fields import read_fields
from unblur.formats.tiff_writer import write_tiff

EXIF = make_exif(6).removeprefix(b"Exif\0\0")
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>Zdj\xc4\x99cie</x:xmpmeta>"
ICC = bytes(range(256)) * 300  # more than one JPEG segment holds
BLOCKS = Metadata(EXIF, XMP, ICC)
CONTAINERS = {"JPEG": JPEG, "PNG": PNG, "WEBP": WEBP}


def extract(form, data):
    return codec_of(form).metadata(data, None)


def insert(form, data, blocks):
    module = {JPEG: jpeg_metadata, PNG: png_metadata, WEBP: webp}[form]
    return module.with_metadata(data, blocks)


def make_photo(form, mode="RGB", **options):
    """A decoded photo whose file has EXIF, XMP and a profile."""
    channels = len(mode)
    pixels = make_pixels(40, 56, channels)
    image = Image.frombytes(mode, (56, 40), pixels.tobytes())
    if form == "TIFF":
        return any_format.decode(write_tiff(pixels, None, BLOCKS))
    data = insert(CONTAINERS[form], encode_image(image, form, **options), BLOCKS)
    return any_format.decode(data)


def converted(photo, name, **options):
    result = any_format.encode(photo, photo.pixels, form=CONVERSIONS[name], **options)
    return any_format.decode(result.data), result.notes


def pixels_of(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("target", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_every_pair_of_formats_carries_the_blocks_byte_for_byte(source, target):
    photo = make_photo(source)
    result, notes = converted(photo, target)
    same_format = photo.format is result.format
    assert extract(result.format, result.container) == (BLOCKS if same_format else BLOCKS.upright())
    assert result.format is CONVERSIONS[target]
    assert notes == ()


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_a_tiff_has_the_exif_tags_with_maker_notes_where_they_were(source):
    result, _ = converted(make_photo(source), "tiff")
    file = read_tiff(result.container)
    exif = BLOCKS.upright().exif
    old, new = read_tiff(exif), read_fields(file, file.first)
    assert result.container[8 : len(exif)] == exif[8:]
    for tag, field in read_fields(old, old.first).items():
        assert new[tag] == field
    assert (new[Tag.XMP].values, new[Tag.ICC_PROFILE].values) == (XMP, ICC)


def test_a_tiffs_fields_become_an_exif_block():
    result, notes = converted(make_photo("TIFF"), "jpeg")
    found = extract(JPEG, result.container)
    old, new = (read_fields(file, file.first) for file in map(read_tiff, (EXIF, found.exif)))
    assert new[Tag.MAKE] == old[Tag.MAKE]
    assert read_orientation(found.exif) == 1
    assert (found.xmp, found.icc) == (XMP, ICC)
    assert notes == ()


@pytest.mark.parametrize("target", ["png", "tiff"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_lossless_format_keeps_every_pixel(mode, target):
    photo = make_photo("JPEG", mode)
    result, _ = converted(photo, target)
    assert np.array_equal(result.pixels, turned(photo.pixels, 6))


@pytest.mark.parametrize("target", ["webp", "tiff"])
def test_transparency_is_carried_exactly(target):
    photo = make_photo("PNG", "RGBA")
    result, _ = converted(photo, target)
    assert np.array_equal(result.alpha, turned(photo.alpha, 6))


def test_transparency_into_jpeg_is_refused():
    with pytest.raises(PhotoError, match="JPEG has no transparency"):
        converted(make_photo("PNG", "RGBA"), "jpeg")


def test_16_bits_are_kept_where_they_can_be_and_else_rounded_with_a_note():
    pixels = make_pixels(30, 40, dtype=np.uint16)
    photo = any_format.decode(write_tiff(pixels, None, Metadata()))
    result, notes = converted(photo, "webp")
    assert notes == ("rounded to 8 bits",)
    assert abs(result.pixels.astype(float) - pixels / 257).mean() < 4
    pytest.importorskip("imagecodecs")
    assert np.array_equal(converted(photo, "png")[0].pixels, pixels)


def test_rounding_goes_to_the_nearest_level():
    levels = np.arange(1 << 16, dtype=np.uint16)
    assert np.array_equal(rounded(levels), np.rint(levels / 257))


def test_pages_of_a_tiff_that_stripping_drops_are_told():
    pages = [Image.fromarray(make_pixels(16, 24, seed=seed)) for seed in (1, 2)]
    data = encode_image(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    photo = any_format.decode(data)
    result = any_format.encode(photo, photo.pixels, strip_metadata=True)
    assert result.notes == ("left out of the TIFF file: further pages",)


def test_a_tiff_of_multiplied_colours_is_refused():
    pixels = make_pixels(16, 24, 4)
    data = bytearray(write_tiff(pixels[..., :3], pixels[..., 3], Metadata()))
    file = read_tiff(bytes(data))
    start = file.directory(file.first).entries[Tag.EXTRA_SAMPLES].start
    data[start : start + 2] = (1).to_bytes(2, file.byte_order)
    with pytest.raises(PhotoError, match="premultiplied alpha"):
        converted(any_format.decode(bytes(data)), "png")


def test_what_is_turned_upright_says_so_in_exif_and_xmp():
    xmp = b"<rdf:Description tiff:Orientation='6'/>"
    turned = Metadata(EXIF, xmp).upright()
    assert read_orientation(turned.exif) == 1
    assert turned.xmp == xmp.replace(b"6", b"1")


def test_what_cannot_be_carried_is_told():
    data = insert(JPEG, encode_image(Image.new("RGB", (16, 16)), "JPEG"), BLOCKS)
    iptc = jpeg_markers.make_segment(0xED, b"Photoshop 3.0\0 and so on")
    comment = jpeg_markers.make_segment(jpeg_markers.COM, b"hello")
    photo = any_format.decode(data[:2] + comment + iptc + data[2:] + b"a video")
    _, notes = converted(photo, "png")
    assert notes == ("left out of the PNG file: comments, IPTC, data after the image",)


def test_a_packet_too_large_for_jpeg_is_told():
    data = insert(PNG, encode_image(Image.new("RGB", (16, 16)), "PNG"), Metadata(xmp=XMP * 2000))
    result, notes = converted(any_format.decode(data), "jpeg")
    assert notes == ("left out of the JPEG file: XMP of more than 64 KiB",)
    assert extract(JPEG, result.container) == Metadata()


@pytest.mark.parametrize("strip_metadata", [False, True])
@pytest.mark.parametrize(
    ("mode", "space", "target", "is_kept"),
    [
        ("L", b"GRAY", "png", True),
        ("L", b"GRAY", "tiff", True),
        ("L", b"GRAY", "webp", False),  # which is always RGB
        ("L", b"RGB ", "png", False),
        ("L", b"RGB ", "webp", True),
        ("RGB", b"RGB ", "webp", True),
        ("RGB", b"GRAY", "png", False),
        ("RGB", b"CMYK", "tiff", False),
    ],
)
def test_a_profile_for_other_colours_is_left_out(mode, space, target, is_kept, strip_metadata):
    profile = (bytes(16) + space + bytes(16) + b"acsp").ljust(128, b"\0")
    image = Image.new(mode, (20, 16))
    photo = any_format.decode(encode_image(image, "JPEG", icc_profile=profile))
    result, notes = converted(photo, target, strip_metadata=strip_metadata)
    assert extract(result.format, result.container).icc == (profile if is_kept else b"")
    name = space.decode().strip()
    left = f"left out of the {result.format.name} file: a profile for {name}"
    assert notes == (() if is_kept else (left,))


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_a_profile_is_joined_from_its_parts_in_any_order(order):
    assert extract(JPEG, with_profile_parts(order, 3)).icc == b"ABC"


@pytest.mark.parametrize(
    ("order", "count"), [((1, 3), 3), ((1, 2, 2), 3), ((1, 1), 1), ((0,), 0), ((1, 2), 3)]
)
def test_an_incomplete_profile_is_left_out_as_viewers_do(order, count):
    photo = any_format.decode(with_profile_parts(order, count))
    result, notes = converted(photo, "png")
    assert extract(PNG, result.container).icc == b""
    assert notes == ("left out of the PNG file: a damaged profile",)


def with_profile_parts(order, count):
    """A JPEG file with parts of the profile ``ABC``, which have these numbers."""
    parts = (jpeg_metadata.ICC + bytes([n, count]) + b"ABC"[max(n, 1) - 1 :][:1] for n in order)
    photo = make_jpeg(16, 16)
    return photo[:2] + b"".join(make_segment(APP2, part) for part in parts) + photo[2:]


def test_a_photo_too_wide_for_webp_is_refused():
    photo = any_format.decode(encode_image(Image.new("L", (16_384, 1)), "PNG"))
    with pytest.raises(PhotoError, match="16383"):
        converted(photo, "webp")


@pytest.mark.parametrize(("rotation", "axis"), [(0, 0), (1, None), (3, 1), (2, 0), (0, 1)])
def test_an_avif_is_turned_as_its_properties_say(rotation, axis):
    photo = any_format.decode(_turned_avif(rotation, axis))
    with Image.open(io.BytesIO(photo.container)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    result, _ = converted(photo, "png")
    assert np.array_equal(result.pixels, upright)
    assert read_orientation(extract(PNG, result.container).exif) == 1


def _turned_avif(rotation, axis):
    image = Image.fromarray(make_pixels(24, 40))
    file = bmff.read(encode_image(image, "AVIF", exif=make_exif(1)))
    turns = [Property(make_box(ROTATION, bytes([rotation])), True)]
    if axis is not None:
        turns.append(Property(make_box(MIRROR, bytes([axis])), True))
    primary = file.primary.without({ROTATION, MIRROR})
    primary = replace(primary, properties=(*primary.properties, *turns))
    return bmff.write(file.with_primary(primary))


def test_a_stripped_tiff_is_turned_and_keeps_its_profile_only():
    photo = make_photo("TIFF")
    result = any_format.encode(photo, photo.pixels, strip_metadata=True)
    assert extract(TIFF, result.data) == Metadata(icc=ICC)
    assert np.array_equal(any_format.decode(result.data).pixels, turned(photo.pixels, 6))


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_stripping_leaves_profile_and_orientation_only(source):
    photo = make_photo(source)
    result = any_format.encode(photo, photo.pixels, strip_metadata=True)
    left = extract(photo.format, result.data)
    assert (left.xmp, left.icc, left.left_out) == (b"", ICC, ())
    assert set(read_fields(read_tiff(left.exif), 8)) == {Tag.ORIENTATION}
    assert read_orientation(left.exif) == 6
    assert "Söhne".encode() not in result.data


def test_stripping_an_upright_photo_leaves_no_exif():
    data = encode_image(Image.new("RGB", (16, 16)), "JPEG", exif=make_exif(1), comment=b"hello")
    photo = any_format.decode(data + b"a video")
    result = any_format.encode(photo, photo.pixels, strip_metadata=True).data
    assert extract(JPEG, result) == Metadata()
    assert result.endswith(b"\xff\xd9")


def test_stripping_a_png_keeps_what_tells_its_colours():
    bare = encode_image(Image.new("RGB", (16, 16)), "PNG", dpi=(72, 72))
    gamma = png_chunks.make_chunk(b"gAMA", (100_000).to_bytes(4, "big"))
    text = png_chunks.make_chunk(b"tEXt", b"Comment\0hello")
    photo = any_format.decode(bare[:33] + gamma + text + bare[33:])
    result = any_format.encode(photo, photo.pixels, strip_metadata=True).data
    kinds = [chunk.type for chunk in png_chunks.chunks(result)]
    assert kinds == [b"IHDR", b"gAMA", b"pHYs", b"IDAT", b"IEND"]


def test_stripping_an_avif_keeps_its_profile_rotation_and_transparency():
    image = Image.fromarray(make_pixels(24, 40, 4))
    data = encode_image(image, "AVIF", exif=make_exif(6), xmp=XMP, icc_profile=ICC)
    photo = any_format.decode(data)
    result = any_format.encode(photo, photo.pixels, strip_metadata=True).data
    file = bmff.read(result)
    assert extract(AVIF, result) == Metadata(icc=ICC)
    assert file.primary.find(b"irot") == bmff.read(data).primary.find(b"irot")
    assert np.array_equal(pixels_of(result)[..., 3], pixels_of(data)[..., 3])
    assert len(file.items) == 2


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF"])
def test_a_higher_quality_makes_a_larger_file_of_the_same_metadata(form):
    if form == "AVIF":
        image = Image.fromarray(make_pixels(40, 56))
        photo = any_format.decode(encode_image(image, "AVIF", xmp=XMP, icc_profile=ICC))
    else:
        photo = make_photo(form)
    files = [any_format.encode(photo, photo.pixels, quality=q).data for q in (10, 50, 90)]
    assert sorted(map(len, files)) == list(map(len, files))
    assert len(set(map(len, files))) == 3
    blocks = extract(photo.format, photo.container)
    assert all(extract(photo.format, data) == blocks for data in files)


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_another_quality_keeps_the_sampling(sampling):
    photo = make_photo("JPEG", subsampling=sampling)
    again = any_format.decode(any_format.encode(photo, photo.pixels, quality=40).data)
    assert again.coding["subsampling"] == sampling


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_quality_means_nothing_to_a_lossless_format_and_that_is_told(form):
    photo = make_photo(form)
    result = any_format.encode(photo, photo.pixels, quality=10)
    assert result.notes == (f"the quality does not apply to this {form} file",)
    assert np.array_equal(any_format.decode(result.data).pixels, photo.pixels)


def test_a_png_with_a_compressed_packet_and_a_bomb_is_read():
    packed = png_chunks.make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(XMP))
    bomb = png_chunks.make_chunk(
        b"iCCP", b"p\0\0" + zlib.compress(bytes(png_metadata.LONGEST_INFLATED + 1))
    )
    data = encode_image(Image.new("L", (8, 8)), "PNG")
    found = extract(PNG, data[:33] + packed + bomb + data[33:])
    assert found == Metadata(xmp=XMP, left_out=("damaged metadata",))


@pytest.mark.parametrize("rest", [b"", b"\n$not digits\x80"])
@pytest.mark.parametrize("keyword", [b"Raw profile type exif", b"Raw profile type APP1"])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
def test_exif_in_a_text_of_a_png_is_carried_and_turns_the_photo(kind, keyword, rest):
    text = raw_profile(b"Exif\0\0" + EXIF) + rest
    photo = any_format.decode(with_text(kind, keyword, text))
    result, notes = converted(photo, "jpeg")
    assert extract(JPEG, result.container).exif == BLOCKS.upright(quarter_turn=True).exif
    assert result.pixels.shape == (60, 40, 3)
    assert notes == ()


@pytest.mark.parametrize(
    "text", [b"", b"\nexif\n", b"\nexif\nx\n00", b"\nexif\n9\n4d4d", b"\n\n-1\n4d"]
)
def test_a_damaged_text_of_exif_is_left_out(text):
    found = extract(PNG, with_text(b"tEXt", b"Raw profile type exif", text))
    assert (found.exif, found.left_out) == (b"", ("damaged metadata",))


def test_the_exif_chunk_of_a_png_counts_more_than_a_text():
    other = raw_profile(make_orientation(3))
    data = with_text(b"tEXt", b"Raw profile type exif", other)
    chunk = png_chunks.make_chunk(b"eXIf", make_orientation(8))
    assert read_orientation(extract(PNG, data[:33] + chunk + data[33:]).exif) == 8
    assert read_orientation(extract(PNG, data[:-12] + chunk + data[-12:]).exif) == 8


def raw_profile(block):
    """A block as ImageMagick writes it into a text."""
    lines = b"\n".join(block.hex().encode()[at : at + 72] for at in range(0, 2 * len(block), 72))
    return b"\nexif\n%8d\n%b\n" % (len(block), lines)


def with_text(kind, keyword, text):
    """A PNG file with a text."""
    data = encode_image(Image.fromarray(make_pixels(40, 60)), "PNG")
    coded = b"\0" + zlib.compress(text) if kind == b"zTXt" else text
    return data[:33] + png_chunks.make_chunk(kind, keyword + b"\0" + coded) + data[33:]


def test_a_webp_of_odd_chunks_stays_aligned():
    data = encode_image(Image.new("RGBA", (5, 3), (1, 2, 3, 4)), "WEBP", lossless=True)
    blocks = Metadata(EXIF + b"\0" * (1 - len(EXIF) % 2), b"odd", b"odd")
    result = insert(WEBP, data, blocks)
    assert extract(WEBP, result) == blocks
    assert [c.type for c in webp.chunks(result)] == [b"VP8X", b"ICCP", b"VP8L", b"EXIF", b"XMP "]
    assert np.array_equal(pixels_of(result), pixels_of(data))


@given(st.integers(1, 8))
def test_an_orientation_block_says_its_orientation(orientation):
    exif = make_orientation(orientation)
    assert read_orientation(exif) == orientation
    assert read_orientation(metadata.upright_exif(exif)) == 1


@given(st.sampled_from([b"", b"II*\0", b"MM\0*\0\0\0\x08"]), st.binary(max_size=64))
def test_any_exif_block_has_an_orientation_and_fits_into_a_tiff(start, rest):
    exif = start + rest
    assert read_orientation(exif) in range(1, 9)
    pixels = make_pixels(4, 4)
    photo = any_format.decode(write_tiff(pixels, None, Metadata(exif)))
    assert np.array_equal(photo.pixels, pixels)


@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.data())
def test_a_damaged_file_gives_metadata_or_a_value_error(form, draw):
    image = Image.new("RGB", (8, 8))
    data = bytearray(insert(CONTAINERS[form], encode_image(image, form), Metadata(EXIF, XMP, b"I")))
    for _ in range(draw.draw(st.integers(1, 4))):
        position = draw.draw(st.integers(0, len(data) - 1))
        data[position] = draw.draw(st.integers(0, 255))
    try:
        found = extract(CONTAINERS[form], bytes(data))
    except (ValueError, PhotoError):
        return
    assert len(found.exif + found.xmp) <= len(data)


def test_an_exif_block_that_begins_as_camera_raw_makes_no_raw_of_a_tiff():
    exif = b"MM\0*\0\0\0\x10CR\0\0\0\0\0\0" + bytes(6)
    data = write_tiff(make_pixels(8, 8), None, Metadata(exif, xmp=b"<x/>"))
    assert any_format.decode(data).format is TIFF
    assert extract(TIFF, data).xmp == b"<x/>"
