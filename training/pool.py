"""Keep crops on the training's device; each is used a few times, rotated and mirrored anew.

New crops are made on the same device between the steps of the training.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

POOLED = 64
"""Number of batches in the pool, enough that each drawn batch has crops of all kinds."""

LOOKS = 8.0
"""Average number of times that a crop is used before a new crop replaces it."""


class CropPool:
    """The latest crops.

    Args:
        make: Makes batch number n of crops: (blurred, wanted), each (B, 3, S, S) uint8, of the
            same shape and on the same device for any n.
        first: Number of the first batch to make; when a training goes on, the last value of `made`.
        pooled: Number of batches to keep.
        looks: Average number of uses of a crop.
    """

    def __init__(
        self,
        make: Callable[[int], tuple[Tensor, Tensor]],
        first: int = 0,
        pooled: int = POOLED,
        looks: float = LOOKS,
    ) -> None:
        self.made = first
        """Number of batches made, including earlier runs."""
        self._make = make
        self._pooled = pooled
        self._looks = looks

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches (blurred, wanted), each (B, 3, S, S) uint8, without end."""
        crops = torch.stack([self._made_next() for _ in range(self._pooled)])
        chance, slot, due = random.Random(self.made), 0, 0.0
        while True:
            # Every crop is drawn once before any is drawn again.
            order = torch.randperm(crops.shape[0] * crops.shape[1], device=crops.device)
            for chosen in order.split(crops.shape[1]):
                yield turned(crops.flatten(0, 1)[chosen], chance)
                due += 1 / self._looks
                if due >= 1:
                    due -= 1
                    crops[slot] = self._made_next()
                    slot = (slot + 1) % len(crops)

    def _made_next(self) -> Tensor:
        """Make a batch (B, 2, 3, S, S)."""
        pairs = torch.stack(self._make(self.made), dim=1)
        self.made += 1
        return pairs


def turned(pairs: Tensor, chance: random.Random) -> tuple[Tensor, Tensor]:
    """Mirror blurred and wanted crops (B, 2, 3, S, S), and rotate both by quarter turns."""
    pairs = pairs.rot90(chance.randrange(4), (3, 4))
    blurred, wanted = (pairs.flip(4) if chance.random() < 0.5 else pairs).unbind(1)
    return blurred, wanted
