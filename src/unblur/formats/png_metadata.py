"""Read and write metadata in PNG chunks (W3C PNG specification, third edition, section 11.3)."""

from __future__ import annotations

import zlib

from unblur.formats.metadata import Metadata, from_byte_order
from unblur.formats.png_chunks import ABOUT_PIXELS, SIGNATURE, Chunk, chunks, make_chunk

XMP = b"XML:com.adobe.xmp\0"
COLOR = frozenset({b"cICP", b"gAMA", b"cHRM"})
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
SHOWN = ABOUT_PIXELS | COLOR | {b"sRGB", b"mDCV", b"cLLI", b"sBIT", b"pHYs"}
"""Chunks that a viewer needs to show pixels, besides the profile."""
RAW_PROFILES = (b"Raw profile type exif\0", b"Raw profile type APP1\0")
"""Keywords of texts in which ImageMagick, Exiv2 and older ExifTool write an EXIF block."""
LONGEST_INFLATED = 64 << 20
"""Largest profile or text in bytes: larger than any real one, smaller than a decompression bomb."""


def metadata(data: bytes, index: None = None) -> Metadata:
    """Read the first block of each kind; decompressing all blocks could take for ever."""
    found: dict[str, bytes] = {}
    left_out: dict[str, None] = {}
    types = set()
    exif_in_text = b""
    for chunk in chunks(data):
        types.add(chunk.type)
        kind = _block_kind(chunk)
        try:
            if holds_raw_profile(chunk):
                exif_in_text = exif_in_text or _read_raw_profile(chunk)
            elif kind and kind not in found:
                found[kind] = b""
                found[kind] = _read_block(chunk)
            elif chunk.type in TEXTS and not kind:
                left_out["texts"] = None
        except ValueError:
            left_out["damaged metadata"] = None
    if types & COLOR and not types & {b"iCCP", b"sRGB"}:
        left_out["its colour space"] = None
    exif = found.pop("exif", b"") or exif_in_text
    return Metadata(exif, **found, left_out=tuple(left_out))


def holds_raw_profile(chunk: Chunk) -> bool:
    """Return whether a chunk is a text that holds an EXIF block."""
    return chunk.type in (b"tEXt", b"zTXt") and chunk.data.startswith(RAW_PROFILES)


def _read_raw_profile(chunk: Chunk) -> bytes:
    """Return the EXIF block in a text; raise `ValueError` if it is damaged."""
    _, _, text = chunk.data.partition(b"\0")
    _, block = parse_raw_profile(inflate(text[1:]) if chunk.type == b"zTXt" else text)
    return from_byte_order(block)


def parse_raw_profile(text: bytes) -> tuple[bytes, bytes]:
    """Return the lines of hexadecimal digits of a profile, and the block that they state.

    The lines before them are empty, the name of the profile, and the length of the block in bytes.
    Some programs write other bytes after the digits.

    Raises:
        ValueError: If the profile is damaged.
    """
    *head, digits = text.split(b"\n", 3)
    length = int(head[2]) if len(head) == 3 else 0
    block = bytes.fromhex(b"".join(digits.split())[: 2 * max(0, length)].decode("ascii"))
    if not block or len(block) < length:
        raise ValueError("has a damaged profile")
    return digits, block


def _block_kind(chunk: Chunk) -> str:
    """Return the name in `Metadata` of the block in a chunk; empty if there is none."""
    if chunk.type == b"iTXt" and chunk.data.startswith(XMP):
        return "xmp"
    return {b"eXIf": "exif", b"iCCP": "icc"}.get(chunk.type, "")


def _read_block(chunk: Chunk) -> bytes:
    """Return the block in a chunk; raise `ValueError` if it is damaged."""
    if chunk.type == b"eXIf":
        return from_byte_order(chunk.data)
    if chunk.type == b"iCCP":
        return inflate(chunk.data.partition(b"\0")[2][1:])
    return _read_international_text(chunk.data)


def _read_international_text(data: bytes) -> bytes:
    """Return the text of an iTXt chunk (11.3.3.4); raise `ValueError` if it is damaged."""
    _, _, rest = data.partition(b"\0")
    is_compressed = rest[:1] == b"\1"
    parts = rest[2:].split(b"\0", 2)  # language, translated keyword, text
    if len(parts) < 3:
        raise ValueError("has a damaged text")
    return inflate(parts[2]) if is_compressed else parts[2]


def inflate(data: bytes) -> bytes:
    """Decompress a profile or a text, or raise `ValueError`."""
    decompressor = zlib.decompressobj()
    try:
        inflated = decompressor.decompress(data, LONGEST_INFLATED)
    except zlib.error as error:
        raise ValueError("has a damaged profile or text") from error
    if not decompressor.eof:
        raise ValueError("has a profile or text that is cut off or too large")
    return inflated


def with_metadata(data: bytes, blocks: Metadata) -> bytes:
    """Add metadata chunks after IHDR, because a profile must come before palette and pixels."""
    start = next(len(SIGNATURE + chunk.raw) for chunk in chunks(data))
    inserted = b""
    if blocks.icc:
        profile = b"ICC profile\0\0" + zlib.compress(blocks.icc)
        inserted += make_chunk(b"iCCP", profile)
    if blocks.exif:
        inserted += make_chunk(b"eXIf", blocks.exif)
    if blocks.xmp:
        inserted += make_chunk(b"iTXt", XMP + bytes(4) + blocks.xmp)
    return data[:start] + inserted + data[start:]


def stripped(data: bytes) -> bytes:
    """Return a file with only its pixels, the chunks for showing them, and the orientation."""
    shown = (chunk.raw for chunk in chunks(data) if chunk.type in SHOWN)
    return with_metadata(SIGNATURE + b"".join(shown), metadata(data).stripped())
