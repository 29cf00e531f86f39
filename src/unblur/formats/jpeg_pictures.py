"""Redraw thumbnails and previews in a JPEG file, and find other pictures of the old photo."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unblur.formats import embedded_pictures, jpeg_gain_maps
from unblur.formats import jpeg_markers as marks
from unblur.formats.embedded_pictures import PREVIEWS, THUMBNAILS, Redraw, Redrawn, redraw_place
from unblur.formats.jpeg_index import find_previews
from unblur.formats.jpeg_markers import Segment, segments

_SIZE_PLACES = {b"JFIF\0": 12, b"JFXX\0\x13": 6}
"""Position of the width and height of thumbnails with three bytes per pixel (JFIF 1.02)."""
_HEADERS = {marks.APP1: marks.EXIF, marks.APP2: marks.MPF}
"""First bytes of segments with pictures, or with an index of pictures."""
_JFXX = b"JFXX\0"
_JFXX_JPEG = b"JFXX\0\x10"


def redraw(data: bytes, redraw: Redraw, parts: tuple[Segment, ...] | None) -> Redrawn:
    """Redraw the thumbnails and previews of a file in place.

    Args:
        data: The whole file.
        redraw: How to redraw pictures.
        parts: The file's segments, if they are known.

    Raises:
        ValueError: If there is no image, or it ends too early.
    """
    parts = parts or tuple(segments(data))
    output, stale, seen = bytearray(data), list[str](), set[bytes]()
    for segment in parts:
        payload = segment.payload(data) if segment.is_metadata else b""
        kind = _HEADERS.get(segment.marker, b"")
        if kind in seen or not payload.startswith(kind):
            continue  # only the first of a kind belongs to the photo
        seen |= {kind} - {b""}
        if kind == marks.MPF:
            start = segment.stop - len(payload) + len(kind)
            places = find_previews(data[start : segment.stop], start, marks.image_end(data, parts))
            stale += [PREVIEWS for place in places if not redraw_place(output, place, redraw)]
            continue
        new = _in_segment(segment.marker, payload, redraw)
        output[segment.stop - len(new.data) : segment.stop] = new.data
        stale += new.stale
    return Redrawn(bytes(output), tuple(stale))


def _in_segment(marker: int, payload: bytes, redraw: Redraw) -> Redrawn:
    """Redraw the pictures at the end of a segment's payload."""
    if marker == marks.APP1:
        return embedded_pictures.in_exif(payload[len(marks.EXIF) :], redraw)
    if marker == marks.APP13:
        return embedded_pictures.in_photoshop_data(payload, redraw)
    if marker == marks.APP0:
        return _in_jfif(payload, redraw)
    return Redrawn(b"")


def _in_jfif(payload: bytes, redraw: Redraw) -> Redrawn:
    """Redraw the thumbnail in a JFIF segment, unless it has a palette (JFIF 1.02, pp. 5-7)."""
    if payload.startswith(_JFXX_JPEG):
        new = redraw.jpeg(payload[len(_JFXX_JPEG) :])
        return Redrawn(b"", (THUMBNAILS,)) if new is None else Redrawn(new)
    for mark, at in _SIZE_PLACES.items():
        width, height = payload[at : at + 2] if payload.startswith(mark) else (0, 0)
        if width and height and len(payload) >= at + 2 + 3 * width * height:
            old = payload[at + 2 : at + 2 + 3 * width * height]
            pixels = redraw.pixels(np.frombuffer(old, np.uint8).reshape(height, width, 3))
            rest = payload[at + 2 + len(old) :]
            if pixels is not None:
                return Redrawn(pixels.tobytes() + rest)
            return Redrawn(b"", (THUMBNAILS,))
    return Redrawn(b"", (THUMBNAILS,) * payload.startswith(_JFXX))


def gain_maps(data: bytes, parts: tuple[Segment, ...]) -> Iterator[str]:
    """Yield the name of gain maps, if any follow the image."""
    following = data[marks.image_end(data, parts) :]
    if following and any(mark in following for mark in jpeg_gain_maps.MARKS):
        yield embedded_pictures.GAIN_MAP
