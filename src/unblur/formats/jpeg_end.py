"""Add the end marker to JPEG files without one, as some phones and downloads leave them."""

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
        whole, restart = decode(rest + END), _next_restart(rest)
        for filling in FILLINGS:
            if not np.array_equal(whole, decode(rest + filling + restart + filling + END)):
                raise
        return ended, parts, (NO_END,)


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
