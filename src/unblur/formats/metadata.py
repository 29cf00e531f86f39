"""EXIF, XMP and colour profiles, as every container holds them.

The blocks stay byte for byte; only the containers around them differ.
"""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import dataclass, replace
from itertools import islice

from unblur.formats.jpeg_markers import EXIF
from unblur.formats.tiff_directory import BYTE, LONG, SHORT, Directory, Tag, TiffFile, read_tiff
from unblur.formats.tiff_fields import write_block, write_numbers

JPEG_COMPRESSION = 6
"""Of thumbnails in EXIF (Exif 2.32, 4.5.8)."""
FURTHER_PAGES = "further pages"
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s{0,9}=\s{0,9}[\"']|>)\s{0,9})[2-8]")
_WHOLE_NUMBERS = {BYTE: "B", SHORT: "H", LONG: "I"}
"""How `struct` calls the types in which cameras and programs write an orientation."""
_SIDES = (
    (Tag.IMAGE_WIDTH, Tag.IMAGE_LENGTH),
    (Tag.X_RESOLUTION, Tag.Y_RESOLUTION),
    (Tag.PIXEL_X_DIMENSION, Tag.PIXEL_Y_DIMENSION),
    (Tag.FOCAL_PLANE_X_RESOLUTION, Tag.FOCAL_PLANE_Y_RESOLUTION),
)
"""Pairs of fields about width and height."""


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
        return replace(self, exif=upright_exif(self.exif), xmp=upright_xmp(self.xmp))


def read_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block, 1 to 8; 1, upright, if it has none."""
    with contextlib.suppress(ValueError):  # damaged, or no EXIF at all
        file = read_tiff(exif)
        place = _find_orientation(file, file.directory(file.first))
        value = file.unpack(*place)[0] if place else 1
        return value if 1 <= value <= 8 else 1
    return 1


def upright_exif(exif: bytes) -> bytes:
    """Return the EXIF block of a photo once its pixels have been turned upright.

    All of its orientations become 1, that of the thumbnail too. Width and height are exchanged if
    the photo was turned by a quarter. The block keeps its length; a damaged one stays as it is.
    """
    output = bytearray(exif)
    with contextlib.suppress(ValueError):
        file = read_tiff(exif)
        first, *others = islice(file.pages(), 2)
        if read_orientation(exif) >= 5:
            _exchange_sides(output, first)
            for start in file.values(first, Tag.EXIF_IFD):
                _exchange_sides(output, file.directory(start))
        for directory in (first, *others):
            if place := _find_orientation(file, directory):
                struct.pack_into(file.order + place[0], output, place[1], 1)
    return bytes(output)


def _exchange_sides(output: bytearray, directory: Directory) -> None:
    """Exchange the type, count and value of fields about width and height, in a block's bytes."""
    for pair in _SIDES:
        if all(tag in directory.entries for tag in pair):
            one, other = (
                slice(directory.entries[tag].position + 2, directory.entries[tag].position + 12)
                for tag in pair
            )
            output[one], output[other] = output[other], output[one]


def find_thumbnail(exif: bytes) -> slice | None:
    """Return the place of a JPEG thumbnail in an EXIF block, or ``None`` without one."""
    try:
        file = read_tiff(exif)
        _, second = islice(file.pages(), 2)
        if file.value(second, Tag.COMPRESSION) != JPEG_COMPRESSION:
            return None
        start = file.value(second, Tag.JPEG_OFFSET)
        stop = start + file.value(second, Tag.JPEG_BYTE_COUNT)
    except ValueError:  # damaged, or of one directory only
        return None
    return slice(start, stop) if 0 <= start <= stop <= len(exif) else None


def upright_xmp(xmp: bytes) -> bytes:
    """Return an XMP packet with its orientation, if it has one, set to upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def make_orientation(orientation: int) -> bytes:
    """Make an EXIF block with no field but the orientation."""
    field = write_numbers(Tag.ORIENTATION, ">", SHORT, orientation)
    return write_block([field], {}, ">")


def _find_orientation(file: TiffFile, directory: Directory) -> tuple[str, int] | None:
    """Return what `struct` calls a directory's orientation, and the position of its value."""
    entry = directory.entries.get(Tag.ORIENTATION)
    if entry is None or entry.count != 1 or entry.type not in _WHOLE_NUMBERS:
        return None
    file.unpack(_WHOLE_NUMBERS[entry.type], entry.start)
    return _WHOLE_NUMBERS[entry.type], entry.start


def from_byte_order(exif: bytes) -> bytes:
    """Return an EXIF block without the header that some writers repeat from JPEG."""
    return exif.removeprefix(EXIF)
