"""Redraw thumbnails in HEIF and AVIF, in EXIF and as images (ISO/IEC 23008-12, 6.4.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from unblur.formats import bmff
from unblur.formats.bmff_items import ItemFile, as_stored, exif_start, splice
from unblur.formats.embedded_pictures import THUMBNAILS, Redraw, Redrawn, in_exif
from unblur.formats.photo import Encoded, Photo

THUMBNAIL = b"thmb"
"""Type of references from thumbnails to images."""
JPEG_ITEM = b"jpeg"
MOST_THUMBNAILS = 8
MAX_PIXELS = 10_000_000
"""Most pixels of a thumbnail."""


def redraw(
    data: bytes,
    redraw: Redraw,
    index: ItemFile | None,
    decode: Callable[[bytes, int], Photo],
    encode: Callable[[Photo, Any], Encoded],
) -> Redrawn:
    """Redraw the pictures in EXIF, and the thumbnails of the primary image.

    Args:
        data: The whole file.
        redraw: How to redraw pictures.
        index: The file's items, if they are known.
        decode: The format's own function, which decodes a file of one image.
        encode: The format's own function, which writes new pixels into such a file.

    Raises:
        ValueError: If the file is damaged.
    """
    original = file = index or bmff.read(data)
    stale = list[str]()
    for key, item in original.items.items():
        if item.type == b"Exif" and item.data:
            start = exif_start(item.data)
            exif = in_exif(item.data[start:], redraw)
            stale += exif.stale
            new = replace(item, data=item.data[:start] + exif.data)
            file = replace(file, items={**file.items, key: new})
    for number, key in enumerate(find_thumbnails(original)):
        drawn = _redrawn(file, key, redraw, decode, encode) if number < MOST_THUMBNAILS else None
        stale += [THUMBNAILS] * (drawn is None)
        file = drawn or file
    return Redrawn(data if file.items == original.items else bmff.write(file), tuple(stale))


def find_thumbnails(file: ItemFile) -> list[int]:
    """Return the numbers of the primary image's thumbnails."""
    links = [ref for ref in file.references if ref.type == THUMBNAIL]
    sources = [ref.source for ref in links if file.primary_id in ref.targets]
    return [key for key in dict.fromkeys(sources) if key in file.items]


def _redrawn(
    file: ItemFile,
    key: int,
    redraw: Redraw,
    decode: Callable[[bytes, int], Photo],
    encode: Callable[[Photo, Any], Encoded],
) -> ItemFile | None:
    """Return a file with a new thumbnail, or ``None`` if it cannot be drawn.

    The new thumbnail has the old thumbnail's quality, and may take more bytes.
    """
    thumbnail = file.items[key]
    if thumbnail.type == JPEG_ITEM:
        new = redraw.jpeg(thumbnail.data or b"")
        items = {**file.items, key: replace(thumbnail, data=new)}
        return None if new is None else replace(file, items=items)
    alone = file.with_primary_id(key)
    try:
        photo = decode(bmff.write(as_stored(alone)), MAX_PIXELS)
        is_8_bit = photo.pixels.dtype == np.uint8
        pixels = redraw.pixels(photo.pixels.astype(np.uint8)) if is_8_bit else None
        if pixels is None:
            return None
        coded = bmff.read(encode(photo, pixels).data)
    except Exception:  # libraries raise any type for damaged images; the photo itself is fine
        return None
    return splice(alone, coded)[0].with_primary_id(file.primary_id)
