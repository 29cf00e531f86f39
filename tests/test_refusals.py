"""Messages for refused files state the reason and what to do; intact photos of odd forms are
processed."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from conftest import encode_image, make_exif, make_jpeg, make_pixels
from PIL import Image
from test_avif import make_animation
from test_webp import one_frame

from unblur.errors import PhotoError
from unblur.formats import any_format, jpeg_end, png_chunks
from unblur.formats.metadata import Metadata
from unblur.formats.tiff_coding import Compression
from unblur.formats.tiff_directory import LONG, SHORT, Tag, read_tiff
from unblur.formats.tiff_fields import write_block, write_numbers
from unblur.formats.tiff_writer import write_tiff

IMAGE = Image.fromarray(make_pixels(40, 56))
PNG = encode_image(IMAGE, "PNG")
WEBP = encode_image(IMAGE, "WEBP", exif=make_exif())
CGBI = PNG[:8] + png_chunks.make_chunk(b"CgBI", b"P\0\x20\2") + PNG[8:]
BOX = struct.pack(">I4s4s4s", 16, b"ftyp", b"mif3", b"avif")
MINI = BOX + struct.pack(">I4s", 12, b"mini") + bytes(4)
MINI_AS_AVIF = struct.pack(">I4s4s4s4s", 20, b"ftyp", b"mif3", bytes(4), b"avif") + MINI[16:]


def animation(frames, *more):
    """A PNG that claims this number of frames, with chunks behind its picture."""
    control = png_chunks.make_chunk(b"acTL", struct.pack(">II", frames, 0))
    frame = png_chunks.make_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 56, 40, 0, 0, 1, 10, 0, 0))
    return PNG[:33] + control + frame + PNG[33:-12] + b"".join(more) + PNG[-12:]


def tiff_of(compression=Compression.NONE, **fields):
    """A TIFF with some numeric fields replaced; ``None`` removes a field."""
    data = bytearray(write_tiff(make_pixels(40, 56), None, Metadata(), compression))
    file = read_tiff(bytes(data))
    entries = file.directory(file.first).entries
    for name, value in fields.items():
        entry = entries[Tag[name]]
        if value is None:  # becomes a private tag, which has no meaning
            struct.pack_into("<H", data, entry.position, 65_000)
        else:
            struct.pack_into("<H" if entry.type == SHORT else "<I", data, entry.start, value)
    return bytes(data)


def jpeg_xl_dng():
    fields = {Tag.IMAGE_WIDTH: 8, Tag.IMAGE_LENGTH: 8, Tag.COMPRESSION: 52546, 50706: 0x0107}
    fields |= {Tag.PHOTOMETRIC_INTERPRETATION: 34892, Tag.STRIP_OFFSETS: 8, 279: 8}
    return write_block([write_numbers(tag, "<", LONG, n) for tag, n in fields.items()], {}, "<")


TABLE = [
    ("whole.jpg", make_jpeg(40, 56)[:-2], 0, "the end marker was missing, and was added"),
    ("progressive.jpg", make_jpeg(40, 56, progressive=True)[:-2], 0, "the end marker was missing"),
    ("half.jpg", make_jpeg(40, 56)[:-3], 1, "damaged or cut off JPEG file"),
    ("app.png", CGBI, 1, "pngcrush -revert-iphone-optimizations"),
    ("one.png", animation(1), 0, ""),
    ("two.png", animation(2), 1, "animations cannot be processed"),
    ("other.png", animation(1, png_chunks.make_chunk(b"fdAT", bytes(9))), 1, "animations"),
    ("one.avif", make_animation(told=1), 0, "the animation of one frame became a still photo"),
    ("two.avif", make_animation(), 1, "animations cannot be processed"),
    ("one.webp", one_frame(WEBP), 0, "the animation of one frame became a still photo"),
    ("two.webp", one_frame(WEBP, 2), 1, "animations cannot be processed"),
    ("part.webp", one_frame(WEBP, size=bytes(6)), 1, "whose only frame is smaller than itself"),
    ("mini.avif", MINI, 1, "the compact form of AVIF and HEIF (mif3) cannot be processed"),
    ("both.avif", MINI_AS_AVIF, 1, "the compact form of AVIF and HEIF (mif3) cannot be processed"),
    ("untold.tif", tiff_of(STRIP_BYTE_COUNTS=None), 0, ""),
    ("zero.tif", tiff_of(STRIP_BYTE_COUNTS=0), 0, ""),
    ("packed.tif", tiff_of(Compression.DEFLATE, STRIP_BYTE_COUNTS=0), 1, "does not state the len"),
    ("old.tif", tiff_of(COMPRESSION=6, PHOTOMETRIC_INTERPRETATION=6), 1, "compression old JPEG"),
    ("fax.tif", tiff_of(COMPRESSION=4), 1, "compression fax cannot be processed"),
    ("jxl.tif", tiff_of(COMPRESSION=50002), 1, "compression JPEG XL cannot be processed; save"),
    ("lfs.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", 1, "git lfs pull"),
    ("annex.jpg", b"/annex/objects/SHA256E-s1--0.jpg\n", 1, "git annex get"),
    ("page.jpg", b"\xef\xbb\xbf\n <!DOCTYPE html><html>", 1, "a web page (HTML), not a photo"),
    ("remark.png", b"<!-- error -->\n<html lang=en>", 1, "a web page (HTML), not a photo"),
    ("layers.psd", b"8BPS\0\1" + bytes(60), 1, "Photoshop (PSD) files cannot be processed"),
    ("._photo.jpg", b"\0\5\x16\7\0\2\0\0" + bytes(60), 1, "macOS keeps beside a photo"),
    ("zeros.jpg", bytes(2000), 1, "nothing but zeros"),
    ("empty.jpg", b"", 1, "the file is empty"),
]


@pytest.mark.parametrize(
    ("name", "data", "code", "sentence"), TABLE, ids=[name for name, *_ in TABLE]
)
def test_a_file_gives_its_exit_code_and_its_sentence(name, data, code, sentence, tmp_path, unblur):
    path = tmp_path / name
    path.write_bytes(data)
    result = unblur("-v", path)
    assert result.code == code
    assert sentence in result.stderr
    if code:
        (line,) = (line for line in result.stderr.splitlines() if name in line)
        assert sentence in line


def test_a_dng_in_jpeg_xl_says_which_setting_helps():
    pytest.importorskip("rawpy")
    with pytest.raises(PhotoError, match="iPhone: ProRAW format 'JPEG Lossless'"):
        any_format.decode(jpeg_xl_dng())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("seed", range(2))
def test_only_a_picture_that_lacks_nothing_but_its_end_marker_is_processed(options, seed):
    data = encode_image(Image.fromarray(make_pixels(40, 56, seed=seed)), "JPEG", **options)
    expected = any_format.decode(data).pixels
    for length in range(len(data) - 60, len(data)):
        try:
            photo = any_format.decode(data[:length])
        except PhotoError:
            assert length < len(data) - 2
        else:
            assert np.array_equal(photo.pixels, expected)
            assert photo.notes == (jpeg_end.NO_END,)
            assert any_format.encode(photo, photo.pixels).data.endswith(b"\xff\xd9")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsampling": "4:4:4"},
        {"restart_marker_blocks": 2},
        {"keep_rgb": True},
        {"channels": 1},
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_picture_that_was_cut_off_before_it_got_its_end_marker_is_refused(options, share):
    data = make_jpeg(80, 112, **options)
    start = data.index(b"\xff\xda")
    cut = data[: start + round(share * (len(data) - start))].rstrip(b"\xff") + b"\xff\xd9"
    for decode in (any_format.decode, any_format.decode_reduced):
        with pytest.raises(PhotoError, match="ends before its pixels do"):
            decode(cut)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_picture_in_the_grey_of_missing_pixels_is_whole(mode, progressive):
    image = Image.new(mode, (60, 44), (128,) * len(mode))
    data = encode_image(image, "JPEG", progressive=progressive)
    pixels = any_format.decode(data).pixels
    assert (pixels == jpeg_end.MISSING).all()
    assert (any_format.decode_reduced(data)[0].pixels == jpeg_end.MISSING).all()


@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_a_picture_whose_rest_was_filled_is_cut_off(fill):
    data = make_jpeg(40, 56)
    with pytest.raises(PhotoError, match="cut off"):
        any_format.decode(data[: len(data) * 2 // 3] + fill * 4000)


def test_scans_that_are_missing_at_the_end_are_no_lone_end_marker():
    data = make_jpeg(40, 56, progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(PhotoError, match="cut off"):
        any_format.decode(data[:last])


def test_a_score_is_measured_without_the_end_marker():
    data = make_jpeg(40, 56)
    reduced, _ = any_format.decode_reduced(data[:-2])
    assert np.array_equal(reduced.pixels, any_format.decode_reduced(data)[0].pixels)


def test_strips_of_untold_length_are_written_where_they_were():
    data = tiff_of(STRIP_BYTE_COUNTS=None)
    photo = any_format.decode(data)
    assert np.array_equal(photo.pixels, make_pixels(40, 56))
    result = any_format.encode(photo, photo.pixels ^ np.uint8(1)).data
    assert len(result) == len(data)
    assert np.array_equal(any_format.decode(result).pixels, photo.pixels ^ np.uint8(1))


def test_an_animation_of_one_frame_keeps_its_chunks():
    data = animation(1)
    photo = any_format.decode(data)
    result = any_format.encode(photo, photo.pixels ^ np.uint8(1)).data
    kinds = [chunk.type for chunk in png_chunks.chunks(result)]
    assert {b"acTL", b"fcTL"} < set(kinds)
    with Image.open(io.BytesIO(result)) as image:
        assert np.array_equal(np.asarray(image), photo.pixels ^ np.uint8(1))
