from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.tiles import Joiner, Span, fade, plan_tiles

multiples = st.sampled_from([1, 4, 8])


@st.composite
def plans(draw):
    multiple = draw(multiples)
    overlap = multiple * draw(st.integers(0, 6))
    tile = 2 * overlap + multiple * draw(st.integers(1, 12))
    height, width = (draw(st.integers(1, 90)) * multiple for _ in range(2))
    return height, width, tile, overlap, multiple


@given(plans())
def test_tiles_cover_the_image_in_order_on_the_grid_within_their_pixels(plan):
    *sides, tile, overlap, multiple = plan
    axes = plan_tiles(*plan)
    assert math.prod(axis[0].length for axis in axes) <= tile**2
    for spans, side in zip(axes, sides, strict=True):
        assert spans[0].start == 0
        assert spans[-1].stop == side
        assert len({span.length for span in spans}) == 1
        for before, after in itertools.pairwise(spans):
            assert before.start < after.start <= before.stop - overlap
            assert not (after.start % multiple)
            assert not (after.stop % multiple)


def test_tiles_take_the_shape_that_shares_least():
    rows, columns = plan_tiles(3000, 4000, 1024, 112, 4)
    assert (len(rows), len(columns)) == (3, 5)  # 1076 x 892; squares would be 4 x 5


def test_a_panorama_that_fits_into_memory_is_one_tile():
    assert plan_tiles(100, 10_000, 1024, 112, 4) == ([Span(0, 100)], [Span(0, 10_000)])


@given(plans())
def test_joined_tiles_of_an_image_are_the_image(plan):
    rows, columns = plan_tiles(*plan)
    rng = np.random.default_rng(0)
    image = rng.random((2, *plan[:2]), dtype=np.float32)
    joined = np.full_like(image, np.nan)

    def write(top, left, values):
        place = joined[:, top : top + values.shape[1], left : left + values.shape[2]]
        assert np.isnan(place).all()  # nothing is written twice
        place[...] = values

    joiner = Joiner(rows, columns, 2, write)
    for row, y in enumerate(rows):
        for column, x in enumerate(columns):
            joiner.add(row, column, image[:, y.start : y.stop, x.start : x.stop].copy())
    assert np.array_equal(joined, image)


@given(plans())
def test_the_weights_of_all_tiles_sum_to_one_everywhere(plan):
    rows = plan_tiles(*plan)[0]
    length = plan[0]
    total = np.zeros(length)
    for chosen in range(len(rows)):  # joining ones for one tile, zeros for others, gives its weight
        weight = np.zeros((1, length, 1), np.float32)

        def write(top, left, values, weight=weight):
            weight[:, top : top + values.shape[1]] = values

        joiner = Joiner(rows, [Span(0, 1)], 1, write)
        for row, span in enumerate(rows):
            joiner.add(row, 0, np.full((1, span.length, 1), row == chosen, np.float32))
        assert weight.min() >= 0
        total += weight[0, :, 0]
    assert np.allclose(total, 1, atol=1e-6)


def test_a_fade_begins_and_ends_with_context_only():
    weights = fade(16)
    assert weights[:4].tolist() == [0] * 4
    assert weights[-4:].tolist() == [1] * 4
    assert np.all(np.diff(weights) >= 0)


@pytest.mark.parametrize(("height", "width", "tile"), [(0, 8, 64), (8, 12, 64), (64, 64, 16)])
def test_impossible_plans_are_refused(height, width, tile):
    with pytest.raises(ValueError, match=r"length|tile"):
        plan_tiles(height, width, tile, 8, 8)
