"""Run one photo on one device: all views, and again in float32 if values overflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from unblur.errors import PhotoError
from unblur.network.contrast_guard import keep_contrast
from unblur.network.device_network import DeviceNetwork
from unblur.network.exposure import tones_of
from unblur.network.photo_rows import PhotoRows, Pixels, as_pixels, as_tensor, is_grey
from unblur.network.scales import Numbers, Pass, Tiles
from unblur.network.transfer import Finish, Transfer
from unblur.network.views import Mean, View

Progress: TypeAlias = Callable[[float], None] | None
"""Called with the share of the work that was started, from 0 to 1; or ``None``."""


class PhotoRun:
    """The run of one photo on one device.

    Args:
        image: (H, W, 3) or (H, W, 1), uint8 or uint16.
        network: The network on the device.
        transfer: Copies the photo to the memory that holds it while it is deblurred, together with
            its results at all scales.
        tiles: The size of tiles.
        views: Views to average.
        strength: Share of the change to apply, from 0 to 1.
        on_progress: See `Progress`.
    """

    def __init__(
        self,
        image: Pixels,
        network: DeviceNetwork,
        transfer: Transfer,
        tiles: Tiles,
        views: tuple[View, ...],
        strength: float,
        on_progress: Progress,
    ) -> None:
        self.image, self.network, self.transfer, self.tiles = image, network, transfer, tiles
        self.views, self.strength, self.on_progress = views, strength, on_progress
        self.overflowed = False
        """Whether values overflowed, so that the photo was run again in float32."""
        self._started: Finish | None = None

    @property
    def used(self) -> dict[str, Any]:
        """Device, engine and tile, as reports contain them."""
        return {
            "device": self.network.kind.name,
            "engine": self.network.engine,
            "tile": self.tiles.side,
        }

    @torch.inference_mode()
    def start(self) -> None:
        """Start all work on the device, without waiting for results.

        Raises:
            RuntimeError: If the device has no memory left, or is lost.
            MemoryError: If memory runs out even with the smallest tiles.
        """
        numbers = Numbers()

        def run(photo: PhotoRows, on_progress: Progress) -> None:
            precision = self.network.precision
            Pass(self.network, photo, precision, self.tiles, numbers).run(on_progress)

        result = self._mean_of_views(run)
        self._started = self.transfer.download(result, numbers.are_finite())

    @torch.inference_mode()
    def finish(self) -> Pixels:
        """Wait for the run that `start` began. Without a run, or if values overflowed, run now.

        Returns:
            A new array of the photo's shape and type.

        Raises:
            PhotoError: If the network's result contains values that are not numbers.
            RuntimeError: If the device has no memory left, or is lost.
            MemoryError: If memory runs out even with the smallest tiles.
        """
        if self._started:
            started, self._started = self._started, None
            result, is_finite = started()
            if is_finite:
                return as_pixels(result)
            del result
        return as_pixels(self._mean_of_views(self._run_checked).cpu())

    def _run_checked(self, photo: PhotoRows, on_progress: Progress) -> None:
        """Run a pass; if values overflowed, run it again in float32."""
        for precision in dict.fromkeys((self.network.precision, torch.float32)):
            one_pass = Pass(self.network, photo, precision, self.tiles)
            one_pass.run(on_progress)
            if bool(one_pass.numbers.are_finite()):
                return
            self.overflowed = True
        raise PhotoError("the network's result contains values that are not numbers")

    def _mean_of_views(self, run: Callable[[PhotoRows, Progress], None]) -> Tensor:
        """Return the mean of the results of all views; ``run`` computes the result of one view."""
        photo = self.transfer.upload(as_tensor(self.image))
        result = torch.empty(photo.shape, dtype=photo.dtype, device=photo.device)
        count, tones, has_no_colors = len(self.views), tones_of(self.image), is_grey(self.image)
        mean = Mean(count)
        for done, view in enumerate(self.views):
            rows = PhotoRows(
                photo,
                result,
                view,
                self.network.config,
                self.strength,
                self.network.device,
                tones,
                has_no_colors,
            )
            run(rows, self.on_progress and _within(self.on_progress, done, count))
            if count > 1:
                mean.add(result)
        if count > 1:
            del rows, result  # freed before the mean is made
            result = mean.rounded()
        keep_contrast(result, photo, tones.span, self.strength)
        return result


def _within(on_progress: Callable[[float], None], done: int, count: int) -> Callable[[float], None]:
    """Return a function that takes the progress of one view, and reports the progress of all."""
    return lambda share: on_progress((done + share) / count)
