from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.revive import revive
from training.trainer import COMPACT, initialise
from unblur.network.bands import LineBuffers
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN, ResidualBlock


@pytest.fixture
def network():
    """A network whose output no longer equals its input."""
    torch.manual_seed(0)
    network = SRN(SRNConfig(**COMPACT.to_dict() | {"width": 4, "blocks": 1}))
    initialise(network)
    for weight in (network.output.weight, *(exit.weight for exit in network.exits)):
        torch.nn.init.normal_(weight, std=0.1)
    return network


@pytest.fixture
def photos():
    torch.manual_seed(1)
    return torch.rand(2, 3, 64, 64)


def switch_off(block: ResidualBlock, units: list[int]) -> None:
    with torch.no_grad():
        block.conv1.bias[units] = -100


def shares_on(network: SRN, block: ResidualBlock, photos: Tensor) -> Tensor:
    """Return the share of places at which each unit of a block is on."""
    seen: list[Tensor] = []
    hook = block.conv1.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    with torch.no_grad():
        network(photos)
        hook.remove()
        on = [(block.conv1(x, LineBuffers()) > 0).float().mean((0, 2, 3)) for x in seen]
    return torch.stack(on).mean(0)


def test_dead_units_are_found_and_the_result_stays_the_same(network, photos):
    switch_off(network.encoders[2][0], [1, 5, 6])
    switch_off(network.decoders[0][0], [0])
    with torch.no_grad():
        before = network(photos)[-1]
    assert revive(network, photos) == 4
    with torch.no_grad():
        assert torch.allclose(network(photos)[-1], before, atol=1e-5)


def test_revived_units_are_on_at_about_half_of_the_places_and_learn(network, photos):
    block = network.encoders[2][0]
    switch_off(block, [1, 5])
    assert shares_on(network, block, photos)[[1, 5]].max() == 0
    revive(network, photos)
    shares = shares_on(network, block, photos)[[1, 5]]
    assert shares.min() > 0.3
    assert shares.max() < 0.7
    network(photos)[-1].square().mean().backward()
    assert block.conv2.weight.grad[:, [1, 5]].abs().amax((0, 2, 3)).min() > 0


def test_a_network_without_dead_units_is_left_alone(network, photos):
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    assert revive(network, photos) == 0
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
