"""Random numbers and constants for a batch, on its device."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw from an interval: (count,) float32."""
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)


def log_uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw from an interval of positive numbers whose logarithms are equally likely: (count,)."""
    return uniform(count, math.log(low), math.log(high), generator).exp()


def chance(count: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw true for a share of the batch: (count,) bool."""
    return torch.rand(count, generator=generator, device=generator.device) < share


def per_image(parameter: Tensor) -> Tensor:
    """Shape a parameter (B,) so that it broadcasts over images (B, C, H, W)."""
    return parameter[:, None, None, None]


@functools.cache
def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Return nested tuples of numbers as float32, copied to a device once only."""
    return torch.tensor(values, dtype=torch.float32, device=device)
