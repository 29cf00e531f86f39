"""The guard: lamps and lit signs stay white, and all other pixels are the network's."""

from __future__ import annotations

import fakes
import numpy as np
import pytest
import torch
from conftest import make_pixels

from unblur.network.white_guard import keep_white

DARKER = 0.88
"""Turns white into a grey of 224; the guard takes that white for a lamp."""


class Darkening(fakes.Identity):
    """Makes everything a little darker, as networks do with broad white areas."""

    def run_scale(self, blurred, previous, state, buffers):
        return blurred * DARKER, None


class Lettering(fakes.Identity):
    """Draws a thin dark line down column 50 of each tile."""

    column = 50

    def run_scale(self, blurred, previous, state, buffers):
        drawn = blurred.clone()
        drawn[..., self.column : self.column + 1] *= 0.3  # coarse scales are narrower
        return drawn, None


def night_with_sign(dtype=np.uint8, channels=3, colour=(1, 1, 1), height=120, width=100):
    """A dark picture with a bright rectangle from row 30 to 79 and column 20 to 79."""
    largest = np.iinfo(dtype).max
    image = make_pixels(height, width, channels, dtype) // 8
    image[30:80, 20:80] = np.round(np.array(colour[:channels]) * largest)
    return image


def darkened(image):
    """The network's result for a photo, without the guard."""
    return np.rint(image.astype(np.float32) * np.float32(DARKER)).astype(image.dtype)


INSIDE = np.s_[31:79, 21:79]
"""The sign without its outermost pixels, which the motion may have smeared there."""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_lit_sign_keeps_its_white_and_nothing_else_changes(channels, dtype):
    image = night_with_sign(dtype, channels)
    expected = darkened(image)
    expected[INSIDE] = np.iinfo(dtype).max
    result = fakes.on_cpu(Darkening())(image)
    assert np.abs(result.astype(int) - expected).max() <= 1  # as float32 rounds
    assert np.array_equal(result[INSIDE], expected[INSIDE])


def test_a_white_area_of_which_the_coding_made_250_is_clipped_too():
    image = night_with_sign(colour=(250 / 255,) * 3)
    assert np.all(fakes.on_cpu(Darkening())(image)[INSIDE] == 250)
    below = night_with_sign(colour=(249 / 255,) * 3)
    assert np.array_equal(fakes.on_cpu(Darkening())(below), darkened(below))


def test_a_dark_letter_that_the_network_finds_on_a_sign_stays():
    image = night_with_sign()
    result = fakes.on_cpu(Lettering())(image)
    assert np.all(result[31:79, Lettering.column] == round(0.3 * 255))
    assert np.array_equal(np.delete(result, Lettering.column, 1), np.delete(image, 50, 1))


def test_a_thin_dark_line_on_grey_is_deepened_as_far_as_the_network_wants():
    image = np.full((80, 100, 3), 200, np.uint8)
    assert np.all(fakes.on_cpu(Lettering())(image)[:, Lettering.column] == 60)


def test_a_photo_without_clipped_areas_is_what_the_network_made():
    image = make_pixels(90, 70)
    image[::6, ::6] = 255  # single pixels are no area
    assert np.array_equal(fakes.on_cpu(Darkening())(image), darkened(image))


def test_a_sharp_photo_with_lamps_stays_as_it_is():
    image = night_with_sign()
    assert np.array_equal(fakes.on_cpu(fakes.Identity())(image), image)


def test_a_lamp_of_which_two_colours_are_clipped_keeps_its_colour():
    image = night_with_sign(colour=(1, 1, 0.5))
    assert np.array_equal(fakes.on_cpu(Darkening())(image)[INSIDE], image[INSIDE])


def test_a_red_area_may_change_since_its_other_colours_show_detail():
    image = night_with_sign(colour=(1, 0.5, 0.4))
    assert np.array_equal(fakes.on_cpu(Darkening())(image), darkened(image))


def test_all_colours_return_by_the_same_share():
    blurred = torch.full((3, 3, 3), 255, dtype=torch.uint8)
    values = torch.tensor([230.0, 210, 196]).expand(3, 3, 3)
    guarded = keep_white(values, blurred, 0, 255)
    assert torch.allclose((guarded - values) / (255 - values), torch.tensor(0.5))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(300, 420), (150, 420)])  # the second is seen transposed
def test_signs_are_the_same_bytes_for_any_tile(size, dtype):
    rng = np.random.default_rng(5)
    image = night_with_sign(dtype, height=size[0], width=size[1])
    image[rng.random(size) < 0.02] //= 2  # areas of all shapes
    whole = fakes.on_cpu(Darkening(), 1024)(image)
    assert not np.array_equal(whole, darkened(image))
    assert np.array_equal(fakes.on_cpu(Darkening(), 128)(image), whole)


def test_mirrored_and_turned_views_guard_the_same_pixels():
    image = night_with_sign(height=90)
    once = fakes.on_cpu(Darkening())(image)
    assert np.all(once[INSIDE] == 255)
    assert np.array_equal(fakes.on_cpu(Darkening(), views=8)(image), once)


def test_strength_is_a_share_of_what_the_guard_left():
    image = night_with_sign()
    result = fakes.on_cpu(Darkening(), strength=0.5)(image)
    assert np.array_equal(result[INSIDE], image[INSIDE])
    assert np.all(result[30, 20:80] == round(255 * (1 + DARKER) / 2))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_rows_with_their_neighbours_are_guarded_as_the_whole(dtype):
    generator = torch.Generator().manual_seed(1)
    blurred = torch.randint(244, 256, (40, 30, 3), generator=generator).to(dtype)
    blurred[10:30, 5:25] = 255
    values = torch.rand((40, 30, 3), generator=generator) * 255
    whole = keep_white(values, blurred, 0, 255)
    assert not torch.equal(whole, values)
    for top, bottom in ((0, 7), (7, 8), (8, 29), (29, 40)):
        above, below = max(0, top - 1), min(40, bottom + 1)
        rows = keep_white(values[top:bottom], blurred[above:below], top - above, 255)
        assert torch.equal(rows, whole[top:bottom])
