from __future__ import annotations

import numpy as np
import pytest
from conftest import make_pixels

from unblur.formats.quality import QUALITIES, match_quality, sample_blocks


def code(pixels, quality):
    """Files that grow with pixels and quality."""
    return bytes(pixels.size * quality // 300)


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_quality_of_a_file_is_found(quality):
    pixels = make_pixels(64, 96)
    assert match_quality(pixels, len(code(pixels, quality)), code) == quality


def test_a_large_photo_is_judged_by_a_sample():
    pixels = np.zeros((3000, 2000, 3), np.uint8)
    assert match_quality(pixels, len(code(pixels, 70)) - 100, code) == 70
    assert sample_blocks(pixels).shape == (1024, 1024, 3)


@pytest.mark.parametrize(("length", "quality"), [(0, QUALITIES[0]), (1 << 30, QUALITIES[-1])])
def test_a_file_beyond_all_qualities_gets_the_nearest(length, quality):
    assert match_quality(make_pixels(64, 96), length, code) == quality


def test_a_sample_holds_all_corners():
    pixels = np.arange(2000 * 1500, dtype=np.uint32).reshape(2000, 1500, 1)
    assert (sample_blocks(pixels)[::1023, ::1023] == pixels[::1999, ::1499]).all()
