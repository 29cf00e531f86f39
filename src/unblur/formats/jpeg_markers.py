"""Read and write the segments of a JPEG file (ITU-T T.81, annex B)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unblur.file_limits import limited, refuse_excess

SOI, EOI, SOS, DRI, COM = 0xD8, 0xD9, 0xDA, 0xDD, 0xFE
APP0, APP1, APP2, APP11, APP13, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xEF
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers; the missing numbers are DHT, JPG and DAC."""
LOSSLESS_FRAMES = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
FIRST_ARITHMETIC = 0xC9
"""First of the frames with arithmetic coding; those before it have Huffman codes."""

BLOCK = 8
"""Samples per side of a block."""
LONGEST_SIDE = 65_500
"""Most pixels per side that libjpeg decodes and encodes."""
LONGEST_SEGMENT = 0xFFFF - 2
"""Most bytes of a segment's payload."""

_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""End of encoded data, in which only stuffed zeros and restart markers follow 0xFF. Preceding 0xFF
are not matched, which would take quadratic time for a long run of them."""
_SEGMENT_START = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
"""Markers that begin a segment."""

MOST_SCANS = 100
"""Most scans: encoders write about ten, and each takes as long as decoding all pixels."""

EXIF = b"Exif\0\0"
MPF = b"MPF\0"


class NoEndError(ValueError):
    """The first image has no end marker."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment: its marker, and its position in a file."""

    marker: int
    start: int
    stop: int

    @property
    def is_metadata(self) -> bool:
        """Whether the segment is an application segment or a comment."""
        return APP0 <= self.marker <= APP15 or self.marker == COM

    def payload(self, data: bytes) -> bytes:
        """Return the segment's bytes after marker and length."""
        return data[self.start + 4 : self.stop]


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the first image's segments, from SOI to EOI.

    An SOS segment includes the encoded data. Bytes between segments are skipped.

    Raises:
        ExcessError: If there are too many.
        ValueError: If there is no image, or it ends too early.
    """
    return limited(_segments(data), len(data), "segments")


def _segments(data: bytes) -> Iterator[Segment]:
    if data[:2] != b"\xff\xd8":
        raise ValueError("does not begin as a JPEG")
    yield Segment(SOI, 0, 2)
    position = 2
    while True:
        match = _SEGMENT_START.search(data, position)
        if not match:
            raise NoEndError("ends before its image does")
        marker, start = match[1][0], match.end() - 2
        if marker == EOI:
            yield Segment(EOI, start, match.end())
            return
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        position = match.end() + length
        if length < 2 or position > len(data):
            raise ValueError("a segment ends after the file")
        if marker == SOS:
            following = _SCAN_END.search(data, position)
            position = following.start() if following else len(data)
        yield Segment(marker, start, position)


def make_segment(marker: int, payload: bytes) -> bytes:
    """Write a segment of at most `LONGEST_SEGMENT` bytes."""
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def is_rgb_coded(data: bytes, parts: Iterable[Segment] | None = None) -> bool:
    """Return whether an image of three components is RGB rather than YCbCr, by libjpeg's rules."""
    transform = None
    names = b""
    for segment in parts or segments(data):
        if segment.marker == SOS:
            break
        payload = segment.payload(data)
        if segment.marker == APP0 and payload.startswith(b"JFIF\0"):
            return False
        if segment.marker in FRAMES:
            names = payload[6::3]
        transform = adobe_transform(segment, payload, transform)
    return len(names) == 3 and (names == b"RGB" if transform is None else transform == 0)


def restart_interval(data: bytes, parts: Iterable[Segment]) -> int:
    """Return the number of units between restart markers in the first scan; 0 without markers.

    Decoders continue at these markers after damage, and some decode between them in parallel.
    """
    interval = 0
    for segment in parts:
        if segment.marker == SOS:
            break
        if segment.marker == DRI:
            interval = int.from_bytes(segment.payload(data)[:2], "big")
    return interval


def adobe_transform(segment: Segment, payload: bytes, default: int | None = None) -> int | None:
    """Return the colour transform of an Adobe segment; the default for other segments."""
    if segment.marker == APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
        return payload[11]
    return default


def without_metadata(data: bytes, parts: Iterable[Segment] | None = None) -> bytes:
    """Return the first image with only the segments that its pixels need.

    Libraries decode these bytes: damaged metadata could make them refuse the photo.

    Raises:
        ExcessError: If it has too many scans.
        ValueError: If there is no image, or it ends too early.
    """
    kept = [s for s in parts or segments(data) if s.marker in (APP0, APP14) or not s.is_metadata]
    refuse_excess(sum(segment.marker == SOS for segment in kept), MOST_SCANS, "scans")
    view = memoryview(data)  # its slices copy nothing
    return b"".join(view[segment.start : segment.stop] for segment in kept)


def first_exif(data: bytes) -> bytes:
    """Return the EXIF block of a file, or of its beginning, from the byte order mark on."""
    with contextlib.suppress(ValueError):  # damage after the block does not matter
        for segment in segments(data):
            payload = segment.payload(data)
            if segment.marker == APP1 and payload.startswith(EXIF):
                return payload[len(EXIF) :]
    return b""


def with_size(data: bytes, parts: Iterable[Segment], height: int, width: int) -> bytes:
    """Return an image (and its segments) whose frame states another size.

    Raises:
        ValueError: If there is no frame.
    """
    for segment in parts:
        if segment.marker in FRAMES:
            start = segment.start + 5  # after marker, length and precision
            stated = height.to_bytes(2, "big") + width.to_bytes(2, "big")
            return b"".join([data[:start], stated, data[start + len(stated) :]])
    raise ValueError("has no image")


def image_end(data: bytes, parts: Iterable[Segment] | None = None) -> int:
    """Return the position after the first image, or raise `ValueError`."""
    return max(segment.stop for segment in parts or segments(data))


def lacks_pixels(data: bytes, parts: Iterable[Segment]) -> bool:
    """Return whether the first image's scans have fewer bits than the image has blocks.

    Each block begins with a Huffman code of at least one bit (ITU-T T.81, F.1.2 and G.1.2).
    Arithmetic coding can do with fewer.
    """
    pixels = coded = 0
    for segment in parts:
        coded += segment.stop - segment.start if segment.marker == SOS else 0
        if segment.marker in FRAMES and segment.marker < FIRST_ARITHMETIC:
            payload = segment.payload(data)
            pixels = int.from_bytes(payload[1:3], "big") * int.from_bytes(payload[3:5], "big")
    return pixels > 8 * coded * BLOCK**2


def component_count(data: bytes, parts: Iterable[Segment]) -> int:
    """Return how many components the first image has; raise `ValueError` if there is no frame."""
    for segment in parts:
        if segment.marker in FRAMES:
            return segment.payload(data)[5]
    raise ValueError("has no image")
