from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
from conftest import make_jpeg, make_pixels
from PIL import Image, ImageCms

from unblur.errors import PhotoError
from unblur.formats import any_format, raw, tiff_writer
from unblur.formats.photo import HEADER_BYTES, JPEG, PNG, RAW, TIFF, Photo, identify
from unblur.formats.tiff_directory import LONG, RATIONAL, SHORT, Tag, read_tiff
from unblur.formats.tiff_fields import Field, write_directory, write_header, write_numbers
from unblur.options import Options
from unblur.run.history import History
from unblur.run.plan import make_plan

ASCII, SRATIONAL = 2, 10
SIDE = 64
DNG_VERSION = Field(Tag.DNG_VERSION, 1, 4, b"\1\4\0\0")


def text(tag, value):
    values = value.encode() + b"\0"
    return Field(tag, ASCII, len(values), values)


def make_tiff(order, *fields):
    """A TIFF without pixels; a sequence as value is a directory of its own."""
    output, first = bytearray(8), []
    for item in fields:
        if isinstance(item, tuple):
            tag, inner = item
            item = write_numbers(tag, order, LONG, len(output))
            output += write_directory(inner, order, len(output))
        first.append(item)
    output[:8] = write_header(order, len(output))
    return bytes(output + write_directory(first, order, len(output)))


def make_dng(order="<", orientation=1):
    """A DNG of a Bayer sensor with one colour everywhere."""
    sensor = np.full((SIDE, SIDE), 20000, f"{order}u2").tobytes()
    matrix = [1, 0, 0, 0, 1, 0, 0, 0, 1]
    exif = [
        write_numbers(33434, order, RATIONAL, 1, 125),
        Field(Tag.MAKER_NOTE, 7, 8, b"secret!!"),
    ]
    gps = [Field(1, ASCII, 2, b"N\0")]
    fields = [
        write_numbers(Tag.NEW_SUBFILE_TYPE, order, LONG, 0),
        write_numbers(Tag.IMAGE_WIDTH, order, LONG, SIDE),
        write_numbers(Tag.IMAGE_LENGTH, order, LONG, SIDE),
        write_numbers(Tag.BITS_PER_SAMPLE, order, SHORT, 16),
        write_numbers(Tag.COMPRESSION, order, SHORT, 1),
        write_numbers(Tag.PHOTOMETRIC_INTERPRETATION, order, SHORT, 32803),
        text(Tag.MAKE, "Łódź Optics"),
        text(Tag.MODEL, "One"),
        text(Tag.ARTIST, "Ansel"),
        write_numbers(Tag.STRIP_OFFSETS, order, LONG, 8),
        write_numbers(Tag.ORIENTATION, order, SHORT, orientation),
        write_numbers(Tag.SAMPLES_PER_PIXEL, order, SHORT, 1),
        write_numbers(Tag.ROWS_PER_STRIP, order, LONG, SIDE),
        write_numbers(Tag.STRIP_BYTE_COUNTS, order, LONG, len(sensor)),
        Field(Tag.XMP, 1, 21, b'tiff:Orientation="6" '),
        write_numbers(33421, order, SHORT, 2, 2),
        Field(33422, 1, 4, b"\0\1\1\2"),
        DNG_VERSION,
        text(50708, "Łódź Optics One"),
        write_numbers(50721, order, SRATIONAL, *(n for value in matrix for n in (value, 1))),
        write_numbers(50728, order, RATIONAL, 1, 1, 1, 1, 1, 1),
    ]
    output = bytearray(8) + sensor
    for tag, inner in ((Tag.EXIF_IFD, exif), (Tag.GPS_IFD, gps)):
        fields.append(write_numbers(tag, order, LONG, len(output)))
        output += write_directory(inner, order, len(output))
    output[:8] = write_header(order, len(output))
    return bytes(output + write_directory(fields, order, len(output)))


def write_tiff(pixels, known):
    """The TIFF of developed pixels, with the metadata of a file of directories."""
    index = raw.developed_metadata(pixels, known)
    return raw.encode(Photo(pixels, None, RAW, b"", {}, index=index), pixels).data


@pytest.fixture(params=["<", ">"])
def developed(request):
    """The file that a DNG becomes."""
    pytest.importorskip("rawpy")
    photo = any_format.decode(make_dng(request.param))
    return any_format.encode(photo, photo.pixels).data


def test_a_raw_photo_becomes_an_upright_16_bit_tiff():
    pytest.importorskip("rawpy")
    photo = any_format.decode(make_dng(orientation=6))
    assert photo.pixels.shape == (SIDE, SIDE, 3)
    assert photo.pixels.dtype == np.uint16
    assert photo.format.result is TIFF
    assert "16-bit TIFF" in photo.notes[0]


@pytest.mark.parametrize("form", [JPEG, PNG])
def test_a_raw_photo_is_developed_to_another_format(form):
    pytest.importorskip("rawpy")
    pytest.importorskip("imagecodecs")  # for 16 bits
    photo = any_format.decode(make_dng())
    developed = any_format.decode(any_format.encode(photo, photo.pixels, form=form).data)
    assert (developed.format, developed.pixels.shape) == (form, (SIDE, SIDE, 3))


def test_a_raw_photo_is_stripped_as_the_tiff_that_it_becomes():
    pytest.importorskip("rawpy")
    photo = any_format.decode(make_dng())
    assert b"Ansel" not in any_format.encode(photo, photo.pixels, strip_metadata=True).data


def test_a_raw_photo_is_written_as_a_tiff_once(monkeypatch):
    pytest.importorskip("rawpy")
    written, write = [], tiff_writer.write_tiff

    def noted(pixels, *rest, **options):
        written.append(pixels.shape)
        return write(pixels, *rest, **options)

    monkeypatch.setattr(tiff_writer, "write_tiff", noted)
    photo = any_format.decode(make_dng())
    assert written == []
    any_format.encode(photo, photo.pixels)
    assert written == [(SIDE, SIDE, 3)]


def test_another_reader_finds_pixels_and_profile(developed):
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(io.BytesIO(developed)) as file:
        page = file.pages[0]
        assert np.array_equal(page.asarray(), any_format.decode(developed).pixels)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(page.tags["InterColorProfile"].value))
        assert page.tags["Orientation"].value == 1
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_what_is_known_of_the_photo_goes_along(developed):
    file = read_tiff(developed)
    first = next(file.pages())
    exif = file.directory(file.value(first, Tag.EXIF_IFD))
    gps = file.directory(file.value(first, Tag.GPS_IFD))
    assert file.raw(first.entries[Tag.MAKE]) == "Łódź Optics\0".encode()
    assert file.raw(first.entries[Tag.ARTIST]) == b"Ansel\0"
    assert file.raw(first.entries[Tag.XMP]) == b'tiff:Orientation="1" '
    assert file.unpack("II", exif.entries[33434].start) == (1, 125)
    assert file.value(exif, Tag.COLOR_SPACE) == 1
    assert file.raw(gps.entries[1]) == b"N\0"
    assert b"secret" not in developed


def test_exposure_that_lies_in_the_first_directory_goes_to_the_exif_directory():
    metadata = read_tiff(make_tiff("<", write_numbers(33437, "<", RATIONAL, 8, 1)))
    file = read_tiff(write_tiff(make_pixels(4, 4, dtype=np.uint16), metadata))
    exif = file.directory(file.value(next(file.pages()), Tag.EXIF_IFD))
    assert file.unpack("II", exif.entries[33437].start) == (8, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_without_metadata_is_still_a_photo(channels):
    pixels = make_pixels(700, 900, channels, np.uint16)
    data = write_tiff(pixels, read_tiff(write_header("<", 0)))
    assert np.array_equal(any_format.decode(data).pixels, pixels)
    assert Image.open(io.BytesIO(data)).size == (900, 700)


@pytest.mark.parametrize(
    "header",
    [
        b"IIU\0",
        b"IIRO",
        b"MMOR",
        b"FUJIFILMCCD-RAW 0201",
        b"II\x1a\0\0\0HEAPCCDR",
        b"\0\0\0\x18ftypcrx ",
        b"II*\0\x10\0\0\0CR\2\0",
        b"II*\0\x08\0\0\0IIII",
    ],
)
def test_raw_is_told_by_its_signature(header):
    assert identify(header.ljust(HEADER_BYTES, b"\0")) is RAW


@pytest.mark.parametrize(
    "fields",
    [
        [DNG_VERSION],
        [write_numbers(Tag.PHOTOMETRIC_INTERPRETATION, "<", SHORT, 34892)],
        [(Tag.SUB_IFDS, [write_numbers(Tag.PHOTOMETRIC_INTERPRETATION, "<", SHORT, 32803)])],
        [(Tag.SUB_IFDS, [write_numbers(Tag.COMPRESSION, "<", SHORT, 34713)])],
    ],
)
def test_raw_that_is_built_like_a_tiff_is_told_by_what_it_holds(fields):
    assert identify(make_tiff("<", *fields)) is RAW
    assert identify(make_tiff("<", text(Tag.MAKE, "NIKON"))) is TIFF


def planned_name(source):
    """The name of a photo's result."""
    with History(source.with_name("history.sqlite3")) as history:
        return make_plan([str(source)], Options(), history, "settings").jobs[0].target.name


@pytest.mark.parametrize("name", ["IMG.dng", "IMG.NEF", "IMG.tif"])
def test_the_result_never_has_a_raw_files_ending(name, tmp_path):
    source = tmp_path / name
    source.write_bytes(make_dng())
    assert planned_name(source) == "IMG-unblurred.tif"


@pytest.mark.parametrize("name", ["IMG.dng", "IMG.tif"])
def test_a_raw_file_is_never_replaced(name, tmp_path, unblur):
    pytest.importorskip("rawpy")
    source = tmp_path / name
    source.write_bytes(make_dng())
    for options in (["--in-place"], ["--overwrite", "-o", tmp_path / "other.dng"]):
        result = unblur(source, *options)
        assert result.code == 1
        told = "does not end in .tif" if "-o" in options else "becomes TIFF, so --in-place cannot"
        assert told in result.stderr
    assert source.read_bytes() == make_dng()
    assert not (tmp_path / "other.dng").exists()


def test_a_raw_file_that_is_cut_off_is_refused():
    data = make_tiff(
        "<",
        DNG_VERSION,
        write_numbers(Tag.STRIP_OFFSETS, "<", LONG, 8),
        write_numbers(Tag.STRIP_BYTE_COUNTS, "<", LONG, 1000),
    )
    with pytest.raises(PhotoError, match="cut off"):
        any_format.decode(data)
    assert not raw.is_cut_off(data + bytes(1000))


def test_a_fujifilm_file_that_is_cut_off_is_told():
    header = b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + struct.pack(">6I", 108, 10, 118, 10, 128, 72)
    assert raw.is_cut_off(header + bytes(91))
    assert not raw.is_cut_off(header + bytes(92))


def test_a_canon_cr3_file_that_is_cut_off_is_told():
    boxes = struct.pack(">I8s", 16, b"ftypcrx ").ljust(16, b"\0")
    boxes += struct.pack(">I4sQ", 1, b"mdat", 116) + bytes(100)
    assert raw.is_cut_off(boxes[:-1])
    assert not raw.is_cut_off(boxes)


def test_damaged_raw_is_refused():
    pytest.importorskip("rawpy")
    with pytest.raises(PhotoError, match="LibRaw"):
        any_format.decode(b"IIU\0" + bytes(1000))


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(PhotoError, match=r"unblur\[raw\]"):
        any_format.decode(make_dng())


def test_a_jpeg_that_is_named_like_a_raw_file_stays_a_jpeg(tmp_path):
    source = tmp_path / "IMG.nef"
    source.write_bytes(make_jpeg())
    assert planned_name(source) == "IMG-unblurred.jpg"
