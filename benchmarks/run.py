"""Measure seconds per megapixel and peak memory, side by side in one run.

``python -m benchmarks.run`` prints a table. Every figure is taken in a process
of its own, and the ways to compute are measured in turn, round after round, so
that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from unblur.models.loading import prepare_torch

NETWORKS = ("srn-compact", "srn-color", "srn-lstm")
PEERS = ("NAFNet", "Restormer", "Richardson-Lucy")
WAYS = ("unblur", "bare", "eager")
"""Ways to compute: the tool's own tiles and precision; one untiled pass with the same precision;
one plain pass of PyTorch in float32."""
SIDES = {"srn-compact": 1536, "Restormer": 256, "matrix": 4096}
"""Sides of the photo in pixels; smaller for the other networks, which are ten times as slow."""
DEFAULT_SIDE = 512


@dataclass(frozen=True)
class Measurement:
    """Figures of one process."""

    seconds: float
    """Seconds per megapixel; of a matrix product, in total."""
    peak_mb: float
    multiply_adds: float = 0.0
    """Per second, where they are counted."""


def make_network(name: str):  # noqa: ANN201 (torch is imported late)
    """Build a network. All but ours have random weights, which take as long."""
    from benchmarks import peers
    from unblur.models.catalog import find_weights
    from unblur.models.published import CONFIGS
    from unblur.models.weights import load_network
    from unblur.network.srn import SRN

    if name in CONFIGS:
        return SRN(CONFIGS[name]).eval().requires_grad_(False)
    if name == "NAFNet":
        return peers.make_nafnet().eval().requires_grad_(False)
    if name == "Restormer":
        return peers.make_restormer().eval().requires_grad_(False)
    return load_network(find_weights(name))


def make_way(name: str, way: str, side: int) -> Callable[[], object]:
    """Return the function to time."""
    import numpy as np
    import torch

    from benchmarks import peers
    from unblur.network.deblurrer import NetworkDeblurrer
    from unblur.network.device_kinds import CPU
    from unblur.network.devices import choose_precision
    from unblur.options import NetworkOptions

    precision = choose_precision(CPU)
    if name == "matrix":
        left, right = (torch.randn(side, side, dtype=precision) for _ in range(2))
        return lambda: left @ right
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    if name == "Richardson-Lucy":
        return peers.make_richardson_lucy(pixels)
    network = make_network(name)
    if way == "unblur":
        deblurrer = NetworkDeblurrer(network, NetworkOptions(device="cpu"))
        return lambda: deblurrer(pixels)
    image = torch.from_numpy(pixels).permute(2, 0, 1).float().div(255)
    channels = 3 if name in PEERS else network.config.channels
    batch = image.reshape(-1, channels, side, side)
    if way == "bare":
        batch = batch.contiguous(memory_format=torch.channels_last)

    def run() -> object:
        half = way == "bare" and precision != torch.float32
        with torch.inference_mode(), torch.autocast("cpu", precision, enabled=half):
            return network(batch)

    return run


def count_multiply_adds(name: str, way: str, side: int) -> float:
    """Return the multiply-adds of one pass over the whole photo; 0 where they are not counted."""
    if name == "matrix":
        return float(side**3)
    if way != "bare":
        return 0.0
    from torch.utils.flop_counter import FlopCounterMode

    run = make_way(name, way, 128)
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2 * (side / 128) ** 2


def measure(name: str, way: str) -> Measurement:
    """Time one way to compute in this process, after a warm-up."""
    side = SIDES.get(name, DEFAULT_SIDE)
    run = make_way(name, way, side)
    run()
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = count_multiply_adds(name, way, side) / seconds
    return Measurement(seconds / (side * side / 1e6), peak, rate)


def measure_apart(name: str, way: str) -> Measurement:
    """Measure in a new process."""
    command = [sys.executable, "-m", "benchmarks.run", "--one", name, way]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Measurement(**json.loads(run.stdout.splitlines()[-1]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "WAY"), help="one figure, as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(vars(measure(*options.one))))
        return
    prepare_torch()
    ways = [(name, way) for name in NETWORKS for way in WAYS]
    ways += [(name, "eager") for name in PEERS] + [("matrix", "product")]
    found: dict[tuple[str, str], list[Measurement]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            found[way].append(measure_apart(*way))
    seconds = {way: statistics.median(m.seconds for m in found[way]) for way in ways}
    product = statistics.median(m.multiply_adds for m in found["matrix", "product"])
    print(
        "| network | way | seconds per megapixel | of eager | of a matrix product | peak memory |"
    )
    print("|---|---|--:|--:|--:|--:|")
    for name, way in ways[:-1]:
        ratio = seconds[name, way] / seconds[name, "eager"]
        rate = statistics.median(m.multiply_adds for m in found[name, way]) / product
        share = f"{rate:.2f}" if rate else ""
        peak = max(m.peak_mb for m in found[name, way])
        row = (name, way, f"{seconds[name, way]:.2f}", f"{ratio:.2f}", share, f"{peak:.0f} MB")
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
