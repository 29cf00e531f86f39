"""Estimates of the network's memory, compared with the measured memory of networks of all
shapes."""

from __future__ import annotations

import itertools
import weakref
from collections import Counter
from dataclasses import replace

import pytest
import torch
from test_bands import CONFIGS, in_bands, random_network
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unblur.network.bands import LineBuffers
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN
from unblur.network.srn_memory import (
    count_parameters,
    line_buffer_bytes,
    rows_behind,
    tile_bytes_per_pixel,
)

COMPACT = SRNConfig(
    width=8, blocks=2, kernel=3, recurrent=True, unshuffle=2, residual=True, resample="area"
)
SHAPES = {
    "of the paper": SRNConfig(width=8, blocks=1),
    "for one colour": SRNConfig(channels=1, width=8, blocks=1, recurrent=True),
    "compact": COMPACT,
    "deep": replace(COMPACT, levels=4, blocks=(1, 2, 3, 4)),
    "folded by 4": replace(COMPACT, width=16, unshuffle=4),
}


@pytest.mark.parametrize("config", CONFIGS)
def test_parameters_are_counted_without_a_network(config):
    network = random_network(config)
    assert count_parameters(config) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("config", CONFIGS)
def test_results_lag_behind_by_no_more_than_is_told(config):
    network = random_network(config)
    image = torch.rand(1, config.channels, config.stride * 40, config.stride)
    heights = [config.stride] * 40
    results = in_bands(
        lambda blurred, buffers: network.run_scale(blurred, blurred, None, buffers)[0],
        heights,
        image,
    )
    came_in = list(itertools.accumulate(heights))
    came_out = list(itertools.accumulate(result.shape[2] for result in results))
    behind = max(i - o for i, o in zip(came_in, came_out, strict=True))
    assert behind <= rows_behind(config)
    assert came_out[-1] == came_in[-1]


@pytest.mark.parametrize("config", CONFIGS)
def test_line_buffers_take_hardly_less_memory_than_is_told_and_never_more(config):
    network = random_network(config)
    width = config.stride * 4
    buffers = LineBuffers(is_last=False)
    for _ in range(40):
        band = torch.rand(3 // config.channels, config.channels, config.stride * 2, width)
        network.run_scale(band, band, None, buffers)
        before, buffers = buffers, buffers.next(is_last=False)
    both = [*before.above.values(), *buffers.above.values()]
    taken = sum(rows.untyped_storage().nbytes() for rows in both)
    told = line_buffer_bytes(width, config, torch.float32.itemsize)
    assert 0.8 * told <= taken <= told


class Peak(TorchDispatchMode):
    """Tracks the memory that the results of PyTorch's operators take at once."""

    def __init__(self):
        super().__init__()
        self.most = self.now = 0
        self.uses = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            memory = tensor.untyped_storage()
            key, size = memory.data_ptr(), memory.nbytes()
            if not self.uses[key]:
                self.now += size
            self.uses[key] += 1
            weakref.finalize(tensor, self._let_go, key, size)
        self.most = max(self.most, self.now)
        return result

    def _let_go(self, key, size):
        self.uses[key] -= 1
        if not self.uses[key]:
            self.now -= size


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_tile_takes_no_more_memory_than_is_told(shape, precision):
    config = SHAPES[shape]
    network = SRN(config).eval().requires_grad_(False)
    height, width = config.stride * 20, 128
    grid = 3 // config.channels, config.state_channels, 20, width // config.stride

    def add_band(buffers):
        band = torch.rand(3 // config.channels, config.channels, height, width)
        band = band.contiguous(memory_format=torch.channels_last)
        state = torch.rand(*grid) if config.recurrent else None
        with torch.inference_mode(), torch.autocast("cpu", precision, precision != torch.float32):
            network.run_scale(band, band, state, buffers)

    buffers = LineBuffers(is_last=False)
    for _ in range(3):
        add_band(buffers)
        buffers = buffers.next(is_last=False)
    with Peak() as peak:
        add_band(buffers)
    tile = height * width * tile_bytes_per_pixel(config, precision.itemsize)
    assert 0.35 * tile <= peak.most <= tile + precision.itemsize * count_parameters(config)
