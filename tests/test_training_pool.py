from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import make_pixels

from training.pool import CropPool, turned

SIDE, BATCH = 8, 3


def made(number):
    """Return a batch of flat crops: blurred crops have their number as value, targets 100 more."""
    blurred = (torch.arange(BATCH) + BATCH * number).remainder(100).byte()
    blurred = blurred.reshape(BATCH, 1, 1, 1).expand(BATCH, 3, SIDE, SIDE)
    return blurred, blurred + 100


def numbers(batch):
    """The numbers of the crops of a batch."""
    blurred, _ = batch
    return blurred[:, 0, 0, 0].tolist()


def test_crops_are_drawn_from_those_made_with_what_is_wanted_of_them():
    pool = CropPool(made, pooled=4)
    for blurred, wanted in itertools.islice(pool, 20):
        assert blurred.shape == wanted.shape == (BATCH, 3, SIDE, SIDE)
        assert torch.equal(wanted, blurred + 100)


def test_a_batch_has_crops_of_several_batches_that_were_made():
    pool = CropPool(made, pooled=16)
    origins = [len({n // BATCH for n in numbers(batch)}) for batch in itertools.islice(pool, 10)]
    assert np.mean(origins) > 2


def test_the_pool_is_full_before_the_first_crop_is_drawn():
    pool = CropPool(made, pooled=7)
    next(iter(pool))
    assert pool.made == 7


@pytest.mark.parametrize("looks", [2, 2.5])
def test_a_crop_is_seen_as_often_as_was_asked_for(looks):
    pool = CropPool(made, pooled=4, looks=looks)
    seen = Counter(n for batch in itertools.islice(pool, 70) for n in numbers(batch))
    later = [seen[n] for n in range(4 * BATCH, 20 * BATCH)]
    assert np.mean(later) == pytest.approx(looks, rel=0.1)
    assert min(later) >= 1
    assert max(later) <= 5


def test_no_crop_is_seen_again_before_all_others_that_stay():
    pool = CropPool(made, pooled=5, looks=1000)
    seen = [n for batch in itertools.islice(pool, 10) for n in numbers(batch)]
    assert sorted(seen[: 5 * BATCH]) == sorted(seen[5 * BATCH :]) == list(range(5 * BATCH))


def test_a_pool_that_goes_on_makes_batches_that_were_not_made_before():
    asked = []

    def make(number):
        asked.append(number)
        return made(number)

    first = CropPool(make, pooled=4, looks=2.5)
    list(itertools.islice(first, 10))
    list(itertools.islice(CropPool(make, first=first.made, pooled=4, looks=2.5), 10))
    assert asked == list(range(len(asked)))
    assert len(asked) > 12


def test_a_crop_is_seen_from_all_sides_alike_with_its_wanted_one():
    photo = torch.from_numpy(np.ascontiguousarray(make_pixels(SIDE, SIDE).transpose(2, 0, 1)))
    pairs, chance, views = torch.stack([photo, 255 - photo])[None], random.Random(0), set()
    for _ in range(100):
        blurred, wanted = turned(pairs, chance)
        assert torch.equal(wanted, 255 - blurred)
        views.add(bytes(blurred.contiguous().numpy()))
    assert len(views) == 8


def test_crops_that_cannot_be_made_end_the_training():
    def failing(number):
        raise OSError("no such photo")

    with pytest.raises(OSError, match="no such photo"):
        next(iter(CropPool(failing)))
