"""Crops that stay on a GPU and are seen several times, each time turned another way.

A GPU learns from crops several times as fast as a machine's processors make them.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

BATCHES_MADE_FIRST = 16
"""How many batches of crops are waited for; fewer would be learnt by heart at first."""


class CropPool:
    """The crops that were made last.

    Args:
        made: Endless batches (blurred, sharp), each (b, 3, S, S) uint8, b and S always the same.
        batch: How many crops are drawn at once.
        device: Where they are kept.
        gigabytes: How much memory they take there.
    """

    def __init__(
        self,
        made: Iterable[tuple[Tensor, Tensor]],
        batch: int,
        device: torch.device,
        gigabytes: float,
    ) -> None:
        self.batch = batch
        self.put_in = 0
        self._made = made
        self._device = device
        self._bytes = gigabytes * 1e9
        self._waiting: queue.Queue[Tensor | Exception] = queue.Queue(maxsize=64)
        self._is_over = threading.Event()
        self._crops = torch.empty(0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches (blurred, sharp), each (B, 3, S, S) uint8, for ever."""
        made = iter(self._made)  # in this thread, which may fork
        fetching = threading.Thread(target=self._fetch, args=(made,), daemon=True)
        fetching.start()
        try:
            while self.put_in < BATCHES_MADE_FIRST * self.batch:
                self._put(self._next_made())
            while True:
                while not self._waiting.empty():
                    self._put(self._next_made())
                yield self._draw()
        finally:
            self._is_over.set()
            while fetching.is_alive():
                with contextlib.suppress(queue.Empty):
                    self._waiting.get(timeout=0.1)

    def _fetch(self, made: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Run in a thread of its own, so that no step has to wait for crops."""
        try:
            for blurred, sharp in made:
                pairs = torch.stack([blurred, sharp], dim=1)
                self._waiting.put(pairs.pin_memory() if self._device.type == "cuda" else pairs)
                if self._is_over.is_set():
                    return
        except Exception as error:
            self._waiting.put(error)

    def _next_made(self) -> Tensor:
        made = self._waiting.get()
        if isinstance(made, Exception):
            raise made
        return made

    def _put(self, pairs: Tensor) -> None:
        """Put in pairs (b, 2, 3, S, S), in place of the oldest if there is no more room."""
        if not self.put_in:
            room = max(1, int(self._bytes / pairs.numel())) * len(pairs)
            self._crops = torch.empty(
                (room, *pairs.shape[1:]), dtype=torch.uint8, device=self._device
            )
        start = self.put_in % len(self._crops)
        self._crops[start : start + len(pairs)].copy_(pairs, non_blocking=True)
        self.put_in += len(pairs)

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Take crops at random, mirrored and turned alike."""
        filled = min(self.put_in, len(self._crops))
        chosen = self._crops[torch.randint(filled, (self.batch,), device=self._device)]
        turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
        turned = chosen.rot90(turns, (3, 4))
        blurred, sharp = (turned.flip(4) if mirrored else turned).unbind(1)
        return blurred, sharp
