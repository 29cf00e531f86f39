"""Measure how a run scales with the workers of a cluster, and the driver's cost.

``python -m benchmarks.cluster --workers 1 2`` makes a Ray cluster of one node
for each worker on this machine, each bound to a core of its own, and runs
``unblur --ray`` with as many photos for each worker. Ideally twice as many
photos on two workers take as long as one share on one (weak scaling). Start
and end, when not all workers are busy, are left out.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

WARM_UP, TAIL = 2, 1
"""Photos per worker that are not timed, at the start and at the end."""


@dataclass(frozen=True)
class Measurement:
    """Figures of one run."""

    photos_per_second: float
    driver_seconds_per_photo: float
    """Processor time of the driver, which hands out the photos."""


def write_photos(folder: Path, count: int, megapixels: float) -> None:
    """Write JPEG photos with some texture."""
    side = max(16, round((megapixels * 1e6) ** 0.5))
    coarse = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    photo = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    folder.mkdir(parents=True)
    for number in range(count):
        photo.save(folder / f"{number:06}.jpg", quality=90)


def bind(node: object, core: int) -> None:
    """Bind a node's processes and their future children to one core."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)  # type: ignore[attr-defined]
    for process in (raylet, *raylet.children(recursive=True)):
        process.cpu_affinity([core])


def measure(workers: int, options: argparse.Namespace) -> Measurement:
    """Run on a new cluster of this many workers."""
    from ray.cluster_utils import Cluster

    cores = sorted(os.sched_getaffinity(0))[:workers]
    if len(cores) < workers:
        raise SystemExit(f"{workers} workers need as many cores, and there are {len(cores)}")
    # What a driver does for a cluster is done beside the workers.
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for core in cores:
            bind(cluster.add_node(**node), core)
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder) / "photos"
            write_photos(photos, workers * options.photos, options.megapixels)
            environment = os.environ | {"UNBLUR_HISTORY": f"{folder}/history.sqlite3"}
            command = [sys.executable, "-m", "unblur", "-r", str(photos), "--threads", "1"]
            command += ["--model", options.model, "--ray", cluster.address, "-q"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as run:
                return watch(run, workers)
    finally:
        cluster.shutdown()


def watch(run: subprocess.Popen[bytes], workers: int) -> Measurement:
    """Return the times at which a run listed its results."""
    assert run.stdout
    driver = psutil.Process(run.pid)
    times = []
    for _ in run.stdout:
        used = driver.cpu_times()
        times.append((time.perf_counter(), used.user + used.system))
    timed = times[WARM_UP * workers - 1 : len(times) - TAIL * workers]
    seconds, used_seconds = (last - first for first, last in zip(timed[0], timed[-1], strict=True))
    photos = len(timed) - 1
    return Measurement(photos / seconds, used_seconds / photos)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--photos", type=int, default=16, help="for each worker")
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--model", default="srn-compact")
    options = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    print("| workers | photos a second | efficiency | driver, seconds of a core per photo |")
    print("|--:|--:|--:|--:|")
    alone = None
    for workers in options.workers:
        found = measure(workers, options)
        alone = alone or found.photos_per_second / workers
        efficiency = found.photos_per_second / workers / alone
        print(
            f"| {workers} | {found.photos_per_second:.3f} | {efficiency:.2f} "
            f"| {found.driver_seconds_per_photo:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
