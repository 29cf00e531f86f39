"""Run the network on a loaded photo: the step before `unblur.run.write_step`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unblur.run.load_step import LoadedPhoto
from unblur.run.report import NOTHING_USED

if TYPE_CHECKING:
    from unblur.formats.panorama import Wrapped
    from unblur.network.deblurrer import NetworkDeblurrer
    from unblur.network.pending_photo import Pending
    from unblur.network.photo_rows import Pixels
    from unblur.network.photo_run import Progress


@dataclass(frozen=True)
class StartedPhoto:
    """A photo that the network deblurs now."""

    loaded: LoadedPhoto
    """The photo; its companions have new pixels."""
    _wrapped: Wrapped
    _pending: Pending

    def result(self) -> tuple[Pixels, dict[str, Any]]:
        """Wait for the new pixels; return them, and the device, engine and tile that were used.

        Raises:
            DeviceError: If the device is lost.
            UnblurError: See `unblur.network.pending_photo.Pending.result`.
        """
        return self._wrapped.unwrapped(self._pending.result()), self._pending.used


def start(
    loaded: LoadedPhoto, deblurrer: NetworkDeblurrer, on_progress: Progress = None
) -> StartedPhoto:
    """Deblur the companions of a photo, and start to deblur the photo itself.

    A photo that the options leave unchanged keeps its pixels, without the network.

    Args:
        loaded: The photo.
        deblurrer: The network.
        on_progress: See `unblur.network.deblurrer.NetworkDeblurrer.start`.
    """
    from unblur.formats.companions import with_new_companions
    from unblur.formats.panorama import is_round, wrapped
    from unblur.network.pending_photo import Pending

    photo = loaded.photo
    if loaded.unchanged:
        kept = Pending(lambda: (photo.pixels, NOTHING_USED))
        return StartedPhoto(loaded, wrapped(photo.pixels, is_round=False), kept)
    round_photo = is_round(photo)
    new = with_new_companions(photo, round_photo, deblurrer)
    pixels = wrapped(new.pixels, round_photo)
    pending = deblurrer.start(pixels.pixels, on_progress)
    return StartedPhoto(replace(loaded, photo=new), pixels, pending)
