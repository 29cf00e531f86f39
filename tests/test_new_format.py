"""A made-up format, to show that a new one takes its module and one row of the table.

The next lines, down to ``CODEC``, are the content of such a module. A file is the mark ``PLAIN1``,
width, height and the length of an XMP packet, the packet itself (or nothing), and RGB samples.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from conftest import make_jpeg, make_pixels

from unblur.errors import PhotoError
from unblur.formats import any_format, photo
from unblur.formats.codec import Codec, Target, codec_of
from unblur.formats.metadata import Metadata
from unblur.formats.photo import PNG, Encoded, Format, Photo, identify
from unblur.formats.pixels import refuse_large

MARK = b"PLAIN1"
HEADER = struct.Struct("<6sHHI")
ROW = Format("Plain", (".plain",), __name__, signatures=((0, MARK),), browsers_show=False)


def split(data):
    _, width, height, length = HEADER.unpack_from(data)
    start = HEADER.size + length
    if len(data) != start + 3 * width * height:
        raise ValueError("is of another length than its header tells")
    return (height, width, 3), data[HEADER.size : start], data[start:]


def join(pixels, xmp):
    height, width, _ = pixels.shape
    return HEADER.pack(MARK, width, height, len(xmp)) + xmp + pixels.tobytes()


def decode(data, max_pixels):
    shape, _, samples = split(data)
    refuse_large(shape[1], shape[0], max_pixels)
    return Photo(np.frombuffer(samples, np.uint8).reshape(shape), None, ROW, data, {})


def encode(original, pixels):
    return Encoded(join(pixels, split(original.container)[1]))


def coded_pixels(data, index=None):
    yield split(data)[2]


def metadata(data, index=None):
    return Metadata(xmp=split(data)[1])


def stripped(data):
    shape, _, samples = split(data)
    return join(np.frombuffer(samples, np.uint8).reshape(shape), b"")


def write(new, blocks, quality):
    return join(new.pixels, blocks.xmp)


CODEC = Codec(
    decode=decode,
    encode=encode,
    coded_pixels=coded_pixels,
    metadata=metadata,
    stripped=stripped,
    target=Target(write, longest_side=0xFFFF, is_8_bit=True, has_opacity=False),
)

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>Ansel</x:xmpmeta>"
PIXELS = make_pixels(48, 64)


@pytest.fixture(autouse=True)
def _a_row_more(monkeypatch):
    monkeypatch.setattr(photo, "FORMATS", (*photo.FORMATS, ROW))


@pytest.fixture
def album(tmp_path):
    """A folder of two photos in the new format, and another file."""
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "photo.plain").write_bytes(join(PIXELS, XMP))
    (folder / "bare.plain").write_bytes(join(PIXELS[::-1], b""))
    (folder / "notes.txt").write_text("PLAIN2")
    return folder


def test_a_photo_in_a_folder_is_found_deblurred_and_keeps_its_metadata(
    album, brightening_weights, unblur
):
    assert "2 done, 0 skipped, 0 failed" in unblur("-r", album, model=brightening_weights).stderr
    shape, xmp, samples = split((album / "photo-unblurred.plain").read_bytes())
    result = np.frombuffer(samples, np.uint8).reshape(shape)
    assert (shape, xmp) == (PIXELS.shape, XMP)
    assert result.astype(int).mean() > PIXELS.mean() + 5


def test_a_photo_is_recognised_by_its_content_whatever_it_is_called(album, unblur):
    (album / "photo.plain").rename(album / "photo")
    assert "2 done, 0 skipped, 0 failed" in unblur("-r", album).stderr
    assert split((album / "photo-unblurred.plain").read_bytes())[1] == XMP


def test_the_second_run_knows_photo_and_result_even_where_they_moved(album, unblur):
    unblur("-r", album)
    assert "0 done, 2 skipped, 0 failed" in unblur("-r", album).stderr
    moved = album.rename(album.with_name("moved"))
    assert "0 done, 2 skipped" in unblur("-r", moved).stderr


def test_a_photo_that_was_replaced_is_known_by_its_pixels(album, unblur):
    assert "2 done" in unblur("-r", "--in-place", "--no-backup", album).stderr
    path = album / "photo.plain"
    path.write_bytes(join(PIXELS, b"<other tags/>"))
    assert "0 done, 2 skipped" in unblur("-r", "--in-place", "--no-backup", album).stderr


def test_metadata_are_stripped_on_demand(album, unblur):
    assert unblur(album / "photo.plain", "--strip-metadata").code == 0
    assert split((album / "photo-unblurred.plain").read_bytes())[1] == b""


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:8]], ids=["short", "no header"]
)
def test_a_damaged_photo_is_refused_by_name(album, unblur, damage):
    path = album / "photo.plain"
    path.write_bytes(damage(path.read_bytes()))
    result = unblur("-r", album)
    assert result.code == 1
    (line,) = [line for line in result.stderr.splitlines() if "failed:" in line]
    assert "photo.plain" in line
    assert "damaged or cut off Plain file" in line


def test_a_photo_of_too_many_pixels_is_refused(album, unblur):
    (album / "large.plain").write_bytes(join(np.zeros((1001, 1000, 3), np.uint8), b""))
    result = unblur(album / "large.plain", "--max-pixels", "1000000")
    assert "1000x1001 is 1,001,000 pixels, more than the limit of 1,000,000" in result.stderr


def test_a_conversion_carries_the_metadata_both_ways(album, unblur):
    assert unblur(album / "photo.plain", "--format", "png").code == 0
    png = any_format.decode((album / "photo-unblurred.png").read_bytes())
    assert (png.format, np.array_equal(png.pixels, PIXELS)) == (PNG, True)
    back = any_format.encode(png, png.pixels, form=ROW)
    assert split(back.data)[1] == XMP
    jpeg = any_format.decode(make_jpeg())
    assert "EXIF" not in "".join(any_format.encode(jpeg, jpeg.pixels, form=ROW).notes)
    too_clear = Photo(PIXELS, PIXELS[..., 0], PNG, png.container, {})
    with pytest.raises(PhotoError, match="Plain has no transparency"):
        any_format.encode(too_clear, PIXELS, form=ROW)


@pytest.mark.parametrize("shown", [True, False])
def test_a_page_shows_originals_only_if_browsers_can(album, unblur, monkeypatch, shown):
    row = dataclasses.replace(ROW, browsers_show=shown)
    monkeypatch.setattr(photo, "FORMATS", (*photo.FORMATS[:-1], row))
    page = album / "page.html"
    assert unblur(album / "photo.plain", "--report", page).code == 0
    assert ("data-original=" in page.read_text("utf-8")) is shown


def test_messages_name_the_format_among_the_others(album, unblur):
    assert identify(b"PLAIN2") is None
    refused = unblur(album / "notes.txt").stderr
    assert "TIFF, camera RAW and Plain" in refused
    events = unblur(album / "photo.plain", "--json").stdout.splitlines()
    assert [json.loads(event)["status"] for event in events] == ["done"]


def test_no_module_but_its_own_names_a_format():
    rows = {row.name.rpartition(" ")[2].upper(): row for row in photo.FORMATS[:-1]}
    assert all(getattr(photo, name) is row for name, row in rows.items())
    imported = {
        (alias.name, path.stem)
        for path in Path(photo.__file__).parents[1].rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == photo.__name__
        for alias in node.names
        if alias.name in rows
    }
    assert imported == {(name, row.module.rpartition(".")[2]) for name, row in rows.items()}
    assert all(isinstance(codec_of(row), Codec) for row in photo.FORMATS)
