"""Train until the time is over, and keep what was learned on the way."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from training.pool import CropPool
from training.trainer import Trainer
from unblur.models.weights import save_network

STEPS_OF_A_LINE = 100
"""After so many steps a line is printed, for which a GPU has to be waited for."""
LEAST_ERROR = 1e-12
"""Smallest squared error whose logarithm is taken: crops that nothing moved in have none."""
STATE, AVERAGE = "state.pt", "average.safetensors"
"""What a training's folder holds: all that is needed to go on, and the averaged weights."""


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state to go on from, and the averaged weights in float16, also by their minute."""
    scratch = folder / (STATE + ".tmp")
    torch.save(trainer.state_dict(), scratch)
    scratch.replace(folder / STATE)
    average = folder / AVERAGE
    save_network(trainer.average, average, torch.float16)
    shutil.copy(average, folder / f"average-{trainer.seconds / 60:.1f}.safetensors")


@contextlib.contextmanager
def saved_when_stopped(trainer: Trainer, folder: Path) -> Iterator[None]:
    """On Ctrl-C, keep what was learned, and go on after the block."""
    try:
        yield
    except KeyboardInterrupt:
        save(trainer, folder)
        print(f"Stopped after {trainer.seconds / 60:.1f} min; saved to {folder}", flush=True)


def train(
    trainer: Trainer,
    pool: CropPool,
    folder: Path,
    save_every: float = 60,
) -> None:
    """Train until the schedule is over, and save on the way and at the end.

    Args:
        trainer: What trains.
        pool: What it trains on.
        folder: Where to save.
        save_every: Seconds of training between two saves.
    """
    next_save = trainer.seconds + save_every
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
        print(_progress_line(trainer, before.item(), after.item()), flush=True)
        if trainer.is_over or trainer.seconds >= next_save:
            save(trainer, folder)
            next_save = trainer.seconds + save_every
        if trainer.is_over:
            return
        before, after = torch.zeros_like(before), torch.zeros_like(after)


def _progress_line(trainer: Trainer, before: float, after: float) -> str:
    """Describe how far a training is, with the squared errors of blurred crops and of results."""
    gain = 10 * math.log10(max(before, LEAST_ERROR) / max(after, LEAST_ERROR))
    return (
        f"{trainer.seconds / 60:6.1f} min  step {trainer.step}  "
        f"{trainer.pixels / 1e6:.0f} Mpx  "
        f"{trainer.pixels / trainer.seconds / 1e6:.2f} Mpx/s  "
        f"training gain {gain:+.3f} dB"
    )
