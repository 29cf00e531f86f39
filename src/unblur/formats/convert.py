"""Write a photo in another format than its own.

Metadata that the new format cannot hold are named in a note. Pixels are turned upright,
because many viewers ignore the orientation in formats other than JPEG. Photos that would look
different are refused: JPEG has no transparency, and that of HEIF and AVIF is not decoded.
Formats of 8 bits get 16-bit photos rounded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.formats import exif_thumbnail
from unblur.formats.codec import Target, codec_of
from unblur.formats.metadata import Metadata, read_orientation
from unblur.formats.photo import Encoded, Format, Photo
from unblur.formats.pixels import rounded, turned

NO_QUALITY = "the quality does not apply to this {} file"


def convert(
    photo: Photo,
    pixels: NDArray[Any],
    form: Format,
    quality: int | None,
    strip_metadata: bool,
    refresh_thumbnail: bool,
) -> Encoded:
    """Code pixels in another format, with the photo's metadata.

    Args:
        photo: The original.
        pixels: Of the same shape and type as the photo's.
        form: One of `CONVERSIONS`.
        quality: 1 to 100, or ``None`` for a high one.
        strip_metadata: Whether to carry only the profile.
        refresh_thumbnail: Whether to redraw the thumbnail in the EXIF block.

    Raises:
        PhotoError: If the format cannot hold the photo.
        ValueError: If the original is damaged.
    """
    source, target = codec_of(photo.format), codec_of(form).target
    assert target is not None
    _refuse_unfit(photo, form, target)
    notes = [*source.check_conversion(photo)]
    metadata = source.metadata(photo.container, photo.index)
    if refresh_thumbnail:
        metadata = replace(metadata, exif=exif_thumbnail.refreshed(metadata.exif, pixels))
    alpha = photo.alpha if target.has_extra_channel else photo.opacity
    pixels = np.ascontiguousarray(upright(photo, metadata, pixels))
    if alpha is not None:
        alpha = np.ascontiguousarray(upright(photo, metadata, alpha))
    metadata = _upright_metadata(metadata)
    if pixels.dtype == np.uint16 and target.is_8_bit:
        pixels, alpha = rounded(pixels), None if alpha is None else rounded(alpha)
        notes.append("rounded to 8 bits")
    if quality is not None and not target.has_quality:
        notes.append(NO_QUALITY.format(form.name))
    if strip_metadata:
        metadata = metadata.stripped()
    left_out = [*metadata.left_out, *target.too_large(metadata)]
    if photo.alpha is not None and alpha is None:
        left_out.append("an extra channel")
    if left_out:
        notes.append(f"left out of the {form.name} file: {', '.join(left_out)}")
    photo = replace(photo, pixels=pixels, alpha=alpha)
    return Encoded(target.write(photo, metadata, quality), tuple(notes))


def upright(photo: Photo, metadata: Metadata, array: NDArray[Any]) -> NDArray[Any]:
    """Turn an array of a photo's height and width upright, without a copy."""
    turn = codec_of(photo.format).upright
    if turn:
        return turn(photo.container, photo.index, array)
    return turned(array, read_orientation(metadata.exif))


def _upright_metadata(metadata: Metadata) -> Metadata:
    orientation = read_orientation(metadata.exif)
    exif = exif_thumbnail.turned_upright(metadata.exif, orientation)
    return replace(metadata, exif=exif).upright()


def _refuse_unfit(photo: Photo, form: Format, target: Target) -> None:
    height, width = photo.pixels.shape[:2]
    limit = target.longest_side or max(height, width)
    if max(height, width) > limit:
        raise PhotoError(
            f"{width}x{height} is too large for {form.name}: {limit} pixels a side at most"
        )
    if not target.has_opacity and photo.opacity is not None:
        raise PhotoError(f"{form.name} has no transparency, which the photo has; PNG and WebP have")
