from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from conftest import make_pixels
from PIL import Image

from training.synthesis import jpeg


def noise(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def by_pillow(pixels, quality, subsampling):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(buffer)).astype(int)


def stored(pixels):
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


def by_us(pixels, quality, subsampling):
    coded = jpeg.roundtrip(stored(pixels), torch.tensor([quality]), subsampling)
    return (coded[0].permute(1, 2, 0) * 255).round().int().numpy()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [50, 75, 90, 98])
@pytest.mark.parametrize("size", [(64, 96), (83, 117), (50, 70)])
@pytest.mark.parametrize("draw", [make_pixels, noise])
def test_photos_are_coded_as_pillow_codes_them(draw, size, quality, subsampling):
    pixels = draw(*size)
    difference = abs(by_us(pixels, quality, subsampling) - by_pillow(pixels, quality, subsampling))
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.999


def test_each_photo_has_its_own_quality():
    pixels = make_pixels(48, 64)
    qualities = torch.tensor([50, jpeg.NOT_CODED, 95])
    batch = jpeg.roundtrip(stored(pixels).repeat(3, 1, 1, 1), qualities, 2)
    assert torch.equal(batch[1:2], stored(pixels))
    for index in (0, 2):
        alone = jpeg.roundtrip(stored(pixels), qualities[index : index + 1], 2)
        assert torch.equal(batch[index : index + 1], alone)
    assert not torch.equal(batch[0], batch[2])


def test_photos_are_coded_alike_under_autocast():
    pixels = make_pixels(32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert (by_us(pixels, 75, 2) == by_us(pixels, 75, 2)).all()
        under = by_us(pixels, 75, 2)
    assert (under == by_us(pixels, 75, 2)).all()


def test_a_second_coding_of_the_same_quality_changes_little():
    pixels = make_pixels(64, 64)
    once = by_us(pixels, 75, 0)
    twice = by_us(once.astype(np.uint8), 75, 0)
    assert abs(twice - once).mean() < 0.2 * abs(once - pixels).mean()


def test_qualities_are_drawn_from_their_range():
    quality = jpeg.draw_quality(500, torch.Generator().manual_seed(0), 0.9, 60, 98)
    coded = quality[quality != jpeg.NOT_CODED]
    assert 400 < len(coded) < 490
    assert coded.min() >= 60
    assert coded.max() <= 98
