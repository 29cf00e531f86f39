"""Run the steps of a training, on a CPU or on a GPU."""

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

from training.even_kernels import make_even
from training.losses import BALANCED, SQUARED, training_loss
from training.muon import Muon
from training.sharp_head import SharpHead, are_equal
from unblur.models.catalog import DEFAULT_MODEL, MODELS
from unblur.network.devices import choose_precision, kind_of
from unblur.network.srn import SRN

COMPACT = MODELS[DEFAULT_MODEL].config
"""Shape of the embedded network, chosen by experiment."""

SQUARED_ERROR_UNTIL = 0.5
"""Start and end of the change of the loss's weights, as progress; see `training.losses`."""

WARM_UP_STEPS = 150

Step: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes blurred and sharp crops, and trains on them; returns the squared errors of `train_on`."""

Judge: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""Takes blurred and sharp crops; returns the loss and the same squared errors."""


def initialise(network: SRN) -> None:
    """Initialise a network as the identity: the residual and all residual blocks are near zero.

    The deeper levels contribute nothing at first, because their features are noise until they are
    trained. A network that starts with this noise learns to close the gates of its ConvLSTM, and
    its deepest levels then learn nothing.
    """
    for name, weight in network.named_parameters():
        if name.endswith("bias") or name.startswith(("output.", "exits.")):
            nn.init.zeros_(weight)
        else:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
            if name.endswith("conv2.weight"):
                weight.data.mul_(0.1)


def compiled(judge: Judge, blurred: Tensor, sharp: Tensor) -> Judge:
    """Compile a judge for photos of this shape; if that fails, return the judge unchanged.

    A machine may lack a tool that PyTorch needs for compiling, such as Triton or a C compiler.
    Training is then slower, but the time on the machine is not lost.
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
    """Record the kernels of a step on a GPU, and launch them together.

    Launching the thousands of kernels one by one takes longer than running them.

    Args:
        step: The step to record, which is first run three times.
        blurred: Example of the step's first argument.
        sharp: Example of the step's second argument.
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
    """The state of a training: the network, its average, optimisers and progress."""

    network: SRN
    minutes: float
    lr: float
    head_weight: float = 0.0
    """Weight of the loss of `training.sharp_head`; 0: train without a head."""
    head: SharpHead | None = field(init=False, default=None)
    average: SRN = field(init=False)
    optimisers: list[torch.optim.Optimizer] = field(init=False)
    step: int = 0
    pixels: int = 0
    seconds: float = 0.0
    begin: float = 0.0
    """Progress at the start of the schedule."""
    end: float = 1.0
    """Progress at the end of the schedule; less than 1 if the training is to go on later."""
    before: float = 0.0
    """Seconds of training before the schedule began."""
    batches_made: int = 0
    """Number of batches of crops made, so that a training that goes on gets new crops."""
    device: torch.device = field(init=False)
    error_weights: Tensor = field(init=False)
    """Weights of the loss for the present progress; see `training.losses`."""
    _ready_step: Step | None = field(init=False, default=None)
    """The function that takes a step; on a GPU, compiled and recorded."""

    def __post_init__(self) -> None:
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        make_even(self.network)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.device = self.network.output.weight.device
        self._precision = choose_precision(kind_of(self.device))
        self._renewed = torch.zeros((), device=self.device)
        self.error_weights = torch.tensor(SQUARED, device=self.device)
        inner = [
            weight
            for name, weight in self.network.named_parameters()
            if weight.ndim == 4 and not name.startswith(("entries.0.", "output."))
        ]
        chosen = {id(weight) for weight in inner}
        others = [weight for weight in self.network.parameters() if id(weight) not in chosen]
        on_gpu = self.device.type == "cuda"
        lr = torch.tensor(self.lr, device=self.device) if on_gpu else self.lr
        adamw = functools.partial(
            torch.optim.AdamW, betas=(0.9, 0.99), weight_decay=0.0, capturable=on_gpu
        )
        self.optimisers = [Muon(inner, lr), adamw(others, lr)]
        if self.head_weight:
            self.head = SharpHead(self.network.config.state_channels).to(self.device)
            # By itself, so that a state without a head can go on with one.
            self.optimisers.append(adamw(self.head.parameters(), lr))

    def _trained(self) -> list[nn.Parameter]:
        """Return all weights that are trained."""
        return [*self.network.parameters(), *(self.head.parameters() if self.head else ())]

    @property
    def progress(self) -> float:
        """Progress of the training, from 0 to 1."""
        share = (self.seconds - self.before) / (60 * self.minutes)
        return self.begin + (self.end - self.begin) * min(1.0, share)

    @property
    def is_over(self) -> bool:
        """Whether the schedule has ended."""
        return self.seconds - self.before >= 60 * self.minutes

    def go_on(self, minutes: float, begin: float | None = None, end: float = 1.0) -> None:
        """Start a new schedule.

        Args:
            minutes: Length of the schedule in minutes.
            begin: Progress at the start. Default: where the last schedule stopped.
            end: Progress at the end.
        """
        self.begin = self.progress if begin is None else begin
        self.minutes, self.end, self.before = minutes, end, self.seconds

    def train_on(self, blurred: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step.

        Args:
            blurred: Crops, (B, 3, H, W) uint8; on a GPU, of the same shape each time.
            sharp: The wanted results, (B, 3, H, W) uint8.

        Returns:
            The squared errors of the blurred crops and of the results, two scalars.
        """
        self._schedule()
        if self._ready_step is None:
            self._ready_step = self._prepare(blurred, sharp)
        errors = self._ready_step(blurred, sharp)
        self.step += 1
        self.pixels += blurred.shape[0] * blurred.shape[2] * blurred.shape[3]
        return errors

    def prepare(self, crops: Tensor) -> None:
        """Compile and record the step now, without changing the network or the head.

        Args:
            crops: Example of an argument of `train_on`, (B, 3, H, W) uint8.
        """
        weights = {name: value.clone() for name, value in self.network.state_dict().items()}
        head = copy.deepcopy(self.head.state_dict()) if self.head else {}
        self.train_on(crops, crops)
        self.begin_from(weights)
        if self.head:
            self.head.load_state_dict(head)  # which copies the values into the same tensors

    @torch.no_grad()
    def begin_from(self, weights: Mapping[str, Tensor]) -> None:
        """Start anew with weights; the head stays as it is.

        All tensors keep their place in memory, because a recorded step knows them by their place.

        Args:
            weights: Values, by the names in `SRN.state_dict`.
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
        """Set the learning rate, the weights of the loss, and the rate of the average."""
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
        """Return the loss, and the squared errors of the blurred crops and of the results."""
        is_sharp = are_equal(blurred, sharp)
        blurred = (blurred.float() / 255).contiguous(memory_format=torch.channels_last)
        sharp = sharp.float() / 255
        precision = self._precision
        with torch.autocast(self.device.type, precision, precision != torch.float32):
            results, state = self.network.run_scales(blurred)
        loss = training_loss(results, sharp, self.error_weights)
        if self.head and state is not None:
            loss = loss + self.head_weight * self.head.loss(state, is_sharp)
        result = results[-1].detach().float().clamp(0, 1)
        return loss, F.mse_loss(blurred, sharp), F.mse_loss(result, sharp)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is needed to go on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "head": self.head.state_dict() if self.head else {},
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "pixels": self.pixels,
            "batches_made": self.batches_made,
            "seconds": self.seconds,
            "progress": self.progress,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a value of `state_dict`; a head that it lacks, or did not train, is new."""
        self._ready_step = None  # it knows the optimisers' tensors, which are replaced
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        if self.head and state["head"]:
            self.head.load_state_dict(state["head"])
        # The head's optimiser comes last, if there is one, here and in the state.
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=False):
            optimiser.load_state_dict(saved)
        for name in ("step", "pixels", "batches_made", "seconds"):
            setattr(self, name, state[name])
        self.before, self.begin = self.seconds, state["progress"]
