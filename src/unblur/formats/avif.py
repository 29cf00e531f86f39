"""AVIF: decode a still photo, and put new pixels into the original's container.

"AV1 Codec ISO Media File Format Binding", section 2.3, describes the codec's configuration. Alpha
is a separate image, which is kept and not decoded. Crop and rotation are not applied, so both stay
valid. A grid becomes one image. Photos of 10 and 12 bits need the extra ``deep``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import features
from PIL.AvifImagePlugin import AvifImageFile

from unblur.errors import PhotoError
from unblur.formats import av1, avif_deep, bmff, bmff_metadata
from unblur.formats.bmff_gain_maps import find_companions, with_new_gain_maps
from unblur.formats.bmff_items import (
    CROP,
    Item,
    ItemFile,
    as_stored,
    pixels_of,
    refuse_costly,
    splice,
)
from unblur.formats.photo import AVIF, Encoded, Photo
from unblur.formats.pixels import code_pixels, open_image, to_array
from unblur.formats.quality import AS_ORIGINAL, with_quality

HIGH_BIT_DEPTH, TWELVE_BIT, MONOCHROME = 0x40, 0x20, 0x10
"""Bits of the third byte of av1C; its next two bits are the chroma sampling."""
_SUBSAMPLING = {0b00: "4:4:4", 0b10: "4:2:2", 0b11: "4:2:0"}


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a still photo, and record how it is encoded, except for its quality."""
    if not features.check("avif"):
        raise PhotoError("AVIF files need a Pillow that was built with libavif")
    file = bmff.read(data)
    coding = _read_coding(file.coded)
    stored = as_stored(file)
    refuse_costly(stored, _decoded_pixels)
    copy = bmff.write(stored)
    image = open_image(copy, AvifImageFile, max_pixels)
    depth = coding.get("bit_depth")
    pixels: NDArray[Any] = avif_deep.decode(copy, depth, *image.size) if depth else to_array(image)
    if coding["subsampling"] == "4:0:0":
        pixels = np.ascontiguousarray(pixels[..., :1])
    if file.primary.color and not file.primary.color.full_range and not depth:
        coding["range"] = "limited"
    coding["quality"] = AS_ORIGINAL
    gain_maps = find_companions(file, decode, pixels.shape[0] * pixels.shape[1])
    return Photo(pixels, None, AVIF, data, coding, file.notes, index=file, companions=gain_maps)


def encode(photo: Photo, pixels: NDArray[Any]) -> Encoded:
    """Encode new pixels like the original's, in its container."""
    original: ItemFile = photo.index
    coding = with_quality(photo, original.coded_length, _code)
    original, stale = with_new_gain_maps(original, photo.companions, encode)
    file, notes = splice(original, bmff.read(_code(pixels, **coding)))
    return Encoded(bmff.write(file), notes, stale=stale)


def _code(pixels: NDArray[Any], **options: Any) -> bytes:  # noqa: ANN401  # for a library
    """Encode pixels as a file without metadata."""
    if "bit_depth" in options:
        return avif_deep.code(pixels, **options)
    return code_pixels(pixels, None, "AVIF", **options)


def _decoded_pixels(item: Item) -> int:
    """Return the number of pixels that libavif decodes, which may exceed the image's stated size.

    Raises:
        ValueError: If the image is damaged.
    """
    extent = av1.read_extent(item.data or b"") if item.type == b"av01" else av1.Extent(0, 0)
    return max(pixels_of(item), extent.frames * extent.pixels)


def _read_coding(item: Item) -> dict[str, Any]:
    """Return the options for Pillow to encode an image in the same way.

    The option ``bit_depth`` is for `unblur.formats.avif_deep`; photos of 8 bits do not have it.

    Raises:
        ValueError: If the image is not AV1.
    """
    config = item.find(b"av1C") or b""
    if item.type != b"av01" or len(config) < 4:
        raise ValueError("has no AV1 image")
    coding: dict[str, Any] = {"subsampling": _SUBSAMPLING.get(config[2] >> 2 & 3, "4:4:4")}
    if config[2] & MONOCHROME:
        coding["subsampling"] = "4:0:0"
    if config[2] & HIGH_BIT_DEPTH:
        coding["bit_depth"] = 12 if config[2] & TWELVE_BIT else 10
    return coding


def _check_conversion(photo: Photo) -> tuple[str, ...]:
    notes = bmff_metadata.check_conversion(photo)
    return (*notes, "the crop was not applied") if photo.index.primary.find(CROP) else notes


CODEC = bmff_metadata.make_codec(decode, encode, _check_conversion)
