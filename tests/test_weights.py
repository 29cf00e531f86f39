from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from unblur.errors import WeightsError
from unblur.models import MODELS, find_weights
from unblur.srn import SRN, SRNConfig
from unblur.weights import CONFIG_KEY, load_network, save_network

CONFIG = SRNConfig(width=2, blocks=1, recurrent=True)


@pytest.fixture
def tensors():
    return dict(SRN(CONFIG).state_dict())


@pytest.fixture
def save(tmp_path):
    def save(tensors, header=None):
        path = tmp_path / "weights.safetensors"
        save_file(tensors, path, header or {CONFIG_KEY: json.dumps(CONFIG.to_dict())})
        return path

    return save


def test_a_network_survives_its_file(tmp_path):
    network = SRN(CONFIG)
    save_network(network, tmp_path / "a.safetensors")
    loaded = load_network(tmp_path / "a.safetensors")
    assert loaded.config == CONFIG
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded(image)[-1], network(image)[-1])


def test_half_precision_halves_the_file_and_loads_as_full(tmp_path):
    network = SRN(CONFIG)
    for name, dtype in (("full", None), ("half", torch.float16)):
        save_network(network, tmp_path / name, dtype)
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "full").stat().st_size
    assert {p.dtype for p in load_network(tmp_path / "half").parameters()} == {torch.float32}


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"\xff" * 100])
def test_a_file_that_is_no_weights_is_refused_by_name(tmp_path, data):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"bad\.safetensors"):
        load_network(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        load_network(tmp_path / "none.safetensors")


def test_a_file_that_was_cut_off_is_refused(tmp_path, tensors, save):
    path = save(tensors)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_network(path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("output.bias", None, "output.bias is missing"),
        ("extra", torch.zeros(1), "extra does not belong"),
        ("output.bias", torch.zeros(4), "has shape"),
        ("output.bias", torch.full((3,), torch.nan), "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_the_first_difference(
    tensors, save, name, value, words
):
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    with pytest.raises(WeightsError, match=words):
        load_network(save(tensors))


@pytest.mark.parametrize(
    "header",
    [{"other": "x"}, {CONFIG_KEY: "{"}, {CONFIG_KEY: '{"width": 0}'}, {CONFIG_KEY: "[1]"}],
)
def test_a_header_that_describes_no_network_is_refused(tensors, save, header):
    with pytest.raises(WeightsError, match="header"):
        load_network(save(tensors, header))


def test_an_unknown_model_is_refused_with_those_that_are_known():
    with pytest.raises(WeightsError, match="srn-compact"):
        find_weights("srn-huge")


@pytest.mark.weights
@pytest.mark.parametrize("name", MODELS)
def test_shipped_weights_load(name):
    path = find_weights(name)
    assert path.stat().st_size < 12e6
    assert load_network(path).config.recurrent
