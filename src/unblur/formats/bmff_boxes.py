"""Read and write boxes, the parts of ISO base media files (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unblur.file_limits import limited


@dataclass(frozen=True)
class Box:
    """The type and position of a box in a file."""

    type: bytes
    start: int
    body: int
    stop: int


@dataclass
class Cursor:
    """A reader of successive numbers."""

    data: bytes
    position: int
    stop: int

    def number(self, size: int) -> int:
        """Read a big-endian unsigned number; raise `ValueError` if it ends after ``stop``."""
        start, self.position = self.position, self.position + size
        if self.position > self.stop:
            raise ValueError("a box is too short")
        return int.from_bytes(self.data[start : self.position], "big")


def read_box(data: bytes, start: int, stop: int) -> Box:
    """Read a box's header; raise `ValueError` if the box ends after ``stop``."""
    length = int.from_bytes(data[start : start + 4], "big")
    body = start + 8
    if length == 1:
        length = int.from_bytes(data[body : body + 8], "big")
        body += 8
    end = start + length if length else stop
    if not body <= end <= stop:
        raise ValueError("a box ends after the file")
    return Box(data[start + 4 : start + 8], start, body, end)


def boxes(data: bytes, start: int, stop: int) -> Iterator[Box]:
    """Yield successive boxes.

    Raises:
        ExcessError: If there are too many.
        ValueError: If one ends after ``stop``.
    """
    return limited(_boxes(data, start, stop), stop - start, "boxes")


def _boxes(data: bytes, start: int, stop: int) -> Iterator[Box]:
    while start < stop:
        box = read_box(data, start, stop)
        yield box
        start = box.stop


def make_box(kind: bytes, body: bytes) -> bytes:
    """Return the bytes of a box."""
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def open_full_box(data: bytes, box: Box) -> tuple[Cursor, int]:
    """Return a cursor after a box's version and flags, and the version."""
    cursor = Cursor(data, box.body, box.stop)
    return cursor, cursor.number(4) >> 24
