"""Convert between Pillow's images and arrays, with as few copies as possible."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from unblur.errors import PhotoError
from unblur.formats.library_messages import collected_messages
from unblur.main_memory import require_memory

Floats: TypeAlias = NDArray[np.float32]
Opened = TypeVar("Opened", bound=ImageFile)

STRIP_BYTES = 16 << 20
COPIED_BYTES = 1 << 20
"""Bytes to copy at once, which fit into a processor's cache. With fewer bytes, parallel decoding
threads would wait for Python's global lock more often."""
LEAST_SIDE_PX = 32
"""The embedded network pads a photo's sides to multiples of this."""


def open_image(data: bytes, form: Callable[[BinaryIO], Opened], max_pixels: int) -> Opened:
    """Open a file with Pillow, without decoding its pixels yet.

    This does without `PIL.Image.open`, which refuses photos above `PIL.Image.MAX_IMAGE_PIXELS`.
    That limit belongs to the program that uses this package, and is neither obeyed nor changed.

    Args:
        data: The whole file.
        form: Pillow's class for files of the format.
        max_pixels: Larger photos are refused.

    Raises:
        PhotoError: If the photo is too large, or Pillow does not recognise it.
        Exception: Pillow raises any type for damaged files.
    """
    try:
        image = form(io.BytesIO(data))
    except SyntaxError:  # Pillow's error for a file of another format
        raise PhotoError("damaged, or encoded in an unsupported way") from None
    refuse_large(image.width, image.height, max_pixels)
    return image


def in_native_order(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in this machine's byte order; FITS and TIFF readers give others, too."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def refuse_large(width: int, height: int, max_pixels: int) -> None:
    """Raise `PhotoError` if a photo has more pixels than allowed."""
    if width * height > max_pixels:
        raise PhotoError(
            f"{width}x{height} is {width * height:,} pixels, more than the limit of {max_pixels:,}"
        )


def refuse_thin(width: int, height: int, max_pixels: int) -> None:
    """Raise `PhotoError` if a thin photo would be padded to more pixels than allowed.

    Formats with sides of any length call this before they decode a photo.
    """
    padded = max(width, LEAST_SIDE_PX) * max(height, LEAST_SIDE_PX)
    if padded > max_pixels:
        raise PhotoError(
            f"{width}x{height} is so thin that it is padded to {padded:,} pixels, "
            f"more than the limit of {max_pixels:,}"
        )


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Copy an image to (H, W, C), in strips: a single copy would take three times the memory.

    Raises:
        PhotoError: If there is not enough memory.
        Exception: Pillow raises any type for damaged files.
    """
    channels = len(image.getbands())
    require_memory(2 * image.width * image.height * channels)
    image.load()
    array = np.empty((image.height, image.width, channels), np.uint8)
    step = max(1, COPIED_BYTES // (image.width * channels))
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        strip = np.asarray(rows_of(image, top, bottom))
        array[top:bottom] = strip.reshape(bottom - top, image.width, channels)
    return array


def rows_of(image: Image.Image, top: int, bottom: int) -> Image.Image:
    """Copy some rows of an image. `PIL.Image.Image.crop` obeys Pillow's limit; see `open_image`."""
    box = (0, top, image.width, bottom)
    return image.transform((image.width, bottom - top), Image.Transform.EXTENT, box)


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Rotate and mirror an array by its EXIF orientation (Exif 2.32, 4.6.4), without a copy."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def to_samples(pixels: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    """Join (H, W, 1 or 3) pixels and (H, W) alpha; grey without alpha becomes (H, W)."""
    if alpha is not None:
        pixels = np.dstack([pixels, alpha])
    elif pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    return np.ascontiguousarray(pixels)


def to_image(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> Image.Image:
    """Make a Pillow image from 8-bit pixels and alpha; see `to_samples`."""
    return Image.fromarray(to_samples(pixels, alpha))


def code_pixels(
    pixels: NDArray[Any], alpha: NDArray[Any] | None, form: str, **options: Any
) -> bytes:
    """Encode 8-bit pixels as a file in one of Pillow's formats, without metadata."""
    return saved(to_image(pixels, alpha), form, **options)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return an image as a file in one of Pillow's formats.

    While Pillow encodes a JPEG into a Python object, all other Python threads wait; while it
    encodes into a system file, they run. So this uses a system file in memory, if the system has
    such files.
    """
    # libjpeg prints a caution about coarse tables, which are right.
    is_coarse = any(max(table) > 255 for table in options.get("qtables", ()))
    with _memory_file() as file, collected_messages() if is_coarse else contextlib.nullcontext():
        image.save(file, form, **options)
        file.seek(0)
        return file.read()


@contextlib.contextmanager
def _memory_file() -> Iterator[BinaryIO]:
    """Open a file in memory for writing and reading; leaving the context deletes it.

    If the size of files is limited (``ulimit -f``), this is an object of Python: Pillow does not
    notice that the system writes only a part.
    """
    descriptor = -1
    if sys.platform == "linux" and not _limits_file_sizes():
        # It may be forbidden in a container, and old systems lack it.
        with contextlib.suppress(AttributeError, OSError):
            descriptor = os.memfd_create("unblur")
    with io.BytesIO() if descriptor < 0 else os.fdopen(descriptor, "w+b") as file:
        yield file


def _limits_file_sizes() -> bool:
    import resource  # missing on Windows

    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY


def rounded(samples: NDArray[Any], bits: int = 8) -> NDArray[Any]:
    """Round 16-bit samples to 8 to 15 bits, as ``uint8`` or ``uint16``; white stays white."""
    wide = samples.astype(np.uint32)  # changed in place from here on, to save memory
    wide *= (1 << bits) - 1
    wide += 0x7FFF
    wide //= 0xFFFF
    return wide.astype(np.uint8 if bits == 8 else np.uint16)


def widened(samples: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """Scale samples of 8 to 15 bits to 16; white stays white, and `rounded` is the inverse."""
    wide: NDArray[np.uint16] = samples << np.uint16(16 - bits)
    wide |= samples >> np.uint16(2 * bits - 16)
    return wide


def reduced(pixels: NDArray[Any], factor: int) -> Image.Image:
    """Reduce (H, W, 1 or 3) pixels by averaging squares, to 8 bits, in pieces to save memory."""
    height, width, channels = pixels.shape
    piece = STRIP_BYTES // (channels * pixels.itemsize)  # pixels
    across = factor * max(1, min(-(-width // factor), piece // factor**2))
    down = factor * max(1, piece // (factor * min(width, across)))
    strips = [
        [
            to_8_bit_image(pixels[top : top + down, left : left + across]).reduce(factor)
            for left in range(0, width, across)
        ]
        for top in range(0, height, down)
    ]
    return Image.fromarray(
        np.concatenate([np.concatenate(list(map(np.asarray, strip)), axis=1) for strip in strips])
    )


def to_8_bit_image(pixels: NDArray[Any]) -> Image.Image:
    """Make a Pillow image of 8 bits from (H, W, 1 or 3) pixels of 8 or 16 bits."""
    return to_image(rounded(pixels) if pixels.dtype == np.uint16 else pixels, None)
