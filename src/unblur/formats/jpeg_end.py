"""Add the end marker to JPEG files without one, and refuse files without their last pixels.

Some phones and downloads leave the marker out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from unblur.formats import jpeg_markers as marks
from unblur.formats.jpeg_markers import Segment, segments

NO_END = "the end marker was missing, and was added; the picture is whole"
END = b"\xff\xd9"
FILLINGS = (b"\x55" * 4096, b"\xaa" * 4096, bytes(range(1, 255)) * 16)
"""Extra bits, which decoders would use as pixels if bits were missing; without them, decoders use
zeros. Each is longer than the ten blocks of a unit."""
MISSING = 128
"""Samples of pixels that are missing."""
RESTARTS = range(0xD0, 0xD8)
BLANK_BYTES = 16
"""Number of zeros at the end of a scan that shows a failed copy; pixels never end like this."""


def with_end(
    data: bytes, decode: Callable[[bytes], NDArray[np.uint8]]
) -> tuple[bytes, tuple[Segment, ...], tuple[str, ...]]:
    """Return a file with its end marker, its segments, and a note if the marker was missing.

    A picture is complete if extra bits after its last bit change no pixel, and if its scans have
    all bits of all coefficients (ITU-T T.81, section G.1.1).

    Args:
        data: The file.
        decode: Decodes a file.

    Raises:
        ValueError: If the picture itself is incomplete.
    """
    try:
        return data, tuple(segments(data)), ()
    except marks.NoEndError:
        ended = data + END
        parts = tuple(segments(ended))
        rest = data.rstrip(b"\xff")
        if rest.endswith(bytes(BLANK_BYTES)) or not _has_all_scans(ended, parts):
            raise
        if _lacks_bits(rest, decode):
            raise
        return ended, parts, (NO_END,)


def refuse_missing(
    data: bytes,
    parts: tuple[Segment, ...],
    pixels: NDArray[np.uint8],
    decode: Callable[[bytes], NDArray[np.uint8]],
) -> None:
    """Raise `ValueError` if a picture is incomplete though it has an end marker.

    Some programs put the marker behind a part of a file. Decoders make the missing pixels grey, so
    a picture that does not end with this grey is not decoded again.

    Args:
        data: The file.
        parts: Its segments.
        pixels: (H, W, C), its pixels.
        decode: Decodes a file.
    """
    if (pixels[-1, -1] == MISSING).all() and _lacks_bits(data[: parts[-1].start], decode):
        raise ValueError("ends before its pixels do")


def _lacks_bits(data: bytes, decode: Callable[[bytes], NDArray[np.uint8]]) -> bool:
    """Return whether extra bits after the last bit of a picture change a pixel.

    Args:
        data: The file up to its end marker.
        decode: Decodes a file.
    """
    whole, restart = decode(data + END), _next_restart(data)
    filled = (decode(data + filling + restart + filling + END) for filling in FILLINGS)
    return not all(np.array_equal(whole, pixels) for pixels in filled)


def _next_restart(data: bytes) -> bytes:
    """Return the restart marker that would follow if restart intervals were missing (E.1.4)."""
    at, last = max((data.rfind(bytes([0xFF, marker])), marker) for marker in RESTARTS)
    return bytes([0xFF, RESTARTS[(last + 1) % 8 if at >= 0 else 0]])


def _has_all_scans(data: bytes, parts: Iterable[Segment]) -> bool:
    """Return whether the scans contain every bit of every coefficient of every component."""
    frame = b""
    missing: dict[int, NDArray[np.uint8]] = defaultdict(lambda: np.full(64, 0xFF, np.uint8))
    for segment in parts:
        payload = segment.payload(data)
        if segment.marker in marks.FRAMES and not frame:
            frame = payload
        if segment.marker == marks.SOS and payload:
            count = payload[0]
            header = payload[: 4 + 2 * count]
            first, last, bits = header[1 + 2 * count :]
            for name in header[1 : 1 + 2 * count : 2]:
                missing[name][first : last + 1] = bits & 0x0F
    names = frame[6::3]
    return bool(names) and all(not missing[name].any() for name in names)
