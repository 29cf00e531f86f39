"""Read and remove metadata, rotation and transparency in HEIF and AVIF (ISO/IEC 23008-12)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.formats import bmff, bmff_thumbnails
from unblur.formats.bmff_gain_maps import APPLE_URN, TONE_MAPPED
from unblur.formats.bmff_items import (
    COLOR,
    MIRROR,
    ROTATION,
    ItemFile,
    exif_start,
    with_true_brands,
)
from unblur.formats.codec import Codec
from unblur.formats.embedded_pictures import GAIN_MAP
from unblur.formats.metadata import Metadata
from unblur.formats.photo import Encoded, Photo

BT709_OR_UNSPECIFIED = frozenset({1, 2})
"""Colour primaries (ITU-T H.273) that are assumed for photos without a profile."""


def coded_pixels(data: bytes, index: ItemFile | None = None) -> Iterator[bytes]:
    """Yield the data of the primary image and its parts, which new pixels replace."""
    yield from (index or bmff.read(data)).coded_data


def metadata(data: bytes, index: ItemFile | None = None) -> Metadata:
    """Read the metadata of a file; ``index`` has its items, if they are known."""
    file = index or bmff.read(data)
    exif = xmp = b""
    pictures = {file.primary_id, *file.alpha_ids}
    others = file.items.keys() - pictures.union(file.sources(*pictures))
    left_out: dict[str, None] = {}
    for item in (file.items[key] for key in sorted(others)):
        block = item.data or b""
        if item.type == b"Exif" and not exif:
            exif = block[exif_start(block) :]
        elif item.type == b"mime" and b"\0application/rdf+xml\0" in item.entry and not xmp:
            xmp = block
        else:
            left_out["further images and their metadata"] = None
    icc, color = b"", file.primary.color
    for prop in file.primary.properties:
        if prop.type == COLOR and prop.body[:4] in (b"prof", b"rICC"):
            icc = prop.body[4:]
    if not icc and color and color.primaries not in BT709_OR_UNSPECIFIED:
        left_out["its colour space"] = None
    return Metadata(exif, xmp, icc, tuple(left_out))


def stripped(data: bytes) -> bytes:
    """Return a file without metadata; profile and rotation are properties, which stay."""
    return bmff.write(_without_others(bmff.read(data)))


def _without_others(file: ItemFile) -> ItemFile:
    """Return a file with only the primary image, its sources and its transparency."""
    images = {file.primary_id, *file.alpha_ids}
    kept = images.union(file.sources(*images))
    items = {key: item for key, item in file.items.items() if key in kept}
    return replace(
        file,
        items=items,
        references=tuple(ref for ref in file.references if {ref.source, *ref.targets} <= kept),
        meta=tuple(box for box in file.meta if box[4:8] in (b"hdlr", b"pitm")),
        before=tuple(with_true_brands(box, items) for box in file.before if box[4:8] == b"ftyp"),
        after=(),
    )


def upright(data: bytes, index: ItemFile | None, pixels: NDArray[Any]) -> NDArray[Any]:
    """Rotate and mirror (H, W, ...) pixels by the image's properties (ISO/IEC 23008-12, 6.5).

    Returns:
        A view: nothing is copied.
    """
    for prop in (index or bmff.read(data)).primary.properties:
        if prop.type == ROTATION:
            pixels = np.rot90(pixels, prop.body[0] & 3)  # anticlockwise, like irot
        elif prop.type == MIRROR:
            pixels = np.flip(pixels, prop.body[0] & 1)  # 0 exchanges top and bottom
    return pixels


def kept_pictures(data: bytes, index: ItemFile | None = None) -> Iterator[str]:
    """Yield the name of gain maps, if the file has any."""
    file = index or bmff.read(data)
    kinds = ((item.type, item.find(b"auxC") or b"") for item in file.items.values())
    if any(kind == TONE_MAPPED or APPLE_URN in auxiliary for kind, auxiliary in kinds):
        yield GAIN_MAP


def check_conversion(photo: Photo) -> tuple[str, ...]:
    """Refuse a photo whose transparency would be lost."""
    if photo.index.alpha_ids:
        raise PhotoError(f"the transparency of {photo.format.name} files cannot be converted")
    return ()


def make_codec(
    decode: Callable[[bytes, int], Photo],
    encode: Callable[[Photo, Any], Encoded],
    check_conversion: Callable[[Photo], tuple[str, ...]] = check_conversion,
) -> Codec:
    """Return the `Codec` of a format of items with its own way to encode pixels."""
    return Codec(
        decode=decode,
        encode=encode,
        coded_pixels=coded_pixels,
        metadata=metadata,
        stripped=stripped,
        upright=upright,
        redraw=functools.partial(bmff_thumbnails.redraw, decode=decode, encode=encode),
        kept_pictures=kept_pictures,
        check_conversion=check_conversion,
    )
