"""Random tensors on the device of their generator, and small helpers that all stages share."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor


def uniform(
    low: float | Tensor, high: float | Tensor, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Draw evenly between two bounds, which may be tensors that broadcast to the shape."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def log_uniform(
    low: float, high: float, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Draw positive numbers between two bounds, evenly on a logarithmic scale."""
    return uniform(math.log(low), math.log(high), shape, generator).exp()


def normal(spread: float | Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from normal distributions with mean zero and these standard deviations."""
    return spread * torch.randn(shape, generator=generator, device=generator.device)


def chance(share: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw booleans; each is true with the probability ``share``."""
    return torch.rand(shape, generator=generator, device=generator.device) < share


def whole(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw whole numbers from ``low`` to ``high - 1``."""
    return torch.randint(low, high, shape, generator=generator, device=generator.device)


def per_image(parameter: Tensor) -> Tensor:
    """Reshape a parameter (B,) so that it broadcasts over images (B, C, H, W)."""
    return parameter[:, None, None, None]


@functools.cache
def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Return nested tuples of numbers as a float32 tensor, copied to each device only once."""
    return torch.tensor(values, dtype=torch.float32, device=device)
