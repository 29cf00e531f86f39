"""Read and correct the index of a JPEG file with several images (CIPA DC-007, MPF)."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from unblur.formats.tiff_directory import TiffFile, read_tiff

MPF_ENTRIES_TAG = 0xB002
MPF_ENTRY_BYTES = 16
TYPE_GROUP, LARGE_THUMBNAIL = 0xFF0000, 0x010000
"""Bits of an image's type, and their value for screen-sized previews."""
MOST_PREVIEWS = 8
"""Largest number of entries to search for previews; cameras list two or three."""


def move_index(
    output: bytearray, index: bytes, old_base: int, new_base: int, ends: tuple[int, int]
) -> None:
    """Correct sizes and offsets of a multi-picture index in the output, unless it is damaged.

    Offsets count from the index's own header (CIPA DC-007, 5.2.3.3.3).

    Args:
        output: The new file so far; changed in place.
        index: The original's index, from its byte order mark on.
        old_base: Offset of the index in the original file.
        new_base: Offset of the index in the output.
        ends: Ends of the first image in the original and in the output.
    """
    moved = ends[1] - ends[0]
    corrected = bytearray(index)
    try:
        file = read_tiff(index)
        for position in _index_entries(file):
            size, offset = file.unpack("II", position + 4)
            if offset == 0:  # the first image itself
                size += moved
            elif old_base + offset >= ends[0]:
                offset += moved + old_base - new_base
            struct.pack_into(file.order + "II", corrected, position + 4, size, offset)
    except (ValueError, struct.error):
        return
    output[new_base : new_base + len(index)] = corrected


def find_previews(index: bytes, base: int, end: int) -> Iterator[slice]:
    """Yield the positions in a file of smaller versions of the first image (5.2.3.3.1).

    Args:
        index: The index, from its byte order mark on; any bytes are allowed.
        base: Offset of the index in the file.
        end: End of the first image. The position of an earlier picture is empty.
    """
    with contextlib.suppress(ValueError):
        file = read_tiff(index)
        for position in _index_entries(file)[:MOST_PREVIEWS]:
            kind, size, offset = file.unpack("III", position)
            if kind & TYPE_GROUP == LARGE_THUMBNAIL:
                start = base + offset
                yield slice(start, start + size) if start >= end else slice(0, 0)


def find_pictures(index: bytes, base: int) -> Iterator[int]:
    """Yield the start positions of the first pictures that follow the first image in a file.

    Args:
        index: The index, from its byte order mark on; any bytes are allowed.
        base: Offset of the index in the file.
    """
    with contextlib.suppress(ValueError):
        file = read_tiff(index)
        for position in _index_entries(file)[:MOST_PREVIEWS]:
            yield base + file.unpack("I", position + 8)[0]


def _index_entries(index: TiffFile) -> range:
    """Return the positions of an index's 16-byte entries, or raise `ValueError`."""
    entries = index.directory(index.first).entries.get(MPF_ENTRIES_TAG)
    if entries is None:
        raise ValueError("lists no images")
    return range(entries.start, entries.start + entries.size - MPF_ENTRY_BYTES + 1, MPF_ENTRY_BYTES)
