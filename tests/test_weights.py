from __future__ import annotations

import contextlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from unblur.errors import WeightsError
from unblur.models import weights
from unblur.models.catalog import DEFAULT_MODEL, find_weights
from unblur.models.weights import (
    CONFIG_KEY,
    decode_network,
    encode_network,
    load_network,
    save_network,
)
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN

CONFIG = SRNConfig(width=2, blocks=1, recurrent=True)
DEEP = SRNConfig(width=2, levels=4, blocks=(1, 2, 1, 3), kernel=3)


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


def test_a_network_of_other_levels_survives_its_file(tmp_path):
    network = SRN(DEEP)
    save_network(network, tmp_path / "a.safetensors")
    loaded = load_network(tmp_path / "a.safetensors")
    assert loaded.config == DEEP
    image = torch.rand(1, 3, 32, 32)
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
        ("extra", torch.zeros(1), "'extra' does not belong"),
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
    [
        {"other": "x"},
        {CONFIG_KEY: "{"},
        {CONFIG_KEY: '{"width": 0}'},
        {CONFIG_KEY: "[1]"},
        {CONFIG_KEY: '{"levels": 4, "blocks": [1, 2, 3]}'},
    ],
)
def test_a_header_that_describes_no_network_is_refused(tensors, save, header):
    with pytest.raises(WeightsError, match="header"):
        load_network(save(tensors, header))


@pytest.mark.weights
def test_shipped_weights_load():
    path = find_weights(DEFAULT_MODEL)
    assert path.stat().st_size < 12e6
    assert load_network(path).config.recurrent


def arrays(data):
    """The places of a safetensors file's arrays, in any order, and the arrays' bytes."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    del header["__metadata__"]
    return header, data[start:]


@pytest.mark.weights
def test_shipped_weights_are_written_again_as_they_were():
    data = find_weights(DEFAULT_MODEL).read_bytes()
    network = decode_network(data)
    again = encode_network(network)
    assert arrays(again) == arrays(data)
    assert decode_network(again).config == network.config


def test_weights_without_a_checksum_load(tensors, save):
    assert load_network(save(tensors)).config == CONFIG


@pytest.mark.parametrize("position", [-1, -1000])
def test_a_changed_number_is_found(tmp_path, position):
    save_network(SRN(CONFIG), tmp_path / "a.safetensors")
    data = bytearray((tmp_path / "a.safetensors").read_bytes())
    data[position] ^= 1
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match="its checksum is wrong"):
        load_network(tmp_path / "a.safetensors")


def test_two_arrays_that_changed_places_are_found(tmp_path):
    save_network(SRN(CONFIG), tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    first, second = b"encoders.0.0.conv1.bias", b"encoders.0.0.conv2.bias"
    swapped = second.join(part.replace(second, first) for part in data.split(first))
    assert swapped != data
    (tmp_path / "a.safetensors").write_bytes(swapped)
    with pytest.raises(WeightsError, match="its checksum is wrong"):
        load_network(tmp_path / "a.safetensors")


WHOLE = encode_network(SRN(SRNConfig(width=1, blocks=1, kernel=1)))


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_any_changed_byte_is_refused_or_changes_nothing(position, value):
    data = bytearray(WHOLE)
    data[position] = value
    with contextlib.suppress(ValueError):
        changed, network = decode_network(bytes(data)), decode_network(WHOLE)
        assert changed.config == network.config
        for name, tensor in network.state_dict().items():
            assert torch.equal(changed.state_dict()[name], tensor)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_words(data):
    with pytest.raises(ValueError, match=r"safetensors|weights"):
        decode_network(data)


def test_where_pytorch_cannot_see_the_processor_one_line_says_what_to_do(jpeg, unblur, monkeypatch):
    monkeypatch.setattr(weights, "PROCESSOR_FILE", str(jpeg.parent / "proc" / "cpuinfo"))
    monkeypatch.setattr("sys.platform", "linux")
    result = unblur(jpeg)
    assert result.code == 5
    (line,) = result.stderr.splitlines()
    assert "cpuinfo cannot be read, and PyTorch needs it: mount /proc" in line
