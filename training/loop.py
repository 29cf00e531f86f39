"""Train until the time is over, and save the weights on the way."""

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
"""Number of steps between two printed lines; each line has to wait for the GPU."""
LEAST_ERROR = 1e-12
"""Smallest squared error for the logarithm: crops without motion have no error."""
STATE, AVERAGE = "state.pt", "average.safetensors"
"""Files in a training's folder: the state for going on, and the averaged weights."""


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state, and the averaged weights in float16, also under the minute's name.

    Each file appears whole: other programs copy and judge them meanwhile.
    """
    scratch = folder / "scratch.tmp"
    torch.save(trainer.state_dict(), scratch)
    scratch.replace(folder / STATE)
    minute = folder / f"average-{trainer.seconds / 60:.1f}.safetensors"
    save_network(trainer.average, scratch, torch.float16)
    scratch.replace(minute)
    shutil.copyfile(minute, scratch)
    scratch.replace(folder / AVERAGE)


@contextlib.contextmanager
def saved_when_stopped(trainer: Trainer, folder: Path) -> Iterator[None]:
    """On Ctrl-C, leave the block, and go on after it."""
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
    """Train until the end of the schedule; save on the way and at the end.

    Args:
        trainer: The state of the training.
        pool: The crops to train on.
        folder: Folder for the saved files.
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
    """Describe the progress of a training, with the errors of blurred crops and of results."""
    gain = 10 * math.log10(max(before, LEAST_ERROR) / max(after, LEAST_ERROR))
    return (
        f"{trainer.seconds / 60:6.1f} min  step {trainer.step}  "
        f"{trainer.pixels / 1e6:.0f} Mpx  "
        f"{trainer.pixels / trainer.seconds / 1e6:.2f} Mpx/s  "
        f"training gain {gain:+.3f} dB"
    )
