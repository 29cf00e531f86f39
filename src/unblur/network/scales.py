"""Run one pass of a network over a photo: scale after scale, each in bands of rows.

Each scale is finished for the whole photo before the next scale begins. Bands are as wide as the
photo, and exact (see `unblur.network.bands`). If each band ran through all scales, the coarse
scales would see four times less context than the network needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unblur.main_memory import return_freed_memory
from unblur.network.bands import LineBuffers, RowQueue, Span, next_band
from unblur.network.config import SCALES
from unblur.network.device_errors import is_out_of_memory
from unblur.network.device_kinds import CPU
from unblur.network.device_network import DeviceNetwork
from unblur.network.engines import NCNN_SQUARE_PX
from unblur.network.overlaps import new_rows
from unblur.network.photo_rows import PhotoRows
from unblur.network.srn import State, enlarge, shrink
from unblur.options import SMALLEST_TILE_PX


class Tiles:
    """The size of a photo's tiles, which is halved each time that memory runs out.

    Args:
        side: Side of the largest tile, a square, in pixels.
        warn: Called with a sentence for the user when tiles become smaller.
    """

    def __init__(self, side: int, warn: Callable[[str], None]) -> None:
        self.side, self._warn = side, warn

    def shrink(self) -> None:
        """Take smaller tiles.

        Raises:
            MemoryError: If there are no smaller tiles.
        """
        if self.side <= SMALLEST_TILE_PX:
            raise MemoryError
        self.side = max(SMALLEST_TILE_PX, self.side // 2)
        self._warn(f"out of memory: going on with smaller tiles (--tile {self.side})")


class Numbers:
    """Records whether all values are finite numbers, without waiting for the device."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def note(self, values: Tensor) -> None:
        """Record values, a tensor of any shape."""
        # A value that is not finite makes the sum not finite, and a sum reads each value once.
        self._sums.append(values.sum())

    def are_finite(self) -> Tensor:
        """Return whether all values were finite, as a tensor of one element on the device."""
        return torch.stack(self._sums).isfinite().all()


@dataclass(frozen=True)
class ScaleResult:
    """The result of one scale, from which the next scale starts."""

    image: RowQueue
    """The deblurred photo at this scale, (H, W, 3)."""
    state: RowQueue
    """The recurrent state, (H / stride, W / stride, planes * S); empty without a ConvLSTM."""

    def append(self, image: Tensor, state: Tensor | None) -> None:
        """Append rows of the image and of the state; if memory runs out, append neither."""
        copied = self.image.copied(image)
        if state is not None:
            self.state.append(self.state.copied(state))
        self.image.append(copied)


@dataclass(frozen=True)
class Pass:
    """One pass over a photo.

    The scales are run from the coarsest to the finest, whose output fills the photo's result.
    """

    network: DeviceNetwork
    photo: PhotoRows
    precision: torch.dtype
    """Data type of convolutions."""
    tiles: Tiles
    numbers: Numbers = field(default_factory=Numbers)
    """Records whether all values are finite."""

    def run(self, on_progress: Callable[[float], None] | None = None) -> None:
        """Run all scales; a GPU may still compute when this returns.

        Args:
            on_progress: Called with the share of the work that was started, from 0 to 1.

        Raises:
            MemoryError: If memory runs out even with the smallest tiles.
        """
        previous: ScaleResult | None = None
        done, total = 0.0, sum(1 / scale**2 for scale in SCALES)
        for scale in SCALES:
            current = _Scale(self, scale, previous)
            for finished in current.all_bands():
                if on_progress:
                    on_progress((done + finished / scale**2) / total)
            done += 1 / scale**2
            previous = current.result
            del current  # frees the line buffers
            if self.network.kind is CPU:
                return_freed_memory()


class _Scale:
    """One run of the network over a photo at one scale, band by band."""

    def __init__(self, run: Pass, scale: int, previous: ScaleResult | None) -> None:
        self.run, self.photo, self.config = run, run.photo, run.network.config
        self.scale, self.previous = scale, previous
        self.height, self.width = self.photo.padded(scale)
        self.result: ScaleResult | None = None
        if scale != min(SCALES):
            kept_at = self.photo.result.device
            self.result = ScaleResult(RowQueue(kept_at), RowQueue(kept_at))
        self.top = 0
        """First row that the network has not processed yet."""
        self.finished_top = 0
        """First row of the result that is not finished yet."""
        self.buffers: LineBuffers | None = None

    def _multiple(self, most: int) -> int:
        """Return the multiple to which bands are rounded; a band has at most ``most`` rows."""
        stride = self.config.stride
        # ncnn computes squares of pixels; the deepest level has one row for each stride.
        whole_squares = NCNN_SQUARE_PX * stride if self.run.network.engine == "ncnn" else stride
        return whole_squares if whole_squares <= most else stride

    def all_bands(self) -> Iterator[float]:
        """Deblur the photo at this scale, and yield the finished share after each band."""
        while self.top < self.height:
            band = self._next_band()
            try:
                self._advance(band)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            else:
                self.top = band.stop
                yield self.top / self.height
                continue
            # After the handler, the tensors of the failed attempt are freed.
            self.run.network.kind.empty_cache(torch)
            self.run.tiles.shrink()

    def _next_band(self) -> Span:
        """Return the new rows of the next band."""
        margin = self.run.network.margin
        most = new_rows(self.run.tiles.side**2 // self.width, self.height, margin)
        return next_band(self.top, self.height, most, self._multiple(most), is_last_low=not margin)

    def _advance(self, band: Span) -> None:
        """Run a band, and store its finished rows; an error leaves everything unchanged."""
        is_last = band.stop == self.height
        buffers = self.buffers.next(is_last) if self.buffers else LineBuffers(is_last=is_last)
        image, state = self.run.network.run_scale(
            self.run.precision, *self._inputs(band), buffers, self.photo.is_transposed
        )
        rows = _rows(image).float()
        self.run.numbers.note(rows)
        if self.result is None:
            self.photo.write(self.finished_top, rows)
        else:
            self.result.append(rows, None if state is None else _rows(state))
        self.finished_top += len(rows)
        self.buffers = buffers

    def _inputs(self, band: Span) -> tuple[Tensor, Tensor, State | None]:
        """Return a band of the blurred photo, of the coarser result and of the coarser state."""
        values = self.photo.read(Span(band.start * self.scale, band.stop * self.scale))
        blurred = self._split(shrink(values, self.scale, self.config).expand(-1, 3, -1, -1))
        if self.previous is None:
            return blurred, blurred, None
        before = self._split(self._enlarged(self.previous.image, band))
        if not self.config.recurrent:
            return blurred, before, None
        state = self._enlarged(self.previous.state, band.divided(self.config.stride))
        return blurred, before, self._split(state)

    def _enlarged(self, coarse: RowQueue, rows: Span) -> Tensor:
        """Return rows of a coarser map, (1, C, h, W), enlarged by 2 exactly as in the whole map.

        Linear interpolation needs one more row above and below.
        """
        start = max(0, rows.start // 2 - 1)
        read = coarse.read(start, rows.stop // 2 + 1 + rows.stop % 2)
        batch = read.to(self.photo.device)[None].permute(0, 3, 1, 2)
        # PyTorch rounds otherwise if many channels lie beside each other.
        cut = batch.contiguous() if batch.shape[1] > 3 else batch
        inside = slice(rows.start - 2 * start, rows.stop - 2 * start)
        return enlarge(cut.float(), self.config)[:, :, inside]

    def _split(self, band: Tensor) -> Tensor:
        """Split (1, planes * C, H, W) into a batch (planes, C, H, W) laid out channels-last."""
        planes = 3 // self.config.channels
        if planes > 1:
            band = band.contiguous().reshape(planes, -1, *band.shape[2:])
        return band.contiguous(memory_format=torch.channels_last)


def _rows(batch: Tensor) -> Tensor:
    """Return a batch (planes, C, h, W) as rows, (h, W, planes * C)."""
    return batch.flatten(0, 1).permute(1, 2, 0)
