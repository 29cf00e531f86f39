"""Photos are cut into pieces that overlap."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.network.bands import LineBuffers, next_band
from unblur.network.config import SRNConfig
from unblur.network.overlaps import (
    PIXELS,
    SIDE_IN_MARGINS,
    cut_columns,
    join,
    keep,
    margin_of,
    new_rows,
    rows_of_band,
)

MARGIN, MULTIPLE = 16, 8


@given(st.integers(1, 60), st.integers(SIDE_IN_MARGINS * MARGIN, 400))
def test_pieces_cover_each_column_once_and_have_margins(columns, most):
    width = columns * MULTIPLE
    pieces = cut_columns(width, most, MARGIN, MULTIPLE)
    x = torch.arange(width).expand(1, 1, 1, width)
    right = [piece.right_part(piece.cut(x)) for piece in pieces]
    assert torch.cat(right, dim=3).equal(x)
    for piece in pieces:
        assert piece.stop - piece.start <= most
        assert piece.start % MULTIPLE == piece.stop % MULTIPLE == 0
        assert piece.left >= MARGIN or piece.start == 0
        assert piece.stop - piece.start - piece.right >= MARGIN or piece.stop == width


def test_pieces_of_which_little_would_be_right_are_refused():
    with pytest.raises(MemoryError):
        cut_columns(400, SIDE_IN_MARGINS * MARGIN - 1, MARGIN, MULTIPLE)


@given(st.integers(1, 60), st.integers(1, 600))
def test_bands_finish_each_row_once_after_they_have_seen_a_margin_around_it(rows, most):
    height = rows * MULTIPLE
    x = torch.arange(height).view(1, 1, height, 1)
    buffers, found, top = None, [], 0
    while top < height:
        band = next_band(top, height, new_rows(most, height, MARGIN), MULTIPLE, is_last_low=False)
        is_last = band.stop == height
        buffers = buffers.next(is_last) if buffers else LineBuffers(is_last=is_last)
        piece = join(buffers, PIXELS, x[:, :, band.start : band.stop])
        use = rows_of_band(buffers, piece, MARGIN)
        keep(buffers, PIXELS, piece, use.kept_from)
        first, last = piece[0, 0, 0, 0], piece[0, 0, -1, 0]
        for row in use.finished(piece).flatten():
            assert row - first >= MARGIN or first == 0
            assert last - row >= MARGIN or is_last
        found.append(use.finished(piece))
        top = band.stop
    assert torch.cat(found, dim=2).equal(x)


def test_a_photo_with_room_on_the_device_is_one_band():
    assert new_rows(500, 500, MARGIN) == 500
    assert new_rows(499, 500, MARGIN) == 499 - 2 * MARGIN
    assert new_rows(10, 500, MARGIN) == (SIDE_IN_MARGINS - 2) * MARGIN
    assert new_rows(10, 500, 0) == 10


def test_margins_are_whole_steps_of_the_deepest_level():
    assert margin_of(SRNConfig(kernel=3, unshuffle=2, recurrent=True)) == 208
