from __future__ import annotations

import pytest
import torch

from unblur.memory import (
    LARGEST_TILE_PX,
    cgroup_free_memory,
    fitting_tile,
    free_memory,
    is_out_of_memory,
    photo_bytes,
    return_freed_memory,
)
from unblur.srn_config import SRNConfig
from unblur.srn_memory import tile_bytes_per_pixel

CONFIG = SRNConfig()


def test_some_memory_is_free():
    assert 0 < free_memory(torch.device("cpu")) < 1 << 50


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "1000\n", "memory.current": "400\n"}, 600),
        ({"memory.max": "1000\n", "memory.current": "4000\n"}, 0),
        ({"memory.max": "max\n", "memory.current": "400\n"}, None),
        ({"memory/memory.limit_in_bytes": "900", "memory/memory.usage_in_bytes": "100"}, 800),
        ({}, None),
    ],
)
def test_a_containers_limit_is_respected(tmp_path, files, free):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_free_memory(tmp_path) == free


def test_a_tile_fits_its_budget():
    for budget in (1 << 26, 1 << 28, 1 << 30):
        side = fitting_tile(CONFIG, torch.float32, budget)
        assert side**2 * tile_bytes_per_pixel(CONFIG, torch.float32.itemsize) <= budget
        assert side % 64 == 0


def test_no_budget_gives_no_tile_and_plenty_gives_the_largest():
    assert fitting_tile(CONFIG, torch.float32, -1) == 0
    assert fitting_tile(CONFIG, torch.float32, 1 << 50) == LARGEST_TILE_PX


def test_deeper_photos_and_recurrent_networks_take_more():
    recurrent = SRNConfig(channels=1, recurrent=True)
    plain, deep, heavy = (
        photo_bytes(3000, 4000, itemsize, config)
        for itemsize, config in ((1, CONFIG), (2, CONFIG), (1, recurrent))
    )
    assert 12e6 * 6 < plain < deep
    assert plain < heavy


def test_freed_memory_can_be_returned_anywhere():
    return_freed_memory()


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("sizes do not match"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_only_real_out_of_memory_errors_count(error, is_it):
    assert is_out_of_memory(error) is is_it
