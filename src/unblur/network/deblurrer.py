"""Deblur arrays of any size: one network, one device, bounded memory.

Each scale is finished for the whole photo before the next begins. Tiles are bands as wide
as the photo, and exact (see `unblur.network.bands`). If each tile ran through all scales,
the coarse scales would see four times less context than the network needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.errors import PhotoError, UsageError
from unblur.main_memory import return_freed_memory
from unblur.network.bands import LineBuffers, RowQueue, Span, next_band
from unblur.network.config import SCALES, SRNConfig
from unblur.network.devices import choose_device, choose_precision
from unblur.network.memory import (
    SMALLEST_TILE_PX,
    automatic_tile,
    is_out_of_memory,
    largest_tile,
    photo_needs,
)
from unblur.network.photo_rows import PhotoRows, Pixels, as_seen
from unblur.network.srn import State, enlarge, shrink
from unblur.network.views import ALL_VIEWS, mean
from unblur.options import Engine

Finish: TypeAlias = Callable[[], tuple[Tensor, Tensor]]
"""Waits for a band; returns its image (N, C, H, W) and state (N, S, h, w), float32 on the CPU."""


class Network(Protocol):
    """The part of `unblur.network.srn.SRN` that a `Deblurrer` uses."""

    config: SRNConfig

    def run_scale(
        self, blurred: Tensor, previous: Tensor, state: State | None, buffers: LineBuffers
    ) -> tuple[Tensor, State | None]:
        """See `unblur.network.srn.SRN.run_scale`."""

    def to(self, device: torch.device) -> Network:
        """Move to a device."""

    def transposed(self) -> Network:
        """See `unblur.network.srn.SRN.transposed`."""


@dataclass(frozen=True)
class ScaleResult:
    """The result of one scale, which the next scale starts from."""

    image: RowQueue = field(default_factory=RowQueue)
    """The deblurred photo at this scale, (3, H, W)."""
    state: RowQueue = field(default_factory=RowQueue)
    """The recurrent state, (planes * S, H / stride, W / stride), if there is one."""


class Deblurrer:
    """Deblurs photos with one network on one device.

    Args:
        network: The network; moved to the device.
        engine: Where and how to run the network. Its model and threads are not used here.
        precision: Type that convolutions compute in; by default the device's fastest.
        reserved: Bytes of main memory that the network, the photo and its result must leave.
        warn: Called with a sentence when memory ran out, which says how the work goes on.

    Raises:
        DeviceError: If the device is not there.
        UsageError: If the tile is too small.
    """

    def __init__(
        self,
        network: Network,
        engine: Engine,
        *,
        precision: torch.dtype | None = None,
        reserved: int = 0,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.engine, self.reserved, self.warn = engine, reserved, warn
        self.device = choose_device(engine.device)
        self.precision = precision or choose_precision(self.device)
        self.network = network.to(self.device)
        self._transposed: Network | None = None
        self.config = network.config
        self.views = ALL_VIEWS[: engine.views]
        automatic = automatic_tile(self.config, self.precision, self.device)
        self.tile = automatic if engine.tile == "auto" else engine.tile
        if self.tile < SMALLEST_TILE_PX:
            raise UsageError(f"a tile needs at least {SMALLEST_TILE_PX} pixels, not {self.tile}")

    def __call__(self, image: Pixels, on_progress: Callable[[float], None] | None = None) -> Pixels:
        """Deblur a photo.

        Args:
            image: (H, W, 3) or (H, W, 1), uint8 or uint16, any size from 1x1 up.
                Grey is repeated over three channels and averaged back.
            on_progress: Called with the share of the work that is done, from 0 to 1.

        Returns:
            A new array of the same shape and type.

        Raises:
            PhotoError: If the photo needs more memory than ``max_memory`` (by default, than is
                free), or the network's result contains values that are not numbers.
            MemoryError: If memory runs out even with the smallest tiles on the CPU.
        """
        largest = self._largest_tile(image)

        def results() -> Iterator[Pixels]:
            for done, view in enumerate(self.views):
                tell = on_progress and _within(on_progress, done, len(self.views))
                yield view.undone(self._deblur_once(view.of(image), largest, tell))

        return mean(results(), len(self.views))

    def _deblur_once(
        self, image: Pixels, largest: int, on_progress: Callable[[float], None] | None
    ) -> Pixels:
        """Deblur a photo in one view, with tiles up to the largest."""
        photo = PhotoRows(image, self.config, self.engine.strength)
        for full_precision in (False, True):
            try:
                self._run_scales(photo, largest, full_precision, on_progress)
                break
            except FloatingPointError:
                pass  # line buffers may hold values that overflowed earlier
        return photo.result

    def _run_scales(
        self,
        photo: PhotoRows,
        largest_tile: int,
        full_precision: bool,
        on_progress: Callable[[float], None] | None,
    ) -> None:
        """Run all scales, coarsest first; the last one fills the photo's result."""
        previous: ScaleResult | None = None
        done, total = 0.0, sum(1 / scale**2 for scale in SCALES)
        for scale in SCALES:
            current = _Scale(self, photo, scale, previous, largest_tile, full_precision)
            for finished in current.all_bands():
                if on_progress:
                    on_progress((done + finished / scale**2) / total)
            done += 1 / scale**2
            previous = current.result
            del current  # frees the line buffers
            return_freed_memory()

    def _largest_tile(self, image: Pixels) -> int:
        """Return the largest tile with which a photo stays within its memory."""
        needs = [
            photo_needs(
                as_seen(view.of(image)), self.config, self.precision, self.device, len(self.views)
            )
            for view in self.views
        ]
        allowed = self.engine.max_memory
        is_bound = allowed is not None and self.engine.tile != "auto"
        smallest = self.tile if is_bound else SMALLEST_TILE_PX
        limit = None if allowed is None else allowed - self.reserved
        return largest_tile(needs, self.tile, smallest, limit)

    def upload(self, array: NDArray[Any]) -> Tensor:
        """Copy an array to the device, if possible without waiting."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def launch(
        self,
        precision: torch.dtype,
        blurred: Tensor,
        previous: Tensor,
        state: State | None,
        buffers: LineBuffers,
        wants_state: bool,
        is_transposed: bool,
    ) -> Finish:
        """Start the network on a band; on a CPU, run it.

        Returns:
            A function that waits for the finished rows of the image and the state.
        """
        network = self._network_for(is_transposed)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, precision, precision != torch.float32),
        ):
            image, new_state = network.run_scale(blurred, previous, state, buffers)
        return _download(image, new_state if wants_state else None)

    def _network_for(self, is_transposed: bool) -> Network:
        if not is_transposed:
            return self.network
        if self._transposed is None:
            self._transposed = self.network.transposed()
        return self._transposed

    def make_room(self, tile: int) -> None:
        """Reduce the memory in use: take smaller tiles, or else the CPU.

        Args:
            tile: Side of the tile for which memory ran out.

        Raises:
            MemoryError: If nothing is left to try.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if tile > SMALLEST_TILE_PX:
            self.tile = max(SMALLEST_TILE_PX, tile // 2)
            self.warn(f"out of memory: going on with smaller tiles (--tile {self.tile})")
        elif self.device.type != "cpu":
            self.warn(f"out of memory on {self.device.type}: going on with the CPU")
            self.device = torch.device("cpu")
            self.precision = choose_precision(self.device)
            self.network, self._transposed = self.network.to(self.device), None
        else:
            raise MemoryError


def _within(on_progress: Callable[[float], None], done: int, count: int) -> Callable[[float], None]:
    """Return a function that takes the progress of one view, and passes on that of all."""
    return lambda share: on_progress((done + share) / count)


def _download(image: Tensor, state: Tensor | None) -> Finish:
    """Start to copy results to main memory; return a function that waits for them."""
    if state is None:
        state = image.new_empty(image.shape[0], 0, 0, 0)
    if not image.is_cuda:
        return lambda: (image.float().cpu(), state.float().cpu())
    copies = [torch.empty(t.shape, dtype=torch.float32, pin_memory=True) for t in (image, state)]
    for copy, tensor in zip(copies, (image, state), strict=True):
        copy.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call, unused-ignore]
    done.record()

    def finish() -> tuple[Tensor, Tensor]:
        done.synchronize()
        return copies[0], copies[1]

    return finish


class _Scale:
    """One run of the network over a photo at one scale, band by band."""

    def __init__(
        self,
        deblurrer: Deblurrer,
        photo: PhotoRows,
        scale: int,
        previous: ScaleResult | None,
        largest_tile: int,
        full_precision: bool,
    ) -> None:
        self.deblurrer, self.photo, self.config = deblurrer, photo, deblurrer.config
        self.scale, self.previous, self.largest_tile = scale, previous, largest_tile
        self.full_precision = full_precision
        self.height, self.width = photo.padded(scale)
        self.result = None if scale == min(SCALES) else ScaleResult()
        self.top = 0
        """First row that the network has not been given yet."""
        self.finished_top = 0
        """First row of the result that is not finished yet."""
        self.buffers: LineBuffers | None = None
        self.pending: Finish | None = None

    def all_bands(self) -> Iterator[float]:
        """Deblur the photo at this scale, and yield the share that is done.

        Raises:
            FloatingPointError: If values overflowed; in full precision they may not.
        """
        while self.top < self.height:
            tile = min(self.largest_tile, self.deblurrer.tile)
            band = next_band(self.top, self.height, tile**2 // self.width, self.config.stride)
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
            self.deblurrer.make_room(tile)
        self._write(self._collect())

    def _advance(self, band: Span) -> None:
        """Start a band; while the device computes, write the one before."""
        inputs = self._inputs(band)
        finished = self._collect()
        is_last = band.stop == self.height
        buffers = self.buffers.next(is_last) if self.buffers else LineBuffers(is_last=is_last)
        try:
            wants_state = self.result is not None and self.config.recurrent
            self.pending = self.deblurrer.launch(
                self.precision, *inputs, buffers, wants_state, self.photo.is_transposed
            )
            self.buffers = buffers
        finally:
            self._write(finished)

    @property
    def precision(self) -> torch.dtype:
        """Type that convolutions compute in."""
        return torch.float32 if self.full_precision else self.deblurrer.precision

    def _collect(self) -> tuple[Tensor, Tensor] | None:
        """Wait for the band that is being computed, if any, and return it.

        Raises:
            FloatingPointError: If values overflowed in less than float32.
            PhotoError: If values overflowed in float32.
        """
        if self.pending is None:
            return None
        image, state = self.pending()
        self.pending = None
        if not bool(image.isfinite().all()):
            if self.precision != torch.float32:
                raise FloatingPointError
            raise PhotoError("the network's result contains values that are not numbers")
        return image, state

    def _write(self, finished: tuple[Tensor, Tensor] | None) -> None:
        """Store finished rows of the image and of the state."""
        if finished is None:
            return
        image, state = (tensor.flatten(0, 1).numpy() for tensor in finished)
        if self.result is None:
            self.photo.write(self.finished_top, image)
        else:
            self.result.image.append(image)
            self.result.state.append(state)
        self.finished_top += image.shape[1]

    def _inputs(self, band: Span) -> tuple[Tensor, Tensor, State | None]:
        """Return a band of the blurred photo, of the coarser result, and of the state."""
        full_size = Span(band.start * self.scale, band.stop * self.scale)
        whole = self.deblurrer.upload(self.photo.read(full_size)).float()
        values = whole.div_(np.iinfo(self.photo.image.dtype).max)
        blurred = shrink(values[None], self.scale, self.config)[0].expand(3, -1, -1)
        blurred = self.photo.split(blurred)
        if self.previous is None:
            return blurred, blurred, None
        before = self.photo.split(self._enlarged(self.previous.image, band))
        if not self.config.recurrent:
            return blurred, before, None
        state = self._enlarged(self.previous.state, band.divided(self.config.stride))
        return blurred, before, self.photo.split(state)

    def _enlarged(self, coarse: RowQueue, rows: Span) -> Tensor:
        """Return rows of a coarser map, enlarged by 2 exactly as in the whole map.

        Linear interpolation needs one more row above and below.
        """
        start = max(0, rows.start // 2 - 1)
        cut = self.deblurrer.upload(coarse.read(start, rows.stop // 2 + 1 + rows.stop % 2)).float()
        inside = slice(rows.start - 2 * start, rows.stop - 2 * start)
        return enlarge(cut[None], self.config)[0][:, inside]
