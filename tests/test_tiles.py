from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.tiles import Joiner, fade, plan_spans

multiples = st.sampled_from([1, 4, 8])


@st.composite
def plans(draw):
    multiple = draw(multiples)
    overlap = multiple * draw(st.integers(0, 6))
    tile = 2 * overlap + multiple * draw(st.integers(1, 12))
    return draw(st.integers(1, 90)) * multiple, tile, overlap, multiple


@given(plans())
def test_spans_cover_the_axis_in_order_on_the_grid(plan):
    length, tile, overlap, multiple = plan
    spans = plan_spans(length, tile, overlap, multiple)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert len({span.length for span in spans}) == 1
    assert spans[0].length <= tile
    for before, after in itertools.pairwise(spans):
        assert before.start < after.start <= before.stop - overlap
        assert not (after.start % multiple)
        assert not (after.stop % multiple)


@given(plans(), plans())
def test_joined_tiles_of_an_image_are_the_image(vertical, horizontal):
    rows, columns = plan_spans(*vertical), plan_spans(*horizontal)
    rng = np.random.default_rng(0)
    image = rng.random((2, vertical[0], horizontal[0]), dtype=np.float32)
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
    rows = plan_spans(*plan)
    total = np.zeros(plan[0])
    for chosen in range(len(rows)):  # joining ones for one tile, zeros for others, gives its weight
        weight = np.zeros((1, plan[0], 1), np.float32)

        def write(top, left, values, weight=weight):
            weight[:, top : top + values.shape[1]] = values

        joiner = Joiner(rows, plan_spans(1, 1, 0, 1), 1, write)
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


@pytest.mark.parametrize(("length", "tile"), [(0, 64), (12, 64), (64, 16)])
def test_impossible_plans_are_refused(length, tile):
    with pytest.raises(ValueError, match=r"length|tile"):
        plan_spans(length, tile, 8, 8)
