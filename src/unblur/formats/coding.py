"""Files' bytes to photos, and photos with new pixels back to bytes.

Libraries code pixels only. All other bytes are carried over by the module of
each format, because every library loses some when it writes a whole file.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.formats import avif, bmff, exif_thumbnail, heif, jpeg, png, raw, tiff, webp
from unblur.formats.convert import NO_QUALITY, convert
from unblur.formats.photo import (
    AVIF,
    HEADER_BYTES,
    HEIF,
    JPEG,
    PNG,
    RAW,
    TIFF,
    WEBP,
    Encoded,
    Format,
    Photo,
    describe_refused,
    identify,
)
from unblur.formats.pixels import refuse_thin
from unblur.formats.strip import strip
from unblur.options import DEFAULT_MAX_PIXELS

_MODULES: dict[Format, ModuleType] = {
    JPEG: jpeg,
    PNG: png,
    WEBP: webp,
    AVIF: avif,
    HEIF: heif,
    TIFF: tiff,
    RAW: raw,
}
"""Each has ``decode(data, max_pixels) -> Photo`` and ``encode(photo, pixels) -> Encoded``.

A format that is written as another needs only the first."""


_CODED_PIXELS: dict[Format, Callable[[bytes], Iterator[bytes]]] = {
    JPEG: jpeg.coded_pixels,
    PNG: png.coded_pixels,
    WEBP: webp.coded_pixels,
    AVIF: bmff.coded_pixels,
    HEIF: bmff.coded_pixels,
    TIFF: tiff.coded_pixels,
    RAW: raw.coded_pixels,
}
"""Yield what new pixels would replace in a file, and nothing else."""


def coded_pixels(data: bytes) -> Iterator[bytes]:
    """Yield the coded pixels of a file in pieces.

    Tags, profiles, thumbnails and other pictures in the file are no part of them.

    Args:
        data: The whole file.

    Raises:
        PhotoError: If it is no photo, damaged, or of a kind that cannot be processed.
    """
    form = _identify(data)
    with _decoder_errors_as_photo_errors(form):
        yield from _CODED_PIXELS[form](data)


def decode(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Photo:
    """Decode a photo from a file's bytes.

    Args:
        data: The whole file.
        max_pixels: Larger photos are refused before memory is taken for them.

    Raises:
        PhotoError: If it is no photo, damaged, or of a kind that cannot be processed.
    """
    form = _identify(data)
    with _decoder_errors_as_photo_errors(form):
        photo: Photo = _MODULES[form].decode(data, max_pixels)
    height, width = photo.pixels.shape[:2]
    refuse_thin(width, height, max_pixels)
    return photo


def decode_reduced(
    data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], Photo | None]:
    """Decode a photo as finely as `unblur.score` measures it, where that is quicker.

    Args:
        data: The whole file.
        max_pixels: Larger photos are refused before memory is taken for them.

    Returns:
        Pixels, (H, W, 1 or 3), and the photo itself if it had to be decoded as a whole.

    Raises:
        PhotoError: If it is no photo, damaged, or of a kind that cannot be processed.
    """
    form = _identify(data)
    if form is JPEG:
        with _decoder_errors_as_photo_errors(form):
            return jpeg.decode_reduced(data, max_pixels), None
    photo = decode(data, max_pixels)
    return photo.pixels, photo


def _identify(data: bytes) -> Format:
    form = identify(data)
    if form is None:
        raise PhotoError(describe_refused(data[:HEADER_BYTES]))
    return form


@contextlib.contextmanager
def _decoder_errors_as_photo_errors(form: Format) -> Iterator[None]:
    """Turn whatever a library raises for a damaged file into a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which is kept as it is
            yield
    except (PhotoError, MemoryError):
        raise
    except Exception as error:  # libraries raise anything for damaged files
        raise PhotoError(f"damaged or cut off {form.name} file ({error})") from error


def encode(
    photo: Photo,
    pixels: NDArray[Any],
    refresh_thumbnail: bool = True,
    *,
    form: Format | None = None,
    quality: int | None = None,
    strip_metadata: bool = False,
) -> Encoded:
    """Code new pixels as the photo's were, inside its own container, unless told otherwise.

    Args:
        photo: The original.
        pixels: Of the same shape and type as the photo's.
        refresh_thumbnail: Whether to draw the small picture in a JPEG file's EXIF anew.
        form: What to write instead of the photo's own format, of `CONVERSIONS`.
        quality: 1 to 100, instead of the photo's own; it is noted where it means nothing.
        strip_metadata: Whether to leave out all that is not needed to show the photo.

    Returns:
        The bytes of the file, and notes on metadata that could not be kept.

    Raises:
        PhotoError: If another format cannot hold the photo.
    """
    form = form or photo.format.result
    if form is not photo.format.result or (strip_metadata and form is TIFF):
        encoded = convert(photo, pixels, form, quality, strip_metadata)
    else:
        photo, notes = _with_quality(photo, quality)
        encoded = _MODULES[form].encode(photo, pixels)
        data = strip(form, encoded.data) if strip_metadata else encoded.data
        encoded = Encoded(data, encoded.notes + notes)
    if refresh_thumbnail and form is JPEG:
        data = jpeg.edit_exif(encoded.data, lambda exif: exif_thumbnail.refreshed(exif, pixels))
        encoded = replace(encoded, data=data)
    return encoded


def _with_quality(photo: Photo, quality: int | None) -> tuple[Photo, tuple[str, ...]]:
    """Return the photo to be coded at another quality, and a note if it has none."""
    if quality is None:
        return photo, ()
    if not photo.coding.keys() & {"qtables", "quality"}:
        return photo, (NO_QUALITY.format(photo.format.result.name),)
    coding = {name: value for name, value in photo.coding.items() if name != "qtables"}
    return replace(photo, coding=coding | {"quality": quality}), ()
