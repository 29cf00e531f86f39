"""Work out hours and cost of large libraries on paper; docs/cluster.md shows the table.

``python -m benchmarks.capacity`` computes it from the assumptions below, which
are meant to be replaced; ``--measure`` finds anew what a photo costs beside the
network. The table's GPUs were not measured: their figures follow from the
network's multiplications, the maker's peak rate and a share of it that is
guessed.
"""

from __future__ import annotations

import argparse
import io
import time
from dataclasses import dataclass

MEGAPIXELS = 12.0
"""Of each photo."""
GPU_SHARE = 0.3
"""Share of a GPU's peak rate that so small a network reaches: a guess."""
NETWORK_CORE_SECONDS = 2.02
"""Of the network, per megapixel: `make bench` on cores of an AMD EPYC with AVX512-BF16."""
CODING_CORE_SECONDS = 0.08
"""Of decoding and encoding JPEG, per megapixel, in threads beside the network: ``--measure``."""
TILING_CORE_SECONDS = 0.06
"""Of what is done to bands before and after the network, per megapixel, in the network's thread,
while a GPU waits. Half of what ``--measure`` finds, for the other half is resampling, which a GPU
does itself."""
DRIVER_CORE_SECONDS = 0.0053
"""Of the program that hands out photos, for each: ``python -m benchmarks.cluster``."""
LIBRARIES = (1, 100, 10_000)
"""Millions of photos."""


@dataclass(frozen=True)
class Machine:
    """What is rented by the hour, with one worker for each GPU or group of cores."""

    name: str
    dollars_an_hour: float
    """On demand, rounded."""
    cores: int
    """Of which two vCPU are one, unless the machine says otherwise."""
    gpu_teraflops: float = 0.0
    """Dense peak in the precision that the tool computes in, by the maker's data sheet."""


MACHINES = (
    Machine("16 cores, AMD EPYC 4th gen.", 0.82, 16),
    Machine("T4, 4 vCPU (float32)", 0.53, 2, 8.1),
    Machine("L4, 4 vCPU", 0.80, 2, 121.0),
    Machine("A10G, 4 vCPU", 1.01, 2, 70.0),
    Machine("A100 40 GB, 12 vCPU", 3.70, 6, 312.0),
    Machine("H100 80 GB, 24 vCPU", 6.90, 12, 989.0),
)


def seconds_per_photo(machine: Machine, multiplications: float) -> float:
    """Return how long a machine takes for each photo, when it does many."""
    coding, tiling = CODING_CORE_SECONDS * MEGAPIXELS, TILING_CORE_SECONDS * MEGAPIXELS
    if not machine.gpu_teraflops:
        return (NETWORK_CORE_SECONDS * MEGAPIXELS + coding) / machine.cores
    operations = 2 * multiplications * MEGAPIXELS * 1e6
    network = operations / (machine.gpu_teraflops * 1e12 * GPU_SHARE)
    return max(network + tiling, (coding + tiling) / machine.cores)


def measure() -> None:
    """Print what a photo of noise and edges costs beside the network."""
    import numpy as np
    import torch
    from PIL import Image

    from unblur.formats import any_format
    from unblur.network.bands import LineBuffers
    from unblur.network.config import SRNConfig
    from unblur.network.deblurrer import Deblurrer
    from unblur.options import Engine

    class Nothing:
        config = SRNConfig(channels=3, unshuffle=2, recurrent=True, residual=True, resample="area")

        def to(self, device: torch.device, dtype: torch.dtype) -> Nothing:
            return self

        def run_scale(
            self,
            blurred: torch.Tensor,
            previous: torch.Tensor,
            state: torch.Tensor | None,
            buffers: LineBuffers,
        ) -> tuple[torch.Tensor, torch.Tensor]:
            height, width = (side // self.config.stride for side in blurred.shape[2:])
            return blurred, blurred.new_zeros(1, self.config.state_channels, height, width)

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (300, 400, 3), np.uint8))
    buffer = io.BytesIO()
    coarse.resize((4000, 3000), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    deblurrer = Deblurrer(Nothing(), Engine(device="cpu"), precision=torch.float32)
    start = time.process_time()
    photo = any_format.decode(buffer.getvalue())
    decoded = time.process_time()
    pixels = deblurrer(photo.pixels)
    tiled = time.process_time()
    any_format.encode(photo, pixels)
    coded = decoded - start + time.process_time() - tiled
    print(f"coding {coded / 12:.3f}, tiling {(tiled - decoded) / 12:.3f} seconds per megapixel")


def table(multiplications: float) -> str:
    """Return hours and cost on each machine, as Markdown."""
    heads = [f"{millions:,} million" for millions in LIBRARIES]
    lines = [
        f"| machine | $ an hour | seconds a photo | {' | '.join(heads)} |",
        f"|---|--:|--:|{'--:|' * len(heads)}",
    ]
    for machine in MACHINES:
        seconds = seconds_per_photo(machine, multiplications)
        cells = []
        for millions in LIBRARIES:
            hours = seconds * millions * 1e6 / 3600
            cells.append(f"{hours:,.0f} h, ${hours * machine.dollars_an_hour:,.0f}")
        dollars = f"{machine.dollars_an_hour:.2f}"
        lines.append(f"| {machine.name} | {dollars} | {seconds:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        measure()
        return
    from training.judging.cost import kmac_per_pixel
    from unblur.models.catalog import DEFAULT_MODEL, find_weights
    from unblur.models.weights import load_network

    multiplications = 1000 * kmac_per_pixel(load_network(find_weights(DEFAULT_MODEL)))
    print(f"{multiplications / 1e3:.0f} GMAC per megapixel\n\n{table(multiplications)}")


if __name__ == "__main__":
    main()
