from __future__ import annotations

import contextlib
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from bombs import (
    JPEG_PLACES,
    before_segments,
    make_bombs,
    make_item,
    make_jpeg_of_scans,
    make_thumbnail,
    repeated,
)
from conftest import encode_image, make_pixels
from PIL import Image
from test_exif_thumbnail import refreshed

from unblur.errors import ExcessError, PhotoError
from unblur.file_limits import limited, refuse_excess
from unblur.formats import any_format, jpeg_markers, jpeg_pictures
from unblur.formats.bmff_items import Reference, refuse_costly
from unblur.formats.embedded_pictures import Redraw
from unblur.formats.pixels import reduced
from unblur.pictures.change import measure_change
from unblur.pictures.display import make_views

SECONDS = 1.0
"""Limit in seconds. The work takes a few hundredths; without limits, most of it would take
minutes."""


@contextlib.contextmanager
def quickly(name, seconds=SECONDS):
    """Check that the block takes no more CPU time than a limit in seconds."""
    start = time.process_time()
    yield
    took = time.process_time() - start
    assert took < seconds, f"{name}: {took:.1f} s"


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WebP", "AVIF", "HEIF", "TIFF"])
def test_no_container_takes_longer_than_its_size_is_worth(container):
    if container == "HEIF":
        pytest.importorskip("pillow_heif")
    for name, data in make_bombs(container, 250_000).items():
        photo = None
        with quickly(name), contextlib.suppress(PhotoError):
            photo = any_format.decode(data, 10_000_000)
        if photo:
            with quickly(name), contextlib.suppress(PhotoError):
                any_format.encode(photo, photo.pixels)
            with quickly(name, 2.5):  # a profile of 64 MB may be unpacked, and packed again
                any_format.encode(photo, photo.pixels, strip_metadata=True)
                make_views(photo, photo.pixels)


@pytest.mark.parametrize("place", JPEG_PLACES)
@pytest.mark.parametrize("block", [b"\xff", b"\xff" * 5000 + b"\0", b"\xff\xd8", b"\xff\0"])
def test_a_megabyte_of_an_erased_card_takes_no_second(place, block):
    data = place(repeated(block, 1_000_000))
    with quickly("decode"), contextlib.suppress(PhotoError):
        photo = any_format.decode(data)
        any_format.encode(photo, photo.pixels)
    with quickly("score"), contextlib.suppress(PhotoError):
        any_format.decode_reduced(data)
    with quickly("thumbnail"):
        refreshed(jpeg_markers.first_exif(data), make_pixels(48, 64))


def test_an_erased_block_changes_no_pixel():
    whole = any_format.decode(before_segments(b"")).pixels
    for place in JPEG_PLACES:
        with contextlib.suppress(PhotoError):  # where the end is missing, or data that was
            found = any_format.decode(place(b"\xff" * 70_000)).pixels
            assert place.__name__ == "in_the_scan" or np.array_equal(found, whole)


@pytest.mark.parametrize(
    ("name", "size", "parts"),
    [
        ("JPEG, empty comments before segments", 100_000, "segments"),
        ("JPEG of scans", 50_000, "scans"),
        ("PNG of empty texts", 300_000, "chunks"),
        ("PNG of 16 bits with too many pixels", 100_000, "bytes of pixels"),
        ("WebP of empty chunks", 100_000, "chunks"),
        ("AVIF of boxes", 100_000, "boxes"),
        ("AVIF of a wide web of items", 400_000, "references"),
        ("AVIF of properties", 300_000, "properties"),
        ("TIFF of empty pages", 100_000, "pages"),
        ("TIFF of strips", 100_000, "strips or tiles"),
        ("TIFF of tall tiles", 10_000, "pixels in its tiles"),
        ("TIFF of tables", 10_000, "JPEG tables"),
    ],
)
def test_a_file_of_far_too_many_parts_is_refused_with_what_to_do(name, size, parts):
    if "16 bits" in name:
        pytest.importorskip("imagecodecs")
    container = name.replace(",", "").split()[0]
    with pytest.raises(PhotoError, match=f"more than [0-9,]+ {parts}.*image editor") as caught:
        any_format.decode(make_bombs(container, size)[name])
    assert "\n" not in str(caught.value)


def test_a_jpeg_has_as_many_scans_as_an_encoder_writes():
    photo = any_format.decode(make_jpeg_of_scans(500, side=64))
    assert photo.coding["progressive"]


def test_a_thumbnail_of_too_many_scans_stays_as_it_was():
    picture = make_jpeg_of_scans(30_000, side=500)
    exif = make_thumbnail(picture[2:])
    with quickly("thumbnail"):
        assert refreshed(exif, make_pixels(500, 500)) == exif


def test_only_the_first_exif_block_is_a_photos():
    data = make_bombs("JPEG", 5000)["JPEG of thumbnails"]
    seen = []
    jpeg_pictures.redraw(data, Redraw(seen.append, seen.append), None)
    assert len(seen) == 1


def make_layers(levels):
    """An image made of two copies of another, which is made of two copies of a third, etc."""
    from test_bmff import make_file, make_size

    size = make_size(1000, 1000)
    items = {key: make_item(key, b"iovl", b"", size) for key in range(1, levels + 1)}
    references = tuple(Reference(b"dimg", key, (key + 1, key + 1)) for key in range(1, levels))
    return replace(make_file(), primary_id=1, items=items, references=references)


@pytest.mark.parametrize("levels", [7, 40])
def test_images_made_of_each_other_over_and_over_are_refused(levels):
    with quickly("count"), pytest.raises(ExcessError, match=r"pixels in the parts|levels"):
        refuse_costly(make_layers(levels))


def test_a_grid_of_tiles_that_reach_over_its_border_is_a_photo():
    from test_bmff import make_file, make_size

    refuse_costly(make_file())
    tiles = {key: make_item(key, b"hvc1", b"", make_size(512, 512)) for key in range(1, 5)}
    grid = make_item(9, b"grid", b"", make_size(513, 513))
    references = (Reference(b"dimg", 9, (1, 2, 3, 4)),)
    refuse_costly(
        replace(make_file(), primary_id=9, items={**tiles, 9: grid}, references=references)
    )


def test_as_many_parts_as_photos_have_are_no_excess():
    assert sum(1 for _ in limited(range(10_000), 0, "parts")) == 10_000
    with pytest.raises(ExcessError, match="more than 10,000 parts"):
        list(limited(range(10_001), 0, "parts"))
    refuse_excess(5, 5, "parts")


@pytest.mark.parametrize("shape", [(1, 200_000), (200_000, 1)])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_thin_photo_is_coded_and_scored_like_any_other(shape, form):
    pixels = make_pixels(*shape)
    data = encode_image(Image.fromarray(pixels), form)
    with quickly("thin photo", 2):
        photo = any_format.decode(data)
        again = any_format.decode(any_format.encode(photo, photo.pixels // 2).data)
        any_format.decode_reduced(data)
    assert np.array_equal(again.pixels, pixels // 2)


@pytest.mark.parametrize("shape", [(1, 6_000_000, 3), (6_000_000, 1, 3)])
def test_comparing_a_thin_photo_takes_little_besides_its_pixels(shape):
    before = np.zeros(shape, np.uint8)
    after = np.ones(shape, np.uint8)
    tracemalloc.start()
    found = measure_change(before, after)
    picture = reduced(before, 5000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 160 << 20  # before, 60 bytes for each of six million pixels
    assert sorted(found.blocks.shape) == [1, 6_000_000 // 16]
    assert sorted(picture.size) == [1, 1200]


def test_a_picture_made_of_pieces_is_that_of_the_whole(monkeypatch):
    pixels = make_pixels(70, 130)
    whole = np.asarray(reduced(pixels, 4))
    for size in (1, 500, 3000):
        monkeypatch.setattr("unblur.formats.pixels.STRIP_BYTES", size)
        assert np.array_equal(np.asarray(reduced(pixels, 4)), whole)
