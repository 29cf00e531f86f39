"""Read from the headers of an AV1 image how much work its decoding takes.

The data consist of units (OBU), see the AV1 Bitstream & Decoding Process
Specification, sections 5.3 to 5.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unblur.file_limits import limited

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6
"""Types of units."""


@dataclass(frozen=True)
class Extent:
    """The amount of work for a decoder."""

    frames: int
    """Number of frames, shown or not."""
    pixels: int
    """Pixels of the largest possible frame; 0 if unknown."""


def read_extent(data: bytes) -> Extent:
    """Read the number and largest size of the frames in an image, or raise `ValueError`."""
    frames = pixels = 0
    for kind, payload in limited(_units(data), len(data), "units of AV1"):
        if kind == SEQUENCE_HEADER:
            pixels = max(pixels, _read_largest(payload))
        frames += kind in (FRAME_HEADER, FRAME)
    return Extent(frames, pixels)


def _units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield types and payloads of units; a unit without a size is the last unit."""
    position = 0
    while position < len(data):
        header = data[position]
        position += 2 if header & 4 else 1
        length = len(data) - position
        if header & 2:
            length, position = _read_leb128(data, position)
        yield header >> 3 & 15, data[position : position + length]
        position += length


def _read_leb128(data: bytes, position: int) -> tuple[int, int]:
    """Read a number of seven bits per byte, least significant first; also return its end."""
    value = 0
    for index, byte in enumerate(data[position : position + 8]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("has a damaged AV1 image")


class _Bits:
    """A reader of bits, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("has a damaged AV1 image")
        return self._value >> self._left & (1 << count) - 1

    def skip_variable(self) -> None:
        """Skip a number of variable length (4.10.3)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        self.read(zeros)


LONGEST_SEQUENCE_HEADER = 1024
"""Upper bound of the bytes before the size: 32 operating points of less than 20 bytes each."""


def _read_largest(payload: bytes) -> int:
    """Return the pixels of the largest frame that a sequence header allows (5.5.1)."""
    bits = _Bits(payload[:LONGEST_SEQUENCE_HEADER])
    bits.read(4)  # profile, still picture
    if bits.read(1):  # reduced header of a still picture
        bits.read(5)
    else:
        _skip_operating_points(bits)
    widths = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(widths[0]) + 1) * (bits.read(widths[1]) + 1)


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # timing
        bits.read(64)
        if bits.read(1):
            bits.skip_variable()
        if bits.read(1):  # decoder model
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)  # tier
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
