"""The index of a JPEG file of several images (CIPA DC-007, Multi-Picture Format)."""

from __future__ import annotations

import struct

from unblur.formats.tiff_directory import TiffFile, read_tiff

MPF_ENTRIES_TAG = 0xB002
MPF_ENTRY_BYTES = 16
PREVIEWS = frozenset({0x010001, 0x010002})
"""Types of large thumbnails, of the size of a screen or a television."""


def move_index(
    output: bytearray, index: bytes, old_base: int, new_base: int, ends: tuple[int, int]
) -> None:
    """Correct the sizes and offsets of a multi-picture index in the output, unless it is damaged.

    Offsets count from the index's own header (CIPA DC-007, 5.2.3.3.3).

    Args:
        output: The new file so far; changed in place.
        index: The original's index, from its byte order mark on.
        old_base: Offset of the index in the original file.
        new_base: Its offset in the output.
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


def lists_previews(index: bytes) -> bool:
    """Return whether an index lists smaller pictures of the first image (5.2.3.3.1)."""
    try:
        file = read_tiff(index)
        return any(file.unpack("I", at)[0] & 0xFFFFFF in PREVIEWS for at in _index_entries(file))
    except ValueError:
        return False


def _index_entries(index: TiffFile) -> range:
    """Return the positions of an index's 16-byte entries, or raise `ValueError`."""
    entries = index.directory(index.first).entries.get(MPF_ENTRIES_TAG)
    if entries is None:
        raise ValueError("lists no images")
    return range(entries.start, entries.start + entries.size - MPF_ENTRY_BYTES + 1, MPF_ENTRY_BYTES)
