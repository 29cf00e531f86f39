"""Fakes: networks that change nothing or do one thing wrong, and a user interface."""

from __future__ import annotations

import contextlib
import copy

import torch

from unblur.network.config import SRNConfig
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.network.device_kinds import DeviceKind
from unblur.network.srn import SRN
from unblur.options import NetworkOptions


def on_cpu(network, tile="auto", precision=None, warn=lambda text: None, **engine):
    """Return a deblurrer that runs a network on the CPU."""
    chosen = NetworkOptions(device="cpu", tile=tile, **engine)
    return NetworkDeblurrer(network, chosen, precision=precision, warn=warn)


def unchanging_srn():
    """Return a tiny real network that adds nothing to its input."""
    network = SRN(SRNConfig(width=1, blocks=1, kernel=1, residual=True))
    for weight in network.output.parameters():
        weight.data.zero_()
    return network


def brightening_srn():
    """Return a tiny real network that makes every photo a little brighter."""
    network = unchanging_srn()
    network.output.bias.data.fill_(0.1)
    return network


class Played(DeviceKind):
    """A device that the CPU plays."""

    torch_type = "cpu"


PLAYED = Played(
    "other",
    build=lambda torch: "",
    is_available=lambda torch: True,
    hardware=lambda torch: "another device",
    has_bfloat16=lambda torch: False,
)


class Identity:
    """Returns the blurred image."""

    config = SRNConfig()

    def to(self, device, dtype):
        return self

    def transposed(self):
        return self

    def run_scale(self, blurred, previous, state, buffers):
        return blurred, None


class Small(Identity):
    """Takes little memory."""

    config = SRNConfig(width=1, blocks=1, kernel=1)


class NotANumberInHalf(Identity):
    """Overflows wherever autocast is on."""

    def run_scale(self, blurred, previous, state, buffers):
        if torch.is_autocast_enabled("cpu"):
            return torch.full_like(blurred, torch.nan), None
        return blurred, None


class NotANumber(Identity):
    """Makes nothing of use in any precision."""

    def run_scale(self, blurred, previous, state, buffers):
        return torch.full_like(blurred, torch.nan), None


class OutOfMemoryAbove(Identity):
    """Fails for tiles of more pixels than a limit."""

    def __init__(self, pixels, error=torch.OutOfMemoryError):
        self.pixels, self.error = pixels, error
        self.finished = 0

    def run_scale(self, blurred, previous, state, buffers):
        if blurred.shape[2] * blurred.shape[3] > self.pixels:
            raise self.error("CUDA out of memory. Tried to allocate 110 GiB")
        self.finished += blurred.shape[2] * blurred.shape[3]
        return blurred, None


class TileSizes(Identity):
    """Remembers the number of pixels of its largest tile."""

    largest = 0

    def run_scale(self, blurred, previous, state, buffers):
        self.largest = max(self.largest, blurred.shape[2] * blurred.shape[3])
        return blurred, None


class Brighter(Identity):
    """Adds a constant, far enough that values leave the range."""

    def run_scale(self, blurred, previous, state, buffers):
        return blurred + 0.5, None


class Leaning(Identity):
    """Makes photos brighter, increasingly to the right and downwards."""

    def run_scale(self, blurred, previous, state, buffers):
        right = torch.linspace(-0.1, 0.1, blurred.shape[3])
        down = torch.linspace(-0.2, 0.2, blurred.shape[2])[:, None]
        return blurred + right + down, None


class Printing(Identity):
    """Prints like a careless library."""

    def run_scale(self, blurred, previous, state, buffers):
        print("a stray print")
        return blurred, None


class Broken(Identity):
    """Has a bug."""

    def run_scale(self, blurred, previous, state, buffers):
        raise RuntimeError("sizes do not match")


class Elsewhere(Identity):
    """Raises the contrast on the CPU; on another device, real or played, it calls a function.

    Args:
        act: Takes a band, the right result and the line buffers, and returns the device's result.
    """

    def __init__(self, act):
        self.act, self.is_moved = act, False

    def to(self, device, dtype):
        moved = copy.copy(self)
        moved.is_moved = True
        return moved

    def run_scale(self, blurred, previous, state, buffers):
        right = 1.5 * blurred - 0.25
        return self.act(blurred, right, buffers) if self.is_moved else right, None


class InHalf(Identity):
    """Raises the contrast; where autocast is on, it calls a function, like `Elsewhere`."""

    def __init__(self, act):
        self.act = act

    def run_scale(self, blurred, previous, state, buffers):
        right = 1.5 * blurred - 0.25
        is_half = torch.is_autocast_enabled("cpu")
        return self.act(blurred, right, buffers) if is_half else right, None


class Watcher:
    """A user interface that prints nothing, and keeps the outcomes of a run."""

    def __init__(self):
        self.settings, self.outcomes = {}, []

    def say(self, text, level=0):
        pass

    def outcome(self, outcome):
        self.outcomes.append(outcome)

    def progress(self, total):
        return contextlib.nullcontext()

    def photo_progress(self, job):
        return lambda share: None
