from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from bombs import make_item
from conftest import encode_image
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_avif import make_avif
from test_bombs import quickly

from unblur.errors import ExcessError
from unblur.formats import any_format, av1, bmff
from unblur.formats.av1 import Extent
from unblur.formats.bmff_items import Reference

SEQUENCE, FRAME = 1 << 3 | 2, 6 << 3 | 2
"""Headers of units that tell their size."""


def unit(header, payload):
    assert len(payload) < 128
    return bytes([header, len(payload)]) + payload


def bits(*fields):
    """Numbers, each of some bits, as bytes."""
    text = "".join(f"{value:0{count}b}" for value, count in fields if count)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


SIZE = ((9, 4), (9, 4), (299, 10), (199, 10))
"""300x200, in ten bits each."""


@pytest.mark.parametrize("size", [(16, 16), (201, 300), (1, 7)])
def test_a_photos_frame_is_as_large_as_the_photo(size):
    data = bmff.read(make_avif(size=size)).primary.data
    assert av1.read_extent(data) == Extent(1, size[0] * size[1])


POINT_OF_MODEL = ((0, 1), (0, 5), (0, 12), (4, 5), (1, 1), (3, 17))


@pytest.mark.parametrize(
    "header",
    [
        ((0, 3), (1, 1), (1, 1), (4, 5)),
        ((0, 3), (0, 1), (0, 1), (0, 1), (0, 1), (0, 5), (0, 12), (4, 5)),
        ((0, 6), (1, 1), (1, 5), *2 * ((0, 12), (9, 5), (1, 1), (1, 1), (7, 4))),
        # Timing of a picture interval and a decoder model of 8 bits.
        ((0, 5), (1, 1), (1, 64), (1, 1), (1, 3), (0, 2), (1, 1), (7, 5), (1, 42), *POINT_OF_MODEL),
    ],
    ids=["reduced", "one operating point", "two, with delays", "timing and decoder model"],
)
def test_the_size_is_found_behind_any_header(header):
    assert av1.read_extent(unit(SEQUENCE, bits(*header, *SIZE))).pixels == 300 * 200


def test_frames_count_that_are_not_shown():
    data = unit(SEQUENCE, bits((0, 3), (1, 1), (1, 1), (4, 5), *SIZE)) + unit(FRAME, b"") * 5
    assert av1.read_extent(data + bytes([6 << 3]) + b"the last tells no size").frames == 6


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    for kind in (data, unit(SEQUENCE, data)):
        try:
            assert av1.read_extent(kind).frames >= 0
        except ValueError:
            continue


LARGE = encode_image(Image.new("L", (6000, 6000)), "AVIF", speed=10)
SAID, MEANT = (struct.pack(">II", side, side) for side in (6000, 64))


def test_an_image_that_says_to_be_smaller_is_refused():
    lie = LARGE.replace(SAID, MEANT)
    with quickly("lie", 0.1), pytest.raises(ExcessError, match="16,032,768 pixels in the parts"):
        any_format.decode(lie, 10_000)


def test_an_image_of_many_frames_is_refused():
    file = bmff.read(make_avif(size=(1000, 1000)))
    film = replace(file.primary, data=file.primary.data * 50)
    with pytest.raises(ExcessError, match="pixels in the parts"):
        any_format.decode(bmff.write(file.with_primary(film)))


def test_a_grid_of_the_same_large_tile_is_refused():
    file = bmff.read(LARGE.replace(SAID, MEANT))
    keys = range(10, 1010)
    tiles = {
        key: replace(make_item(key, b"av01", file.primary.data), properties=file.primary.properties)
        for key in keys
    }
    grid = replace(file.primary, entry=make_item(file.primary_id, b"grid", None).entry, data=b"")
    parts = Reference(b"dimg", file.primary_id, tuple(keys))
    bomb = replace(file, items={file.primary_id: grid, **tiles}, references=(parts,))
    with quickly("grid"), pytest.raises(ExcessError, match="pixels in the parts"):
        any_format.decode(bmff.write(bomb))
