"""Read Y, Cb and Cr as a JPEG file stores them, before a decoder enlarges and converts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from unblur.formats.pixels import rows_of


@dataclass(frozen=True)
class StoredColors:
    """The colours of one photo, H x W."""

    image: Image.Image
    """Y alone; YCbCr if all three have the photo's size."""
    chroma: tuple[NDArray[np.uint8], ...] = ()
    """Cb and Cr, each (ceil(H / 2), ceil(W / 2)), uint8; empty if they are in the image."""

    def rows(self, top: int, stop: int) -> list[NDArray[np.uint8]]:
        """Return Y, Cb and Cr of some rows of the photo; ``top`` is even."""
        strip = rows_of(self.image, top, stop)
        coarse = (plane[top // 2 : (stop + 1) // 2] for plane in self.chroma)
        return [*map(np.asarray, strip.split()), *coarse]


def read_stored(open_file: Callable[[], JpegImageFile], is_coarse: bool) -> StoredColors:
    """Decode the stored colours of a photo that is encoded as YCbCr.

    libjpeg can decode a photo at half its size. It then uses a quarter of Y's coefficients, but all
    coefficients of Cb and Cr if these have half of Y's rows and columns. So libjpeg returns Cb and
    Cr as stored. At full size, it would enlarge them with a filter that cannot be undone exactly. A
    second pass without chroma decodes Y. Both passes together take about as long as one full
    decoding.

    Args:
        open_file: Opens the file, without decoding it.
        is_coarse: Whether chroma has half of Y's rows and columns (4:2:0).
    """
    photo = open_file()
    height, width = (photo.height + 1) // 2, (photo.width + 1) // 2
    if is_coarse and min(photo.size) > 1:
        half = open_file()
        half.draft("YCbCr", (photo.width // 2, photo.height // 2))
        if half.size == (width, height):
            chroma = tuple(np.asarray(half.getchannel(band)) for band in (1, 2))
            return StoredColors(_decoded(photo, "L"), chroma)
    return StoredColors(_decoded(photo, "YCbCr"))


def _decoded(photo: JpegImageFile, mode: str) -> Image.Image:
    photo.draft(mode, photo.size)
    photo.load()
    return photo
