from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import encode_image, make_pixels
from PIL import Image

from unblur.formats import coding, jpeg_colors
from unblur.formats.jpeg_colors import averaged, move_colors, sharpened


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
    photo = coding.decode(data)
    again = rgb_of(coding.encode(photo, photo.pixels).data)
    assert np.abs(again - photo.pixels).mean() < 0.25


def test_ten_generations_do_not_fade_the_colours():
    image = Image.fromarray(colorful(96, 128))
    first = data = encode_image(image, "JPEG", quality=85, subsampling="4:2:0")
    for _ in range(10):
        photo = coding.decode(data)
        data = coding.encode(photo, photo.pixels).data
    assert np.array_equal(rgb_of(data), rgb_of(first))


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_change_of_the_pixels_arrives(sampling):
    image = Image.fromarray(make_pixels(96, 128))
    photo = coding.decode(encode_image(image, "JPEG", quality=95, subsampling=sampling))
    changed = photo.pixels.copy()
    changed[:, :64] = (photo.pixels[:, :64] * 0.5).astype(np.uint8)
    changed[:, 64:, 0] = 255 - photo.pixels[:, 64:, 0]
    result = rgb_of(coding.encode(photo, changed).data)
    assert np.abs(result[:, :60] - changed[:, :60]).mean() < 3
    assert np.abs(result[:, 68:] - changed[:, 68:]).mean() < 6


def test_nothing_is_moved_where_no_pixel_changed():
    stored = make_pixels(50, 60, seed=1)
    before = make_pixels(50, 60)
    image = Image.frombytes("YCbCr", (60, 50), stored.data)
    move_colors(image, before, before, (1, 1))
    assert np.array_equal(np.asarray(image), stored)


@pytest.mark.parametrize("subsampling", [(1, 1), (1, 2), (2, 2)])
def test_strips_of_rows_leave_no_trace(subsampling, monkeypatch):
    stored, before, after = (make_pixels(101, 60, seed=seed) for seed in range(3))
    images = [Image.frombytes("YCbCr", (60, 101), stored.data) for _ in range(2)]
    move_colors(images[0], before, after, subsampling)
    monkeypatch.setattr(jpeg_colors, "STRIP_BYTES", 24 * 60 * 3)
    move_colors(images[1], before, after, subsampling)
    assert np.array_equal(images[0], images[1])


@pytest.mark.parametrize("subsampling", [(1, 2), (2, 2)])
def test_sharpening_undoes_what_decoders_and_encoders_smooth(subsampling):
    down, across = subsampling
    chroma = np.kron(make_pixels(12, 16, 1)[..., 0], np.ones((2, 2))).astype(np.float32)
    shown = chroma
    for axis, factor in enumerate(subsampling):
        if factor == 2:
            shown = np.apply_along_axis(triangle, axis, shown)
    assert np.abs(sharpened(averaged(shown, down, across), down, across) - chroma).max() < 0.5


def triangle(line):
    """Enlarge by 2 as libjpeg's "fancy upsampling" does."""
    padded = np.pad(line, 1, mode="edge")
    before, after = (3 * line + padded[:-2]) / 4, (3 * line + padded[2:]) / 4
    return np.stack([before, after], axis=1).ravel()
