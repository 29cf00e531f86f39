"""Redraw thumbnails and previews in the EXIF blocks of a PNG file.

An EXIF block has its own chunk (W3C PNG specification, third edition, 11.3.3.5). Older programs
write the block as a text of hexadecimal digits.
"""

from __future__ import annotations

import contextlib
import string
import zlib

from unblur.formats.embedded_pictures import Redraw, Redrawn, in_exif
from unblur.formats.metadata import from_byte_order
from unblur.formats.png_chunks import SIGNATURE, Chunk, chunks, make_chunk
from unblur.formats.png_metadata import holds_raw_profile, inflate, parse_raw_profile


def redraw(data: bytes, redraw: Redraw, index: None = None) -> Redrawn:
    """Redraw the pictures in the first EXIF block of each kind.

    Raises:
        ValueError: If the file is damaged.
    """
    position, parts, stale, seen = (
        len(SIGNATURE),
        [data[: len(SIGNATURE)]],
        list[str](),
        set[bytes](),
    )
    for chunk in chunks(data):
        position += len(chunk.raw)
        raw = chunk.raw
        if chunk.type not in seen and _holds_exif(chunk):
            seen.add(chunk.type)
            with contextlib.suppress(ValueError):  # damaged
                new = _in_chunk(chunk, redraw)
                stale += new.stale
                raw = raw if new.data == chunk.data else make_chunk(chunk.type, new.data)
        parts.append(raw)
    return Redrawn(b"".join([*parts, data[position:]]) if seen else data, tuple(stale))


def _holds_exif(chunk: Chunk) -> bool:
    return chunk.type == b"eXIf" or holds_raw_profile(chunk)


def _in_chunk(chunk: Chunk, redraw: Redraw) -> Redrawn:
    """Return the data of a chunk with new pictures; raise `ValueError` if it is damaged."""
    if chunk.type == b"eXIf":
        return _in_block(chunk.data, redraw)
    keyword, _, text = chunk.data.partition(b"\0")
    if chunk.type == b"tEXt":
        new = _in_profile(text, redraw)
        return Redrawn(keyword + b"\0" + new.data, new.stale)
    old = inflate(text[1:])
    new = _in_profile(old, redraw)
    if new.data == old:
        return Redrawn(chunk.data, new.stale)
    return Redrawn(keyword + b"\0\0" + zlib.compress(new.data), new.stale)


def _in_profile(text: bytes, redraw: Redraw) -> Redrawn:
    """Redraw the pictures in a profile of digits; line breaks are kept."""
    lines, old = parse_raw_profile(text)
    new = _in_block(old, redraw)
    if new.data == old:
        return Redrawn(text, new.stale)
    digits = iter(new.data.hex().encode())
    is_digit = set(string.hexdigits.encode())
    new_lines = bytes(next(digits, byte) if byte in is_digit else byte for byte in lines)
    return Redrawn(text.removesuffix(lines) + new_lines, new.stale)


def _in_block(data: bytes, redraw: Redraw) -> Redrawn:
    """Redraw the pictures in a block that may begin with JPEG's header."""
    exif = from_byte_order(data)
    new = in_exif(exif, redraw)
    return Redrawn(data.removesuffix(exif) + new.data, new.stale)
