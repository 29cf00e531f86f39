"""Read and write the chunks of a PNG file (W3C PNG specification, third edition, section 5)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from unblur.file_limits import limited

SIGNATURE = b"\x89PNG\r\n\x1a\n"
REPLACED = frozenset({b"IHDR", b"IDAT"})
ABOUT_PIXELS = REPLACED | {b"PLTE", b"tRNS", b"IEND"}


@dataclass(frozen=True)
class Chunk:
    """A chunk's type and data, and its bytes in the file, including checksum or padding."""

    type: bytes
    data: bytes
    raw: bytes


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks up to IEND; checksums are not verified.

    Raises:
        ExcessError: If there are too many chunks.
        ValueError: If the file is not a PNG, or ends before IEND.
    """
    return limited(_chunks(data), len(data), "chunks")


def _chunks(data: bytes) -> Iterator[Chunk]:
    if not data.startswith(SIGNATURE):
        raise ValueError("does not begin as a PNG")
    position = len(SIGNATURE)
    while True:
        if position + 12 > len(data):
            raise ValueError("ends before its last chunk")
        length = int.from_bytes(data[position : position + 4], "big")
        stop = position + 12 + length
        if stop > len(data):
            raise ValueError("a chunk ends after the file")
        raw = data[position:stop]
        yield Chunk(raw[4:8], raw[8:-4], raw)
        if raw[4:8] == b"IEND":
            return
        position = stop


def make_chunk(kind: bytes, data: bytes) -> bytes:
    """Write a chunk with its length and checksum."""
    body = kind + data
    return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
