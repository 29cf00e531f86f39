"""Measure how time and memory grow with a photo's size, and plot them.

``python -m benchmarks.growth PHOTO`` lays a JPEG photo out like tiles to 1, 3,
10, 30 and 100 megapixels, deblurs each with the whole command, and writes
``benchmarks/growth.png`` and a table. Beside it, in the same run, the bare
network is timed on the pixels of the same photo, cut into pieces without overlap.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from unblur.network.openmp import VARIABLES

MEGAPIXELS = (1, 3, 10, 30, 100)
PIECE_PX = 1024


def lay_out(photo: Path, megapixels: float, target: Path) -> None:
    """Fill a 4:3 photo with copies of a smaller one."""
    from PIL import Image

    piece = Image.open(photo).convert("RGB")
    width = round(math.sqrt(megapixels * 1e6 * 4 / 3))
    whole = Image.new("RGB", (width, round(width * 3 / 4)))
    for y in range(0, whole.height, piece.height):
        for x in range(0, width, piece.width):
            whole.paste(piece, (x, y))
    whole.save(target, quality=92)


def run_command(photo: Path) -> tuple[float, float]:
    """Deblur a photo with the command; return seconds and peak memory in MB."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "unblur", "-q", "--overwrite", photo]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"unblur failed on {photo}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def time_bare_network(photo: Path) -> float:
    """Time the network alone on a photo's pixels, in a new process."""
    command = [sys.executable, "-m", "benchmarks.growth", "--bare", photo]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return float(json.loads(run.stdout))


def bare_network_seconds(photo: Path) -> float:
    """Run the network on pieces of a photo, with nothing around it."""
    import torch
    from PIL import Image

    from unblur.formats.pixels import to_array
    from unblur.models.catalog import DEFAULT_MODEL, find_weights
    from unblur.models.weights import load_network
    from unblur.network.device_kinds import CPU
    from unblur.network.devices import choose_precision, use_threads

    use_threads()
    network = load_network(find_weights(DEFAULT_MODEL))
    precision = choose_precision(CPU)
    pixels = torch.from_numpy(to_array(Image.open(photo)))
    multiple = network.config.multiple
    seconds = 0.0
    for rows in pixels.split(PIECE_PX):
        for piece in rows.split(PIECE_PX, dim=1):
            inside = piece[
                : len(piece) // multiple * multiple, : piece.shape[1] // multiple * multiple
            ]
            if inside.numel():
                batch = inside.permute(2, 0, 1)[None].float().div(255)
                batch = batch.contiguous(memory_format=torch.channels_last)
                started = time.perf_counter()
                with (
                    torch.inference_mode(),
                    torch.autocast("cpu", precision, enabled=precision != torch.float32),
                ):
                    network(batch)
                seconds += time.perf_counter() - started
    return seconds


def draw(rows: list[tuple[float, float, float, float]], target: Path) -> None:
    """Draw seconds and memory over megapixels, both axes logarithmic."""
    from matplotlib.figure import Figure

    sizes, seconds, bare, peaks = zip(*rows, strict=True)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    time_axis, memory_axis = figure.subplots(1, 2)
    time_axis.loglog(sizes, seconds, "o-", label="unblur photo.jpg")
    time_axis.loglog(sizes, bare, "s--", label="bare network")
    memory_axis.loglog(sizes, peaks, "o-", label="unblur photo.jpg")
    for axis, label in ((time_axis, "seconds"), (memory_axis, "peak memory, MB")):
        axis.set(xlabel="megapixels", ylabel=label)
        axis.grid(which="both", alpha=0.3)
        axis.legend()
    figure.savefig(target, dpi=100)


def main() -> None:
    """Measure, print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS)
    parser.add_argument("--plot", type=Path, default=Path("benchmarks/growth.png"))
    parser.add_argument("--bare", action="store_true", help="time the network alone, as JSON")
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(bare_network_seconds(options.photo)))
        return
    os.environ.update(VARIABLES | os.environ)  # for all processes that are measured
    rows = []
    print("| megapixels | seconds | of the bare network | peak memory |")
    print("|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for size in options.megapixels:
            photo = Path(folder) / "photo.jpg"
            lay_out(options.photo, size, photo)
            bare = time_bare_network(photo)
            seconds, peak = run_command(photo)
            rows.append((size, seconds, bare, peak))
            print(
                f"| {size:g} | {seconds:.1f} | {seconds / bare:.2f} | {peak:.0f} MB |", flush=True
            )
    draw(rows, options.plot)


if __name__ == "__main__":
    main()
