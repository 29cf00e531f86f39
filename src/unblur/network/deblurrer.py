"""Deblur arrays of any size: one network, one device, bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

from unblur.errors import DeviceError, PhotoError
from unblur.network.device_errors import Setback, Trouble, setback_of
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.device_network import DeviceNetwork, Network
from unblur.network.devices import Devices, OneDevice, choose_device
from unblur.network.engines import EngineName
from unblur.network.memory import (
    RESIDENT_SHARE,
    automatic_tile,
    largest_tile,
    photo_needs,
    require_device_memory,
    resident_bytes,
    tile_budget,
)
from unblur.network.pending_photo import Pending
from unblur.network.photo_rows import Pixels, is_wide
from unblur.network.photo_run import PhotoRun, Progress
from unblur.network.scales import Tiles
from unblur.network.srn_memory import tile_bytes_per_pixel
from unblur.network.transfer import IN_MAIN_MEMORY
from unblur.network.views import ALL_VIEWS
from unblur.options import SMALLEST_TILE_PX, NetworkOptions

T = TypeVar("T")
Finished: TypeAlias = tuple[Pixels, dict[str, Any]]
"""A deblurred photo; the device, engine and tile that were used, as reports contain them."""
Networks: TypeAlias = dict[tuple[str, torch.dtype, EngineName], DeviceNetwork]
"""Copies of the network, by name of the device, data type and engine."""


class NetworkDeblurrer:
    """Deblurs photos with one network on one device.

    A GPU with enough memory holds the photo, its result and the outputs of all scales, and computes
    the photo in one piece. The CPU deblurs photos that are too large for the device's memory, and
    all further photos after the device was lost.

    Args:
        network: The network on the CPU; it stays there, and the device gets a copy.
        options: Where and how to run the network; the fields ``model`` and ``threads`` are ignored.
        devices: Chooses the device and its precision for each photo. Default: the device that
            ``options`` names, without a test.
        precision: Data type of convolutions. Default: the type that ``devices`` chooses.
        networks: Copies of the network on devices, which another `NetworkDeblurrer` may share; new
            copies are added.
        fatal: Troubles of the device after which the CPU must not go on. `Trouble.LOST` raises
            `DeviceError`, other troubles raise the device's own error.
        reserved: Bytes of main memory to leave free for other uses.
        warn: Called with a sentence for the user when memory ran out or the device was lost; called
            once per sentence.

    Raises:
        DeviceError: If the device is missing.
    """

    def __init__(
        self,
        network: Network,
        options: NetworkOptions,
        *,
        devices: Devices | None = None,
        precision: torch.dtype | None = None,
        networks: Networks | None = None,
        fatal: Collection[Trouble] = (),
        reserved: int = 0,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.options, self.reserved = options, reserved
        self.warn = cache(warn)  # says each sentence once
        self._network, self._precision = network, precision
        self.config = network.config
        self.views = ALL_VIEWS[: options.views]
        self._devices = devices or OneDevice(
            choose_device(options.device, options.engine), options.engine
        )
        self._fatal, self._is_lost = fatal, False
        self.kind = self._devices.first()
        """The device on which the latest photo was started."""
        self.overflowed = False
        """Whether the values of any photo overflowed, so that it was computed in float32."""
        self._networks: Networks = {} if networks is None else networks
        self.tile = self._wanted_tile(self.kind)
        """Side of the largest tile, a square, in pixels, for the memory that is free now."""
        self.used: dict[str, Any] = {
            "device": self.kind.name,
            "engine": self._engine_on(self.kind),
            "tile": self.tile,
        }
        """Device, engine and tile of the latest photo, as reports contain them."""

    def __call__(self, image: Pixels, on_progress: Progress = None) -> Pixels:
        """Deblur a photo and wait for the result; see `start` and `Pending.result`."""
        return self.start(image, on_progress).result()

    def start(self, image: Pixels, on_progress: Progress = None) -> Pending:
        """Start to deblur a photo. Two photos may be started at the same time, to keep a GPU busy.

        On a CPU, the work begins when the caller asks for the result, so only one photo takes
        memory.

        Args:
            image: (H, W, 3) or (H, W, 1), uint8 or uint16, of any size from 1x1. Do not change it
                before the result is complete. Grey is repeated over three channels, and the result
                is averaged.
            on_progress: Called with the share of the work that was started, from 0 to 1.

        Returns:
            The unfinished photo. `Pending.result` raises all errors.
        """
        try:
            kind = self.kind = CPU if self._is_lost else self._devices.first()
            if kind is CPU:
                return Pending(lambda: self._noted(self._run_now(image, on_progress, CPU)))
            run = self._try(kind, lambda: self._start(image, on_progress, kind))
        except Exception as error:
            return Pending(partial(_fail, error))
        return Pending(lambda: self._noted(self._finish(image, on_progress, kind, run)))

    def _noted(self, finished: Finished) -> Finished:
        self.used = finished[1]
        return finished

    def _start(self, image: Pixels, on_progress: Progress, kind: DeviceKind) -> PhotoRun:
        run = self._make_run(image, on_progress, kind)
        run.start()
        return run

    def _run_now(
        self, image: Pixels, on_progress: Progress, kind: DeviceKind, is_kept_out: bool = False
    ) -> Finished:
        return self._result(self._make_run(image, on_progress, kind, is_kept_out))

    def _result(self, run: PhotoRun) -> Finished:
        pixels = run.finish()
        self.overflowed |= run.overflowed
        return pixels, run.used

    def _finish(
        self, image: Pixels, on_progress: Progress, kind: DeviceKind, run: PhotoRun | Setback
    ) -> Finished:
        """Wait for the device. If it failed, try again with less of its memory, then on the CPU."""
        if isinstance(run, Setback):
            done: Finished | Setback = run
        else:
            done = self._try(kind, lambda: self._result(run))
        is_full = isinstance(done, Setback) and done.trouble is Trouble.FULL
        if is_full and self._takes_much(image, kind):
            done = self._try(kind, lambda: self._run_now(image, on_progress, kind, True))
        if not isinstance(done, Setback):
            return done
        self.warn(f"{done.problem} on {kind.shown(torch)}: going on with the CPU")
        if done.trouble is Trouble.LOST:
            for key in [key for key in self._networks if key[0] == kind.name]:
                del self._networks[key]
        return self._run_now(image, on_progress, CPU)

    def _try(self, kind: DeviceKind, act: Callable[[], T]) -> T | Setback:
        """Call a function on a device; return its result, or why the device failed.

        When this returns, the tensors of a failed call are freed.

        Raises:
            DeviceError: If the device is lost and ``fatal`` forbids the CPU.
        """
        try:
            with kind.selected(torch):
                return act()
        except Exception as error:
            setback = setback_of(kind, error)
            if setback is None:
                raise
            self._is_lost |= setback.trouble is Trouble.LOST  # for the photo that comes next, too
            if setback.trouble not in self._fatal:
                return setback
            if setback.trouble is not Trouble.LOST:
                raise
            raise DeviceError(
                f"device {kind.shown(torch)} was lost: {setback.problem}; run again, or with "
                "--device auto, which goes on with the CPU"
            ) from error

    def _make_run(
        self, image: Pixels, on_progress: Progress, kind: DeviceKind, is_kept_out: bool = False
    ) -> PhotoRun:
        """Choose memory and tiles for a photo.

        Args:
            image: The photo.
            on_progress: See `start`.
            kind: The device.
            is_kept_out: Whether to keep the photo out of the device's memory.
        """
        require_device_memory(kind, self.config, self._precision_on(kind))
        network = self._network_on(kind)
        resident = 0 if is_kept_out else self._resident_bytes(image, kind)
        if resident > RESIDENT_SHARE * tile_budget(kind):
            resident = 0
        tile = self._largest_tile(image, kind, resident)
        run = PhotoRun(
            image,
            network,
            network.transfer if resident else IN_MAIN_MEMORY,
            Tiles(tile, self.warn),
            self.views,
            self.options.strength,
            on_progress,
        )
        self.used = run.used
        return run

    def _network_on(self, kind: DeviceKind) -> DeviceNetwork:
        precision, engine = self._precision_on(kind), self._engine_on(kind)
        key = kind.name, precision, engine
        if key not in self._networks:
            self._networks[key] = DeviceNetwork(self._network, kind, precision, engine)
        return self._networks[key]

    def _precision_on(self, kind: DeviceKind) -> torch.dtype:
        return self._precision or self._devices.precision(kind)

    def _engine_on(self, kind: DeviceKind) -> EngineName:
        return self._devices.engine(kind, self._precision_on(kind))

    def _resident_bytes(self, image: Pixels, kind: DeviceKind) -> int:
        """Return the bytes of the device's memory for a whole photo; 0 if it must stay outside."""
        if kind is CPU or kind.engine == "ncnn":
            return 0
        return resident_bytes(image, self.config, len(self.views))

    def _takes_much(self, image: Pixels, kind: DeviceKind) -> bool:
        """Return whether a whole photo takes more of the device's memory than the smallest tile."""
        per_pixel = tile_bytes_per_pixel(self.config, self._precision_on(kind).itemsize)
        return self._resident_bytes(image, kind) > SMALLEST_TILE_PX**2 * per_pixel

    def _wanted_tile(self, kind: DeviceKind, resident: int = 0) -> int:
        """Return the tile of ``--tile``, or the largest tile for the device's free memory."""
        tile = self.options.tile
        if tile != "auto" and not kind.hangs_if_full:
            return tile
        precision, engine = self._precision_on(kind), self._engine_on(kind)
        fitting = automatic_tile(self.config, precision, kind, resident, engine)
        return fitting if tile == "auto" else min(tile, fitting)

    def _largest_tile(self, image: Pixels, kind: DeviceKind, resident: int) -> int:
        """Return the largest tile with which a photo stays within the memory limits.

        Args:
            image: The photo.
            kind: The device.
            resident: Bytes of the device's memory for the whole photo; 0: the photo stays outside.
        """
        needs = [
            photo_needs(
                _as_seen(image, is_turned),
                self.config,
                self._precision_on(kind),
                kind,
                len(self.views),
                is_resident=bool(resident),
                engine=self._engine_on(kind),
            )
            for is_turned in {view.is_transposed for view in self.views}
        ]
        wanted = self._wanted_tile(kind, resident)
        allowed = self.options.max_memory
        is_bound = allowed is not None and self.options.tile != "auto"
        smallest = wanted if is_bound else SMALLEST_TILE_PX
        try:
            return largest_tile(needs, wanted, smallest, allowed, self.reserved)
        except PhotoError as error:
            if kind is CPU or kind.engine != "ncnn":
                raise
            raise MemoryError from error  # the CPU needs less: its bands may be lower


def _as_seen(image: Pixels, is_turned: bool) -> Pixels:
    """Return a photo, transposed if the network's input is transposed."""
    turned = np.swapaxes(image, 0, 1) if is_turned else image
    return np.swapaxes(turned, 0, 1) if is_wide(*turned.shape[:2]) else turned


def _fail(error: Exception) -> Finished:
    raise error
