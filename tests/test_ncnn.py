from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bands import CONFIGS, cut, cuts, in_bands, random_network

from unblur.errors import UsageError
from unblur.models.loading import load_deblurrer
from unblur.models.weights import open_model
from unblur.network import ncnn_library
from unblur.network.bands import LineBuffers
from unblur.network.config import SRNConfig
from unblur.network.device_kinds import CPU, KINDS
from unblur.network.engines import choose_engine
from unblur.network.ncnn_graph import convolution, doubling_kernels, graph_text, graph_weights

pytest.importorskip("ncnn")

from unblur.network.ncnn_network import NcnnNetwork
from unblur.options import NetworkOptions

PACKED = [  # networks with maps that ncnn packs by 4, 8 and 16 channels
    SRNConfig(width=8, blocks=1, kernel=3, recurrent=True, unshuffle=2, residual=True),
    SRNConfig(width=16, blocks=(1, 2), levels=2, kernel=5, recurrent=True, channels=1),
    SRNConfig(width=12, blocks=1, kernel=3, unshuffle=2, resample="area"),
]
SHAPES = [*CONFIGS, *PACKED]
NETWORKS = [(network, NcnnNetwork(network)) for network in map(random_network, SHAPES)]
ROUNDING = 2e-5
"""Largest difference to PyTorch's result, which is of the order of 1."""


def random_images(config, rows, columns):
    """A blurred image, a coarser result and a state of a scale."""
    torch.manual_seed(1)
    planes, side = 3 // config.channels, config.stride
    image, previous = torch.rand(2, planes, config.channels, rows * side, columns * side)
    return image, previous, torch.randn(planes, config.state_channels, rows, columns)


@settings(max_examples=40)
@given(st.sampled_from(NETWORKS), st.integers(1, 30), cuts)
def test_bands_of_any_heights_give_what_torch_gives_for_the_whole(networks, rows, at):
    in_torch, in_ncnn = networks
    config = in_torch.config
    image, previous, state = random_images(config, rows, columns=3)
    tops = iter([0, *np.cumsum(cut(rows, 1, at))])

    def run(band, before, buffers):
        top = next(tops)
        part = state[:, :, top : top + band.shape[2] // config.stride]
        return in_ncnn.run_scale(band, before, part if config.recurrent else None, buffers)

    with torch.inference_mode():
        expected = in_torch.run_scale(image, previous, state if config.recurrent else None)
        bands = in_bands(run, [h * config.stride for h in cut(rows, 1, at)], image, previous)
    assert torch.allclose(torch.cat([y for y, _ in bands], 2), expected[0], atol=ROUNDING)
    if config.recurrent:
        assert torch.allclose(torch.cat([s for _, s in bands], 2), expected[1], atol=ROUNDING)


@pytest.mark.parametrize("networks", NETWORKS)
def test_a_whole_image_without_a_state_is_computed_as_by_torch(networks):
    in_torch, in_ncnn = networks
    image, previous, _ = random_images(in_torch.config, 5, 4)
    with torch.inference_mode():
        expected, _ = in_torch.run_scale(image, previous, None)
        found, _ = in_ncnn.run_scale(image, previous, None, LineBuffers())
        turned, _ = in_ncnn.transposed().run_scale(image.mT, previous.mT, None, LineBuffers())
    assert torch.allclose(found, expected, atol=ROUNDING)
    assert torch.allclose(turned.mT, expected, atol=ROUNDING)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1, 3), (97, 403, 1), (300, 200, 3)])
def test_photos_come_out_as_from_torch(size, dtype):
    network = random_network(SRNConfig(width=8, blocks=1, kernel=3, recurrent=True, residual=True))
    image = make_pixels(*size, dtype=dtype)
    options = {"precision": torch.float32, "tile": 128, "strength": 0.7, "views": 3}
    expected, found = (
        fakes.on_cpu(network, engine=name, **options)(image) for name in ("torch", "ncnn")
    )
    assert found.dtype == dtype
    assert not np.array_equal(expected, image)
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= (1 if dtype == np.uint8 else 3)
    assert (difference > 0).mean() < 0.2


def test_a_doubling_is_a_convolution_with_four_maps():
    torch.manual_seed(0)
    weight, x = torch.randn(3, 5, 4, 4), torch.randn(1, 3, 6, 7)
    expected = F.conv_transpose2d(x, weight, stride=2, padding=1)
    maps = F.conv2d(x, doubling_kernels(weight), padding=1)[0].view(2, 2, 5, 6, 7)
    for row in range(2):
        for column in range(2):
            found = expected[0, :, row::2, column::2]
            assert torch.allclose(maps[row, column], found, atol=1e-5)


def test_a_graph_is_text_and_its_weights_are_little_endian_numbers():
    weight, bias = torch.arange(8.0).view(2, 4, 1, 1), torch.tensor([0.5, -1])
    layer = convolution("a", "in", weight, bias, stride=2, has_relu=True)
    assert graph_text([layer]) == "7767517\n1 1\nConvolution a 1 1 in a 0=2 1=1 3=2 5=1 6=8 9=1\n"
    numbers = [0, *range(8), 0.5, -1]
    assert graph_weights([layer]) == np.array(numbers, "<f4").tobytes()


@pytest.mark.parametrize(
    ("wanted", "kind", "precision", "is_there", "expected"),
    [
        ("auto", CPU, torch.float32, True, "ncnn"),
        ("auto", CPU, torch.float32, False, "torch"),
        ("auto", CPU, torch.bfloat16, True, "torch"),
        ("auto", KINDS[0], torch.float32, True, "torch"),
        ("torch", CPU, torch.float32, True, "torch"),
        ("ncnn", CPU, torch.float32, True, "ncnn"),
    ],
)
def test_ncnn_computes_where_it_is_faster(wanted, kind, precision, is_there, expected, monkeypatch):
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: is_there)
    assert choose_engine(wanted, kind, precision).engine == expected


def test_torch_computes_networks_with_large_kernels(monkeypatch):
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: True)
    assert choose_engine("auto", CPU, torch.float32, kernel=5).engine == "torch"
    assert choose_engine("ncnn", CPU, torch.float32, kernel=5).engine == "ncnn"


def test_the_choice_of_the_library_is_explained(monkeypatch):
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: False)
    reasons = {
        choose_engine("ncnn", CPU, torch.float32).reason,
        choose_engine("auto", CPU, torch.bfloat16).reason,
        choose_engine("auto", KINDS[0], torch.bfloat16).reason,
        choose_engine("auto", CPU, torch.float32).reason,
    }
    monkeypatch.setattr(ncnn_library, "has_ncnn", lambda: True)
    reasons.add(choose_engine("auto", CPU, torch.float32, kernel=5).reason)
    reasons.add(choose_engine("auto", CPU, torch.float32).reason)
    assert len(reasons) == 6
    assert any("unblur[ncnn]" in reason for reason in reasons)


def test_ncnn_is_chosen_by_an_option_and_named_in_json(unblur, jpeg):
    result = unblur(jpeg, "--engine", "ncnn", "--json")
    line = json.loads(result.stdout.splitlines()[0])
    assert (result.code, line["engine"], line["device"]) == (0, "ncnn", "cpu")


def test_ncnn_is_not_for_gpus(identity_weights):
    options = NetworkOptions(model=str(identity_weights), device="cuda", engine="ncnn")
    with pytest.raises(UsageError, match="--device cuda needs --engine torch, not ncnn"):
        load_deblurrer(open_model(options.model), options, warn=print)


def test_without_ncnn_its_option_names_the_command_that_installs_it(unblur, jpeg, monkeypatch):
    monkeypatch.setitem(sys.modules, "ncnn", None)
    result = unblur(jpeg, "--engine", "ncnn")
    assert result.code == 5
    assert "pip install 'unblur[ncnn]'" in result.stderr


LEAVE_A_MAP = """\
import gc, torch
from unblur.network.ncnn_graph import convolution
from unblur.network.ncnn_network import Convolutions
layer = convolution("a", "in", torch.ones(16, 16, 3, 3), torch.zeros(16), 1, False)
found = Convolutions([layer]).run(layer, torch.ones(1, 5, 5 * 16), 16, True)
gc.collect()
assert torch.allclose(found, torch.tensor(144.0))
del found
gc.collect()
"""


def test_a_map_can_be_kept_longer_than_its_network():
    subprocess.run([sys.executable, "-c", LEAVE_A_MAP], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="reads which libraries Linux has bound")
def test_ncnn_computes_with_the_threads_of_torch():
    program = "import torch; from unblur.network.ncnn_library import load_ncnn; load_ncnn()"
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"LD_DEBUG": "bindings"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    bound = [line for line in found.splitlines() if "`GOMP_parallel'" in line]
    libraries = {Path(line.split(" to ")[1].split(" [")[0]).name for line in bound}
    if "libgomp.so.1" not in libraries:
        pytest.skip("PyTorch does not use GNU's OpenMP under its usual name")
    of_ncnn = [line for line in bound if "/ncnn" in line.split(" to ")[0]]
    assert of_ncnn
    assert all("/libgomp.so.1 " in line for line in of_ncnn)
