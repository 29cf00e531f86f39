"""Recognise animations of one frame in HEIF and AVIF (ISO/IEC 14496-12, sections 8.3 to 8.7).

Some programs write a still photo as a track with a single frame, beside the same picture as the
primary image among the items.
"""

from __future__ import annotations

from unblur.file_limits import limited
from unblur.formats.bmff_boxes import Box, boxes, open_full_box


def is_still(data: bytes, movie: Box, picture: bytes) -> bool:
    """Return whether each track has one frame, and one of these frames is a given picture.

    Args:
        data: The file.
        movie: The file's moov box.
        picture: The coded pixels of the primary image.

    Raises:
        ValueError: If the tracks are damaged.
    """
    tracks = [box for box in boxes(data, movie.body, movie.stop) if box.type == b"trak"]
    frames = [_only_frame(data, track) for track in limited(tracks, len(data), "tracks")]
    return picture in frames and None not in frames


def _only_frame(data: bytes, track: Box) -> bytes | None:
    """Return the encoded pixels of a track's only frame, or ``None`` if it has several or none."""
    outer = track
    for kind in (b"mdia", b"minf", b"stbl"):
        found = [box for box in boxes(data, outer.body, outer.stop) if box.type == kind]
        if not found:
            return None
        outer = found[0]
    tables = {box.type: box for box in boxes(data, outer.body, outer.stop)}
    offsets = tables.get(b"stco") or tables.get(b"co64")
    if offsets is None or b"stsz" not in tables:
        return None
    cursor, _ = open_full_box(data, tables[b"stsz"])
    length, count = cursor.number(4), cursor.number(4)
    if count != 1:
        return None
    length = length or cursor.number(4)
    cursor, _ = open_full_box(data, offsets)
    cursor.number(4)
    start = cursor.number(8 if offsets.type == b"co64" else 4)
    return data[start : start + length]
