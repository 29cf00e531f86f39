"""Deblur arrays of any size: one network, one device, bounded memory.

Each scale is finished for the whole photo before the next begins. Tiles are bands as wide
as the photo, and exact (see `unblur.network.bands`). If each tile ran through all scales,
the coarse scales would see four times less context than the network needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unblur.errors import PhotoError, UsageError
from unblur.main_memory import return_freed_memory
from unblur.network.bands import LineBuffers, RowQueue, Span, next_band
from unblur.network.config import SCALES, SRNConfig
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.devices import choose_device, choose_precision, is_lost, is_out_of_memory
from unblur.network.memory import SMALLEST_TILE_PX, automatic_tile, largest_tile, photo_needs
from unblur.network.pending import Pending
from unblur.network.photo_rows import PhotoRows, Pixels, as_seen
from unblur.network.srn import State, enlarge, shrink
from unblur.network.transfer import Finish, download, upload
from unblur.network.views import ALL_VIEWS, mean
from unblur.options import Engine


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

    A photo that is too large for the device's memory is deblurred on the CPU. If the device is
    lost, so are all photos from then on.

    Args:
        network: The network on the CPU; it stays there, and the device gets a copy.
        engine: Where and how to run the network. Its model and threads are not used here.
        precision: Type that convolutions compute in; by default the device's fastest.
        reserved: Bytes of main memory that the network, the photo and its result must leave.
        warn: Called when memory ran out or the device was lost, with a sentence that says how
            the work goes on; never twice with the same sentence.

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
        self.engine, self.reserved = engine, reserved
        self.warn = cache(warn)  # says each sentence once
        self._network, self._precision = network, precision
        self.config = network.config
        self.views = ALL_VIEWS[: engine.views]
        self._first = self.kind = choose_device(engine.device)
        self._networks: dict[bool, Network] = {}
        self._use(self._first)
        if self.tile < SMALLEST_TILE_PX:
            raise UsageError(f"a tile needs at least {SMALLEST_TILE_PX} pixels, not {self.tile}")

    def _use(self, kind: DeviceKind) -> None:
        """Run the network on a device from now on, with the tiles that fit into memory now."""
        if kind is not self.kind:
            self.kind, self._networks = kind, {}
        self.precision = self._precision or choose_precision(kind)
        tile = self.engine.tile
        self.tile = automatic_tile(self.config, self.precision, kind) if tile == "auto" else tile

    @property
    def used(self) -> dict[str, Any]:
        """Device and tile that finished the latest photo, as reports contain them."""
        return {"device": self.kind.name, "tile": self.tile}

    def __call__(self, image: Pixels, on_progress: Callable[[float], None] | None = None) -> Pixels:
        """Deblur a photo: `start`, and wait for the result; see there."""
        return self.start(image, on_progress).result()

    def start(self, image: Pixels, on_progress: Callable[[float], None] | None = None) -> Pending:
        """Start to deblur a photo; two may be under way, so that a GPU never waits.

        A CPU computes when the result is asked for. So only one photo takes memory at a time.

        Args:
            image: (H, W, 3) or (H, W, 1), uint8 or uint16, any size from 1x1 up.
                Grey is repeated over three channels and averaged back.
            on_progress: Called with the share of the work that is done, from 0 to 1.

        Returns:
            The photo under way. All errors are raised by its `Pending.result`.
        """
        return Pending(lambda: (self._finish(image, on_progress), self.used))

    def _finish(self, image: Pixels, on_progress: Callable[[float], None] | None) -> Pixels:
        try:
            self._use(self._first)  # memory that was full may be free again
            return self._deblur(image, on_progress)
        except Exception as error:
            is_full = is_out_of_memory(error)
            if self.kind is CPU or not (is_full or is_lost(self.kind, error)):
                raise
            problem = "out of memory" if is_full else str(error).splitlines()[0]
        self.warn(f"{problem} on {self.kind.name}: going on with the CPU")
        self._first = self._first if is_full else CPU
        # After the handler, the tensors on the device are freed.
        self._use(CPU)
        return self._deblur(image, on_progress)

    def _deblur(self, image: Pixels, on_progress: Callable[[float], None] | None) -> Pixels:
        """Deblur a photo on the device in use."""
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
                as_seen(view.of(image)), self.config, self.precision, self.kind, len(self.views)
            )
            for view in self.views
        ]
        allowed = self.engine.max_memory
        is_bound = allowed is not None and self.engine.tile != "auto"
        smallest = self.tile if is_bound else SMALLEST_TILE_PX
        limit = None if allowed is None else allowed - self.reserved
        return largest_tile(needs, self.tile, smallest, limit)

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
            torch.autocast(self.kind.device, precision, precision != torch.float32),
        ):
            image, new_state = network.run_scale(blurred, previous, state, buffers)
        return download(image, new_state if wants_state else None)

    def _network_for(self, is_transposed: bool) -> Network:
        if not self._networks:
            on_cpu, device = self._network, torch.device(self.kind.device)
            self._networks[False] = on_cpu if self.kind is CPU else deepcopy(on_cpu).to(device)
        if is_transposed not in self._networks:
            self._networks[True] = self._networks[False].transposed()
        return self._networks[is_transposed]

    def make_room(self, tile: int) -> None:
        """Take smaller tiles than one for which memory ran out.

        Raises:
            MemoryError: If there are no smaller tiles.
        """
        self.kind.empty_cache(torch)
        if tile <= SMALLEST_TILE_PX:
            raise MemoryError
        self.tile = max(SMALLEST_TILE_PX, tile // 2)
        self.warn(f"out of memory: going on with smaller tiles (--tile {self.tile})")


def _within(on_progress: Callable[[float], None], done: int, count: int) -> Callable[[float], None]:
    """Return a function that takes the progress of one view, and passes on that of all."""
    return lambda share: on_progress((done + share) / count)


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
        whole = upload(self.photo.read(full_size), self.deblurrer.kind).float()
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
        read = coarse.read(start, rows.stop // 2 + 1 + rows.stop % 2)
        cut = upload(read, self.deblurrer.kind).float()
        inside = slice(rows.start - 2 * start, rows.stop - 2 * start)
        return enlarge(cut[None], self.config)[0][:, inside]
