"""EXIF, XMP and colour profiles, as every container holds them.

The blocks stay byte for byte; only the containers around them differ.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace

from unblur.formats.tiff_directory import SHORT, Tag, read_tiff
from unblur.formats.tiff_fields import write_block, write_numbers

JPEG_EXIF = b"Exif\0\0"
FURTHER_PAGES = "further pages"
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")


@dataclass(frozen=True)
class Metadata:
    """Blocks that every format can hold, and names of others that only the original can."""

    exif: bytes = b""
    """From the byte order mark on."""
    xmp: bytes = b""
    icc: bytes = b""
    left_out: tuple[str, ...] = ()

    def stripped(self) -> Metadata:
        """Return only the blocks that a viewer needs to show the photo as it was."""
        orientation = read_orientation(self.exif)
        exif = b"" if orientation == 1 else make_orientation(orientation)
        pages = tuple(name for name in self.left_out if name == FURTHER_PAGES)
        return Metadata(exif, icc=self.icc, left_out=pages)

    def upright(self) -> Metadata:
        """Return the metadata of the photo once its pixels have been turned upright."""
        return replace(self, exif=with_orientation(self.exif, 1), xmp=upright_xmp(self.xmp))


def read_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block, 1 to 8; 1, upright, if it has none."""
    place = _find_orientation(exif)
    if place is None:
        return 1
    order, position = place
    (value,) = struct.unpack_from(order + "H", exif, position)
    return int(value) if 1 <= value <= 8 else 1


def with_orientation(exif: bytes, orientation: int) -> bytes:
    """Return an EXIF block with its orientation, if it has one, replaced."""
    place = _find_orientation(exif)
    if place is None:
        return exif
    order, position = place
    return exif[:position] + struct.pack(order + "H", orientation) + exif[position + 2 :]


def upright_xmp(xmp: bytes) -> bytes:
    """Return an XMP packet with its orientation, if it has one, set to upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def make_orientation(orientation: int) -> bytes:
    """Make an EXIF block with no field but the orientation."""
    field = write_numbers(Tag.ORIENTATION, ">", SHORT, orientation)
    return write_block([field], {}, ">")


def _find_orientation(exif: bytes) -> tuple[str, int] | None:
    """Return the byte order of an EXIF block, and the position of the orientation's value."""
    try:
        file = read_tiff(exif)
        entry = file.directory(file.first).entries.get(Tag.ORIENTATION)
    except ValueError:  # damaged, or no EXIF at all
        return None
    return (file.order, entry.start) if entry and (entry.type, entry.count) == (SHORT, 1) else None


def from_byte_order(exif: bytes) -> bytes:
    """Return an EXIF block without the header that some writers repeat from JPEG."""
    return exif.removeprefix(JPEG_EXIF)
