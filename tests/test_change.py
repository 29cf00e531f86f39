from __future__ import annotations

import numpy as np
import pytest
from conftest import make_pixels
from hypothesis import given
from hypothesis import strategies as st

from unblur.pictures import change
from unblur.pictures.change import measure_change


def changed_at(top, left, height=120, width=160, dtype=np.uint8):
    """A photo, and the same with other detail in a square of 24 pixels."""
    before = make_pixels(height, width, dtype=dtype) // np.array(2, dtype)
    after = before.copy()
    after[top : top + 24 : 2, left : left + 24 : 2] //= 2
    return before, after


@given(top=st.integers(0, 96), left=st.integers(0, 136))
def test_the_part_that_changed_most_is_found(top, left):
    box = measure_change(*changed_at(top, left)).strongest(64, 48)
    assert (box.width, box.height) == (64, 48)
    assert box.left - 16 <= left <= box.left + box.width - 8
    assert box.top - 16 <= top <= box.top + box.height - 8


@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    size=st.tuples(st.integers(1, 100), st.integers(1, 100)),
)
def test_the_part_lies_in_the_photo_whatever_their_sizes(shape, size):
    before = make_pixels(*shape)
    box = measure_change(before, before // 2).strongest(*size)
    assert (box.width, box.height) == (min(size[0], shape[1]), min(size[1], shape[0]))
    assert 0 <= box.left <= shape[1] - box.width
    assert 0 <= box.top <= shape[0] - box.height


def test_detail_counts_and_brightness_does_not():
    before, after = changed_at(80, 120)
    after[:48, :64, 0] += 100  # of colour too
    assert measure_change(before, after).strongest(48, 36).left > 80


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_amount_is_a_share_of_the_full_range(dtype):
    dark, light = (np.full((32, 48, 3), value, dtype) for value in (0, np.iinfo(dtype).max))
    assert measure_change(dark, light).amount == pytest.approx(1)
    assert measure_change(light, dark).amount == pytest.approx(1)
    assert measure_change(dark, dark).amount == 0


def test_strips_change_nothing(monkeypatch):
    pair = changed_at(30, 30, 200, 100)
    whole = measure_change(*pair)
    monkeypatch.setattr(change, "_PART_BYTES", 1)
    strips = measure_change(*pair)
    assert np.array_equal(whole.blocks, strips.blocks)
    assert whole.amount == pytest.approx(strips.amount)
