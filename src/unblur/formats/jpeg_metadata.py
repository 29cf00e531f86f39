"""Read and write metadata in JPEG segments: Exif 2.32 (4.7.2), XMP (part 3), ICC.1 (annex B)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from unblur.formats import jpeg_markers as marks
from unblur.formats.jpeg_markers import Segment, segments
from unblur.formats.metadata import Metadata

XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
IPTC = b"Photoshop 3.0\0"
ICC = b"ICC_PROFILE\0"
ICC_ROOM = marks.LONGEST_SEGMENT - len(ICC) - 2
"""Largest number of a profile's bytes in a segment; number and count of segments take a byte
each."""
LONGEST_ICC = 0xFF * ICC_ROOM

JFIF = b"JFIF\0"
JFIF_BYTES = 12
"""Length of a JFIF segment before the thumbnail's width and height."""
NO_THUMBNAIL = bytes(2)
ADOBE_BYTES = 12


def metadata(data: bytes, parts: tuple[Segment, ...] | None = None) -> Metadata:
    """Read the first image's metadata.

    Args:
        data: The whole file.
        parts: Its segments, if they are known.
    """
    parts = parts or tuple(segments(data))
    exif = xmp = b""
    profile: list[bytes] = []
    left_out: dict[str, None] = {}  # in order of appearance
    for segment in parts:
        if not segment.is_metadata or segment.marker in (marks.APP0, marks.APP14):
            continue
        payload = segment.payload(data)
        if segment.marker == marks.APP1 and payload.startswith(marks.EXIF) and not exif:
            exif = payload[len(marks.EXIF) :]
        elif segment.marker == marks.APP1 and payload.startswith(XMP) and not xmp:
            xmp = payload[len(XMP) :]
        elif segment.marker == marks.APP2 and payload.startswith(ICC):
            profile.append(payload[len(ICC) :])
        else:
            left_out[_describe(segment.marker, payload)] = None
    if data[marks.image_end(data, parts) :].strip(b"\0"):
        left_out["data after the image"] = None
    icc = _join_profile(profile)
    if profile and not icc:
        left_out["a damaged profile"] = None
    return Metadata(exif, xmp, icc, tuple(left_out))


def _join_profile(parts: list[bytes]) -> bytes:
    """Return a profile from its parts in any order; nothing if one is missing or there twice.

    Each part begins with its number and their count. libjpeg, and so most viewers, ignore
    incomplete profiles, too.
    """
    parts, count = sorted(parts), len(parts)
    if [tuple(part[:2]) for part in parts] != [(number, count) for number in range(1, count + 1)]:
        return b""
    return b"".join(part[2:] for part in parts)


def _describe(marker: int, payload: bytes) -> str:
    if marker == marks.COM:
        return "comments"
    for start, name in (
        (IPTC, "IPTC"),
        (EXTENDED_XMP, "extended XMP"),
        (marks.MPF, "further images"),
    ):
        if payload.startswith(start):
            return name
    return f"APP{marker - marks.APP0} segments"


def with_metadata(data: bytes, blocks: Metadata) -> bytes:
    """Add metadata to a file without metadata; blocks that are `too_large` are left out.

    The JFIF segment stays first (JFIF 1.02).
    """
    start = 2
    for segment in segments(data):
        if segment.marker == marks.APP0:
            start = segment.stop
    return data[:start] + b"".join(_make_segments(blocks)) + data[start:]


def _make_segments(blocks: Metadata) -> Iterator[bytes]:
    for header, block in ((marks.EXIF, blocks.exif), (XMP, blocks.xmp)):
        if block and len(header + block) <= marks.LONGEST_SEGMENT:
            yield marks.make_segment(marks.APP1, header + block)
    icc = blocks.icc
    if len(icc) > LONGEST_ICC:
        return
    parts = [icc[start : start + ICC_ROOM] for start in range(0, len(icc), ICC_ROOM)]
    for number, part in enumerate(parts, 1):
        yield marks.make_segment(marks.APP2, ICC + bytes([number, len(parts)]) + part)


def too_large(blocks: Metadata) -> list[str]:
    """Return the names of too large blocks; only profiles can span several segments."""
    names = [("EXIF", marks.EXIF + blocks.exif), ("XMP", XMP + blocks.xmp)]
    return [
        f"{name} of more than 64 KiB" for name, block in names if len(block) > marks.LONGEST_SEGMENT
    ] + ["a profile of more than 16 MiB"] * (len(blocks.icc) > LONGEST_ICC)


def stripped(data: bytes) -> bytes:
    """Return the first image with only its profile and its orientation."""
    parts = tuple(segments(data))
    shown = b"".join(_shown(data, parts))
    return with_metadata(shown, metadata(data, parts).stripped())


def _shown(data: bytes, parts: Iterable[Segment]) -> Iterator[bytes]:
    """Yield the segments that a viewer needs to decode and show the image."""
    for segment in parts:
        payload = segment.payload(data) if segment.is_metadata else b""
        if not segment.is_metadata:
            yield data[segment.start : segment.stop]
        elif segment.marker == marks.APP0 and payload.startswith(JFIF):
            yield marks.make_segment(marks.APP0, payload[:JFIF_BYTES] + NO_THUMBNAIL)
        elif segment.marker == marks.APP14 and payload.startswith(b"Adobe"):
            yield marks.make_segment(marks.APP14, payload[:ADOBE_BYTES])
