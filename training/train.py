"""Train srn-compact on freely licensed photos.

``python -m training.train --minutes 120`` goes on where the last training of
the same folder stopped, or else starts anew; ``--start-from WEIGHTS`` starts
from shipped weights, with the second half of the schedule. ``torchrun
--nproc-per-node 2 -m training.train`` uses two cores, one for each process;
``--device cuda`` uses a GPU, and cores to make crops for it.
Ctrl-C keeps what was learned so far.
The recipe and its reasons are told in ``training/README.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import math
import multiprocessing
import shutil
import time
from collections.abc import Iterable, Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from training.data import BlurredCrops, Pair, another_curriculum
from training.losses import LATER_ERRORS
from training.pool import CropPool
from training.scores import evaluate
from training.trainer import COMPACT, SQUARED_ERROR_UNTIL, Trainer, initialise
from training.validation import SHARED, validation_sets
from unblur.srn import SRN
from unblur.weights import load_network, save_network

AGREE_STEPS = 100
"""How long processes train apart. Meeting more often would only cost time."""

MADE_AT_ONCE = 4
"""Crops that a process hands over to the pool of a GPU together."""


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state to go on from, and the averaged weights to ship, also by their minute."""
    scratch = folder / "state.pt.tmp"
    torch.save(trainer.state_dict(), scratch)
    scratch.replace(folder / "state.pt")
    average = folder / "average.safetensors"
    save_network(trainer.average, average, torch.float16)
    shutil.copy(average, folder / f"average-{trainer.seconds / 60:.1f}.safetensors")


@contextlib.contextmanager
def saved_when_stopped(trainer: Trainer, folder: Path, is_first: bool = True) -> Iterator[None]:
    """On Ctrl-C, keep what was learned since the last report, and go on after the block."""
    try:
        yield
    except KeyboardInterrupt:
        if is_first:
            save(trainer, folder)
            print(f"Stopped after {trainer.seconds / 60:.1f} min; saved to {folder}", flush=True)


def report(trainer: Trainer, sets: dict[str, list[Pair]], log: Path) -> None:
    """Print the scores of the averaged network, and append them to the curve."""
    average = copy.deepcopy(trainer.average).cpu()
    for name, pairs in sets.items():
        score = evaluate(average, pairs)
        print(f"  {name:>8}: {score}", flush=True)
        with log.open("a") as file:
            file.write(
                f"{trainer.seconds / 60:.1f}\t{trainer.pixels / 1e6:.0f}\t{name}"
                f"\t{score.gain:.3f}\t{score.harm:.3f}\n"
            )


def train(
    trainer: Trainer,
    batches: Iterable[tuple[Tensor, Tensor]],
    shared_progress: Synchronized[float],
    folder: Path,
    report_every: float,
    is_first: bool = True,
) -> None:
    """Train until the minutes are over; the first process saves and reports on the way.

    Args:
        trainer: What trains.
        batches: What it trains on.
        shared_progress: Where those who make the batches see how far it is.
        folder: Where to save.
        report_every: Seconds from one report to the next.
        is_first: Whether this is the first of several processes, or the only one.
    """
    has_photos = is_first and SHARED.exists()
    sets = validation_sets(SHARED / "photos", SHARED / "pairs") if has_photos else {}
    next_report = trainer.seconds + report_every
    before = after = torch.zeros(())
    last = time.monotonic()
    for blurred, sharp in batches:
        errors = trainer.train_on(blurred, sharp)
        before, after = before + errors[0], after + errors[1]
        now = time.monotonic()
        trainer.seconds += now - last
        last = now
        shared_progress.value = trainer.progress
        if trainer.step % AGREE_STEPS:
            continue
        trainer.agree()
        finished = trainer.progress >= 1
        if is_first:
            print(
                f"{trainer.seconds / 60:6.1f} min  step {trainer.step}  "
                f"{trainer.pixels / 1e6:.0f} Mpx  "
                f"{trainer.pixels / trainer.seconds / 1e3:.0f} kpx/s  "
                f"training gain {10 * math.log10(before.item() / after.item()):+.3f} dB",
                flush=True,
            )
        if is_first and (trainer.seconds >= next_report or finished):
            save(trainer, folder)
            report(trainer, sets, folder / "curve.tsv")
            next_report = trainer.seconds + report_every
        if finished:
            return
        before = after = torch.zeros(())
        last = time.monotonic()  # waiting and reporting are no training


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("training/runs/compact"))
    parser.add_argument("--minutes", type=float, default=120, help="length of the whole training")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--later-error", choices=LATER_ERRORS, default="balanced")
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    parser.add_argument("--real-share", type=float, default=0.2, help="share of real pairs")
    parser.add_argument("--start-from", type=Path, help="weights to start from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report-every", type=float, default=10, help="minutes (10)")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda (cpu)")
    gpu = parser.add_argument_group("on a GPU")
    gpu.add_argument("--workers", type=int, default=8, help="processes that make crops (8)")
    gpu.add_argument("--crop", type=int, default=256, help="side of the crops in pixels (256)")
    gpu.add_argument("--batch", type=int, default=32, help="crops of each step (32)")
    gpu.add_argument("--pool", type=float, default=8, help="gigabytes of crops (8)")
    return parser.parse_args()


def main() -> None:
    """Train from the command line."""
    options = parse_options()
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(options.seed)
    rank, processes = 0, 1
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo")
        rank, processes = dist.get_rank(), dist.get_world_size()
    if options.start_from:
        network = load_network(options.start_from).train().requires_grad_(True)
    else:
        network = SRN(COMPACT)
        initialise(network)
    network.to(options.device)
    begin = SQUARED_ERROR_UNTIL if options.start_from else 0.0
    later_error = LATER_ERRORS[options.later_error]
    trainer = Trainer(
        network,
        options.minutes,
        options.lr,
        begin=begin,
        later_error=later_error,
        processes=processes,
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    state = options.folder / "state.pt"
    if state.exists():
        trainer.load_state_dict(torch.load(state, weights_only=True))
    progress = multiprocessing.Value("d", trainer.progress)
    batches = make_batches(options, trainer, progress, rank)
    is_first = rank == 0
    with saved_when_stopped(trainer, options.folder, is_first):
        train(trainer, batches, progress, options.folder, 60 * options.report_every, is_first)


def make_batches(
    options: argparse.Namespace, trainer: Trainer, progress: Synchronized[float], rank: int
) -> Iterable[tuple[Tensor, Tensor]]:
    """Return what to train on: on a processor new crops each time, on a GPU those of a pool."""
    make_crops = functools.partial(
        BlurredCrops,
        options.photos,
        options.pairs,
        progress,
        options.real_share,
        options.seed + 1000 * rank,
    )
    if trainer.device.type == "cpu":
        crops = make_crops(trainer.step)
        return DataLoader(crops, batch_size=None, num_workers=1, prefetch_factor=8)
    crops = make_crops(
        trainer.step * options.batch,  # more than were made so far
        functools.partial(another_curriculum, crop=options.crop, batch=MADE_AT_ONCE),
    )
    made = DataLoader(crops, batch_size=None, num_workers=options.workers)
    return CropPool(made, options.batch, trainer.device, options.pool)


if __name__ == "__main__":
    main()
