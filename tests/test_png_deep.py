from __future__ import annotations

import sys
import zlib

import numpy as np
import pytest
from conftest import make_pixels

from unblur.errors import PhotoError
from unblur.formats import any_format, png

imagecodecs = pytest.importorskip("imagecodecs")


def make_chunk(kind, data):
    checksum = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + checksum


def make_png(samples, *extra):
    """A 16-bit PNG with chunks between header and pixels."""
    data = imagecodecs.png_encode(np.ascontiguousarray(np.squeeze(samples)))
    return data[:33] + b"".join(extra) + data[33:]


def make_interlaced(samples):
    """Adam7 (section 8.1) with filter type 0."""
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rows = b"".join(
        b"\0" + row.astype(">u2").tobytes()
        for top, left, down, across in (*starts, (1, 0, 2, 1))
        for row in samples[top::down, left::across]
    )
    header = make_png(samples)[16:28] + b"\1"
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return png.SIGNATURE + b"".join(make_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_and_alpha_are_exact(channels):
    samples = make_pixels(33, 41, channels, np.uint16)
    photo = any_format.decode(make_png(samples))
    result = any_format.encode(photo, photo.pixels[::-1])
    again = imagecodecs.png_decode(result.data).reshape(samples.shape)
    colors = 1 if channels < 3 else 3
    assert np.array_equal(again[..., :colors], samples[::-1, :, :colors])
    assert np.array_equal(again[..., colors:], samples[..., colors:])


def test_a_ramp_keeps_all_its_levels():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    photo = any_format.decode(make_png(ramp))
    assert np.array_equal(photo.pixels[..., 0], ramp)
    assert np.array_equal(imagecodecs.png_decode(any_format.encode(photo, photo.pixels).data), ramp)


def test_interlaced_files_are_read():
    samples = make_pixels(33, 41, 3, np.uint16)
    assert np.array_equal(any_format.decode(make_interlaced(samples)).pixels, samples)


def test_metadata_chunks_stay_in_their_places():
    chunks = [make_chunk(b"gAMA", b"\0\0\xb1\x8f"), make_chunk(b"eXIf", b"II*\0 and so on")]
    data = make_png(make_pixels(16, 16, dtype=np.uint16), *chunks) + b"behind"
    photo = any_format.decode(data)
    result = any_format.encode(photo, photo.pixels // 2)
    assert result.data[33:].startswith(b"".join(chunks))
    assert result.data.endswith(b"behind")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_colour_key_becomes_an_alpha_channel(channels):
    samples = make_pixels(16, 16, channels, np.uint16)
    key = samples[3, 5]
    photo = any_format.decode(make_png(samples, make_chunk(b"tRNS", key.astype(">u2").tobytes())))
    transparent = (samples == key).all(axis=-1)
    result = any_format.encode(photo, photo.pixels)
    assert np.array_equal(photo.alpha, np.where(transparent, 0, 65535))
    assert np.array_equal(imagecodecs.png_decode(result.data)[..., -1], photo.alpha)
    assert b"tRNS" not in result.data
    assert photo.notes


def test_files_too_large_are_refused_by_their_header():
    with pytest.raises(PhotoError, match="more than the limit of 255"):
        any_format.decode(make_png(make_pixels(16, 16, dtype=np.uint16)), max_pixels=255)


def test_without_the_extra_it_is_named(monkeypatch):
    data = make_png(make_pixels(16, 16, dtype=np.uint16))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(PhotoError, match=r"unblur\[deep\]"):
        any_format.decode(data)


def test_files_that_are_cut_off_are_refused():
    data = make_png(make_pixels(32, 32, dtype=np.uint16))
    with pytest.raises(PhotoError, match="cut off"):
        any_format.decode(data[: len(data) // 2])
