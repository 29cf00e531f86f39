"""Deblur arrays of any size: one network, one device, bounded memory.

Each scale is finished for the whole photo before the next begins. Cutting the
photo first and running all scales inside each tile would show the coarse
scales four times less context than the network needs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.devices import choose_device, choose_precision
from unblur.errors import PhotoError, UsageError
from unblur.memory import (
    PROGRAM_BYTES,
    automatic_tile,
    fitting_tile,
    is_out_of_memory,
    photo_bytes,
    tile_bytes_per_pixel,
)
from unblur.srn import State, enlarge, shrink
from unblur.srn_config import SCALES, SRNConfig
from unblur.tiles import OVERLAP_PX, Floats, Joiner, Span, plan_spans

T = TypeVar("T")
Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

Write: TypeAlias = Callable[[int, int, Floats], None]
"""Takes finished values, as `Joiner` hands them out."""

Finish: TypeAlias = Callable[[], tuple[Tensor, Tensor]]
"""Waits for a tile's image and state."""

ROWS_AT_ONCE = 32
"""Rows of a tile that are rounded together, in the processor's cache."""
SMALLEST_TILE_PX = 128
SMALLEST_AUTOMATIC_TILE_PX = 320
"""Smaller tiles have no room for the whole overlap, and are only taken when memory runs out."""


class Network(Protocol):
    """What a `Deblurrer` needs of `unblur.srn.SRN`."""

    config: SRNConfig

    def run_scale(
        self, blurred: Tensor, previous: Tensor, state: State | None
    ) -> tuple[Tensor, State | None]:
        """See `unblur.srn.SRN.run_scale`."""

    def to(self, device: torch.device) -> Network:
        """Move to a device."""


@dataclass(frozen=True)
class ScaleResult:
    """What one scale leaves for the next, in half precision."""

    image: NDArray[np.float16]
    """The deblurred photo at this scale, (C, H, W)."""
    state: NDArray[np.float16]
    """The recurrent state, (planes * S, H / stride, W / stride); S may be 0."""


class Deblurrer:
    """Deblurs photos with one network on one device.

    Args:
        network: The network; moved to the device.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        tile: Side of the largest tile in pixels, or ``auto``.
        precision: Type that convolutions compute in; by default the device's fastest.
        strength: Share of the change that is made, from 0 to 1.
        max_memory: Bytes of main memory that the program may take.
        reserved: Of these, what is needed besides the network, the photo and its result.
        warn: Told in a sentence when memory ran out and what is done about it.

    Raises:
        DeviceError: If the device is not there.
        UsageError: If the tile is too small, or the strength no share.
    """

    def __init__(
        self,
        network: Network,
        device: str = "auto",
        tile: int | Literal["auto"] = "auto",
        precision: torch.dtype | None = None,
        strength: float = 1.0,
        max_memory: int | None = None,
        reserved: int = 0,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.device = choose_device(device)
        self.precision = precision or choose_precision(self.device)
        self.network = network.to(self.device)
        self.config = network.config
        self.strength, self.warn = strength, warn
        self.max_memory, self.reserved = max_memory, reserved
        self.is_automatic = tile == "auto"
        if tile == "auto":
            fitting = automatic_tile(self.config, self.precision, self.device)
            self.tile = max(SMALLEST_AUTOMATIC_TILE_PX, fitting)
        else:
            self.tile = tile
        if self.tile < SMALLEST_TILE_PX:
            raise UsageError(f"a tile needs at least {SMALLEST_TILE_PX} pixels, not {self.tile}")
        if not 0 <= strength <= 1:
            raise UsageError(f"strength is from 0 to 1, not {strength}")

    def __call__(self, image: Pixels, on_progress: Callable[[float], None] | None = None) -> Pixels:
        """Deblur a photo.

        Args:
            image: (H, W, 3) or (H, W, 1), uint8 or uint16, any size from 1x1 up.
                Grey is repeated over three channels and averaged back.
            on_progress: Told the share of the work that is done, from 0 to 1.

        Returns:
            A new array of the same shape and type.

        Raises:
            PhotoError: If the photo needs more than ``max_memory``.
            MemoryError: If memory runs out even with the smallest tiles on the CPU.
        """
        work = _Work(self, image, self._largest_tile(image))
        previous: ScaleResult | None = None
        done, total = 0.0, sum(1 / scale**2 for scale in SCALES)
        for scale in SCALES:
            for finished in work.run(scale, previous):
                if on_progress:
                    on_progress((done + finished / scale**2) / total)
            done += 1 / scale**2
            previous = work.result
        return work.output

    def _largest_tile(self, image: Pixels) -> int:
        """Return the largest tile that leaves a photo within ``max_memory``."""
        if self.max_memory is None or self.device.type != "cpu":
            return self.tile
        height, width = image.shape[:2]
        needed = PROGRAM_BYTES + self.reserved
        needed += photo_bytes(height, width, image.itemsize, self.config)
        fitting = fitting_tile(self.config, self.precision, self.max_memory - needed)
        smallest = SMALLEST_TILE_PX if self.is_automatic else self.tile
        if fitting < smallest:
            needed += math.ceil(smallest**2 * tile_bytes_per_pixel(self.config, self.precision))
            raise PhotoError(
                f"with tiles of {smallest} pixels it takes about {needed / 1e9:.1f} GB, "
                f"more than --max-memory allows"
            )
        return min(self.tile, fitting)

    @property
    def is_asynchronous(self) -> bool:
        """Whether the device computes on while the next tile is prepared."""
        return self.device.type == "cuda"

    def upload(self, array: NDArray[Any]) -> Tensor:
        """Bring an array to the device, without waiting for it where that can be."""
        tensor = torch.from_numpy(array)
        if self.is_asynchronous:
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def infer(self, blurred: Tensor, previous: Tensor, state: State | None) -> Finish:
        """Run the network on one tile.

        Returns:
            What waits for the image (N, C, H, W) and the state (N, S, h, w), in
            float32 on the CPU. If the image has values that are no numbers, the
            tile is computed once more in float32.
        """
        download = self._launch(self.precision, blurred, previous, state)

        def finish() -> tuple[Tensor, Tensor]:
            image, new_state = download()
            if self.precision == torch.float32 or bool(image.isfinite().all()):
                return image, new_state
            return self._launch(torch.float32, blurred, previous, state)()

        if self.is_asynchronous:
            return finish
        result = finish()  # here, where running out of memory is looked for
        return lambda: result

    def _launch(
        self, precision: torch.dtype, blurred: Tensor, previous: Tensor, state: State | None
    ) -> Finish:
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, precision, precision != torch.float32),
        ):
            image, new_state = self.network.run_scale(blurred, previous, state)
        if new_state is None:
            new_state = image.new_zeros(image.shape[0], 0, *image.shape[2:])
        return _download(image, new_state)

    def make_room(self, tile: int) -> None:
        """Go on with less memory: with smaller tiles, or else on the CPU.

        Args:
            tile: The size with which memory ran out.

        Raises:
            MemoryError: If there is nothing left to try.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if tile > SMALLEST_TILE_PX:
            self.tile = max(SMALLEST_TILE_PX, tile // 2)
            self.warn(f"out of memory: going on with tiles of {self.tile} pixels")
        elif self.device.type != "cpu":
            self.warn(f"out of memory on {self.device.type}: going on with the CPU")
            self.device = torch.device("cpu")
            self.precision = choose_precision(self.device)
            self.network = self.network.to(self.device)
        else:
            raise MemoryError


def _download(image: Tensor, state: Tensor) -> Finish:
    """Begin to copy results to main memory, and return what waits for them."""
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


def _one_ahead(started: Iterable[T]) -> Iterator[T]:
    """Yield each item when the next one has been taken."""
    items = iter(started)
    waiting = list(itertools.islice(items, 1))
    for item in items:
        yield waiting.pop()
        waiting.append(item)
    yield from waiting


def _writer_to(target: NDArray[Any]) -> Write:
    """Return what writes finished values into (C, H, W)."""

    def write(top: int, left: int, values: Floats) -> None:
        target[:, top : top + values.shape[1], left : left + values.shape[2]] = values

    return write


class _Work:
    """One photo on its way through the scales."""

    def __init__(self, deblurrer: Deblurrer, image: Pixels, largest_tile: int) -> None:
        self.deblurrer, self.image, self.largest_tile = deblurrer, image, largest_tile
        self.config = deblurrer.config
        self.height, self.width, self.channels = image.shape
        self.output = np.empty_like(image)
        self.planes = 3 // self.config.channels
        self.result: ScaleResult | None = None

    @property
    def tile(self) -> int:
        """Side of the largest tile in pixels; it shrinks when memory runs out."""
        return min(self.largest_tile, self.deblurrer.tile)

    def run(self, scale: int, previous: ScaleResult | None) -> Iterator[float]:
        """Deblur the photo at one scale, yielding the share that is done.

        Leaves `result`, or at the finest scale writes to `output`.
        """
        height, width = (
            (side + -side % self.config.multiple) // scale for side in (self.height, self.width)
        )
        if scale == min(SCALES):
            write_image: Write = self._write_output
            write_state = None
        else:
            stride, depth = self.config.stride, self.planes * self.config.state_channels
            self.result = ScaleResult(
                np.empty((3, height, width), np.float16),
                np.empty((depth, height // stride, width // stride), np.float16),
            )
            write_image = _writer_to(self.result.image)
            write_state = _writer_to(self.result.state) if depth else None
        region = (Span(0, height), Span(0, width))
        yield from self._join_tiles(scale, region, previous, write_image, write_state)

    def _join_tiles(
        self,
        scale: int,
        region: tuple[Span, Span],
        previous: ScaleResult | None,
        write_image: Write,
        write_state: Write | None,
    ) -> Iterator[float]:
        """Deblur a region tile by tile, yielding the share that is done."""
        stride, depth = self.config.stride, self.planes * self.config.state_channels
        overlap = min(OVERLAP_PX, (self.tile - 2 * stride) // 2)
        rows, columns = (plan_spans(span.length, self.tile, overlap, stride) for span in region)
        images = Joiner(rows, columns, 3, write_image)
        states = None
        if write_state:
            coarse = [[span.divided(stride) for span in spans] for spans in (rows, columns)]
            states = Joiner(coarse[0], coarse[1], depth, write_state)
        places = [(row, column) for row in range(len(rows)) for column in range(len(columns))]
        regions = (
            (rows[row].shifted(region[0].start), columns[column].shifted(region[1].start))
            for row, column in places
        )
        started: Iterator[Finish] = (self._start_region(scale, tile, previous) for tile in regions)
        if self.deblurrer.is_asynchronous:
            started = _one_ahead(started)
        for done, ((row, column), finish) in enumerate(zip(places, started, strict=True), start=1):
            image, state = finish()
            images.add(row, column, image.flatten(0, 1).numpy())
            if states:
                states.add(row, column, state.flatten(0, 1).numpy())
            yield done / len(places)

    def _start_region(
        self, scale: int, region: tuple[Span, Span], previous: ScaleResult | None
    ) -> Finish:
        """Begin to deblur a tile; do it in parts, if it does not fit into memory."""
        deblurrer = self.deblurrer
        while max(span.length for span in region) <= (tile := self.tile):
            try:
                return self._start_tile(scale, region, previous)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Past the handler the failed attempt's tensors are free.
            deblurrer.make_room(tile)
        image, state = self._run_in_parts(scale, region, previous)
        return lambda: (image, state)

    def _run_in_parts(
        self, scale: int, region: tuple[Span, Span], previous: ScaleResult | None
    ) -> tuple[Tensor, Tensor]:
        """Deblur a region in tiles, into memory of its own."""
        height, width = (span.length for span in region)
        stride, depth = self.config.stride, self.planes * self.config.state_channels
        image = np.empty((3, height, width), np.float32)
        state = np.empty((depth, height // stride, width // stride), np.float32)
        write_state = _writer_to(state) if depth else None
        for _ in self._join_tiles(scale, region, previous, _writer_to(image), write_state):
            pass
        return torch.from_numpy(image)[None], torch.from_numpy(state)[None]

    def _write_output(self, top: int, left: int, values: Floats) -> None:
        """Round finished values to the photo's own depth, without the padding."""
        whole = values[:, : self.height - top, : self.width - left].transpose(1, 2, 0)
        for start in range(0, len(whole), ROWS_AT_ONCE):
            rows = whole[start : start + ROWS_AT_ONCE]
            place = np.s_[top + start : top + start + len(rows), left : left + rows.shape[1]]
            self.output[place] = self._rounded(rows, self.image[place])

    def _rounded(self, rows: Floats, original: Pixels) -> Floats:
        """Return (h, w, 3) in [0, 1] as whole numbers (h, w, channels), blended by strength."""
        if self.channels == 1:
            rows = rows.mean(axis=2, keepdims=True)
        rows = np.clip(rows, 0, 1) * np.float32(np.iinfo(original.dtype).max)
        if self.deblurrer.strength < 1:
            rows = original + self.deblurrer.strength * (rows - original)
        return np.rint(rows)

    def _start_tile(
        self, scale: int, region: tuple[Span, Span], previous: ScaleResult | None
    ) -> Finish:
        """Begin to run the network once, on a tile of a scale."""
        y, x = region
        blurred = self._planes(self._read_blurred(scale, y, x))
        if previous is None:
            before, state = blurred, None
        else:
            before = self._planes(self._enlarged(previous.image, y, x))
            state = None
            if self.config.recurrent:
                stride = self.config.stride
                state = self._planes(
                    self._enlarged(previous.state, y.divided(stride), x.divided(stride))
                )
        return self.deblurrer.infer(blurred, before, state)

    def _planes(self, tile: Tensor) -> Tensor:
        """Split (planes * C, H, W) into a batch (planes, C, H, W) laid out channels-last."""
        batch = tile.reshape(self.planes, -1, *tile.shape[1:])
        return batch.contiguous(memory_format=torch.channels_last)

    def _read_blurred(self, scale: int, y: Span, x: Span) -> Tensor:
        """Cut a tile out of the blurred photo at a scale, (3, H, W) in [0, 1].

        Beyond the bottom and right border the photo's edge is repeated.
        """
        bottom, right = (
            min(span.stop * scale, side) for span, side in ((y, self.height), (x, self.width))
        )
        tile: NDArray[Any] = self.image[y.start * scale : bottom, x.start * scale : right]
        missing = (y.stop * scale - bottom, x.stop * scale - right)
        if any(missing):
            tile = np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        # PyTorch's uint16 has hardly any operators.
        whole = np.ascontiguousarray(
            tile.transpose(2, 0, 1), np.uint8 if tile.itemsize == 1 else np.int32
        )
        values = self.deblurrer.upload(whole).float() / np.iinfo(self.image.dtype).max
        return shrink(values[None], scale, self.config)[0].expand(3, -1, -1)

    def _enlarged(self, coarse: NDArray[np.float16], y: Span, x: Span) -> Tensor:
        """Cut a tile out of a coarser map, enlarged by 2 as if the whole map had been.

        One position more than needed is read on each side: linear
        interpolation looks at its neighbours.
        """
        cuts, insides = [], []
        for span, side in ((y, coarse.shape[1]), (x, coarse.shape[2])):
            start, stop = max(0, span.start // 2 - 1), min(side, span.stop // 2 + 1 + span.stop % 2)
            cuts.append(slice(start, stop))
            insides.append(slice(span.start - 2 * start, span.stop - 2 * start))
        cut = self.deblurrer.upload(coarse[:, cuts[0], cuts[1]]).float()
        return enlarge(cut[None], self.config)[0][:, insides[0], insides[1]]
