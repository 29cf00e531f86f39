from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import encode_image, make_pixels
from PIL import Image

from unblur.formats import any_format, jpeg_colors
from unblur.formats.jpeg_colors import INVERSE, averaged, extended, move_colors, sharpened
from unblur.formats.jpeg_stored import StoredColors, read_stored


def rgb_of(data):
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def colorful(height, width):
    """Fine, strongly coloured detail: what coarse chroma loses first."""
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.kron(blocks, np.ones((4, 4, 1), np.uint8))[:height, :width]


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(96, 128), (33, 47), (16, 16)])
def test_a_photo_that_nobody_changed_looks_as_before(sampling, size):
    data = encode_image(Image.fromarray(colorful(*size)), "JPEG", quality=85, subsampling=sampling)
    photo = any_format.decode(data)
    again = rgb_of(any_format.encode(photo, photo.pixels).data)
    assert np.abs(again - photo.pixels).mean() < 0.25


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(33, 47), (20, 40), (17, 16), (8, 8), (3, 5), (1, 9)])
def test_blocks_that_reach_beyond_the_photo_stay_as_they_were(sampling, size):
    before, after = coded_twice(size, subsampling=sampling)
    assert np.abs(after - before).max() <= 1


@pytest.mark.parametrize("size", [(33, 47), (20, 40), (7, 9)])
def test_such_blocks_of_progressive_photos_stay_as_they_were(size):
    before, after = coded_twice(size, subsampling="4:4:4", progressive=True)
    assert np.abs(after - before).max() <= 1


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["grey", "RGB"])
@pytest.mark.parametrize("size", [(33, 47), (20, 40), (7, 9), (1, 1), (8, 8)])
def test_such_blocks_stay_if_nothing_is_converted(mode, size, progressive):
    options = {"keep_rgb": True, "subsampling": "4:4:4"} if mode == "RGB" else {}
    before, after = coded_twice(size, mode == "grey", progressive=progressive, **options)
    assert np.abs(after - before).max() <= 1


def test_samples_beyond_the_photo_change_as_at_the_edge():
    stored = np.arange(100, 124, dtype=np.uint8).reshape(4, 6, 1)
    before = stored[:3, :4].copy()
    after = before + np.uint8(10)
    after[2] += np.uint8(90)
    result = extended(stored.copy(), before, after)
    assert np.array_equal(result[:3, :4], after)
    assert np.array_equal(result[:2, 4:], stored[:2, 4:] + 10)
    assert np.array_equal(result[2:, 4:], stored[2:, 4:] + 100)
    assert np.array_equal(result[3, :4], stored[3, :4] + 100)


def coded_twice(size, is_grey=False, **options):
    """Decode a photo before and after it was encoded again without a change."""
    pixels = 64 + colorful(*size) // 2  # black and white would be clipped
    pixels = pixels[..., 0] if is_grey else pixels
    photo = any_format.decode(encode_image(Image.fromarray(pixels), "JPEG", quality=75, **options))
    again = any_format.decode(any_format.encode(photo, photo.pixels).data)
    return photo.pixels.astype(int), again.pixels.astype(int)


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 50), (50, 1), (3, 5)])
def test_sides_of_a_few_pixels_are_coded_too(sampling, size):
    image = Image.fromarray(make_pixels(*size))
    photo = any_format.decode(encode_image(image, "JPEG", quality=95, subsampling=sampling))
    again = rgb_of(any_format.encode(photo, photo.pixels).data)
    assert np.abs(again - photo.pixels).mean() < 2
    brighter = np.minimum(photo.pixels, 225) + np.uint8(30)
    again = rgb_of(any_format.encode(photo, brighter).data)
    assert np.abs(again - brighter).mean() < 4


def test_ten_generations_do_not_fade_the_colours():
    image = Image.fromarray(colorful(96, 128))
    first = data = encode_image(image, "JPEG", quality=85, subsampling="4:2:0")
    for _ in range(10):
        photo = any_format.decode(data)
        data = any_format.encode(photo, photo.pixels).data
    assert np.array_equal(rgb_of(data), rgb_of(first))


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_change_of_the_pixels_arrives(sampling):
    image = Image.fromarray(make_pixels(96, 128))
    photo = any_format.decode(encode_image(image, "JPEG", quality=95, subsampling=sampling))
    changed = photo.pixels.copy()
    changed[:, :64] = (photo.pixels[:, :64] * 0.5).astype(np.uint8)
    changed[:, 64:, 0] = 255 - photo.pixels[:, 64:, 0]
    result = rgb_of(any_format.encode(photo, changed).data)
    assert np.abs(result[:, :60] - changed[:, :60]).mean() < 3
    assert np.abs(result[:, 68:] - changed[:, 68:]).mean() < 6


def test_nothing_is_moved_where_no_pixel_changed():
    stored = make_pixels(50, 60, seed=1)
    before = make_pixels(50, 60)
    image = Image.frombytes("YCbCr", (60, 50), stored.data)
    moved = move_colors(StoredColors(image), before, before, (1, 1))
    assert np.array_equal(np.asarray(moved), stored)


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_strips_of_rows_leave_no_trace(sampling, monkeypatch):
    data = encode_image(Image.fromarray(colorful(101, 60)), "JPEG", subsampling=sampling)
    photo, after = any_format.decode(data), make_pixels(101, 60)
    whole = any_format.encode(photo, after)
    monkeypatch.setattr(jpeg_colors, "STRIP_BYTES", 1)
    monkeypatch.setattr(jpeg_colors, "LEAST_ROWS", 16)
    assert any_format.encode(photo, after) == whole


def open_jpeg(pixels, **options):
    data = encode_image(Image.fromarray(pixels), "JPEG", **options)
    return lambda: Image.open(io.BytesIO(data))


@pytest.mark.parametrize("size", [(96, 128), (33, 47), (2, 2), (3, 50)])
def test_coarse_chroma_is_read_as_it_is_stored(size):
    open_file = open_jpeg(colorful(*size), quality=90, subsampling="4:2:0")
    stored = read_stored(open_file, is_coarse=True)
    shown = open_file()
    shown.draft("YCbCr", shown.size)
    luma, *enlarged = (np.asarray(plane) for plane in shown.split())
    assert np.array_equal(np.asarray(stored.image), luma)
    for plane, large in zip(stored.chroma, enlarged, strict=True):
        assert np.array_equal(enlarged_by_libjpeg(plane)[: size[0], : size[1]], large)


def enlarged_by_libjpeg(plane):
    """Enlarge by libjpeg's filter, rounded as there; two columns and fewer are repeated."""
    if plane.shape[1] <= 2:
        return plane.repeat(2, 0).repeat(2, 1)
    padded = np.pad(plane.astype(int), ((1, 1), (0, 0)), mode="edge")
    rows = np.empty((2 * plane.shape[0], plane.shape[1]), int)
    rows[::2], rows[1::2] = 3 * padded[1:-1] + padded[:-2], 3 * padded[1:-1] + padded[2:]
    beside = np.pad(rows, ((0, 0), (1, 1)), mode="edge")
    result = np.empty((len(rows), 2 * rows.shape[1]), int)
    result[:, ::2] = 3 * rows + beside[:, :-2] + 8 >> 4
    result[:, 1::2] = 3 * rows + beside[:, 2:] + 7 >> 4
    return result


@pytest.mark.parametrize("size", [(96, 128), (33, 47), (17, 16)])
def test_stored_colours_stay_where_no_pixel_changed(size):
    """Around the change, the decoder's filter and the encoder's blocks reach 16 pixels."""
    open_file = open_jpeg(colorful(*size), quality=90, subsampling="4:2:0")
    stored, before = read_stored(open_file, is_coarse=True), np.asarray(open_file())
    after = before.copy()
    after[:8, :8] = 255 - after[:8, :8]
    moved = np.asarray(move_colors(stored, before, after, (2, 2)))
    assert np.array_equal(moved[8:, :, 0], np.asarray(stored.image)[8:])
    assert not np.array_equal(moved[:8, :8, 0], np.asarray(stored.image)[:8, :8])
    for band, plane in enumerate(stored.chroma, 1):
        assert np.array_equal(moved[16::2, ::2, band], plane[8:])
        assert np.array_equal(moved[::2, 16::2, band], plane[:, 8:])


@pytest.mark.parametrize("subsampling", [(1, 2), (2, 2)])
def test_sharpening_undoes_what_decoders_and_encoders_smooth(subsampling):
    down, across = subsampling
    chroma = np.kron(make_pixels(12, 16, 1)[..., 0], np.ones((2, 2))).astype(np.float32)
    shown = chroma
    for axis, factor in enumerate(subsampling):
        if factor == 2:
            shown = np.apply_along_axis(triangle, axis, shown)
    assert (
        np.abs(sharpened(averaged(shown, down, across), INVERSE, down, across) - chroma).max() < 0.5
    )


def triangle(line):
    """Enlarge by 2 as libjpeg's "fancy upsampling" does."""
    padded = np.pad(line, 1, mode="edge")
    before, after = (3 * line + padded[:-2]) / 4, (3 * line + padded[2:]) / 4
    return np.stack([before, after], axis=1).ravel()
