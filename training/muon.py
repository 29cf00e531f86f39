"""Muon: momentum whose update is orthogonalised, for convolutions.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon/; the scale that lets it share a
learning rate with AdamW is from Liu et al., "Muon is Scalable for LLM
Training", 2025, https://arxiv.org/abs/2502.16982. PyTorch's own takes matrices
only.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


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
        """Take one step with the gradients at hand."""
        for group in self.param_groups:
            for weight in group["params"]:
                buffer = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                buffer.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(buffer, group["momentum"]).flatten(1)
                rms = 0.2 * max(update.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(orthogonalise(update).view_as(weight), alpha=-group["lr"] * rms)


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Replace the singular values by about 1, by Newton-Schulz iteration in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide.bfloat16() / (wide.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide is matrix else x.T).to(matrix.dtype)
