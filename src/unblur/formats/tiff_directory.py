"""Read the directories of a TIFF file (TIFF 6.0, section 2) or a BigTIFF.

Camera RAW and EXIF consist of the same directories (TIFF/EP, ISO 12234-2; DNG 1.7;
Exif 2.32, section 4.6).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import Literal

from unblur.file_limits import limited


class Tag(IntEnum):
    """Tags that are read or written (TIFF 6.0, section 8; DNG 1.7; Exif 2.32)."""

    NEW_SUBFILE_TYPE = 254
    SUBFILE_TYPE = 255
    IMAGE_WIDTH = 256
    IMAGE_LENGTH = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC_INTERPRETATION = 262
    FILL_ORDER = 266
    IMAGE_DESCRIPTION = 270
    MAKE = 271
    MODEL = 272
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES_PER_PIXEL = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTE_COUNTS = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR_CONFIGURATION = 284
    RESOLUTION_UNIT = 296
    SOFTWARE = 305
    DATE_TIME = 306
    ARTIST = 315
    HOST_COMPUTER = 316
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325
    SUB_IFDS = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    JPEG_OFFSET = 513
    JPEG_BYTE_COUNT = 514
    YCBCR_SUBSAMPLING = 530
    XMP = 700
    COPYRIGHT = 33432
    IPTC = 33723
    PHOTOSHOP = 34377
    RELATED_IMAGE_WIDTH = 4097
    RELATED_IMAGE_LENGTH = 4098
    EXIF_IFD = 34665
    ICC_PROFILE = 34675
    GPS_IFD = 34853
    LAYERS = 37724
    INTEROPERABILITY_IFD = 40965
    EXIF_VERSION = 36864
    MAKER_NOTE = 37500
    COLOR_SPACE = 40961
    PIXEL_X_DIMENSION = 40962
    PIXEL_Y_DIMENSION = 40963
    FOCAL_PLANE_X_RESOLUTION = 41486
    FOCAL_PLANE_Y_RESOLUTION = 41487
    DNG_VERSION = 50706


UNSPECIFIED, ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 0, 1, 2
"""Values of ExtraSamples: not opacity; opacity that multiplies the colours; opacity that does not
(TIFF 6.0, p. 31)."""

BYTE, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 3, 4, 5, 7, 16
"""Field types that are written."""

FIELD_CODES = {1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 6: "b", 7: "c", 8: "h", 9: "i", 10: "ii"}
FIELD_CODES |= {11: "f", 12: "d", 13: "I", LONG8: "Q", 17: "q", 18: "Q"}
"""Codes of `struct` for the field types of TIFF 6.0 and BigTIFF."""
_WHOLE_NUMBERS = frozenset("BHIQbhiq")

SIGNATURES = {b"II": "<", b"MM": ">"}
BIG_VERSION = 43
VERSIONS = frozenset({42, BIG_VERSION, 0x55, 0x4F52, 0x5352})
"""Version numbers in headers. The last three are Panasonic's and Olympus's RAW, whose headers
differ only in this number."""

POINTERS = (Tag.SUB_IFDS, Tag.EXIF_IFD, Tag.GPS_IFD, Tag.INTEROPERABILITY_IFD)
"""Tags that point to directories outside the chain of pages."""

DATA_TAGS = (
    (Tag.STRIP_OFFSETS, Tag.STRIP_BYTE_COUNTS),
    (Tag.TILE_OFFSETS, Tag.TILE_BYTE_COUNTS),
    (Tag.JPEG_OFFSET, Tag.JPEG_BYTE_COUNT),
)
"""Tags of the offsets and lengths of image data."""
_ARRAYS = (*POINTERS, *chain.from_iterable(DATA_TAGS))


@dataclass(frozen=True)
class Entry:
    """One field of a directory."""

    tag: int
    type: int
    count: int
    start: int
    """Offset of the field's values in the file."""
    position: int
    """Offset of the field itself."""

    @property
    def size(self) -> int:
        """Size of the values in bytes; 0 for an unknown type."""
        return self.count * struct.calcsize("<" + FIELD_CODES.get(self.type, ""))

    def is_within(self, data: bytes) -> bool:
        """Return whether a file contains all of the field's values."""
        return self.start + self.size <= len(data)


@dataclass(frozen=True)
class Directory:
    """An image file directory (IFD)."""

    start: int
    stop: int
    entries: dict[int, Entry]
    following: int
    """Offset of the next directory of the chain; 0 after the last."""

    @property
    def cost(self) -> int:
        """Bytes to read for the directory; in hostile files, their sum exceeds the file."""
        arrays = (self.entries[tag].size for tag in _ARRAYS if tag in self.entries)
        return self.stop - self.start + sum(arrays)


@dataclass(frozen=True)
class TiffFile:
    """A TIFF file's bytes, byte order and size of offsets."""

    data: bytes = field(repr=False)
    order: str
    """``<`` little-endian or ``>`` big-endian, as in `struct`."""
    is_big: bool

    def unpack(self, code: str, position: int) -> tuple[int, ...]:
        """Read numbers; raise `ValueError` if they are outside the file."""
        if position > len(self.data) - struct.calcsize("<" + code):
            raise ValueError("points outside the file")
        return struct.unpack_from(self.order + code, self.data, position)

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """The byte order as in `int.from_bytes`."""
        return "little" if self.order == "<" else "big"

    @property
    def first(self) -> int:
        """Offset of the first directory."""
        return self.unpack(self.offset_format, 8 if self.is_big else 4)[0]

    @property
    def offset_format(self) -> str:
        """Code of `struct` for an offset."""
        return "Q" if self.is_big else "I"

    @property
    def entry_size(self) -> int:
        """Size of a field in a directory, in bytes."""
        return 20 if self.is_big else 12

    def directory(self, start: int) -> Directory:
        """Read the directory at an offset; raise `ValueError` if it is outside the file."""
        head, field_format, offset = ("Q", "HHQQ", 12) if self.is_big else ("H", "HHII", 8)
        (count,) = self.unpack(head, start)
        first, size = start + struct.calcsize("<" + head), self.entry_size
        stop = first + count * size
        if stop > len(self.data):
            raise ValueError("a directory ends after the file")
        entries: dict[int, Entry] = {}
        for position in range(first, stop, size):
            tag, kind, values, value = self.unpack(field_format, position)
            entry = Entry(tag, kind, values, position + offset, position)
            if entry.size > size - offset:
                entry = Entry(tag, kind, values, value, position)
            entries.setdefault(tag, entry)
        (following,) = self.unpack(self.offset_format, stop)
        return Directory(
            start, stop + struct.calcsize("<" + self.offset_format), entries, following
        )

    def raw(self, entry: Entry) -> bytes:
        """Return a field's stored values, or raise `ValueError` if they are outside the file."""
        if not entry.is_within(self.data):
            raise ValueError("points outside the file")
        return self.data[entry.start : entry.start + entry.size]

    def values(self, directory: Directory, tag: int) -> tuple[int, ...]:
        """Return a field's integers; empty without the field. Raise `ValueError` if damaged."""
        entry = directory.entries.get(tag)
        if entry is None:
            return ()
        code = _whole_number(entry)
        return struct.unpack(f"{self.order}{entry.count}{code}", self.raw(entry))

    def value(self, directory: Directory, tag: int, default: int = 0) -> int:
        """Return a field's first integer, or a default; raise errors like `values`."""
        entry = directory.entries.get(tag)
        if entry is None or entry.count == 0:
            return default
        return self.unpack(_whole_number(entry), entry.start)[0]

    def pages(self) -> Iterator[Directory]:
        """Yield the directories of the main chain, up to one that is damaged.

        Raises:
            ExcessError: If there are too many.
            ValueError: If the first page is damaged, or the chain is a circle.
        """
        return limited(self._chain(), len(self.data), "pages")

    def _chain(self) -> Iterator[Directory]:
        start, budget = self.first, len(self.data)
        while start:
            try:
                page = self.directory(start)
            except ValueError:
                if start == self.first:
                    raise
                return  # the pages before it are whole
            budget -= page.cost
            if budget < 0:
                raise ValueError("its directories go round in a circle")
            yield page
            start = page.following

    def directories(self) -> Iterator[Directory]:
        """Yield all pages; after each page, the directories that it points to.

        Pointers to other data are skipped.

        Raises:
            ValueError: If the first page lies outside the file, or directories overlap.
        """
        seen: set[int] = set()
        budget = len(self.data)
        for page in self.pages():
            waiting = [page.start]
            while waiting:
                start = waiting.pop()
                try:
                    directory = page if start == page.start else self.directory(start)
                except ValueError:
                    continue
                budget -= directory.cost
                if budget < 0:
                    raise ValueError("its directories overlap")
                yield directory
                new = set(self._pointed_to(directory)) - seen
                seen |= new
                waiting += sorted(new)

    def _pointed_to(self, directory: Directory) -> Iterator[int]:
        with contextlib.suppress(ValueError):
            for tag in POINTERS:
                yield from self.values(directory, tag)

    def data_ranges(self, directory: Directory) -> Iterator[tuple[int, int]]:
        """Yield start and stop of each piece of image data; raise errors like `values`."""
        for offsets, counts in DATA_TAGS:
            starts, sizes = self.values(directory, offsets), self.values(directory, counts)
            for start, size in zip(starts, sizes, strict=False):
                yield start, start + size


def _whole_number(entry: Entry) -> str:
    """Return the code of `struct` for a field's integers; raise `ValueError` for other types."""
    code = FIELD_CODES.get(entry.type, "c")
    if code not in _WHOLE_NUMBERS:
        raise ValueError(f"tag {entry.tag} is no whole number")
    return code


def read_tiff(data: bytes) -> TiffFile:
    """Read a TIFF header (TIFF 6.0, section 2); raise `ValueError` if there is none."""
    order = SIGNATURES.get(data[:2])
    if order is None or len(data) < 8:
        raise ValueError("does not begin as a TIFF")
    (version,) = struct.unpack_from(order + "H", data, 2)
    if version not in VERSIONS:
        raise ValueError("does not begin as a TIFF")
    return TiffFile(data, order, version == BIG_VERSION)


JPEG_XL = frozenset({50002, 52546})
"""Compression of JPEG XL in TIFF, and in DNG 1.7."""

_RAW_PHOTOMETRICS = frozenset({32803, 34892})
"""PhotometricInterpretation of sensor data: colour filter array, LinearRaw."""

_RAW_COMPRESSIONS = frozenset({32767, 32769, 32770, 34713, 34892, 65000, 65535})
"""Compression of Sony, Epson, Samsung, Nikon, Adobe (lossy DNG), Kodak and Pentax."""

_RAW_MARKS = (b"CR", b"IIII", b"MMMM")
"""Marks of Canon's CR2 and Phase One's IIQ, where other files have the first directory."""


def is_camera_raw(data: bytes) -> bool:
    """Return whether a file that begins like a TIFF contains sensor data.

    Args:
        data: The file, or only its beginning.
    """
    if data[8:10] == _RAW_MARKS[0] or data[8:12] in _RAW_MARKS:
        return True
    try:
        file = read_tiff(data)
        return any(_holds_sensor_data(file, directory) for directory in file.directories())
    except ValueError:
        return False


def _holds_sensor_data(file: TiffFile, directory: Directory) -> bool:
    return (
        Tag.DNG_VERSION in directory.entries
        or file.value(directory, Tag.PHOTOMETRIC_INTERPRETATION) in _RAW_PHOTOMETRICS
        or file.value(directory, Tag.COMPRESSION) in _RAW_COMPRESSIONS
    )
