"""Gain maps in JPEG files: complete JPEG images after the first one.

They are listed in the multi-picture index (CIPA DC-007), and in XMP with their lengths (Ultra HDR
image format). So a new map must fill exactly the bytes of the old one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unblur.formats import jpeg_markers as marks
from unblur.formats.companions import decode_companions, put_companions
from unblur.formats.jpeg_in_place import code_within
from unblur.formats.jpeg_index import find_pictures
from unblur.formats.jpeg_markers import Segment, segments
from unblur.formats.photo import Companion, Encoded, Photo

MARKS = (b"hdrgm:", b"HDRGainMap", b"hdrgainmap", b"urn:iso:std:iso:ts:21496")
"""Names in the metadata of gain maps: Adobe and Google, Apple, ISO 21496-1."""


def find_companions(
    data: bytes,
    parts: tuple[Segment, ...],
    decode: Callable[[bytes, int], Photo],
    most_pixels: int,
) -> tuple[Companion, ...]:
    """Decode the gain maps, or none if one of them cannot be decoded.

    Args:
        data: The whole file.
        parts: Its segments.
        decode: Decodes a JPEG file.
        most_pixels: Number of pixels of the photo; larger maps cannot be decoded.
    """
    return decode_companions(_find_places(data, parts), data.__getitem__, decode, most_pixels)


def _find_places(data: bytes, parts: tuple[Segment, ...]) -> Iterator[slice]:
    end = marks.image_end(data, parts)
    starts = {end}
    for segment in parts:
        payload = segment.payload(data) if segment.marker == marks.APP2 else b""
        if payload.startswith(marks.MPF):
            base = segment.stop - len(payload) + len(marks.MPF)
            starts.update(find_pictures(data[base : segment.stop], base))
    for start in sorted(starts):
        if start >= end and data.startswith(b"\xff\xd8\xff", start):
            picture = data[start:]
            found = tuple(_whole_segments(picture))
            if _is_gain_map(picture, found):
                yield slice(start, start + marks.image_end(picture, found))


def _whole_segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments of a picture up to a damaged one, so that a damaged map is found, too."""
    with contextlib.suppress(ValueError):
        yield from segments(data)


def _is_gain_map(data: bytes, parts: Iterable[Segment]) -> bool:
    metadata = [segment.payload(data) for segment in parts if segment.is_metadata]
    return any(mark in block for mark in MARKS for block in metadata)


def with_new_gain_maps(
    data: bytes,
    companions: tuple[Companion, ...],
    encode: Callable[[Photo, NDArray[np.uint8]], Encoded],
) -> tuple[bytes, tuple[str, ...]]:
    """Return a file whose gain maps have new pixels, and the names of the maps that stay old.

    Args:
        data: The whole file.
        companions: Its gain maps.
        encode: Writes new pixels into a JPEG file.
    """

    def put(file: bytes, companion: Companion) -> bytes | None:
        place = companion.place
        new = _coded(companion, encode)
        return None if new is None else file[: place.start] + new + file[place.stop :]

    return put_companions(data, companions, put)


def _coded(
    companion: Companion, encode: Callable[[Photo, NDArray[np.uint8]], Encoded]
) -> bytes | None:
    """Code a new map in the room of the old one; ``None`` if it does not fit."""
    old, pixels, place = companion.photo, companion.pixels, companion.place
    assert pixels is not None

    def code(options: dict[str, Any]) -> bytes:
        return encode(replace(old, coding=options), pixels).data

    return code_within(place.stop - place.start, old.coding, code)
