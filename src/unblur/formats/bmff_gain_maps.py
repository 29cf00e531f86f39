"""Find and replace gain maps in HEIF and AVIF files.

A map is the second source of a tone-mapped item (ISO/IEC 23008-12, tmap; ISO 21496-1), or one of
Apple's auxiliary images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unblur.formats import bmff
from unblur.formats.bmff_items import CROP, ItemFile, as_stored, splice
from unblur.formats.companions import decode_companions, put_companions
from unblur.formats.photo import Companion, Encoded, Photo

TONE_MAPPED = b"tmap"
APPLE_URN = b"hdrgainmap"


def gain_map_keys(file: ItemFile) -> list[int]:
    """Return the numbers of the gain maps of the primary image."""
    keys = [
        targets[1]
        for key, targets in file.derived.items()
        if key in file.items and file.items[key].type == TONE_MAPPED
        if len(targets) == 2 and targets[0] == file.primary_id
    ]
    keys += [
        ref.source
        for ref in file.references
        if ref.type == b"auxl" and file.primary_id in ref.targets and ref.source in file.items
        if APPLE_URN in (file.items[ref.source].find(b"auxC") or b"")
    ]
    return [key for key in dict.fromkeys(keys) if key in file.items and key != file.primary_id]


def find_companions(
    file: ItemFile, decode: Callable[[bytes, int], Photo], most_pixels: int
) -> tuple[Companion, ...]:
    """Decode all gain maps, each as the only image of a file; none if one cannot be decoded.

    Args:
        file: The photo's file.
        decode: The format's own function.
        most_pixels: Number of pixels of the photo; larger maps are not decoded.
    """

    def alone(key: int) -> bytes:
        return bmff.write(as_stored(file.with_primary_id(key)))

    return decode_companions(gain_map_keys(file), alone, decode, most_pixels)


def with_new_gain_maps(
    file: ItemFile,
    companions: tuple[Companion, ...],
    encode: Callable[[Photo, Any], Encoded],
) -> tuple[ItemFile, tuple[str, ...]]:
    """Return a file whose gain maps have new pixels, and the names of unchanged gain maps.

    Args:
        file: The photo's file.
        companions: Its gain maps.
        encode: The format's own function, which writes new pixels into a file of one image.
    """

    def put(file: ItemFile, companion: Companion) -> ItemFile:
        coded = bmff.read(encode(companion.photo, companion.pixels).data)
        alone = file.with_primary_id(companion.place)
        alone = alone.with_primary(alone.primary.without({CROP}))  # the coded one has its own
        return splice(alone, coded)[0].with_primary_id(file.primary_id)

    return put_companions(file, companions, put)
