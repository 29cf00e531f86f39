"""Views of a photo, and their mean."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_pixels

from unblur.network.views import ALL_VIEWS, mean
from unblur.options import MOST_VIEWS


def test_there_are_as_many_views_as_can_be_asked_for_and_no_two_are_alike():
    image = make_pixels(8, 8)
    assert len({view.of(image).tobytes() for view in ALL_VIEWS}) == len(ALL_VIEWS) == MOST_VIEWS


def test_the_first_view_is_the_photo_itself():
    image = make_pixels(5, 7)
    assert np.array_equal(ALL_VIEWS[0].of(image), image)


@pytest.mark.parametrize("view", ALL_VIEWS)
def test_what_is_seen_in_a_view_comes_back_to_its_place(view):
    image = make_pixels(5, 7)
    seen = view.of(image)
    assert np.array_equal(view.undone(seen), image)
    assert np.shares_memory(view.undone(seen), image)


def test_a_mean_is_rounded_not_cut():
    first, second = np.full((1, 1, 3), 4, np.uint8), np.full((1, 1, 3), 7, np.uint8)
    assert np.all(mean(iter([first, first, second]), 3) == 5)
    assert np.all(mean(iter([first, second]), 2) == 6)  # of 5.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_brightest_photos_do_not_overflow(dtype):
    white = np.full((2, 3, 1), np.iinfo(dtype).max, dtype)
    result = mean(iter([white] * MOST_VIEWS), MOST_VIEWS)
    assert result.dtype == dtype
    assert np.array_equal(result, white)


def test_a_single_photo_is_returned_as_it_is():
    photo = make_pixels(2, 3)
    assert mean(iter([photo]), 1) is photo
