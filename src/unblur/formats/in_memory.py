"""Photos that a Python program holds: read Pillow images and arrays, and make results alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.ExifTags
import PIL.Image
from numpy.typing import NDArray

from unblur.errors import PhotoError, UsageError
from unblur.formats.pixels import in_native_order, to_array, to_samples
from unblur.user_text import one_line

MODES = ("L", "LA", "RGB", "RGBA", "I;16")
"""Supported modes of Pillow images."""
_BETTER_MODES = dict.fromkeys(("I", "I;16B", "I;16L", "I;16N"), "I;16") | {
    "La": "LA",
    "PA": "RGBA",
    "RGBa": "RGBA",
}
"""Supported modes that keep the levels or the opacity of other modes."""


def read(image: object) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the pixels of a Pillow image or an array, and the opacity of an image."""
    if isinstance(image, PIL.Image.Image):
        return _read_image(image)
    if not isinstance(image, np.ndarray):
        raise UsageError(
            "a photo is a path, bytes, a Pillow image or an array, "
            f"not of the type {type(image).__name__}"
        )
    if image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise UsageError(f"an array needs the shape (H, W, 3) or (H, W, 1), not {image.shape}")
    pixels = in_native_order(image)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"an array needs the type uint8 or uint16, not {image.dtype}")
    return pixels, None


def _read_image(image: PIL.Image.Image) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if image.mode not in MODES:
        better = _BETTER_MODES.get(image.mode, "RGB or L")
        raise PhotoError(f"Pillow's mode {image.mode} cannot be processed; convert it to {better}")
    if not (image.width and image.height):
        raise PhotoError("the image has no pixels")
    try:
        if image.mode == "I;16":
            return np.asarray(image, np.uint16)[..., None], None
        samples = to_array(image)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:  # a closed image; Pillow raises any type for damaged files
        raise PhotoError(f"the image cannot be read: {one_line(error)}") from error
    return (samples[..., :-1], samples[..., -1]) if image.mode[-1] == "A" else (samples, None)


def orientation_of(image: object) -> int:
    """Return the EXIF orientation of a Pillow image; arrays are upright."""
    return (
        int(image.getexif().get(PIL.ExifTags.Base.Orientation, 1))
        if isinstance(image, PIL.Image.Image)
        else 1
    )


def like(image: object, pixels: NDArray[Any], alpha: NDArray[Any] | None) -> object:
    """Return pixels in the form of the original: an array, or an image with its ``info``."""
    if isinstance(image, np.ndarray):
        return pixels.astype(image.dtype, copy=False)
    assert isinstance(image, PIL.Image.Image)
    result = PIL.Image.fromarray(to_samples(pixels, alpha))
    result.info = dict(image.info)
    return result
