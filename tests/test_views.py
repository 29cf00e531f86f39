"""Views of a photo, and their mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_pixels

from unblur.network.views import ALL_VIEWS, Mean
from unblur.options import MOST_VIEWS


def make_photo(height=5, width=7):
    return torch.from_numpy(make_pixels(height, width))


def whole(view, photo):
    """Return all rows of a view."""
    return view.rows(photo, 0, view.size(*photo.shape[:2])[0])


def test_there_are_as_many_views_as_can_be_asked_for_and_no_two_are_alike():
    photo = make_photo(8, 8)
    seen = {whole(view, photo).numpy().tobytes() for view in ALL_VIEWS}
    assert len(seen) == len(ALL_VIEWS) == MOST_VIEWS


def test_the_first_view_is_the_photo_itself():
    photo = make_photo()
    assert torch.equal(whole(ALL_VIEWS[0], photo), photo)


def test_views_are_turned_by_no_two_one_and_three_quarters_each_also_mirrored():
    photo = make_pixels(5, 7)
    for index, view in enumerate(ALL_VIEWS):
        expected = np.rot90(photo, (0, 2, 1, 3)[index // 2])
        expected = expected[:, ::-1] if index % 2 else expected
        assert np.array_equal(whole(view, torch.from_numpy(photo)).numpy(), expected)


@pytest.mark.parametrize("view", ALL_VIEWS)
def test_rows_of_a_view_come_back_to_their_place(view):
    photo = make_photo()
    result, height = torch.zeros_like(photo), view.size(5, 7)[0]
    for start in range(0, height, 2):
        view.write(result, start, view.rows(photo, start, min(start + 2, height)))
    assert torch.equal(result, photo)


@pytest.mark.parametrize("view", ALL_VIEWS)
def test_a_transposed_view_is_the_view_transposed(view):
    photo = make_photo()
    assert torch.equal(whole(view.transposed(), photo), whole(view, photo).transpose(0, 1))


def mean(*photos):
    total = Mean(len(photos))
    for photo in photos:
        total.add(photo)
    return total.rounded()


def test_a_mean_is_rounded_not_cut():
    first, second = (torch.full((1, 1, 3), value, dtype=torch.uint8) for value in (4, 7))
    assert torch.all(mean(first, first, second) == 5)
    assert torch.all(mean(first, second) == 6)  # of 5.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_the_brightest_photos_do_not_overflow(dtype):
    white = torch.full((2, 3, 1), 255 if dtype == torch.uint8 else -1, dtype=dtype)
    result = mean(*[white] * MOST_VIEWS)
    assert result.dtype == dtype
    assert torch.equal(result, white)


def test_samples_of_16_bits_are_averaged_as_numbers_from_0_on():
    dark, bright = (
        torch.from_numpy(np.full((3, 2, 1), v, np.uint16).view(np.int16)) for v in (2, 65534)
    )
    assert np.all(mean(dark, bright).numpy().view(np.uint16) == 32768)
