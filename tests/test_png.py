from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from conftest import check_recoding, encode_image, make_exif, make_pixels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unblur.errors import PhotoError
from unblur.formats import any_format, png

KEY = "the transparent colour became an alpha channel"
PALETTE = "the palette became truecolour"


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def write(color_type, rows, *, depth=8, before=b"", after=b"", interlaced=0):
    """A PNG made by hand of unfiltered rows of samples, (H, bytes)."""
    rows = np.asarray(rows, np.uint8)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    width = rows.shape[1] * 8 // depth // samples
    header = struct.pack(">IIBBBBB", width, len(rows), depth, color_type, 0, 0, interlaced)
    coded = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [chunk(b"IHDR", header), before, chunk(b"IDAT", coded), after, chunk(b"IEND", b"")]
    return png.SIGNATURE + b"".join(parts)


def make_png(channels=3, height=48, width=64, before=b"", after=b"", **options):
    """A PNG of 1 to 4 channels with chunks before and after its pixels."""
    pixels = make_pixels(height, width, channels)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    data = encode_image(image, "PNG", **options)
    index = data.index(b"IDAT") - 4
    return data[:index] + before + data[index:-12] + after + data[-12:]


def kinds(data):
    return [part.type for part in png.chunks(data)]


def find(data, kind):
    return next((part.data for part in png.chunks(data) if part.type == kind), None)


def reencode(data, invert=False):
    photo = any_format.decode(data)
    return any_format.encode(photo, 255 - photo.pixels if invert else photo.pixels)


def read(data):
    """The pixels that another reader sees."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


BEFORE = [
    chunk(b"gAMA", struct.pack(">I", 45455)),
    chunk(b"iCCP", b"P3\0\0" + zlib.compress(b"profile" * 1000)),
    chunk(b"cICP", b"\x0c\x0d\0\1"),
    chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    chunk(b"prVt", bytes(range(256))),
    chunk(b"tEXt", b"Comment\0" + "Föhn".encode("latin-1")),
]
AFTER = [
    chunk(b"eXIf", make_exif()[6:]),
    chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(b"8BIM" * 99)),
    chunk(b"tIME", b"\x07\xea\x0b\x17\x01\x02\x03"),
    chunk(b"tEXt", b"broken checksum")[:-1] + b"?",
]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_chunk_stays_byte_for_byte_and_in_place(channels):
    photo = make_png(channels, before=b"".join(BEFORE), after=b"".join(AFTER))
    result = reencode(photo, invert=True).data
    assert kinds(result) == kinds(photo)
    raws = [part.raw for part in png.chunks(result)]
    assert raws[1 : 1 + len(BEFORE)] == BEFORE
    assert raws[-1 - len(AFTER) : -1] == AFTER


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_unchanged_pixels_and_alpha_come_back_exactly(channels):
    photo = make_png(channels)
    assert np.array_equal(read(reencode(photo).data), read(photo))


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_never_changed_even_where_it_hides_the_pixels(channels):
    photo = make_png(channels)
    before, after = read(photo), read(reencode(photo, invert=True).data)
    assert np.array_equal(after[..., -1], before[..., -1])
    assert np.array_equal(after[..., :-1], 255 - before[..., :-1])


def test_trailing_data_stays():
    photo = make_png() + b"a vendor's trailer"
    assert reencode(photo).data.endswith(b"IEND\xaeB`\x82a vendor's trailer")


def test_pixels_in_several_chunks_apart_from_each_other_are_replaced_once():
    photo = make_png()
    coded = find(photo, b"IDAT")
    split = chunk(b"IDAT", coded[:100]) + chunk(b"IDAT", b"") + chunk(b"IDAT", coded[100:])
    result = reencode(photo.replace(chunk(b"IDAT", coded), split)).data
    assert kinds(result) == [b"IHDR", b"IDAT", b"IEND"]
    assert np.array_equal(read(result), read(photo))


COLORS = bytes(range(30, 30 + 3 * 16))
INDEXES = [[0x01, 0x23], [0x45, 0x67]]  # 4 bits each


def test_a_palette_becomes_truecolour_with_a_note():
    photo = write(3, INDEXES, depth=4, before=chunk(b"PLTE", COLORS) + chunk(b"hIST", bytes(32)))
    decoded, result = any_format.decode(photo), reencode(photo)
    assert decoded.notes == (PALETTE,)
    assert decoded.alpha is None
    assert kinds(result.data) == [b"IHDR", b"IDAT", b"IEND"]
    assert read(result.data)[1, 3].tolist() == list(COLORS[21:24])


def test_a_palette_with_transparency_becomes_truecolour_with_alpha():
    photo = write(3, INDEXES, depth=4, before=chunk(b"PLTE", COLORS) + chunk(b"tRNS", b"\0\x80"))
    result = reencode(photo).data
    assert find(result, b"tRNS") is None
    assert read(result)[0, :, 3].tolist() == [0, 128, 255, 255]
    assert any_format.decode(photo).notes == (PALETTE,)


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"\2", b"\0\x24\0\x25\0\x26"), (b"\x10", None), (b"\xff", None)],
    ids=["in the palette", "just outside", "far outside"],
)
def test_a_background_from_the_palette_becomes_its_colour(data, expected):
    photo = write(3, INDEXES, depth=4, before=chunk(b"PLTE", COLORS) + chunk(b"bKGD", data))
    assert find(reencode(photo).data, b"bKGD") == expected


@pytest.mark.parametrize(("transparency", "expected"), [(b"", b"\5\6\5"), (b"\0", b"\5\6\5\x08")])
def test_significant_bits_of_a_palette_get_one_for_alpha(transparency, expected):
    before = chunk(b"sBIT", b"\5\6\5") + chunk(b"PLTE", COLORS)
    before += chunk(b"tRNS", transparency) if transparency else b""
    assert find(reencode(write(3, INDEXES, depth=4, before=before)).data, b"sBIT") == expected


def test_a_colour_key_becomes_an_alpha_channel():
    rows = np.array([[10, 20, 30, 10, 20, 31]])
    before = chunk(b"sBIT", b"\x08\x08\x08") + chunk(b"tRNS", struct.pack(">HHH", 10, 20, 30))
    photo = write(2, rows, before=before)
    result = reencode(photo).data
    assert read(result)[0].tolist() == [[10, 20, 30, 0], [10, 20, 31, 255]]
    assert find(result, b"tRNS") is None
    assert find(result, b"sBIT") == b"\x08\x08\x08\x08"
    assert any_format.decode(photo).notes == (KEY,)


@pytest.mark.parametrize(("depth", "row"), [(2, [0b00_01_10_11]), (4, [0x05, 0xAF]), (8, [5, 170])])
def test_grey_of_few_bits_keeps_its_levels_key_and_background(depth, row):
    levels = 2**depth - 1
    value = read(write(0, [row], depth=depth))[0, 1]
    level = int(value) * levels // 255
    told = struct.pack(">H", level)
    photo = write(0, [row], depth=depth, before=chunk(b"tRNS", told) + chunk(b"bKGD", told))
    result = reencode(photo).data
    shown = read(result)[0]
    assert shown[1].tolist() == [value, 0]
    assert (shown[..., 1] == 0).sum() == 1
    assert find(result, b"bKGD") == struct.pack(">H", value)


def test_grey_of_few_bits_without_a_key_stays_grey():
    result = reencode(write(0, [[0x05, 0xAF]], depth=4)).data
    assert read(result).tolist() == [[0, 85, 170, 255]]


def test_an_interlaced_photo_keeps_its_pixels_and_is_interlaced_no_more():
    photo = write(0, [[0], [40], [20], [10], [30]], interlaced=1)  # in the order of Adam7
    result = reencode(photo).data
    assert read(result).tolist() == [[0], [10], [20], [30], [40]]
    assert find(result, b"IHDR")[-1] == 0


def test_chunks_that_new_pixels_make_false_are_left_out():
    photo = make_png(before=chunk(b"iDOT", bytes(28)) + chunk(b"caBX", b"jumb") + BEFORE[0])
    result = reencode(photo)
    assert kinds(result.data) == [b"IHDR", b"gAMA", b"IDAT", b"IEND"]
    assert "C2PA" in result.notes[0]


def test_a_zipped_text_of_two_megabytes_stays():
    text = zlib.compress(b"<x:xmpmeta>" + bytes(2 << 20))
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + text)
    assert xmp in reencode(make_png(before=xmp)).data


def test_damaged_metadata_does_not_cost_the_photo():
    damaged = chunk(b"iCCP", b"no end") + chunk(b"pHYs", b"") + chunk(b"zTXt", b"x\0\0junk")
    assert damaged in reencode(make_png(before=damaged)).data


def test_animations_are_refused():
    frames = [Image.fromarray(make_pixels(8, 8, seed=seed)) for seed in range(2)]
    photo = encode_image(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(PhotoError, match="animation"):
        any_format.decode(photo)


def test_one_bit_images_are_refused():
    with pytest.raises(PhotoError, match="1-bit"):
        any_format.decode(encode_image(Image.new("1", (8, 8)), "PNG"))


def test_a_photo_cut_off_anywhere_is_refused():
    photo = make_png(height=8, width=8, after=AFTER[0])
    for length in range(8, len(photo)):
        with pytest.raises(PhotoError):
            any_format.decode(photo[:length])


@pytest.mark.parametrize(
    ("width", "options"), [(1, {"interlaced": 1}), (15, {"depth": 4}), (15, {}), (1, {})]
)
@pytest.mark.parametrize("rows", [1, 9, 14])
def test_a_photo_whose_last_rows_are_missing_is_refused_even_if_it_ends_well(width, options, rows):
    whole = write(0, np.full((15, width), 99), **options)
    assert any_format.decode(whole).pixels.min() > 0
    pixels = zlib.decompress(find(whole, b"IDAT"))
    kept = zlib.compress(pixels[: rows * (width + 1)])
    cut = whole.replace(chunk(b"IDAT", find(whole, b"IDAT")), chunk(b"IDAT", kept))
    with pytest.raises(PhotoError, match="cut off"):
        any_format.decode(cut)


@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_photo_whose_last_rows_are_black_is_whole(interlaced):
    black = write(0, np.zeros((15, 1)), interlaced=interlaced)
    assert any_format.decode(black).pixels.shape == (15, 1, 1)


def test_a_decompression_bomb_is_refused_by_its_header():
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = png.SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(PhotoError, match="10,000,000,000 pixels"):
        any_format.decode(bomb)


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_a_thin_giant_is_refused_for_the_work_that_it_takes(size):
    photo = encode_image(Image.fromarray(make_pixels(*size)), "PNG")
    with pytest.raises(PhotoError, match="so thin that it is padded to [0-9,]+ pixels"):
        any_format.decode(photo, max_pixels=32 * 20_000 - 1)
    assert any_format.decode(photo, max_pixels=32 * 20_000).pixels.shape == (*size, 3)


def test_a_thin_giant_is_refused_before_its_pixels_are_decoded(monkeypatch):
    monkeypatch.setattr(png, "to_array", None)
    with pytest.raises(PhotoError, match="so thin"):
        any_format.decode(encode_image(Image.new("RGB", (1, 20_000)), "PNG"), max_pixels=20_000)


def test_an_impossible_bit_depth_is_refused():
    photo = write(0, INDEXES, depth=2, before=chunk(b"bKGD", b"\0\1"))
    damaged = photo.replace(b"\x02\x00\0\0\0", b"\x00\x00\0\0\0", 1)
    assert damaged != photo
    with pytest.raises(ValueError, match="impossible bit depth"):
        png.splice(damaged, make_png(1))


def test_a_file_without_pixels_cannot_be_spliced():
    coded = make_png()
    with pytest.raises(ValueError, match="no pixels"):
        png.splice(coded[:33] + chunk(b"IEND", b""), coded)


PHOTOS = [
    make_png(4, 8, 8, before=BEFORE[0], after=AFTER[2]),
    make_png(1, 8, 8),
    write(3, INDEXES, depth=4, before=chunk(b"PLTE", COLORS) + chunk(b"tRNS", b"\0")),
    write(0, INDEXES, depth=2, before=chunk(b"tRNS", b"\0\1") + chunk(b"bKGD", b"\0\1")),
    write(2, [[1, 2, 3]], before=chunk(b"tRNS", bytes(6)) + chunk(b"sBIT", b"\5\6\5")),
]


@given(st.binary(max_size=200), st.sampled_from([b"", png.SIGNATURE, PHOTOS[0][:33]]))
def test_any_bytes_splice_or_raise_value_error(data, prefix):
    try:
        result = png.splice(prefix + data, PHOTOS[1])
    except ValueError:
        return
    assert kinds(result.data)[0] == b"IHDR"
    assert any_format.decode(result.data).pixels.shape == (8, 8, 1)


@st.composite
def mutations(draw):
    """A valid photo with a chunk's data replaced, its checksum true again, or with any bytes so."""
    photo = draw(st.sampled_from(PHOTOS))
    if draw(st.booleans()):
        target = draw(st.sampled_from(list(png.chunks(photo))))
        data = draw(st.binary(max_size=20))
        return photo.replace(target.raw, chunk(target.type, data), 1)
    start = draw(st.integers(8, len(photo) - 1))
    return photo[:start] + draw(st.binary(max_size=8)) + photo[start + draw(st.integers(0, 8)) :]


@given(mutations())
def test_what_decodes_encodes_and_decodes_to_the_same_pixels(data):
    if recoded := check_recoding(data):
        photo, again = recoded
        assert np.array_equal(again.pixels, photo.pixels)
