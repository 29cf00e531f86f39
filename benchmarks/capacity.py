"""Estimate hours and cost for large libraries; docs/cluster.md shows the table.

``python -m benchmarks.capacity`` computes it from the assumptions below, which are meant to be
replaced. ``--measure`` measures anew what decoding and encoding cost. Of the table's GPUs none was
measured: their figures follow from the makers' data sheets and from what an H200 took.
"""

from __future__ import annotations

import argparse
import io
import time
from dataclasses import dataclass

MEGAPIXELS = 12.0
"""Megapixels of each photo."""
GPU_SHARE = 0.3
"""Share of a GPU's peak rate that the network reaches where arithmetic is the limit: a guess."""
TERABYTES_MOVED = 0.018
"""Terabytes moved to and from a GPU's memory in bfloat16, per megapixel, where moving is the limit:
0.0447 seconds for 12 megapixels on an H200, times the 4.8 terabytes a second of its data sheet."""
NETWORK_CORE_SECONDS = 2.02
"""Core-seconds per megapixel in the network: `make bench` on an AMD EPYC with AVX512-BF16."""
CODING_CORE_SECONDS = 0.04
"""Core-seconds per megapixel for JPEG, in threads beside the network: ``--measure``."""
WORKER_SECONDS = 0.12
"""Least seconds of a worker with a GPU per photo, however fast the GPU is: a batch on an H200 with
16 vCPU took this long, and neither the GPU nor the vCPUs were always busy."""
LIBRARIES = (1, 100, 10_000)
"""Sizes of libraries in millions of photos."""


@dataclass(frozen=True)
class Machine:
    """A machine rented by the hour, with one worker for each GPU or group of cores."""

    name: str
    dollars_an_hour: float
    """Price on demand, rounded."""
    cores: int
    """Physical cores: two vCPU are one core, unless the machine says otherwise."""
    gpu_teraflops: float = 0.0
    """Dense peak rate in the tool's precision, from the maker's data sheet."""
    gpu_terabytes: float = 0.0
    """Terabytes of memory that the GPU moves per second, from the data sheet."""
    bytes_a_number: int = 2
    """Bytes per number: 2 in bfloat16, 4 in float32."""


MACHINES = (
    Machine("16 cores, AMD EPYC 4th gen.", 0.82, 16),
    Machine("T4, 4 vCPU (float32)", 0.53, 2, 8.1, 0.32, bytes_a_number=4),
    Machine("L4, 4 vCPU", 0.80, 2, 121.0, 0.30),
    Machine("A10G, 4 vCPU", 1.01, 2, 70.0, 0.60),
    Machine("A100 40 GB, 12 vCPU", 3.70, 6, 312.0, 1.56),
    Machine("H100 80 GB, 24 vCPU", 6.90, 12, 989.0, 3.35),
)


def seconds_per_photo(machine: Machine, multiplications: float) -> float:
    """Return the time of a machine per photo, when it processes many.

    Args:
        machine: What computes.
        multiplications: Of the network, for each pixel, with as many additions.
    """
    coding = CODING_CORE_SECONDS * MEGAPIXELS
    if not machine.gpu_teraflops:
        return (NETWORK_CORE_SECONDS * MEGAPIXELS + coding) / machine.cores
    operations = 2 * multiplications * MEGAPIXELS * 1e6
    computing = operations / (machine.gpu_teraflops * 1e12 * GPU_SHARE)
    moved = TERABYTES_MOVED * MEGAPIXELS * machine.bytes_a_number / 2
    # Other photos are decoded and encoded while the GPU works.
    return max(computing, moved / machine.gpu_terabytes, coding / machine.cores, WORKER_SECONDS)


def measure() -> None:
    """Print what decoding and encoding of a photo of noise and edges cost."""
    import numpy as np
    from PIL import Image

    from unblur.formats import any_format

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (300, 400, 3), np.uint8))
    buffer = io.BytesIO()
    coarse.resize((4000, 3000), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    start = time.process_time()
    photo = any_format.decode(buffer.getvalue())
    any_format.encode(photo, 255 - photo.pixels)
    print(f"coding {(time.process_time() - start) / 12:.3f} seconds of a core per megapixel")


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
