"""Write a photo in another format than its own.

Nothing can be spliced then: pixels are coded into a new file, and those metadata
go along that the format can hold; a note tells of the others. Pixels stay as
stored, and EXIF goes on telling the orientation. Only HEIF and AVIF, which tell
it by properties that no other format has, are turned upright.

What cannot be shown as before is refused: JPEG has no transparency, and that of
HEIF and AVIF is not decoded. Formats of 8 bits get 16-bit photos rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.formats import bmff, png
from unblur.formats.bmff_items import CROP, MIRROR, ROTATION, Item
from unblur.formats.metadata import extract, insert, too_large
from unblur.formats.photo import AVIF, HEIF, JPEG, PNG, TIFF, WEBP, Encoded, Format, Photo
from unblur.formats.pixels import code_pixels, rounded
from unblur.formats.tiff_directory import ASSOCIATED_ALPHA, Tag, TiffFile, read_tiff
from unblur.formats.tiff_pages import read_page
from unblur.formats.tiff_writer import write_tiff

NO_QUALITY = "the quality does not apply to this {} file"
LONGEST_SIDE = {JPEG: 65_500, WEBP: 16_383}
"""In pixels: libjpeg's limit, and that of VP8's and VP8L's headers."""

_CODING: dict[Format, dict[str, Any]] = {
    JPEG: {"quality": 95, "subsampling": "4:4:4"},
    WEBP: {"quality": 90},
}
"""Pillow's options for what is new, finer than its defaults: the photo was just sharpened."""


def convert(
    photo: Photo, pixels: NDArray[Any], form: Format, quality: int | None, strip_metadata: bool
) -> Encoded:
    """Code pixels in another format, with the photo's metadata.

    Args:
        photo: The original.
        pixels: Of the same shape and type as the photo's.
        form: One of `CONVERSIONS`.
        quality: 1 to 100, or ``None`` for a high one.
        strip_metadata: Whether to carry only profile and orientation.

    Raises:
        PhotoError: If the format cannot hold the photo.
        ValueError: If the original is damaged.
    """
    _refuse_unfit(photo, form)
    metadata = extract(photo.format.result, photo.container)
    alpha, notes = photo.alpha if form is TIFF else photo.opacity, []
    if photo.format in (AVIF, HEIF):
        turned = turned_upright(pixels, bmff.read(photo.container).primary)
        pixels = np.ascontiguousarray(turned)
        metadata = metadata.upright()
    if photo.format is AVIF and bmff.read(photo.container).primary.find(CROP):
        notes.append("the crop was not applied")
    if pixels.dtype == np.uint16 and form in _CODING:
        pixels, alpha = rounded(pixels), None if alpha is None else rounded(alpha)
        notes.append("rounded to 8 bits")
    if quality is not None and form not in _CODING:
        notes.append(NO_QUALITY.format(form.name))
    if strip_metadata:
        metadata = metadata.stripped()
    left_out = [*metadata.left_out, *too_large(form, metadata)]
    if photo.alpha is not None and alpha is None:
        left_out.append("an extra channel")
    if left_out:
        notes.append(f"left out of the {form.name} file: {', '.join(left_out)}")
    if form is TIFF:
        data = write_tiff(pixels, alpha, metadata, alpha_is_opacity=photo.alpha_is_opacity)
        return Encoded(data, tuple(notes))
    coded = _code(pixels, alpha, form, quality)
    return Encoded(insert(form, coded, metadata), tuple(notes))


def _refuse_unfit(photo: Photo, form: Format) -> None:
    height, width = photo.pixels.shape[:2]
    limit = LONGEST_SIDE.get(form, max(height, width))
    if max(height, width) > limit:
        raise PhotoError(
            f"{width}x{height} is too large for {form.name}: {limit} pixels a side at most"
        )
    if form is JPEG and photo.opacity is not None:
        raise PhotoError("JPEG has no transparency, which the photo has; PNG and WebP have")
    if photo.format in (AVIF, HEIF) and bmff.read(photo.container).alpha_ids:
        raise PhotoError(f"the transparency of {photo.format.name} files cannot be converted")
    if photo.format.result is TIFF and _is_multiplied(read_tiff(photo.container)):
        raise PhotoError("a TIFF file with premultiplied alpha cannot be converted")


def _is_multiplied(file: TiffFile) -> bool:
    return file.value(read_page(file).directory, Tag.EXTRA_SAMPLES) == ASSOCIATED_ALPHA


def _code(
    pixels: NDArray[Any], alpha: NDArray[Any] | None, form: Format, quality: int | None
) -> bytes:
    if form is PNG:
        return png.code(pixels, alpha)
    options = dict(_CODING[form])
    if quality is not None:
        options["quality"] = quality
    return code_pixels(pixels, alpha, form.name.upper(), **options)


def turned_upright(pixels: NDArray[Any], image: Item) -> NDArray[Any]:
    """Turn and mirror (H, W, C) pixels as an image's properties say (ISO/IEC 23008-12, 6.5).

    Returns:
        A view: nothing is copied.
    """
    for prop in image.properties:
        if prop.type == ROTATION:
            pixels = np.rot90(pixels, prop.body[0] & 3)  # anticlockwise, as irot is
        elif prop.type == MIRROR:
            pixels = np.flip(pixels, prop.body[0] & 1)  # 0 exchanges top and bottom
    return pixels
