from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import make_pixels

from training.pool import BATCHES_MADE_FIRST, CropPool

SIDE = 8
CPU = torch.device("cpu")


def made(number):
    """Return pairs number 2n and 2n + 1, flat: the blurred one tells, the sharp one is 100 more."""
    blurred = torch.tensor([2 * number, 2 * number + 1], dtype=torch.uint8)
    blurred = blurred.reshape(2, 1, 1, 1).expand(2, 3, SIDE, SIDE)
    return blurred, blurred + 100


def endless():
    return (made(number % 50) for number in itertools.count())


def gigabytes(pairs):
    return pairs * 2 * 3 * SIDE * SIDE / 1e9


def test_crops_are_drawn_from_those_made_with_what_is_wanted_of_them():
    pool = CropPool(endless(), batch=5, device=CPU, gigabytes=gigabytes(100))
    batches = itertools.islice(pool, 40)
    seen = set()
    for blurred, sharp in batches:
        assert blurred.shape == sharp.shape == (5, 3, SIDE, SIDE)
        assert torch.equal(sharp, blurred + 100)
        seen |= set(blurred[:, 0, 0, 0].tolist())
    assert len(seen) > 50


def test_many_crops_are_there_before_the_first_is_drawn():
    pool = CropPool(endless(), batch=3, device=CPU, gigabytes=gigabytes(100))
    next(iter(pool))
    assert pool.put_in >= 3 * BATCHES_MADE_FIRST


def test_a_full_pool_forgets_the_oldest():
    pool = CropPool(endless(), batch=1, device=CPU, gigabytes=gigabytes(10))
    for blurred, _ in itertools.islice(pool, 50):
        assert blurred[0, 0, 0, 0] in torch.arange(pool.put_in - 10, pool.put_in) % 100


def test_a_crop_is_seen_from_all_sides_alike_with_its_sharp_one():
    photo = torch.from_numpy(np.ascontiguousarray(make_pixels(SIDE, SIDE).transpose(2, 0, 1)))[None]
    pool = CropPool(itertools.repeat((photo, 255 - photo)), 1, CPU, gigabytes(20))
    views = set()
    for blurred, sharp in itertools.islice(pool, 200):
        assert torch.equal(sharp, 255 - blurred)
        views.add(bytes(blurred.contiguous().numpy()))
    assert len(views) == 8


def test_crops_that_cannot_be_made_end_the_training():
    def failing():
        yield made(0)
        raise OSError("no such photo")

    with pytest.raises(OSError, match="no such photo"):
        next(iter(CropPool(failing(), 2, CPU, gigabytes(10))))
