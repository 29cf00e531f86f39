"""Optimise convolutions with Muon, which orthogonalises the updates of momentum.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon/; the scale that lets it share a
learning rate with AdamW is from Liu et al., "Muon is Scalable for LLM
Training", 2025, https://arxiv.org/abs/2502.16982. PyTorch's own takes matrices
only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from unblur.network.devices import choose_precision, kind_of


class Muon(torch.optim.Optimizer):
    """Update weights (O, I, kh, kw) as matrices (O, I * kh * kw).

    Args:
        params: Convolution weights.
        lr: Learning rate, in the scale of AdamW's.
        momentum: Decay of the Nesterov momentum.
        weight_decay: Decoupled weight decay.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step with the present gradients; equal shapes are processed together."""
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for weight in group["params"]:
                by_shape[weight.shape].append(weight)
            for weights in by_shape.values():
                self._update(weights, group)

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        updates = torch.stack([self._momentum(weight, group["momentum"]) for weight in weights])
        directions = orthogonalise(updates) * (0.2 * max(updates.shape[1:]) ** 0.5 * group["lr"])
        for weight, direction in zip(weights, directions, strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.sub_(direction.view_as(weight))

    def _momentum(self, weight: Tensor, momentum: float) -> Tensor:
        assert weight.grad is not None
        buffer = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        buffer.lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(buffer, momentum).flatten(1)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Bring all singular values to about 1, by Newton-Schulz iteration in the fastest type.

    Args:
        matrices: (..., rows, columns).
        iterations: Number of iterations.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    is_wide = matrices.shape[-2] <= matrices.shape[-1]
    wide = matrices if is_wide else matrices.mT
    x = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.to(choose_precision(kind_of(x.device)))
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if is_wide else x.mT).to(matrices.dtype)
