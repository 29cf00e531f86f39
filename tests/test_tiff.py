from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
from conftest import encode_image, make_exif, make_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unblur.errors import PhotoError
from unblur.formats import any_format, tiff
from unblur.formats.convert import convert
from unblur.formats.photo import JPEG, PNG, RAW, TIFF, identify
from unblur.formats.tiff_directory import read_tiff
from unblur.formats.tiff_pages import read_page

tifffile = pytest.importorskip("tifffile")  # another reader, to judge by


def make_tiff(pixels, **options):
    buffer = io.BytesIO()
    header = {name: options.pop(name) for name in ("bigtiff", "byteorder") if name in options}
    photometric = "rgb" if pixels.shape[-1] in (3, 4) else "minisblack"
    with tifffile.TiffWriter(buffer, **header) as writer:
        writer.write(pixels, **{"photometric": photometric, "metadata": None} | options)
    return buffer.getvalue()


def deblur(data):
    """Other pixels of the same kind, in place of the network's result."""
    photo = any_format.decode(data)
    pixels = photo.pixels[::-1].copy()
    pixels[0] //= 2
    return photo, pixels, any_format.encode(photo, pixels)


def read(data, page=0):
    return tifffile.imread(io.BytesIO(data), key=page)


KINDS = {
    "plain": {},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "planes": {"planarconfig": "separate"},
    "planes of tiles": {"planarconfig": "separate", "tile": (32, 16)},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True, "rowsperstrip": 7},
    "deflate": {"compression": "zlib", "rowsperstrip": 7},
    "old deflate": {"compression": "deflate"},
    "predictor": {"compression": "zlib", "predictor": True, "byteorder": ">"},
    "lzma": {"compression": "lzma"},
    "lzw": {"compression": "lzw", "predictor": True},
    "packbits": {"compression": "packbits"},
    "zstd": {"compression": "zstd", "tile": (16, 16), "predictor": True},
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", KINDS)
def test_another_reader_finds_the_new_pixels(kind, dtype):
    if kind in ("lzw", "packbits", "zstd"):
        pytest.importorskip("imagecodecs")
    data = make_tiff_of_kind(kind, make_pixels(41, 57, dtype=dtype))
    photo, pixels, result = deblur(data)
    assert np.array_equal(photo.pixels, make_pixels(41, 57, dtype=dtype))
    assert np.array_equal(np.squeeze(np.moveaxis(read(result.data), *plane(kind))), pixels)


def plane(kind):
    return (0, -1) if "planes" in kind else (0, 0)


def make_tiff_of_kind(kind, pixels):
    if "planes" in kind:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        return make_tiff(pixels, photometric="rgb", **KINDS[kind])
    return make_tiff(pixels, **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_only_offsets_and_byte_counts_change(kind):
    if kind in ("lzw", "packbits", "zstd"):
        pytest.importorskip("imagecodecs")
    data = make_tiff_of_kind(kind, make_pixels(41, 57))
    _, _, result = deblur(data)
    before, after = tags(data), tags(result.data)
    changed = {name for name in before if before[name] != after[name]}
    assert before.keys() == after.keys()
    assert changed <= {"StripOffsets", "StripByteCounts", "TileOffsets", "TileByteCounts"}


def tags(data):
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return {tag.name: (tag.dtype, tag.value) for tag in file.pages[0].tags}


def test_sixteen_bits_keep_all_their_levels():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    photo = any_format.decode(make_tiff(ramp, compression="zlib", predictor=True))
    result = any_format.encode(photo, photo.pixels)
    assert np.array_equal(read(result.data), ramp)


def test_uncompressed_files_keep_their_size_and_every_byte_around_the_pixels():
    data = make_tiff(make_pixels(32, 32), description="kept") + b"behind"
    _, pixels, result = deblur(data)
    start = data.index(make_pixels(32, 32).tobytes())
    assert result.data[:start] == data[:start]
    assert result.data[start:] == pixels.tobytes() + b"behind"


def test_compressed_files_do_not_keep_the_old_pixels_too():
    data = make_tiff(make_pixels(64, 64, dtype=np.uint16), compression="zlib", rowsperstrip=4)
    photo = any_format.decode(data)
    result = any_format.encode(photo, photo.pixels[::-1])
    assert len(result.data) < len(data) * 1.1


def test_metadata_is_kept_byte_for_byte():
    image = Image.fromarray(make_pixels(32, 48))
    exif = Image.Exif()
    exif.load(make_exif(orientation=8))
    data = encode_image(image, "TIFF", exif=exif, icc_profile=b"profile" * 30)
    _, _, result = deblur(data)
    kept = Image.open(io.BytesIO(result.data))
    assert kept.getexif() == Image.open(io.BytesIO(data)).getexif()
    assert kept.getexif()[0x0112] == 8
    assert kept.info["icc_profile"] == b"profile" * 30


@pytest.mark.parametrize("kind", ["unassalpha", "unspecified"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_not_touched(kind, channels, dtype):
    samples = make_pixels(40, 50, channels, dtype)
    photometric = "rgb" if channels == 4 else "minisblack"
    data = make_tiff(
        samples, photometric=photometric, extrasamples=[kind], planarconfig="contig", tile=(32, 32)
    )
    _, pixels, result = deblur(data)
    assert np.array_equal(read(result.data)[..., -1], samples[..., -1])
    assert np.array_equal(read(result.data)[..., :-1], pixels)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_multiplied_by_their_opacity_do_not_exceed_it(channels, dtype):
    samples = make_pixels(40, 50, channels, dtype)
    photometric = "rgb" if channels == 4 else "minisblack"
    data = make_tiff(
        samples, photometric=photometric, extrasamples=["assocalpha"], planarconfig="contig"
    )
    photo, pixels, result = deblur(data)
    colors, alpha = read(result.data)[..., :-1], samples[..., -1:]
    assert np.array_equal(read(result.data)[..., -1:], alpha)
    within = pixels <= alpha
    assert np.array_equal(colors[within], pixels[within])
    assert (colors <= np.maximum(alpha, samples[..., :-1])).all()
    unchanged = read(any_format.encode(photo, photo.pixels).data)
    assert np.array_equal(unchanged, samples)  # even where they did exceed it


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_that_was_saved_as_a_channel_hides_nothing(dtype):
    samples = make_pixels(40, 50, 4, dtype)
    photo, pixels, _ = deblur(
        make_tiff(samples, photometric="rgb", extrasamples=["unspecified"], planarconfig="contig")
    )
    assert photo.opacity is None
    for form in (PNG, JPEG):
        encoded = convert(photo, pixels, form, None, strip_metadata=False, refresh_thumbnail=True)
        assert Image.open(io.BytesIO(encoded.data)).mode == "RGB"
        assert "an extra channel" in encoded.notes[-1]
    bare = convert(photo, pixels, TIFF, None, strip_metadata=True, refresh_thumbnail=True)
    with tifffile.TiffFile(io.BytesIO(bare.data)) as file:
        assert file.pages[0].tags["ExtraSamples"].value == (0,)
    assert np.array_equal(read(bare.data)[..., 3], samples[..., 3])


def test_white_is_zero_shows_the_network_a_positive():
    stored = make_pixels(16, 16, 1)[..., 0]
    photo, pixels, result = deblur(make_tiff(stored, photometric="miniswhite"))
    assert np.array_equal(photo.pixels[..., 0], 255 - stored)
    assert np.array_equal(read(result.data), 255 - pixels[..., 0])


def make_pages(*pages, **options):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for pixels, subfile in pages:
            writer.write(pixels, photometric="rgb", subfiletype=subfile, metadata=None, **options)
    return buffer.getvalue()


def test_a_thin_giant_is_refused_before_its_pixels_are_decoded(monkeypatch):
    monkeypatch.setattr(tiff, "decode_page", None)
    with pytest.raises(PhotoError, match="so thin"):
        any_format.decode(make_tiff(make_pixels(20_000, 1)), max_pixels=20_000)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_other_pages_stay_as_they_are(compression):
    pages = [(make_pixels(30, 40, seed=seed), 0) for seed in range(3)]
    _, pixels, result = deblur(make_pages(*pages, compression=compression))
    assert np.array_equal(read(result.data), pixels)
    assert all(np.array_equal(read(result.data, page), pages[page][0]) for page in (1, 2))
    assert result.notes == ("page 1 of 3 was deblurred",)


def test_a_thumbnail_before_the_photo_is_passed_over():
    thumbnail, picture = make_pixels(8, 10), make_pixels(30, 40)
    photo, _, result = deblur(make_pages((thumbnail, 1), (picture, 0)))
    assert photo.pixels.shape == (30, 40, 3)
    assert np.array_equal(read(result.data, 0), thumbnail)
    assert result.notes == (
        "page 2 of 2 was deblurred",
        "still as in the old photo: thumbnails",
    )


def test_a_file_of_thumbnails_only_is_refused():
    with pytest.raises(PhotoError, match="nothing but thumbnails"):
        any_format.decode(make_pages((make_pixels(8, 10), 1)))


def test_tiles_that_share_their_bytes_come_apart():
    data = bytearray(make_tiff(np.zeros((16, 32, 3), np.uint8), tile=(16, 16)))
    file = read_tiff(bytes(data))
    entry = next(file.pages()).entries[324]
    data[entry.start + 4 : entry.start + 8] = data[entry.start : entry.start + 4]
    pixels = make_pixels(16, 32)
    result = any_format.encode(any_format.decode(bytes(data)), pixels)
    assert np.array_equal(read(result.data), pixels)


def test_pages_that_share_their_bytes_are_refused():
    data = bytearray(make_pages((make_pixels(16, 16), 0), (make_pixels(16, 16), 0)))
    file = read_tiff(bytes(data))
    first, second = (page.entries[273].start for page in file.pages())
    data[second : second + 4] = data[first : first + 4]
    with pytest.raises(PhotoError, match="share bytes"):
        deblur(bytes(data))


def test_byte_counts_that_outgrow_their_type_get_a_wider_one():
    flat = make_tiff(np.zeros((300, 400, 3), np.uint8), compression="zlib", rowsperstrip=150)
    data = narrow(flat, 279)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    result = any_format.encode(any_format.decode(data), noise)
    assert np.array_equal(read(result.data), noise)


def narrow(data, tag):
    """Store an array of two LONG as SHORT, as libtiff does with small ones."""
    entry = next(read_tiff(data).pages()).entries[tag]
    values = np.frombuffer(data, "<u4", 2, entry.start).astype("<u2").tobytes()
    start = entry.position
    return data[: start + 2] + b"\3\0" + data[start + 4 : start + 8] + values + data[start + 12 :]


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_jpeg_in_tiff_stays_jpeg_with_the_colours_that_nobody_changed(subsampling):
    pytest.importorskip("imagecodecs")
    pixels = np.kron(make_pixels(16, 20), np.ones((4, 4, 1))).astype(np.uint8)
    options = {"photometric": "ycbcr", "subsampling": subsampling, "rowsperstrip": 16}
    data = make_tiff(pixels, compression="jpeg", **options)
    photo = any_format.decode(data)
    result = any_format.encode(photo, photo.pixels)
    again = any_format.decode(result.data)
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 0.1
    assert tags(result.data)["Compression"] == tags(data)["Compression"]


def test_jpeg_in_tiff_gets_new_pixels():
    data = encode_image(Image.fromarray(make_pixels(64, 80)), "TIFF", compression="jpeg")
    photo = any_format.decode(data)
    again = any_format.decode(any_format.encode(photo, photo.pixels // 2).data)
    assert np.abs(again.pixels.astype(int) - photo.pixels // 2).mean() < 4


def test_jpeg_tiles_that_another_library_wrote_are_read_by_it_again():
    pytest.importorskip("imagecodecs")
    pixels = make_pixels(70, 90)
    data = make_tiff(pixels, compression="jpeg", tile=(32, 32), photometric="rgb")
    photo = any_format.decode(data)
    result = any_format.encode(photo, photo.pixels)
    assert np.abs(read(result.data).astype(int) - read(data)).mean() < 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": np.float32}, "floating point"),
        ({"dtype": np.int16}, "signed"),
        ({"dtype": np.uint32}, "32-bit"),
        ({"channels": 4, "photometric": "separated"}, "CMYK"),
        ({"photometric": "cielab"}, "Lab"),
        ({"photometric": "ycbcr"}, "YCbCr"),
        ({"channels": 5, "planarconfig": "contig"}, "more than one extra channel"),
    ],
)
def test_what_is_no_8_or_16_bit_grey_or_rgb_is_refused(options, reason):
    dtype, channels = options.pop("dtype", np.uint8), options.pop("channels", 3)
    pixels = np.zeros((16, 16, channels), dtype)
    with pytest.raises(PhotoError, match=reason):
        any_format.decode(make_tiff(pixels, **{"photometric": "rgb"} | options))


@pytest.mark.parametrize(("mode", "reason"), [("1", "1-bit"), ("P", "palette")])
def test_drawings_are_refused(mode, reason):
    data = encode_image(Image.fromarray(make_pixels(16, 16)).convert(mode), "TIFF")
    with pytest.raises(PhotoError, match=reason):
        any_format.decode(data)


def test_a_picture_too_large_is_refused_by_its_header():
    data = make_tiff(make_pixels(16, 16))
    with pytest.raises(PhotoError, match="more than the limit of 255"):
        any_format.decode(data, max_pixels=255)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_is_cut_off_is_refused(compression):
    data = make_tiff(make_pixels(64, 64), compression=compression)
    with pytest.raises(PhotoError, match="cut off"):
        any_format.decode(data[:-100])


def test_compressions_of_the_extra_name_it_when_it_is_missing(monkeypatch):
    pytest.importorskip("imagecodecs")
    data = make_tiff(make_pixels(16, 16), compression="lzw")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(PhotoError, match=r"unblur\[deep\]"):
        any_format.decode(data)


def test_tiff_is_told_by_its_content():
    assert identify(make_tiff(make_pixels(8, 8))) is TIFF
    assert identify(make_tiff(make_pixels(8, 8), bigtiff=True, byteorder=">")) is TIFF
    assert TIFF.result is TIFF is RAW.result is not PNG


SMALL = (
    make_tiff(make_pixels(9, 7), compression="zlib", rowsperstrip=4),
    make_tiff(make_pixels(9, 7, 1)[..., 0], byteorder=">", bigtiff=True, tile=(16, 16)),
    make_pages((make_pixels(4, 4), 1), (make_pixels(9, 7), 0)),
    encode_image(Image.fromarray(make_pixels(16, 16)), "TIFF", compression="jpeg"),
)


@settings(max_examples=300, deadline=1000)
@given(st.sampled_from(SMALL), st.lists(st.tuples(st.integers(0), st.binary(max_size=8))))
def test_damaged_files_are_processed_or_refused(data, damages):
    damaged = bytearray(data)
    for position, replacement in damages:
        start = position % len(data)
        damaged[start : start + len(replacement)] = replacement
    try:
        photo = any_format.decode(bytes(damaged), max_pixels=100_000)
        result = any_format.encode(photo, photo.pixels)
    except (PhotoError, ValueError):
        return
    assert any_format.decode(result.data).pixels.shape == photo.pixels.shape


@given(st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b""]), st.binary())
def test_any_bytes_give_a_page_or_a_reason(signature, rest):
    try:
        page = read_page(read_tiff(signature + rest))
    except (PhotoError, ValueError):
        return
    assert page.height > 0 < page.width


def damaged_tag(tag, place, count=None):
    """A TIFF with a field whose values lie in another place."""
    extra = [(65_000, "B", 9, b"8BIM\x04\x0c\0\0\0", True)]
    data = bytearray(make_tiff(make_pixels(16, 16), compression="zlib", extratags=extra))
    entry = next(read_tiff(bytes(data)).pages()).entries[65_000]
    struct.pack_into("<HHII", data, entry.position, tag, 4, count or 9, place)
    return bytes(data)


def followed_by(offset):
    """A TIFF whose page says that another one follows at an offset."""
    data = bytearray(make_tiff(make_pixels(16, 16)))
    stop = next(read_tiff(bytes(data)).pages()).stop
    data[stop - 4 : stop] = (offset % len(data)).to_bytes(4, "little")
    return bytes(data)


def cut_in_the_second_page():
    pages = (make_pixels(16, 16), 0), (make_pixels(64, 64, seed=1), 0)
    return make_pages(*pages, compression="zlib")[:-1000]


DAMAGED_BESIDE = {
    "last page cut off": cut_in_the_second_page,
    "next page at the last byte": lambda: followed_by(-1),
    "text in the pixels": lambda: damaged_tag(270, 8, 100),
    "text outside the file": lambda: damaged_tag(270, 100, 60_000),
    "Exif outside the file": lambda: damaged_tag(34_665, 1 << 30, 1),
    "Photoshop's data outside the file": lambda: damaged_tag(34_377, 1 << 30),
}


@pytest.mark.parametrize("make", DAMAGED_BESIDE.values(), ids=DAMAGED_BESIDE.keys())
def test_damage_beside_the_pixels_does_not_stop_the_photo(make):
    photo = any_format.decode(make())
    noise = np.random.default_rng(0).integers(0, 256, photo.pixels.shape, np.uint8)
    result = any_format.encode(photo, noise)
    assert np.array_equal(any_format.decode(result.data).pixels, noise)
