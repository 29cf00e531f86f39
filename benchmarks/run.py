"""Measure seconds per megapixel and peak memory, side by side in one run.

``python -m benchmarks.run`` prints a table. Every figure is taken in a process
of its own, and the ways to compute are measured in turn, round after round, so
that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

NETWORKS = ("srn-compact", "srn-color", "srn-lstm")
WAYS = ("unblur", "bare", "eager")
"""The tool's own tiles and precision; one untiled pass with the same precision; one plain pass of
PyTorch in float32 as it comes."""
PUBLISHED_SIDE, COMPACT_SIDE = 512, 1536
"""Sides of the photo in pixels: the published networks are ten times as slow."""


@dataclass(frozen=True)
class Measurement:
    """What one process found."""

    seconds_per_megapixel: float
    peak_mb: float


def make_network(name: str):  # noqa: ANN201 (torch is imported late)
    """Build a network; the published ones with random weights, which take as long."""
    from unblur.models import find_weights
    from unblur.published import CONFIGS
    from unblur.srn import SRN
    from unblur.weights import load_network

    if name in CONFIGS:
        return SRN(CONFIGS[name]).eval().requires_grad_(False)
    return load_network(find_weights(name))


def make_way(network_name: str, way: str, side: int) -> Callable[[], object]:
    """Return what is to be timed."""
    import numpy as np
    import torch

    from unblur.deblurrer import Deblurrer
    from unblur.devices import choose_precision

    network = make_network(network_name)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    if way == "unblur":
        deblurrer = Deblurrer(network, "cpu")
        return lambda: deblurrer(pixels)
    image = torch.from_numpy(pixels).permute(2, 0, 1).float().div(255)
    batch = image.reshape(-1, network.config.channels, side, side)
    precision = choose_precision(torch.device("cpu"))
    if way == "bare":
        batch = batch.contiguous(memory_format=torch.channels_last)

    def run() -> object:
        half = way == "bare" and precision != torch.float32
        with torch.inference_mode(), torch.autocast("cpu", precision, enabled=half):
            return network(batch)

    return run


def measure(network: str, way: str, side: int) -> Measurement:
    """Time one way in this process, after a warm-up."""
    run = make_way(network, way, side)
    run()
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measurement(seconds / (side * side / 1e6), peak)


def measure_apart(network: str, way: str) -> Measurement:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.run", "--one", network, way]
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | dict(os.environ)
    run = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    return Measurement(**json.loads(run.stdout))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "WAY"), help="one figure, as JSON")
    options = parser.parse_args()
    if options.one:
        network, way = options.one
        side = COMPACT_SIDE if network == "srn-compact" else PUBLISHED_SIDE
        print(json.dumps(vars(measure(network, way, side))))
        return
    print("| network | way | seconds per megapixel | of eager | peak memory |")
    print("|---|---|--:|--:|--:|")
    for network in NETWORKS:
        found: dict[str, list[Measurement]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                found[way].append(measure_apart(network, way))
        seconds = {
            way: statistics.median(m.seconds_per_megapixel for m in found[way]) for way in WAYS
        }
        for way in WAYS:
            peak = max(m.peak_mb for m in found[way])
            ratio = seconds[way] / seconds["eager"]
            print(f"| {network} | {way} | {seconds[way]:.2f} | {ratio:.2f} | {peak:.0f} MB |")


if __name__ == "__main__":
    main()
