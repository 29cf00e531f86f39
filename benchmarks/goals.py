"""Measure the goals for speed on this machine, in one run of a few minutes.

``python -m benchmarks.goals`` prints a Markdown table: the engine from array to array, where its
time goes, a batch of photos, and the whole command on one photo. ``--against FOLDER`` puts the
figures of another checkout beside it, measured in turn. ``--megapixels 1 --device cpu`` is a
rehearsal on a machine without a GPU. ``--parts tiles`` measures sizes of tiles, and eight views.

Each figure is also printed on standard error as soon as it is measured, so a run that is cut off
is not lost. Processes are new for each checkout. Only the package's dependencies are needed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PARTS = ("load", "engine", "batch", "command", "tiles")
USUAL_PARTS = PARTS[:-1]
TILES_PX = (512, 1024, 2048)
IN_FLIGHT = 6
"""Photos of the measurement with two in flight."""
WITHOUT_BFLOAT16 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
"""Environment that limits PyTorch's libraries to AVX2, as on most laptops."""

Figures = dict[str, float]
"""Values by the name of the measurement, which includes the unit."""


@dataclass(frozen=True)
class Checkout:
    """A version of the package."""

    name: str
    folder: Path

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start Python with this version's package, in the folder of this program."""
        paths = [str(self.folder / "src"), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | variables
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            text=True,
        )

    def measured(self, parts: list[str], photo: Path, options: argparse.Namespace) -> Figures:
        """Measure parts in one new process: on a GPU, its start takes most of the time."""
        arguments = ["--photo", str(photo), "--device", options.device]
        arguments += ["--rounds", str(options.rounds), "--child", *parts]
        process = self.start("-m", "benchmarks.goals", *arguments)
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{' and '.join(parts)} failed with {self.name}")
        figures: Figures = json.loads(output.splitlines()[-1])
        return figures


def told(found: Iterable[Figures]) -> Figures:
    """Collect figures, and print each on standard error as soon as it is known."""
    collected: Figures = {}
    for figures in found:
        for name, value in figures.items():
            print(f"{name}: {value:.3g}", file=sys.stderr, flush=True)
        collected |= figures
    return collected


def measure_load(photo: Path, device: str, rounds: int) -> Iterator[Figures]:
    """Time loading the network with the self-test of the device."""
    import torch  # noqa: F401 (importing it is not measured)

    from unblur.models.catalog import DEFAULT_MODEL
    from unblur.models.loading import load_deblurrer
    from unblur.models.weights import open_model
    from unblur.options import NetworkOptions

    weights, options = open_model(DEFAULT_MODEL), NetworkOptions(device=device)
    started = time.perf_counter()
    load_deblurrer(weights, options, warn=print)
    yield {"network and self-test of the device loaded, seconds": time.perf_counter() - started}


def measure_engine(photo: Path, device: str, rounds: int) -> Iterator[Figures]:
    """Time a photo's pixels from array to array, and the parts of that time."""
    import torch

    from unblur.network.devices import choose_precision

    network, pixels, deblurrer = prepared(photo, device)
    place = torch.device(deblurrer.kind.device)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
    yield {"engine, one photo at a time, seconds": timed(lambda: deblurrer(pixels), rounds)}
    if hasattr(deblurrer, "start"):
        yield {"engine, two in flight, seconds a photo": in_flight(deblurrer, pixels)}
    if place.type == "cuda":
        peak = torch.cuda.max_memory_allocated(place) / 1e9
        yield {"engine, peak memory of the GPU, GB": peak}
    precision = choose_precision(deblurrer.kind)
    yield from parts_of_the_time(network, pixels, place, precision, rounds)


def measure_tiles(photo: Path, device: str, rounds: int) -> Iterator[Figures]:
    """Time a photo's pixels from array to array in tiles of some sizes, and in eight views."""
    for tile in TILES_PX:
        _, pixels, deblurrer = prepared(photo, device, tile=tile)
        yield {f"engine, --tile {tile}, seconds": timed(partial(deblurrer, pixels), 1)}
    _, pixels, averaging = prepared(photo, device, views=8)
    yield {"engine, --views 8, seconds": timed(partial(averaging, pixels), 1)}


def prepared(photo: Path, device: str, **options: int) -> tuple[Any, Any, Any]:
    """Return a network, a photo's pixels, and the network's deblurrer on a device."""
    import numpy as np
    from PIL import Image

    from unblur.models.catalog import DEFAULT_MODEL, find_weights
    from unblur.models.weights import load_network
    from unblur.network.deblurrer import NetworkDeblurrer
    from unblur.options import NetworkOptions

    network = load_network(find_weights(DEFAULT_MODEL))
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    return network, pixels, NetworkDeblurrer(network, NetworkOptions(device=device, **options))


def timed(act: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of a call, after one call that is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def in_flight(deblurrer: Any, pixels: Any) -> float:  # noqa: ANN401 (of either checkout)
    """Return the seconds per photo when the next photo starts before each result is asked for."""

    def run(count: int) -> float:
        started = time.perf_counter()
        pending = deblurrer.start(pixels)
        for _ in range(count - 1):
            following = deblurrer.start(pixels)
            pending.result()
            pending = following
        pending.result()
        return (time.perf_counter() - started) / count

    run(2)
    return run(IN_FLIGHT)


def parts_of_the_time(
    network: Any,  # noqa: ANN401 (of either checkout)
    pixels: Any,  # noqa: ANN401 (an array)
    place: Any,  # noqa: ANN401 (PyTorch is imported late)
    precision: Any,  # noqa: ANN401
    rounds: int,
) -> Iterator[Figures]:
    """Time the copies of the photo and the bare network on a device, each alone."""
    import torch

    multiple = network.config.multiple
    height, width = (side // multiple * multiple for side in pixels.shape[:2])
    there = torch.from_numpy(pixels.copy()).to(place)
    batch = there[:height, :width].permute(2, 0, 1)[None].float().div(255)
    batch = batch.contiguous(memory_format=torch.channels_last)
    moved = network.to(place)

    def compute() -> None:
        is_half = precision != torch.float32
        with torch.inference_mode(), torch.autocast(place.type, precision, enabled=is_half):
            moved(batch)
        there.flatten()[0].item()  # waits for the device

    def upload() -> None:
        torch.from_numpy(pixels.copy()).to(place).flatten()[0].item()

    yield {"bare network alone, seconds": timed(compute, rounds)}
    yield {"upload of the pixels alone, seconds": timed(upload, rounds)}
    download = timed(lambda: there.cpu().numpy(), rounds)
    yield {"download of the pixels alone, seconds": download}


CHILDREN = {"load": measure_load, "engine": measure_engine, "tiles": measure_tiles}


def run_children(parts: list[str], options: argparse.Namespace) -> Figures:
    """Measure parts in this process."""
    inputs = options.photo, options.device, options.rounds
    return told(figures for part in parts for figures in CHILDREN[part](*inputs))


def measure_batch(checkout: Checkout, photo: Path, options: argparse.Namespace) -> Figures:
    """Time the results of a batch of copies of a photo as they are listed."""
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for number in range(options.photos):
            (photos / f"{number:04}.jpg").write_bytes(photo.read_bytes())
        started = time.perf_counter()
        command = ["-m", "unblur", "-q", "-r", str(photos), "--device", options.device]
        process = checkout.start(*command, UNBLUR_HISTORY=f"{folder}/history.sqlite3")
        assert process.stdout
        times = [time.perf_counter() for _ in process.stdout]
        _, usage = wait(process)
    rate = (len(times) - 1) / (times[-1] - times[0])
    return {
        "batch, photos a second after the first": rate,
        "batch, seconds altogether": time.perf_counter() - started,
        "batch, seconds of a core a photo": (usage.ru_utime + usage.ru_stime) / options.photos,
        "batch, peak main memory, GB": usage.ru_maxrss * 1024 / 1e9,
    }


def measure_command(checkout: Checkout, photo: Path, with_bfloat16: bool) -> Figures:
    """Time the whole command on one photo, on the CPU."""
    program = "from unblur.cli import main; main()"
    if not with_bfloat16:
        program = (
            "from unblur.network import device_kinds\n"
            "device_kinds.bf16_instructions = lambda torch: {}\n" + program
        )
    kind = "" if with_bfloat16 else ", without bfloat16"
    variables = {} if with_bfloat16 else WITHOUT_BFLOAT16
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [str(photo), "-q", "-o", f"{folder}/result.jpg", "--device", "cpu"]
        history = f"{folder}/history.sqlite3"
        process = checkout.start("-c", program, *command, **variables, UNBLUR_HISTORY=history)
        _, usage = wait(process)
    return {
        f"command on a CPU{kind}, seconds": time.perf_counter() - started,
        f"command on a CPU{kind}, seconds of a core": usage.ru_utime + usage.ru_stime,
        f"command on a CPU{kind}, peak memory, GB": usage.ru_maxrss * 1024 / 1e9,
    }


def wait(process: subprocess.Popen[str]) -> tuple[int, Any]:
    """Wait for a process; return its status and the resources it used."""
    assert process.stdout
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    process.stdout.close()
    if status:
        raise SystemExit(f"{shlex.join(map(str, process.args))} failed")
    return status, usage


def measure(photo: Path, options: argparse.Namespace) -> Iterator[list[Figures]]:
    """Measure parts with each checkout in turn; yield figures of each of them."""
    checkouts, parts = options.checkouts, options.parts
    if inside := [part for part in ("load", "engine") if part in parts]:
        yield [tell(checkout).measured(inside, photo, options) for checkout in checkouts]
    if "batch" in parts:
        yield [told([measure_batch(tell(checkout), photo, options)]) for checkout in checkouts]
    for with_bfloat16 in (True, False) if "command" in parts else ():
        runs = [
            [told([measure_command(tell(each), photo, with_bfloat16)]) for each in checkouts]
            for _ in range(options.rounds)
        ]
        yield [least(figures) for figures in zip(*runs, strict=True)]
    if "tiles" in parts:
        yield [tell(checkout).measured(["tiles"], photo, options) for checkout in checkouts]


def tell(checkout: Checkout) -> Checkout:
    """Print on standard error which checkout is measured next."""
    print(f"{checkout.name}:", file=sys.stderr, flush=True)
    return checkout


def least(runs: tuple[Figures, ...]) -> Figures:
    """Return the least of each figure: disturbances only make a run slower."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def rows(found: list[Figures]) -> Iterator[str]:
    """Yield a row of the table per figure: each checkout's value, and the ratio of two."""
    for name in found[0]:
        values = [figures.get(name) for figures in found]
        cells = ["" if value is None else f"{value:.3g}" for value in values]
        if len(values) == 2:
            first, second = values
            cells.append(f"{first / second:.2f}" if first and second else "")
        yield f"| {name} | {' | '.join(cells)} |"


def describe_machine() -> str:
    """Return the machine, and the versions that the figures depend on."""
    import torch

    from unblur.network.device_kinds import KINDS
    from unblur.network.devices import available_cores, available_devices

    hardware = [kind.hardware(torch) for kind in KINDS if kind in available_devices()]
    versions = f"PyTorch {torch.__version__}, Python {platform.python_version()}"
    return f"{' and '.join(hardware)}, {available_cores()} cores, {versions}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--photos", type=int, default=32, help="photos of the batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="folder of another checkout")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=USUAL_PARTS)
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "street.jpg")
    parser.add_argument("--child", nargs="+", choices=CHILDREN, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_children(options.child, options)))
        return
    options.checkouts = [Checkout("here", ROOT)]
    if options.against:
        options.checkouts.append(Checkout(str(options.against), options.against.absolute()))
    heads = ["", "here", *(["there", "of there"] if options.against else [])]
    print(f"{describe_machine()}\n\n`python -m benchmarks.goals {shlex.join(sys.argv[1:])}`\n")
    print(f"| {' | '.join(heads)} |\n|---|{'--:|' * (len(heads) - 1)}")
    with tempfile.TemporaryDirectory() as folder:
        from benchmarks.growth import lay_out

        photo = Path(folder) / "photo.jpg"
        lay_out(options.photo, options.megapixels, photo)
        for found in measure(photo, options):
            print("\n".join(rows(found)), flush=True)


if __name__ == "__main__":
    main()
