"""Train srn-compact on freely licensed photos.

``python -m training.train --minutes 12`` goes on where the last training of the same
folder stopped, or else starts anew; ``--start-from WEIGHTS`` starts from shipped weights,
with the second half of the schedule. It uses a GPU if there is one.
Ctrl-C keeps what was learned so far.
The recipe and its reasons are told in ``training/README.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from training.data import Pair
from training.losses import LATER_ERRORS
from training.pool import POOLED, CropPool
from training.scores import evaluate
from training.synthesis.batches import BatchMaker
from training.synthesis.plan import largest_scene
from training.synthesis.recipe import Recipe
from training.synthesis.sources import read_sources
from training.trainer import COMPACT, SQUARED_ERROR_UNTIL, Trainer, initialise
from training.validation import SHARED, validation_sets
from unblur.srn import SRN
from unblur.weights import load_network, save_network

STEPS_OF_A_LINE = 100
"""After so many steps a line is printed, for which a GPU has to be waited for."""


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state to go on from, and the averaged weights to ship, also by their minute."""
    scratch = folder / "state.pt.tmp"
    torch.save(trainer.state_dict(), scratch)
    scratch.replace(folder / "state.pt")
    average = folder / "average.safetensors"
    save_network(trainer.average, average, torch.float16)
    shutil.copy(average, folder / f"average-{trainer.seconds / 60:.1f}.safetensors")


@contextlib.contextmanager
def saved_when_stopped(trainer: Trainer, folder: Path) -> Iterator[None]:
    """On Ctrl-C, keep what was learned since the last report, and go on after the block."""
    try:
        yield
    except KeyboardInterrupt:
        save(trainer, folder)
        print(f"Stopped after {trainer.seconds / 60:.1f} min; saved to {folder}", flush=True)


def report(trainer: Trainer, sets: dict[str, list[Pair]], log: Path) -> None:
    """Print the scores of the averaged network, and append them to the curve."""
    for name, pairs in sets.items():
        score = evaluate(trainer.average, pairs)
        print(f"  {name:>8}: {score}", flush=True)
        with log.open("a") as file:
            file.write(
                f"{trainer.seconds / 60:.1f}\t{trainer.pixels / 1e6:.0f}\t{name}"
                f"\t{score.gain:.3f}\t{score.harm:.3f}\n"
            )


def decibels(error: Tensor) -> float:
    """Return a squared error in decibels; that of crops alike is very low."""
    return 10 * math.log10(max(error.item(), 1e-12))


def train(
    trainer: Trainer,
    pool: CropPool,
    folder: Path,
    report_every: float,
    sets: dict[str, list[Pair]],
) -> None:
    """Train until the minutes are over, and save and report on the way.

    Args:
        trainer: What trains.
        pool: What it trains on.
        folder: Where to save.
        report_every: Seconds from one report to the next.
        sets: The validation sets to report on.
    """
    next_report = trainer.seconds + report_every
    before = after = torch.zeros((), device=trainer.device)
    last = time.monotonic()
    for blurred, sharp in pool:
        errors = trainer.train_on(blurred, sharp)
        trainer.batches_made = pool.made
        before, after = before + errors[0], after + errors[1]
        now = time.monotonic()
        trainer.seconds += now - last
        last = now
        if trainer.step % STEPS_OF_A_LINE:
            continue
        print(
            f"{trainer.seconds / 60:6.1f} min  step {trainer.step}  "
            f"{trainer.pixels / 1e6:.0f} Mpx  "
            f"{trainer.pixels / trainer.seconds / 1e3:.0f} kpx/s  "
            f"training gain {decibels(before) - decibels(after):+.3f} dB",
            flush=True,
        )
        finished = trainer.progress >= 1
        if trainer.seconds >= next_report or finished:
            save(trainer, folder)
            report(trainer, sets, folder / "curve.tsv")
            next_report = trainer.seconds + report_every
        if finished:
            return
        before, after = torch.zeros_like(before), torch.zeros_like(after)
        last = time.monotonic()  # reporting is no training


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("training/runs/compact"))
    parser.add_argument("--minutes", type=float, default=120, help="length of the whole training")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--later-error", choices=LATER_ERRORS, default="balanced")
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    parser.add_argument("--start-from", type=Path, help="weights to start from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report-every", type=float, default=10, help="minutes (10)")
    parser.add_argument(
        "--device", type=torch.device, default=device, help="cpu or cuda (cuda if there is one)"
    )
    parser.add_argument("--crop", type=int, default=256, help="side of the crops in pixels (256)")
    parser.add_argument("--batch", type=int, default=64, help="crops of each step (64)")
    parser.add_argument("--pooled", type=int, default=POOLED, help="batches in the pool (64)")
    return parser.parse_args()


def main() -> None:
    """Train from the command line."""
    options = parse_options()
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(options.seed)
    trainer = make_trainer(options)
    options.folder.mkdir(parents=True, exist_ok=True)
    state = options.folder / "state.pt"
    if state.exists():
        trainer.load_state_dict(torch.load(state, weights_only=True))
    pool = make_pool(options, trainer)
    sets = validation_sets(options.photos, options.pairs)
    with saved_when_stopped(trainer, options.folder):
        train(trainer, pool, options.folder, 60 * options.report_every, sets)


def make_trainer(options: argparse.Namespace) -> Trainer:
    """Return the trainer of a new network, or of one that was trained before."""
    if options.start_from:
        network = load_network(options.start_from).train().requires_grad_(True)
    else:
        network = SRN(COMPACT)
        initialise(network)
    return Trainer(
        network.to(options.device),
        options.minutes,
        options.lr,
        begin=SQUARED_ERROR_UNTIL if options.start_from else 0.0,
        later_error=LATER_ERRORS[options.later_error],
    )


def make_pool(options: argparse.Namespace, trainer: Trainer) -> CropPool:
    """Return what to train on."""
    recipe = Recipe()
    largest = largest_scene(recipe, options.crop, recipe.longest)
    make = BatchMaker(
        sources=read_sources(options.photos, options.pairs, largest, trainer.device),
        recipe=recipe,
        count=options.batch,
        size=options.crop,
        longest=lambda: recipe.longest_at(trainer.progress),
        seed=options.seed,
    )
    return CropPool(make, trainer.batches_made, options.pooled)


if __name__ == "__main__":
    main()
