"""Kernels without a checkerboard pattern, for networks of every shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.even_kernels import make_even
from training.trainer import COMPACT
from unblur.network.srn import SRN
from unblur.network.srn_memory import rows_behind

SHAPES = {
    "folded by 4": {"unshuffle": 4},
    "folded by 3": {"unshuffle": 3},
    "not folded": {"unshuffle": 1},
    "of four levels": {"levels": 4, "blocks": (1, 1, 1, 2)},
    "of wide kernels": {"kernel": 5, "unshuffle": 4},
}
ROUNDING = 1e-5


def dots(network):
    """How much the result of a flat photo varies away from its borders."""
    config = network.config
    side = 2 * rows_behind(config) + config.multiple
    side += -side % config.stride
    flat = torch.full((1, config.channels, side, side), 0.4)
    result, _ = network.run_scale(flat, flat, None)
    inside = slice(side // 2 - 8, side // 2 + 8)
    middle = result[:, :, inside, inside]
    return (middle.amax((2, 3)) - middle.amin((2, 3))).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_an_even_network_of_any_shape_draws_no_dots_on_a_flat_photo(shape):
    torch.manual_seed(0)
    values = {"width": 4, "blocks": 1} | SHAPES[shape]
    network = SRN(replace(COMPACT, **values)).eval().requires_grad_(False)
    torch.nn.init.normal_(network.output.bias)
    assert dots(network) > 10 * ROUNDING
    make_even(network)
    assert dots(network) < ROUNDING
