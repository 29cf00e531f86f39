"""Train srn-compact on freely licensed photos.

``python -m training.train --minutes 120`` goes on where the last training of
the same folder stopped, or else starts anew; ``--start-from WEIGHTS`` starts
from shipped weights, with the second half of the schedule. ``torchrun
--nproc-per-node 2 -m training.train`` uses two cores, one for each process.
The recipe and its reasons are told in ``training/README.md``.
"""

from __future__ import annotations

import argparse
import copy
import math
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.data import BlurredCrops, Pair
from training.evaluate import SHARED, evaluate, validation_sets
from training.muon import Muon
from unblur.models import DEFAULT_MODEL, MODELS
from unblur.srn import SRN
from unblur.srn_config import SCALES
from unblur.weights import load_network, save_network

Error: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes what a network made and what was wanted, (B, C, H, W) in [0, 1], and returns a scalar."""

COMPACT = MODELS[DEFAULT_MODEL].config
"""The embedded default network, as chosen by experiment."""

SQUARED_ERROR_UNTIL = 0.5
"""Progress at which the loss changes; a robust loss learns nothing from a network that is new."""

WARM_UP_STEPS = 150

AGREE_STEPS = 100
"""How long processes train apart. Meeting more often would only cost time."""


def initialise(network: SRN) -> None:
    """Start as the identity: the residual, and each residual block, near zero."""
    for name, weight in network.named_parameters():
        if name.endswith("bias") or name.startswith("output."):
            nn.init.zeros_(weight)
        else:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
            if name.endswith("conv2.weight"):
                weight.data.mul_(0.1)


def squared_error(result: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error, whose gradient favours strong edges over noise."""
    return F.mse_loss(result, wanted)


def robust_error(result: Tensor, wanted: Tensor) -> Tensor:
    """Charbonnier error plus a share of the L1 error of the spectrum.

    The spectrum follows Cho et al., "Rethinking Coarse-to-Fine Approach in
    Single Image Deblurring", ICCV 2021 (MIMO-UNet), whose weight is 0.1.
    """
    difference = result - wanted
    charbonnier = (difference.square() + 0.01**2).sqrt().mean()
    spectrum = torch.fft.rfft2(difference, norm="ortho")
    return charbonnier + 0.02 * torch.view_as_real(spectrum).abs().mean()


def balanced_error(result: Tensor, wanted: Tensor) -> Tensor:
    """Squared error plus its logarithm, crop by crop.

    The logarithm is what decibels measure (as in Chen et al., "Simple Baselines
    for Image Restoration", ECCV 2022) and weighs a crop by how good it is
    already, so that sharp photos stay as they are; the squared error keeps the
    network at work on what is badly blurred.
    """
    squared = (result - wanted).square().mean((1, 2, 3))
    return (0.02 * torch.log(squared + 1e-5) + 15 * squared).mean()


LATER_ERRORS = {"robust": robust_error, "balanced": balanced_error}


def training_loss(results: list[Tensor], sharp: Tensor, error: Error) -> Tensor:
    """Sum the error over the three scales (equation 7 of the SRN paper)."""
    losses = [
        error(result.float(), F.avg_pool2d(sharp, scale))
        for result, scale in zip(results, SCALES, strict=True)
    ]
    return torch.stack(losses).sum()


@dataclass
class Trainer:
    """The state of a training: network, its average, optimisers, and how far it is."""

    network: SRN
    minutes: float
    lr: float
    average: SRN = field(init=False)
    optimisers: list[torch.optim.Optimizer] = field(init=False)
    step: int = 0
    pixels: int = 0
    seconds: float = 0.0
    begin: float = 0.0
    """Progress at which this training began."""
    squared_until: float = SQUARED_ERROR_UNTIL
    """Progress at which the loss changes."""
    later_error: Error = balanced_error
    """The loss from then on."""
    processes: int = 1
    """How many train together; see `agree`."""

    def __post_init__(self) -> None:
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        inner = [
            weight
            for name, weight in self.network.named_parameters()
            if weight.ndim == 4 and not name.startswith(("entries.0.", "output."))
        ]
        chosen = {id(weight) for weight in inner}
        others = [weight for weight in self.network.parameters() if id(weight) not in chosen]
        self.optimisers = [
            Muon(inner, self.lr),
            torch.optim.AdamW(others, self.lr, betas=(0.9, 0.99), weight_decay=0.0),
        ]

    @property
    def progress(self) -> float:
        """How much of the training is done, from 0 to 1."""
        share = self.seconds / (60 * self.minutes)
        return min(1.0, self.begin + (1 - self.begin) * share)

    def train_on(self, blurred: Tensor, sharp: Tensor) -> tuple[float, float]:
        """Take one step.

        Returns:
            The squared errors of the blurred crops and of the result.
        """
        blurred = blurred.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            results = self.network(blurred)
        error = self.later_error if self.progress >= self.squared_until else squared_error
        loss = training_loss(results, sharp, error)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        rate = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        rate *= 0.01 + 0.99 * (1 + math.cos(math.pi * self.progress)) / 2
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.lr * rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.pixels += self.processes * blurred.shape[0] * blurred.shape[2] * blurred.shape[3]
        self._update_average()
        return (
            F.mse_loss(blurred, sharp).item(),
            F.mse_loss(results[-1].detach().float().clamp(0, 1), sharp).item(),
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(0.999, (1 + self.step) / (10 + self.step))
        for mean, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)

    @torch.no_grad()
    def agree(self) -> None:
        """Give every process the mean of all processes' weights, averages and times.

        Networks that train apart and are averaged now and then learn about as much
        as one from all their crops (local SGD; Stich, ICLR 2019), without waiting for
        each other in every layer as threads do.
        """
        if self.processes == 1:
            return
        weights = [*self.network.parameters(), *self.average.parameters()]
        values = torch.cat(
            [*(weight.flatten() for weight in weights), torch.tensor([self.seconds])]
        )
        dist.all_reduce(values)
        *means, seconds = (values / self.processes).split([*map(torch.numel, weights), 1])
        for weight, mean in zip(weights, means, strict=True):
            weight.copy_(mean.view_as(weight))
        self.seconds = seconds.item()

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "pixels": self.pixels,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step, self.pixels, self.seconds = state["step"], state["pixels"], state["seconds"]


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state to go on from, and the averaged weights to ship."""
    scratch = folder / "state.pt.tmp"
    torch.save(trainer.state_dict(), scratch)
    scratch.replace(folder / "state.pt")
    save_network(trainer.average, folder / "average.safetensors", torch.float16)


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


def train(
    trainer: Trainer,
    batches: DataLoader[Any],
    shared_progress: Synchronized[float],
    folder: Path,
    is_first: bool = True,
) -> None:
    """Train until the minutes are over; the first process saves and reports on the way."""
    sets = validation_sets(SHARED / "photos", SHARED / "pairs") if is_first else {}
    next_report = trainer.seconds + 600
    before, after = 0.0, 0.0
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
                f"training gain {10 * math.log10(before / after):+.3f} dB",
                flush=True,
            )
        if is_first and (trainer.seconds >= next_report or finished):
            save(trainer, folder)
            report(trainer, sets, folder / "curve.tsv")
            next_report = trainer.seconds + 600
        if finished:
            return
        before, after = 0.0, 0.0
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
    return parser.parse_args()


def main() -> None:
    """Train from the command line."""
    options = parse_options()
    torch.set_num_threads(1)
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
    seed = options.seed + 1000 * rank
    crops = BlurredCrops(
        options.photos, options.pairs, progress, options.real_share, seed, trainer.step
    )
    batches = DataLoader(crops, batch_size=None, num_workers=1, prefetch_factor=8)
    train(trainer, batches, progress, options.folder, is_first=rank == 0)


if __name__ == "__main__":
    main()
