from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from unblur.models.catalog import DEFAULT_MODEL, MODELS
from unblur.network.config import SRNConfig
from unblur.network.device_errors import Trouble, is_out_of_memory, trouble_of
from unblur.network.device_kinds import CPU, KINDS
from unblur.network.memory import (
    LARGEST_TILE_PX,
    automatic_tile,
    fitting_tile,
    free_memory,
    photo_needs,
    resident_bytes,
)
from unblur.network.photo_rows import is_wide
from unblur.network.srn_memory import tile_bytes_per_pixel
from unblur.options import SMALLEST_TILE_PX

CONFIG = SRNConfig()
COMPACT = MODELS[DEFAULT_MODEL].config


def test_some_memory_is_free():
    assert 0 < free_memory(CPU) < 1 << 50


def test_a_tile_fits_its_budget():
    for budget in (1 << 26, 1 << 28, 1 << 30):
        side = fitting_tile(CONFIG, torch.float32, budget, 1 << 20)
        assert side**2 * tile_bytes_per_pixel(CONFIG, torch.float32.itemsize) <= budget
        assert side % 64 == 0


def test_no_budget_gives_the_smallest_tile_and_plenty_the_largest():
    assert fitting_tile(CONFIG, torch.float32, -1, 640) == SMALLEST_TILE_PX
    assert fitting_tile(CONFIG, torch.float32, 1 << 50, 640) == 640


def test_bands_in_float32_take_no_more_memory_than_those_in_bfloat16():
    short, long = (
        LARGEST_TILE_PX[itemsize] ** 2 * tile_bytes_per_pixel(COMPACT, itemsize)
        for itemsize in (torch.bfloat16.itemsize, torch.float32.itemsize)
    )
    assert 0.5 * short < long < short


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_a_cpu_takes_the_largest_tile_for_its_precision(precision, monkeypatch):
    monkeypatch.setattr("unblur.network.memory.free_memory", lambda kind: 1 << 40)
    assert automatic_tile(COMPACT, precision, CPU) == LARGEST_TILE_PX[precision.itemsize]


def test_only_a_cpus_tiles_are_small_where_memory_abounds():
    gpu = replace(CPU, name="GPU", free_memory=lambda torch: 1 << 50)
    assert automatic_tile(CONFIG, torch.bfloat16, CPU) <= max(LARGEST_TILE_PX.values())
    side = automatic_tile(CONFIG, torch.bfloat16, gpu)
    assert max(LARGEST_TILE_PX.values()) < side <= math.sqrt((1 << 30) / CONFIG.width)


def test_what_a_photo_takes_on_a_device_is_taken_off_its_tiles():
    gpu = replace(CPU, name="GPU", free_memory=lambda torch: 1 << 32)
    image = np.broadcast_to(np.zeros(1, np.uint8), (30_000, 20_000, 3))
    taken = resident_bytes(image, COMPACT, views=1)
    assert taken > 2 * image.nbytes
    assert resident_bytes(image, COMPACT, views=2) == taken + 2 * image.nbytes
    empty, filled = (automatic_tile(COMPACT, torch.bfloat16, gpu, r) for r in (0, taken // 4))
    assert filled < empty


USUAL = {"views": 1, "is_resident": False, "engine": "torch"}


def needs(height, width, dtype=np.uint8, config=COMPACT, device="cpu", views=1):
    image = np.broadcast_to(np.zeros(1, dtype), (height, width, 3))  # which takes no memory
    (kind,) = (kind for kind in KINDS if kind.name == device)
    return photo_needs(image, config, torch.bfloat16, kind, **{**USUAL, "views": views})


def test_deeper_photos_recurrent_networks_and_several_views_take_more():
    plain = needs(3000, 4000).total(512)
    assert 12e6 * 6 < plain < needs(3000, 4000, np.uint16).total(512)
    assert plain < needs(3000, 4000, views=2).total(512)
    assert plain < needs(3000, 4000, config=SRNConfig(channels=1, recurrent=True)).total(512)


@pytest.mark.parametrize(
    ("height", "width", "is_transposed"),
    [(3000, 4000, False), (4000, 6000, True), (6000, 4000, False), (5000, 5000, False)],
)
def test_bands_of_large_photos_run_along_their_longer_side(height, width, is_transposed):
    assert is_wide(height, width) is is_transposed


def test_without_bfloat16_24_megapixels_need_hardly_more_memory_than_with_it():
    seen = np.broadcast_to(np.zeros(1, np.uint8), (6016, 4000, 3))  # as large photos are seen
    short, long = (
        photo_needs(seen, COMPACT, precision, CPU, **USUAL).total(
            LARGEST_TILE_PX[precision.itemsize]
        )
        for precision in (torch.bfloat16, torch.float32)
    )
    assert long < 1.03 * short
    assert long < 1.1e9  # an upper bound; README says what was measured


def test_a_photo_of_one_row_takes_the_memory_of_all_that_it_is_padded_to():
    thin, padded = needs(2_000_000, 1), needs(2_000_000, COMPACT.multiple)
    assert thin.more == pytest.approx(padded.more, rel=0.9)
    assert thin.more > 2_000_000 * COMPACT.multiple * 3.5


def test_a_band_is_never_lower_than_the_network_can_take():
    wide = needs(8, 1_000_000)
    assert wide.total(128) - wide.there - wide.more >= 8 * 1_000_000 * wide.per_pixel
    assert wide.largest_tile(wide.total(128) - 1) == 0
    assert wide.largest_tile(wide.total(128)) >= 128


def test_the_largest_tile_is_the_largest_that_stays_within_a_limit():
    photo = needs(3000, 4000)
    for limit in (700 << 20, 1 << 30, 1 << 34):
        tile = photo.largest_tile(limit)
        assert photo.total(tile) <= limit < photo.total(tile + 1)


def test_a_photo_that_stays_on_a_gpu_takes_main_memory_for_its_copies_only():
    image = np.broadcast_to(np.zeros(1, np.uint8), (3000, 4000, 3))
    (gpu,) = (kind for kind in KINDS if kind.name == "cuda")
    stays = photo_needs(image, COMPACT, torch.bfloat16, gpu, **{**USUAL, "is_resident": True})
    assert stays.total(128) == stays.total(4000) == stays.there + stays.more
    assert stays.more == needs(3000, 4000, device="cuda").more + 2 * image.nbytes
    assert stays.largest_tile(stays.total(128)) > 4000
    assert stays.largest_tile(stays.total(128) - 1) == 0


def test_on_a_gpu_only_photos_and_images_take_main_memory():
    assert needs(3000, 4000, device="cuda").per_pixel < needs(3000, 4000).per_pixel
    assert needs(3000, 4000, device="cuda").more < needs(3000, 4000).more
    assert needs(3000, 4000, device="mps") == needs(3000, 4000)


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("HIP out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling"), True),
        (RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"), True),
        (RuntimeError("level_zero backend failed: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("sizes do not match"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_only_real_out_of_memory_errors_count(error, is_it):
    assert is_out_of_memory(error) is is_it


@pytest.mark.parametrize(
    ("name", "words", "lost"),
    [
        ("cuda", "CUDA error: an illegal memory access was encountered", True),
        ("cuda", "CUDA error: unspecified launch failure", True),
        ("cuda", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", True),
        ("cuda", "HIP error: the operation cannot be performed", True),
        ("cuda", "CUDA error: out of memory", False),
        ("cuda", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", False),
        ("cuda", "sizes do not match", False),
        ("xpu", "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)", True),
        ("cpu", "CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_a_lost_device_is_told_from_a_full_one_and_from_a_bug(name, words, lost):
    (kind,) = (kind for kind in KINDS if kind.name == name)
    assert (trouble_of(kind, RuntimeError(words)) is Trouble.LOST) is lost
