from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bands import cut, cuts, in_bands, random_network

from unblur.network import winograd
from unblur.network.config import SRNConfig
from unblur.network.srn import SameConv

LARGEST_ERROR = 3e-5
"""Largest difference to the definition, for results of the order of 1."""


def random_layer(inputs, outputs):
    weight, bias = torch.randn(outputs, inputs, 3, 3), torch.randn(outputs)
    return weight / (9 * inputs) ** 0.5, bias


def random_map(*shape):
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


@pytest.mark.parametrize(
    ("batch", "height", "width"), [(1, 8, 12), (3, 1, 1), (2, 3, 5), (1, 6, 600), (1, 41, 83)]
)
@torch.inference_mode()
def test_maps_of_any_size_are_convolved_as_by_definition(batch, height, width):
    (weight, bias), x = random_layer(5, 7), random_map(batch, 5, height + 2, width + 2)
    result = winograd.convolve(x, weight, bias)
    expected = F.conv2d(x.double(), weight.double(), bias.double())
    assert (result.shape, result.dtype) == (expected.shape, torch.float32)
    assert (result - expected).abs().max() < LARGEST_ERROR


@torch.inference_mode()
def test_an_infinite_value_does_not_become_a_finite_one():
    (weight, bias), x = random_layer(4, 4), random_map(1, 4, 10, 10)
    x[0, 0, 5, 5] = torch.inf
    assert not winograd.convolve(x, weight, bias).isfinite().all()


def test_few_channels_other_kernels_types_and_gradients_are_left_to_pytorch():
    x, weight = random_map(1, 64, 4, 4), torch.empty(64, 64, 3, 3)
    with torch.inference_mode():
        assert winograd.is_faster(x, weight, stride=1)
        assert not winograd.is_faster(x, weight, stride=2)
        assert not winograd.is_faster(x, torch.empty(64, 64, 5, 5), stride=1)
        assert not winograd.is_faster(x, weight[:32], stride=1)
        assert not winograd.is_faster(x.bfloat16(), weight, stride=1)
        assert not winograd.is_faster(x.to("meta"), weight, stride=1)
        with torch.autocast("cpu", torch.bfloat16):
            assert not winograd.is_faster(x, weight, stride=1)
    assert not winograd.is_faster(x, weight, stride=1)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 25), cuts, st.booleans())
def test_bands_of_any_heights_give_what_pytorch_gives_for_the_whole(rows, at, has_relu):
    layer = SameConv(64, 64, 3, has_relu=has_relu).requires_grad_(False)
    x = random_map(1, 64, rows, 9)
    expected = F.conv2d(x, layer.weight, layer.bias, padding=1)
    expected = expected.relu() if has_relu else expected
    with torch.inference_mode():
        result = torch.cat(in_bands(layer, cut(rows, 1, at), x), dim=2)
    assert (result - expected).abs().max() < LARGEST_ERROR


def test_a_wide_network_uses_fewer_multiplications_and_gives_the_same_photo(monkeypatch):
    shapes, convolve = set(), winograd.convolve

    def noting(x, weight, bias):
        shapes.add(tuple(weight.shape[:2]))
        return convolve(x, weight, bias)

    monkeypatch.setattr(winograd, "convolve", noting)
    config = SRNConfig(width=16, blocks=1, kernel=3, recurrent=True, unshuffle=2, residual=True)
    network, image = random_network(config), random_map(1, 3, 96, 64)
    expected = network(image)[-1]
    assert not shapes  # without the engine's inference mode
    with torch.inference_mode():
        result = network(image)[-1]
    assert shapes == {(64, 64), (256, 128)}
    assert (result - expected).abs().max() < 1e-4
