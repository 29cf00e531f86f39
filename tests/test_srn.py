from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from conftest import SHARED
from published_files import assert_computes_as_the_original

from unblur.models.published import CONFIGS, load_published
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN, enlarge, shrink

COMPACT = SRNConfig(
    width=4, blocks=1, kernel=3, recurrent=True, unshuffle=2, residual=True, resample="area"
)


def parameter_millions(config):
    with torch.device("meta"):
        return sum(p.numel() for p in SRN(config).parameters()) / 1e6


@pytest.mark.parametrize(
    ("name", "millions"), [("srn-color", 6.88), ("srn-gray", 6.88), ("srn-lstm", 8.06)]
)
def test_published_networks_have_the_published_number_of_parameters(name, millions):
    assert parameter_millions(CONFIGS[name]) == pytest.approx(millions, abs=0.01)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["noise64x96", "crop256x256", "crop208x320"])
def test_every_scale_computes_what_the_original_graph_computes(name):
    network = load_published(SHARED / "srn-golden" / "deblur.model-523000")
    assert_computes_as_the_original(network, f"lstm_{name}.npz")


@pytest.mark.parametrize(
    "config",
    [
        COMPACT,
        SRNConfig(width=2, blocks=1),
        replace(COMPACT, levels=4, blocks=(1, 1, 1, 2)),
        replace(COMPACT, unshuffle=4),
    ],
)
def test_every_scale_has_its_own_size(config):
    results = SRN(config)(torch.rand(2, 3, 64, 128))
    assert [r.shape for r in results] == [(2, 3, 16, 32), (2, 3, 32, 64), (2, 3, 64, 128)]


def test_the_state_reaches_the_next_scale():
    network = SRN(COMPACT)
    image = torch.rand(1, 3, 64, 64)
    _, state = network.run_scale(image, image, None)
    assert state.shape == (1, COMPACT.state_channels, 8, 8)
    without, _ = network.run_scale(image, image, None)
    with_state, _ = network.run_scale(image, image, state)
    assert not torch.equal(without, with_state)


def test_subsampling_enlarges_as_tensorflow_1_does():
    row = torch.tensor([[[[0.0, 2.0, 6.0]]]])
    enlarged = enlarge(row, SRNConfig())
    assert enlarged[0, 0].tolist() == [[0, 1, 2, 4, 6, 6]] * 2


@pytest.mark.parametrize("resample", ["subsample", "area"])
def test_a_flat_image_stays_flat_through_shrinking_and_enlarging(resample):
    config = SRNConfig(resample=resample)
    flat = torch.full((1, 3, 8, 8), 0.25)
    assert torch.equal(enlarge(shrink(flat, 2, config), config), flat)


DEEP = replace(COMPACT, levels=4, blocks=(1, 2, 3, 4))


@pytest.mark.parametrize("config", [COMPACT, DEEP])
def test_a_configuration_survives_its_plain_values(config):
    assert SRNConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


ALL_KINDS = [
    *CONFIGS.values(),
    COMPACT,
    replace(COMPACT, levels=4, blocks=(1, 1, 1, 2), channels=1),
    replace(COMPACT, unshuffle=4, kernel=5),
    replace(COMPACT, unshuffle=3, recurrent=False, resample="subsample"),
]


@pytest.mark.parametrize("config", [replace(kind, width=4, blocks=1) for kind in ALL_KINDS])
def test_a_transposed_network_makes_of_a_transposed_image_the_transposed_result(config):
    torch.manual_seed(0)
    network = SRN(config).requires_grad_(False)
    image = torch.rand(2, config.channels, config.multiple, 2 * config.multiple)
    results, turned = network(image), network.transposed()(image.mT)
    for result, other in zip(results, turned, strict=True):
        assert torch.allclose(other.mT, result, atol=1e-5)
        assert not torch.allclose(network(image.mT)[-1].mT, results[-1], atol=1e-5)


def test_a_network_that_is_transposed_twice_is_the_same_again():
    network = SRN(DEEP)
    again = network.transposed().transposed().state_dict()
    for name, weight in network.state_dict().items():
        assert torch.equal(again[name], weight)


def test_a_transposed_network_shares_nearly_all_of_its_memory():
    network = SRN(COMPACT)
    turned = network.transposed()
    for mine, other in zip(
        network.encoders.parameters(), turned.encoders.parameters(), strict=True
    ):
        assert mine.data_ptr() == other.data_ptr()


def test_a_configuration_without_levels_is_of_the_three_of_the_paper():
    values = {"width": 4, "blocks": 2}
    assert SRNConfig.from_dict(values) == SRNConfig(width=4, blocks=2, levels=3)


def test_levels_with_equally_many_blocks_are_as_if_one_number_had_been_given():
    config = SRNConfig.from_dict({"blocks": [2, 2, 2]})
    assert config == SRNConfig(blocks=2)
    assert config.to_dict()["blocks"] == 2
    assert SRNConfig(blocks=2).blocks_by_level == (2, 2, 2)


def test_each_level_has_its_own_blocks_and_twice_the_width_of_the_finer_one():
    network = SRN(DEEP)
    for blocks in (network.encoders, network.decoders):
        assert [len(level) for level in blocks] == [1, 2, 3, 4]
    assert [entry.out_channels for entry in network.entries] == [4, 8, 16, 32]
    assert len(network.exits) == 3
    assert (DEEP.stride, DEEP.multiple, DEEP.state_channels) == (16, 64, 64)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"levels": 1}, "levels must be a whole number from 2 to 6, not 1"),
        ({"levels": 4, "blocks": [1, 2, 3]}, r"one for each of 4 levels, not \[1, 2, 3\]"),
        ({"blocks": [1, 2, 0]}, "blocks must be a whole number from 1 to 64"),
        ({"blocks": [1, 2, "3"]}, "blocks"),
        ({"blocks": {"1": 2}}, "blocks"),
        ({"levels": [3]}, "levels"),
        ({"levels": 7}, "levels"),
    ],
)
def test_levels_and_blocks_that_do_not_fit_are_refused_in_words(values, words):
    with pytest.raises(ValueError, match=words):
        SRNConfig.from_dict(values)


@pytest.mark.parametrize(
    "values",
    [{"width": 0}, {"kernel": 4}, {"channels": 2}, {"resample": "cubic"}, {"colour": 1},
     {"width": 10**9}, {"blocks": True}],
)  # fmt: skip
def test_an_impossible_configuration_is_refused(values):
    with pytest.raises(ValueError, match=str(next(iter(values)))):
        SRNConfig.from_dict(values)
