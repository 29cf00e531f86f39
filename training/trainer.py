"""One step of a training after another, on a processor or on a GPU."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.even import make_even
from training.losses import BALANCED, SQUARED, training_loss
from training.muon import Muon
from training.sharp_head import SharpHead
from unblur.models.catalog import DEFAULT_MODEL, MODELS
from unblur.network.devices import choose_precision, kind_of
from unblur.network.srn import SRN

COMPACT = MODELS[DEFAULT_MODEL].config
"""The embedded default network, as chosen by experiment."""

SQUARED_ERROR_UNTIL = 0.5
"""Progress at which the weights of the loss change; see `training.losses`."""

WARM_UP_STEPS = 150

Step: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes blurred and sharp crops, trains on them, and returns the squared errors of `train_on`."""

Judge: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""Takes blurred and sharp crops, and returns the loss and the same errors."""


def initialise(network: SRN) -> None:
    """Start as the identity: the residual, and each residual block, near zero.

    Nothing comes from the deeper levels at first, either. Their features are noise until they
    are trained. A network that is given noise learns to close the gates of its ConvLSTM, and
    then its deepest levels learn nothing.
    """
    for name, weight in network.named_parameters():
        if name.endswith("bias") or name.startswith(("output.", "exits.")):
            nn.init.zeros_(weight)
        else:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
            if name.endswith("conv2.weight"):
                weight.data.mul_(0.1)


def compiled(judge: Judge, blurred: Tensor, sharp: Tensor) -> Judge:
    """Compile a judge for photos like the given ones, or return it as it is if that fails.

    A machine may lack what PyTorch compiles with, such as Triton or a C compiler. Training is
    slower then, but the time on the machine is not lost.
    """
    fast: Judge = torch.compile(judge, dynamic=False)
    try:
        fast(blurred, sharp)[0].backward()  # the way back is compiled by itself
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ImportError, OSError) as error:
        first_line = str(error).strip().partition("\n")[0]
        print(f"not compiled, so training is slower: {first_line}", flush=True)
        return judge
    return fast


def recorded(step: Step, blurred: Tensor, sharp: Tensor) -> Step:
    """Record what a step does on a GPU, so that it is launched at once.

    To launch its thousands of kernels one by one takes longer than they do.

    Args:
        step: What to record; it is run three times first.
        blurred: An example of what it is given.
        sharp: Likewise.
    """
    inputs = blurred.clone(), sharp.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = step(*inputs)

    def replay(blurred: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
        inputs[0].copy_(blurred)
        inputs[1].copy_(sharp)
        graph.replay()
        return outputs

    return replay


@dataclass
class Trainer:
    """The state of a training: network, its average, optimisers, and how far it is."""

    network: SRN
    minutes: float
    lr: float
    head_weight: float = 0.0
    """Of the loss of `training.sharp_head`; 0 for none."""
    head: SharpHead = field(init=False)
    average: SRN = field(init=False)
    optimisers: list[torch.optim.Optimizer] = field(init=False)
    step: int = 0
    pixels: int = 0
    seconds: float = 0.0
    begin: float = 0.0
    """Progress at which the schedule begins."""
    end: float = 1.0
    """Progress at which it ends; less than 1 if the training is to go on later."""
    before: float = 0.0
    """Of the seconds, those that were trained before the schedule began."""
    batches_made: int = 0
    """How many batches of crops were made for it, so that one that goes on sees new ones."""
    device: torch.device = field(init=False)
    error_weights: Tensor = field(init=False)
    """Of the loss, as progress wants them; see `training.losses`."""
    _ready_step: Step | None = field(init=False, default=None)
    """How to take a step; on a GPU, compiled and recorded."""

    def __post_init__(self) -> None:
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        make_even(self.network)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.device = self.network.output.weight.device
        self.head = SharpHead(self.network.config.state_channels).to(self.device)
        self._precision = choose_precision(kind_of(self.device))
        self._renewed = torch.zeros((), device=self.device)
        self.error_weights = torch.tensor(SQUARED, device=self.device)
        inner = [
            weight
            for name, weight in self.network.named_parameters()
            if weight.ndim == 4 and not name.startswith(("entries.0.", "output."))
        ]
        chosen = {id(weight) for weight in inner}
        others = [weight for weight in self._trained() if id(weight) not in chosen]
        on_gpu = self.device.type == "cuda"
        lr = torch.tensor(self.lr, device=self.device) if on_gpu else self.lr
        self.optimisers = [
            Muon(inner, lr),
            torch.optim.AdamW(others, lr, betas=(0.9, 0.99), weight_decay=0.0, capturable=on_gpu),
        ]

    def _trained(self) -> list[nn.Parameter]:
        """Return all weights that are trained."""
        heads = self.head.parameters() if self.head_weight else ()
        return [*self.network.parameters(), *heads]

    @property
    def progress(self) -> float:
        """How much of the training is done, from 0 to 1."""
        share = (self.seconds - self.before) / (60 * self.minutes)
        return self.begin + (self.end - self.begin) * min(1.0, share)

    @property
    def is_over(self) -> bool:
        """Whether the schedule has come to its end."""
        return self.seconds - self.before >= 60 * self.minutes

    def go_on(self, minutes: float, begin: float | None = None, end: float = 1.0) -> None:
        """Begin another schedule.

        Args:
            minutes: Its length.
            begin: Progress at which it begins; by default where the last one stopped.
            end: Progress at which it ends.
        """
        self.begin = self.progress if begin is None else begin
        self.minutes, self.end, self.before = minutes, end, self.seconds

    def train_on(self, blurred: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step.

        Args:
            blurred: Crops, (B, 3, H, W) uint8; on a GPU, of the same shape each time.
            sharp: What is wanted of them.

        Returns:
            The squared errors of the blurred crops and of the result, scalars.
        """
        self._schedule()
        if self._ready_step is None:
            self._ready_step = self._prepare(blurred, sharp)
        errors = self._ready_step(blurred, sharp)
        self.step += 1
        self.pixels += blurred.shape[0] * blurred.shape[2] * blurred.shape[3]
        return errors

    def prepare(self, crops: Tensor) -> None:
        """Compile and record the step now, and leave the network as it is.

        Args:
            crops: An example of what `train_on` is given, (B, 3, H, W) uint8.
        """
        weights = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.train_on(crops, crops)
        self.begin_from(weights)

    @torch.no_grad()
    def begin_from(self, weights: Mapping[str, Tensor]) -> None:
        """Begin anew with weights.

        All tensors stay where they are, since a recorded step knows them by their place.

        Args:
            weights: Values by the names that `SRN.state_dict` has.
        """
        for network in (self.network, self.average):
            for name, value in network.state_dict().items():
                value.copy_(weights[name])
            make_even(network)
        for optimiser in self.optimisers:
            for state in optimiser.state.values():
                for value in state.values():
                    value.zero_()
        self.step = self.pixels = 0

    def _prepare(self, blurred: Tensor, sharp: Tensor) -> Step:
        """Return a step; on a GPU, compiled and recorded from an example."""
        if self.device.type == "cpu":
            return functools.partial(self._take_step, self._judge)
        judge = compiled(self._judge, blurred, sharp)
        for weight in self._trained():
            weight.grad = None
        return recorded(functools.partial(self._take_step, judge), blurred, sharp)

    def _schedule(self) -> None:
        """Set the learning rate, the weights of the loss, and how far the average follows."""
        rate = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        rate *= 0.01 + 0.99 * (1 + math.cos(math.pi * self.progress)) / 2
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(self.lr * rate)
                else:
                    group["lr"] = self.lr * rate
        weights = BALANCED if self.progress >= SQUARED_ERROR_UNTIL else SQUARED
        for place, weight in zip(self.error_weights, weights, strict=True):
            place.fill_(weight)  # a copy from memory would have the device waited for
        self._renewed.fill_(1 - min(0.999, (2 + self.step) / (11 + self.step)))

    def _take_step(self, judge: Judge, blurred: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
        loss, before, after = judge(blurred, sharp)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        make_even(self.network)
        with torch.no_grad():
            for mean, weight in zip(
                self.average.parameters(), self.network.parameters(), strict=True
            ):
                mean.lerp_(weight, self._renewed)
        return before, after

    def _judge(self, blurred: Tensor, sharp: Tensor) -> tuple[Tensor, ...]:
        """Return the loss, and the squared errors of the blurred crops and of the result."""
        blurred = (blurred.float() / 255).contiguous(memory_format=torch.channels_last)
        sharp = sharp.float() / 255
        precision = self._precision
        with torch.autocast(self.device.type, precision, precision != torch.float32):
            results, state = self.network.run_scales(blurred)
        loss = training_loss(results, sharp, self.error_weights)
        if self.head_weight and state is not None:
            loss = loss + self.head_weight * self.head.loss(state, blurred, sharp)
        result = results[-1].detach().float().clamp(0, 1)
        return loss, F.mse_loss(blurred, sharp), F.mse_loss(result, sharp)

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "head": self.head.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "pixels": self.pixels,
            "batches_made": self.batches_made,
            "seconds": self.seconds,
            "progress": self.progress,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._ready_step = None  # it knows the optimisers' tensors, which are replaced
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.head.load_state_dict(state["head"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        for name in ("step", "pixels", "batches_made", "seconds"):
            setattr(self, name, state[name])
        self.before, self.begin = self.seconds, state["progress"]
