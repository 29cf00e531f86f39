"""Average weights that were trained from the same start.

``python -m training.mean MEAN.safetensors WEIGHTS WEIGHTS...`` writes the mean in float16. Such
weights lie in one basin of the loss, and their mean often has a smaller error than each of them
(Wortsman et al., "Model soups", ICML 2022).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from unblur.models.weights import load_network, save_network
from unblur.network.srn import SRN


@torch.no_grad()
def mean_network(networks: list[SRN]) -> SRN:
    """Set the first network's weights to the mean of all networks' weights, and return it.

    Raises:
        ValueError: If their configurations differ.
    """
    first = networks[0]
    if any(network.config != first.config for network in networks):
        raise ValueError("networks of different configurations have no mean")
    for weight, *others in zip(*(network.parameters() for network in networks), strict=True):
        weight.copy_(torch.stack([weight, *others]).mean(0))
    return first


def main() -> None:
    """Write the mean of weights files from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mean", type=Path, help="the file to write")
    parser.add_argument("weights", type=Path, nargs="+")
    options = parser.parse_args()
    network = mean_network([load_network(path) for path in options.weights])
    save_network(network, options.mean, torch.float16)


if __name__ == "__main__":
    main()
