"""Compare shapes of the network: parameters, multiplications and time on one core.

``python -m benchmarks.shapes`` deblurs 3 megapixels of noise with networks of random weights, one
shape after the other, and prints the fastest of several rounds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from training.judging.cost import kmac_per_pixel
from unblur.models.catalog import DEFAULT_MODEL, MODELS
from unblur.network.config import SRNConfig
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.network.srn import SRN
from unblur.options import NetworkOptions

COMPACT = MODELS[DEFAULT_MODEL].config
SHAPES = {
    "A: unshuffle 2, width 32, 3 levels, 3 blocks": replace(
        COMPACT, unshuffle=2, width=32, levels=3, blocks=3
    ),
    "B: as A, 4 levels, 1, 2, 3, 4 blocks": replace(
        COMPACT, unshuffle=2, width=32, levels=4, blocks=(1, 2, 3, 4)
    ),
    "C: as A, unshuffle 4, width 64": replace(COMPACT, unshuffle=4, width=64, levels=3, blocks=3),
}
HEIGHT_PX, WIDTH_PX = 1500, 2000


def seconds(deblurrer: NetworkDeblurrer, photo: NDArray[np.uint8]) -> float:
    """Return the processor time that a photo takes."""
    started = time.process_time()
    deblurrer(photo)
    return time.process_time() - started


def describe(name: str, config: SRNConfig, taken: float, first: float) -> str:
    """Return a row of the table."""
    network = SRN(config).eval().requires_grad_(False)
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    thousands = kmac_per_pixel(network)
    return f"| {name} | {millions:.1f} M | {thousands:.0f} | {taken:.2f} | {taken / first:.2f} |"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    taken: dict[str, list[float]] = {name: [] for name in SHAPES}
    for _ in range(rounds):
        for name, config in SHAPES.items():
            network = SRN(config).eval().requires_grad_(False)
            taken[name].append(
                seconds(NetworkDeblurrer(network, NetworkOptions(device="cpu")), photo)
            )
    fastest = {name: min(times) for name, times in taken.items()}
    first = next(iter(fastest.values()))
    print("| shape | parameters | kMAC a pixel | seconds | of the first |")
    print("|---|--:|--:|--:|--:|")
    for name, config in SHAPES.items():
        print(describe(name, config, fastest[name], first))


if __name__ == "__main__":
    main()
