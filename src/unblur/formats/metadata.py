"""Read and adapt EXIF, XMP and colour profiles, which are the same in all containers."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice

from unblur.formats.jpeg_markers import EXIF
from unblur.formats.tiff_directory import (
    BYTE,
    LONG,
    SHORT,
    Directory,
    Entry,
    Tag,
    TiffFile,
    read_tiff,
)
from unblur.formats.tiff_fields import write_block, write_numbers

JPEG_COMPRESSION = 6
"""Compression of thumbnails in EXIF (Exif 2.32, 4.5.8)."""
FURTHER_PAGES = "further pages"
C2PA_LEFT_OUT = "the C2PA manifest was left out: it signs the pixels as they were"
_VALUE = rb"(?:\s{0,9}=\s{0,9}[\"']|>)\s{0,9}"
"""Pattern between a property's name and its value, as an attribute or as an element."""
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation" + _VALUE + rb")[2-8]")
_WHOLE_NUMBERS = {BYTE: "B", SHORT: "H", LONG: "I"}
"""Codes of `struct` for the types in which cameras and programs write an orientation."""
_SIZES = (
    (Tag.IMAGE_WIDTH, Tag.IMAGE_LENGTH),
    (Tag.PIXEL_X_DIMENSION, Tag.PIXEL_Y_DIMENSION),
    (Tag.RELATED_IMAGE_WIDTH, Tag.RELATED_IMAGE_LENGTH),
)
"""Pairs of fields with a photo's width and height."""
_SIDES = (
    *_SIZES,
    (Tag.X_RESOLUTION, Tag.Y_RESOLUTION),
    (Tag.FOCAL_PLANE_X_RESOLUTION, Tag.FOCAL_PLANE_Y_RESOLUTION),
)
"""Pairs of fields about width and height."""
_XMP_SIZES = (
    re.compile(rb"((?:tiff:ImageWidth|exif:PixelXDimension)" + _VALUE + rb")[0-9]{1,10}"),
    re.compile(rb"((?:tiff:ImageLength|exif:PixelYDimension)" + _VALUE + rb")[0-9]{1,10}"),
)


@dataclass(frozen=True)
class Metadata:
    """Blocks that every format can store, and names of blocks that only the original can store."""

    exif: bytes = b""
    """The EXIF block, from its byte order mark on."""
    xmp: bytes = b""
    icc: bytes = b""
    left_out: tuple[str, ...] = ()

    def stripped(self) -> Metadata:
        """Return only the blocks that a viewer needs to show the photo as before."""
        orientation = read_orientation(self.exif)
        exif = b"" if orientation == 1 else make_orientation(orientation)
        pages = tuple(name for name in self.left_out if name == FURTHER_PAGES)
        return Metadata(exif, icc=self.icc, left_out=pages)

    def fitting(self, channels: int) -> Metadata:
        """Return the metadata without a profile for another number of channels (ICC.1, 7.2).

        Programs that manage colours refuse such a profile, or the whole file.

        Args:
            channels: 1 for grey, 3 for RGB.
        """
        space, mark = self.icc[16:20], self.icc[36:40]
        if mark != b"acsp" or space == (b"GRAY" if channels == 1 else b"RGB "):
            return self
        name = space.decode("ascii", "replace").strip()
        return replace(self, icc=b"", left_out=(*self.left_out, f"a profile for {name}"))

    def upright(self, quarter_turn: bool = False) -> Metadata:
        """Return the metadata of the photo after its pixels were rotated upright."""
        exif = upright_exif(self.exif, quarter_turn)
        return replace(self, exif=exif, xmp=upright_xmp(self.xmp))

    def with_size(self, width: int, height: int) -> Metadata:
        """Return the metadata with a new width and height wherever they are stored."""
        exif, xmp = _exif_with_size(self.exif, (width, height)), self.xmp
        for pattern, side in zip(_XMP_SIZES, (width, height), strict=True):
            xmp = pattern.sub(rb"\g<1>%d" % side, xmp)
        return replace(self, exif=exif, xmp=xmp)


def read_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block, 1 to 8; 1 (upright) without an orientation."""
    with contextlib.suppress(ValueError):  # damaged, or no EXIF at all
        file = read_tiff(exif)
        place = _find_orientation(file, file.directory(file.first))
        value = file.unpack(*place)[0] if place else 1
        return value if 1 <= value <= 8 else 1
    return 1


def upright_exif(exif: bytes, quarter_turn: bool = False) -> bytes:
    """Return the EXIF block of a photo after its pixels were rotated upright.

    All orientations become 1, including the thumbnail's. The block keeps its length; a damaged
    block is not changed.

    Args:
        exif: The block from its byte order mark on.
        quarter_turn: Whether width and height were exchanged.
    """
    output = bytearray(exif)
    with contextlib.suppress(ValueError):
        file = read_tiff(exif)
        if quarter_turn:
            for directory in _about_photo(file):
                exchange_sides(output, directory)
        for directory in islice(file.pages(), 2):
            if place := _find_orientation(file, directory):
                struct.pack_into(file.order + place[0], output, place[1], 1)
    return bytes(output)


def exchange_sides(output: bytearray, directory: Directory) -> None:
    """Exchange the type, count and value of the fields of width and height in a block's bytes."""
    for pair in _SIDES:
        if all(tag in directory.entries for tag in pair):
            one, other = (
                slice(directory.entries[tag].position + 2, directory.entries[tag].position + 12)
                for tag in pair
            )
            output[one], output[other] = output[other], output[one]


def _about_photo(file: TiffFile) -> Iterator[Directory]:
    """Yield a block's directories about the photo: the first, and two linked directories."""
    directory = file.directory(file.first)
    yield directory
    for tag in (Tag.EXIF_IFD, Tag.INTEROPERABILITY_IFD):
        start = file.value(directory, tag)
        if not start:
            return
        directory = file.directory(start)
        yield directory


def _exif_with_size(exif: bytes, size: tuple[int, int]) -> bytes:
    """Return an EXIF block with this width and height in all fields that have them."""
    output = bytearray(exif)
    with contextlib.suppress(ValueError):
        file = read_tiff(exif)
        for directory in _about_photo(file):
            for tag, side in zip(chain(*_SIZES), cycle(size), strict=False):
                if entry := directory.entries.get(tag):
                    _set_number(output, file.order, entry, side)
    return bytes(output)


def _set_number(output: bytearray, order: str, entry: Entry, number: int) -> None:
    """Set a field of one integer in a block's bytes; SHORT becomes LONG if necessary."""
    if entry.type not in (SHORT, LONG) or entry.count != 1:
        return
    kind = SHORT if entry.type == SHORT and number <= 0xFFFF else LONG
    field = write_numbers(entry.tag, order, kind, number)
    head = struct.pack(order + "HI", field.type, field.count)
    output[entry.position + 2 : entry.position + 12] = head + field.values.ljust(4, b"\0")


def find_thumbnail(exif: bytes) -> slice | None:
    """Return the position of a JPEG thumbnail in an EXIF block, or ``None`` without one."""
    try:
        file = read_tiff(exif)
        _, second = islice(file.pages(), 2)
        if file.value(second, Tag.COMPRESSION) != JPEG_COMPRESSION:
            return None
        start = file.value(second, Tag.JPEG_OFFSET)
        stop = start + file.value(second, Tag.JPEG_BYTE_COUNT)
    except ValueError:  # damaged, or without a second directory
        return None
    return slice(start, stop) if 0 <= start <= stop <= len(exif) else None


def upright_xmp(xmp: bytes) -> bytes:
    """Return an XMP packet whose orientation, if there is one, is upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def make_orientation(orientation: int) -> bytes:
    """Make an EXIF block with only the orientation."""
    field = write_numbers(Tag.ORIENTATION, ">", SHORT, orientation)
    return write_block([field], {}, ">")


def _find_orientation(file: TiffFile, directory: Directory) -> tuple[str, int] | None:
    """Return the `struct` code of a directory's orientation, and the position of its value."""
    entry = directory.entries.get(Tag.ORIENTATION)
    if entry is None or entry.count != 1 or entry.type not in _WHOLE_NUMBERS:
        return None
    file.unpack(_WHOLE_NUMBERS[entry.type], entry.start)
    return _WHOLE_NUMBERS[entry.type], entry.start


def from_byte_order(exif: bytes) -> bytes:
    """Return an EXIF block without JPEG's header, which some programs add."""
    return exif.removeprefix(EXIF)
