"""Random tensors on the device of their generator."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(
    low: float | Tensor, high: float | Tensor, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Draw evenly between two bounds, which may be tensors that broadcast to the shape."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def normal(spread: float | Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from normal distributions around zero with these standard deviations."""
    return spread * torch.randn(shape, generator=generator, device=generator.device)


def chance(share: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw booleans, of which a share is true."""
    return torch.rand(shape, generator=generator, device=generator.device) < share


def whole(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw whole numbers from ``low`` to ``high - 1``."""
    return torch.randint(low, high, shape, generator=generator, device=generator.device)
