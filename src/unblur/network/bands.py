"""How a photo passes through a network in bands of rows, and still comes out as if it were whole.

A convolution needs some rows above and below those that it computes. So each
layer keeps the last rows it has seen until the next band brings those that
follow, as a line buffer does in image hardware: nothing is computed twice,
there are no seams, and results lag behind the rows that have been put in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PIECE_ROWS = 16
"""Of the rows that come out with an image's last band, how many are computed at once."""


@dataclass(frozen=True)
class Span:
    """A band's rows: from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    def divided(self, divisor: int) -> Span:
        """Return the same rows on a grid that is ``divisor`` times coarser."""
        return Span(self.start // divisor, self.stop // divisor)


def next_band(start: int, height: int, most: int, multiple: int) -> Span:
    """Cut the next band off what is left of an image.

    Bands are of equal height, because equal shapes reuse prepared kernels; only
    the last is as low as can be, since it also brings out all that lags behind.

    Args:
        start: First row that is left; a multiple of ``multiple``, as ``height`` is.
        height: Rows of the image.
        most: Upper bound of a band's rows, if that is at least one multiple.
        multiple: Every start and stop is a multiple of it.
    """
    most = max(multiple, most - most % multiple)
    left = height - start
    if left <= multiple or (start == 0 and left <= most):
        return Span(start, height)
    body = left - multiple
    count = math.ceil(body / most)
    return Span(start, start + math.ceil(body / count / multiple) * multiple)


class RowQueue:
    """Rows of a map, (C, H, W), in half precision, that are put in at the bottom and read once.

    What has been read is freed: as a photo's result grows, what it is made of goes.
    Maps of their own go back to the system at once; the C library would keep them.
    """

    def __init__(self) -> None:
        self._blocks: deque[NDArray[np.float16]] = deque()
        self._top = 0

    def append(self, rows: NDArray[np.floating]) -> None:
        """Put rows (C, h, W) below all others."""
        if rows.size:
            memory = mmap(-1, rows.size * np.float16().itemsize)
            self._blocks.append(np.frombuffer(memory, np.float16).reshape(rows.shape))
            self._blocks[-1][...] = rows

    def read(self, start: int, stop: int) -> NDArray[np.float16]:
        """Return rows from ``start`` to ``stop`` or the last; those above are lost."""
        while self._top + self._blocks[0].shape[1] <= start:
            self._top += self._blocks.popleft().shape[1]
        parts, bottom = [], self._top
        for block in self._blocks:
            if bottom >= stop:
                break
            parts.append(block)
            bottom += block.shape[1]
        return np.concatenate(parts, axis=1)[:, start - self._top : stop - self._top]


@dataclass(frozen=True)
class LineBuffers:
    """What the layers of a network keep of one band for the next.

    A band that fails leaves the buffers above it as they were, so that it can
    be tried again with fewer rows. By default an image is one band by itself.
    """

    above: dict[object, Tensor] = field(default_factory=dict)
    """Rows that each layer kept of the band above; nothing for an image's first band."""
    is_last: bool = True
    """Whether the image ends with this band."""
    kept: dict[object, Tensor] = field(default_factory=dict)
    """Rows that each layer keeps of this band."""
    spare: dict[object, Tensor] = field(default_factory=dict)
    """Memory for these rows: what was kept two bands above."""
    scratch: dict[torch.dtype, Tensor] = field(default_factory=dict)
    """Memory that all windows are made in, one after the other."""

    @property
    def is_whole(self) -> bool:
        """Whether the band is all of the image, so that nothing lags behind."""
        return not self.above and self.is_last

    def next(self, is_last: bool) -> LineBuffers:
        """Return what the band below this one starts from."""
        return LineBuffers(self.kept, is_last, spare=self.above, scratch=self.scratch)

    def window(
        self, layer: object, x: Tensor, kernel: int, stride: int, before: int, after: int
    ) -> Tensor:
        """Put the rows that a layer kept above those of a band, (B, C, H, W).

        Beyond the image's top and bottom border there are ``before`` and
        ``after`` rows of zeros. Rows that a convolution will still need with the
        next band are kept; if there are fewer than ``kernel``, all of them are.
        The result is overwritten by the next window.
        """
        parts = [self._kept_above(layer, x, before), x]
        if self.is_last:
            return self._join([*parts, _zeros(x, after)])
        x = self._join(parts)
        overhang = max(0, kernel - stride)
        ready = max(0, x.shape[2] - overhang) // stride * stride
        self._keep(layer, x[:, :, ready:])
        return x[:, :, : ready + overhang]

    def delay(self, name: object, x: Tensor, rows: int) -> Tensor:
        """Hold rows back until others have caught up.

        Args:
            name: Of the queue in which rows wait.
            x: The next rows, (B, C, H, W).
            rows: How many to let through, the first that came.
        """
        x = torch.cat([self._kept_above(name, x), x], dim=2) if self.above else x
        self._keep(name, x[:, :, rows:])
        return x[:, :, :rows]

    def add_delayed(self, name: object, x: Tensor, ahead: Tensor) -> Tensor:
        """Add rows that were held back to those that have caught up, in place.

        Args:
            name: Of the queue in which rows wait.
            x: What is added to, (B, C, H, W).
            ahead: The next rows to be added; as many as are too early wait.
        """
        if self.is_whole:
            return x.add_(ahead)
        waiting, rows = self._kept_above(name, ahead), x.shape[2]
        late = min(rows, waiting.shape[2])
        x[:, :, :late].add_(waiting[:, :, :late])
        x[:, :, late:].add_(ahead[:, :, : rows - late])
        self._keep(name, waiting[:, :, late:], ahead[:, :, rows - late :])
        return x

    def pieces(self, x: Tensor) -> Iterator[tuple[Tensor, LineBuffers]]:
        """Cut the rows that come out with the last band into bands of their own.

        All that lagged behind would otherwise go through the layers that take
        most memory at once.
        """
        if self.is_whole or not self.is_last:
            yield x, self
            return
        above, pieces = self.above, torch.split(x, PIECE_ROWS, dim=2)
        for piece in pieces[:-1]:
            buffers = LineBuffers(above, is_last=False, scratch=self.scratch)
            yield piece, buffers
            above = buffers.kept
        yield pieces[-1], LineBuffers(above, is_last=True, scratch=self.scratch)

    def _keep(self, name: object, *parts: Tensor) -> None:
        """Copy rows for the band below, into the same memory as two bands above where they fit."""
        if self.is_last:
            return
        x, rows = parts[-1], sum(part.shape[2] for part in parts)
        spare = self.spare.get(name)
        fits = spare is not None and spare.shape[2] == rows and _are_alike(spare, x)
        self.kept[name] = torch.cat(parts, dim=2, out=spare if fits else _new_rows(x, rows))

    def _kept_above(self, name: object, x: Tensor, zeros: int = 0) -> Tensor:
        """Return what was kept of the band above; at the top of the image, zeros."""
        if self.above:
            return self.above[name].to(x)  # another device, when memory ran out on the one before
        return _zeros(x, zeros)

    def _join(self, parts: list[Tensor]) -> Tensor:
        """Put rows below each other, channels-last.

        In memory that is used again and again: blocks of many sizes, come and
        gone, would leave the C library's heap full of holes.
        """
        x, rows = parts[0], sum(part.shape[2] for part in parts)
        scratch, size = self.scratch.get(x.dtype), _size(x, rows)
        if scratch is None or scratch.numel() < size or scratch.device != x.device:
            scratch = self.scratch[x.dtype] = x.new_empty(size)
        return torch.cat(parts, dim=2, out=_rows_of(scratch[:size], x, rows))


def _are_alike(first: Tensor, second: Tensor) -> bool:
    return first.dtype == second.dtype and first.device == second.device


def _zeros(x: Tensor, rows: int) -> Tensor:
    return x.new_zeros(*x.shape[:2], rows, x.shape[3])


def _new_rows(x: Tensor, rows: int) -> Tensor:
    return _rows_of(x.new_empty(_size(x, rows)), x, rows)


def _size(x: Tensor, rows: int) -> int:
    return x.shape[0] * x.shape[1] * rows * x.shape[3]


def _rows_of(memory: Tensor, x: Tensor, rows: int) -> Tensor:
    """View memory as (B, C, rows, W), channels-last, with the other sides as ``x`` has them."""
    return memory.view(x.shape[0], rows, x.shape[3], x.shape[1]).permute(0, 3, 1, 2)
