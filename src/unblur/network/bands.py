"""Run a network in bands of rows, with the same result as on the whole photo.

A convolution needs some rows above and below each row that it computes. So each layer keeps the
last rows of a band for the next band, like a line buffer in image hardware. No row is computed
twice, there are no seams, and the result lags some rows behind the input.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from mmap import mmap

import torch
from torch import Tensor

CPU_MEMORY = torch.device("cpu")
PIECE_ROWS = 16
"""Number of rows of the last band's result to compute at once."""


@dataclass(frozen=True)
class Span:
    """The rows of a band, from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    def divided(self, divisor: int) -> Span:
        """Return the same rows on a grid that is ``divisor`` times coarser."""
        return Span(self.start // divisor, self.stop // divisor)


def next_band(
    start: int, height: int, most: int, multiple: int, *, is_last_low: bool = True
) -> Span:
    """Return the next band of an image.

    Bands have equal heights, because equal shapes reuse prepared kernels.

    Args:
        start: First row of the band; a multiple of ``multiple``, like ``height``.
        height: Rows of the image.
        most: Upper bound of a band's rows; a number below ``multiple`` counts as ``multiple``.
        multiple: Every start and stop is a multiple of this.
        is_last_low: Whether the last band is as low as possible, because it also completes all
            rows that lag behind.
    """
    most = max(multiple, most - most % multiple)
    left = height - start
    if left <= multiple or (start == 0 and left <= most):
        return Span(start, height)
    body = left - multiple if is_last_low else left
    count = math.ceil(body / most)
    return Span(start, start + math.ceil(body / count / multiple) * multiple)


class RowQueue:
    """Rows of a map, (h, W, C), in float16; they are appended at the bottom and read once.

    Rows are freed once they were read. In main memory each block is a memory map, which the system
    takes back at once; the C library would keep memory from its heap.

    Args:
        device: Device whose memory holds the rows.
    """

    def __init__(self, device: torch.device = CPU_MEMORY) -> None:
        self._device = device
        self._blocks: deque[Tensor] = deque()
        self._top = 0

    def copied(self, rows: Tensor) -> Tensor:
        """Return a copy of rows, (h, W, C), for `append`; only this step allocates memory."""
        if self._device.type != "cpu":
            return rows.to(self._device, torch.float16, copy=True)
        memory = mmap(-1, max(1, rows.numel()) * torch.float16.itemsize)
        block = torch.frombuffer(memory, dtype=torch.float16)[: rows.numel()]
        return block.view(rows.shape).copy_(rows)

    def append(self, copied: Tensor) -> None:
        """Append rows from `copied`; this allocates no memory, so it cannot fail."""
        if copied.numel():
            self._blocks.append(copied)

    def read(self, start: int, stop: int) -> Tensor:
        """Return the rows from ``start`` up to ``stop`` or the end; free all rows above."""
        while self._top + len(self._blocks[0]) <= start:
            self._top += len(self._blocks.popleft())
        parts, bottom = [], self._top
        for block in self._blocks:
            if bottom >= stop:
                break
            parts.append(block[max(0, start - bottom) : stop - bottom])
            bottom += len(block)
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True)
class LineBuffers:
    """The rows of one band that the layers of a network keep for the next band.

    A failed band leaves the buffers of the band above unchanged, so it can be tried again with
    fewer rows. The defaults are for an image that is a single band.
    """

    above: dict[object, Tensor] = field(default_factory=dict)
    """Rows of the band above, by layer; empty for the first band."""
    is_last: bool = True
    """Whether this is the last band of the image."""
    kept: dict[object, Tensor] = field(default_factory=dict)
    """Rows of this band for the next one, by layer."""
    spare: dict[object, Tensor] = field(default_factory=dict)
    """Memory to reuse for ``kept``: the rows of two bands above."""
    scratch: dict[torch.dtype, Tensor] = field(default_factory=dict)
    """Memory for the present window, by data type; each window overwrites it."""
    is_planar: bool = False
    """Whether to store one channel after another; otherwise channels come last."""

    @property
    def is_whole(self) -> bool:
        """Whether the band is the whole image, so no rows lag behind."""
        return not self.above and self.is_last

    def next(self, is_last: bool) -> LineBuffers:
        """Return the buffers for the band below."""
        return replace(self, above=self.kept, is_last=is_last, kept={}, spare=self.above)

    def window(
        self,
        layer: object,
        x: Tensor,
        kernel: int,
        stride: int,
        before: int,
        after: int,
        columns: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """Return the kept rows of a layer, followed by the rows of a band, (B, C, H, W).

        The image is padded with ``before`` rows of zeros at the top and ``after`` at the bottom.
        Rows that the convolution also needs for the next band are kept. A window of fewer than
        ``kernel`` rows is kept whole. The next window overwrites the result.

        Args:
            layer: Key of the rows to keep.
            x: Rows of the band.
            kernel: Height of the convolution's kernel.
            stride: Its stride.
            before: Rows of zeros above the image.
            after: Rows of zeros below the image.
            columns: Columns of zeros to add on the left and on the right.
        """
        parts = [self._kept_above(layer, x, before), x]
        if self.is_last:
            return self._join([*parts, _zeros(x, after)], columns)
        joined = self._join(parts, columns)
        x = joined[..., columns[0] : joined.shape[3] - columns[1]]
        overhang = max(0, kernel - stride)
        ready = max(0, x.shape[2] - overhang) // stride * stride
        self._keep(layer, x[:, :, ready:])
        return joined[:, :, : ready + overhang]

    def delay(self, name: object, x: Tensor, rows: int) -> Tensor:
        """Append rows to a queue, and return its first rows.

        Args:
            name: Name of the queue.
            x: Rows to append, (B, C, H, W).
            rows: Number of rows to return.
        """
        x = torch.cat([self._kept_above(name, x), x], dim=2) if self.above else x
        self._keep(name, x[:, :, rows:])
        return x[:, :, :rows]

    def add_delayed(self, name: object, x: Tensor, ahead: Tensor) -> Tensor:
        """Add rows of a queue to the same rows of ``x``, in place.

        Args:
            name: Name of the queue.
            x: Rows that lag behind, (B, C, H, W); the first rows of the queue are added.
            ahead: Rows to append to the queue. Rows that ``x`` has not reached yet stay in the
                queue for the next band.
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
        """Cut the rows of the last band into pieces, each with its buffers.

        The last band also completes the rows that lag behind. All of them at once would need too
        much memory in the layers of the finest level.
        """
        if self.is_whole or not self.is_last:
            yield x, self
            return
        above, pieces = self.above, torch.split(x, PIECE_ROWS, dim=2)
        for piece in pieces[:-1]:
            buffers = replace(self, above=above, is_last=False, kept={}, spare={})
            yield piece, buffers
            above = buffers.kept
        yield pieces[-1], replace(self, above=above)

    def _keep(self, name: object, *parts: Tensor) -> None:
        """Copy rows for the band below, into the memory of two bands above if the sizes match."""
        if self.is_last:
            return
        x, rows = parts[-1], sum(part.shape[2] for part in parts)
        spare = self.spare.get(name)
        fits = spare is not None and spare.shape[2] == rows and spare.dtype == x.dtype
        self.kept[name] = torch.cat(parts, dim=2, out=spare if fits else self._new_rows(x, rows))

    def _kept_above(self, name: object, x: Tensor, zeros: int = 0) -> Tensor:
        """Return the rows that the band above kept; at the top of the image, rows of zeros."""
        if self.above:
            return self.above[name]
        return _zeros(x, zeros)

    def _join(self, parts: list[Tensor], columns: tuple[int, int]) -> Tensor:
        """Concatenate rows, and add columns of zeros on the left and on the right.

        All results use the same memory, because blocks of many sizes would fragment the C library's
        heap.
        """
        x, rows = parts[0], sum(part.shape[2] for part in parts)
        left, right = columns
        shape = (*x.shape[:2], rows, left + x.shape[3] + right)
        scratch, size = self.scratch.get(x.dtype), math.prod(shape)
        if scratch is None or scratch.numel() < size:
            scratch = self.scratch[x.dtype] = x.new_empty(size)
        joined = self._rows_of(scratch[:size], shape)
        if not left and not right:
            return torch.cat(parts, dim=2, out=joined)
        joined[..., :left] = joined[..., left + x.shape[3] :] = 0
        inside, top = joined[..., left : left + x.shape[3]], 0
        for part in parts:
            inside[:, :, top : top + part.shape[2]] = part
            top += part.shape[2]
        return joined

    def _new_rows(self, x: Tensor, rows: int) -> Tensor:
        shape = (*x.shape[:2], rows, x.shape[3])
        return self._rows_of(x.new_empty(math.prod(shape)), shape)

    def _rows_of(self, memory: Tensor, shape: tuple[int, ...]) -> Tensor:
        """View memory as (B, C, rows, W) in the order of these buffers."""
        batch, channels, rows, width = shape
        if self.is_planar:
            return memory.view(shape)
        return memory.view(batch, rows, width, channels).permute(0, 3, 1, 2)


def _zeros(x: Tensor, rows: int) -> Tensor:
    return x.new_zeros(*x.shape[:2], rows, x.shape[3])
