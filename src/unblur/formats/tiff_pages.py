"""Read how a TIFF page stores its pixels: strips or tiles, and how they are encoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unblur.errors import PhotoError
from unblur.file_limits import ALWAYS_ALLOWED, refuse_excess
from unblur.formats.tiff_coding import (
    HORIZONTAL_DIFFERENCING,
    NO_PREDICTOR,
    Coding,
    Compression,
    read_tables,
)
from unblur.formats.tiff_directory import (
    JPEG_XL,
    UNASSOCIATED_ALPHA,
    UNSPECIFIED,
    Directory,
    Tag,
    TiffFile,
)

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6
"""Supported values of PhotometricInterpretation; YCbCr only inside JPEG."""

_REFUSED_PHOTOMETRICS = {3: "palette", 4: "mask", 5: "CMYK", YCBCR: "YCbCr", 8: "Lab"}
_REFUSED_PHOTOMETRICS |= {9: "Lab", 10: "Lab", 32844: "LogL", 32845: "LogLuv"}

_REFUSED_COMPRESSIONS = {2: "fax", 3: "fax", 4: "fax", 6: "old JPEG", 34712: "JPEG 2000"}
_REFUSED_COMPRESSIONS |= {50001: "WebP"} | dict.fromkeys(JPEG_XL, "JPEG XL")

_SAMPLE_FORMATS = {1: "unsigned", 2: "signed", 3: "floating point"}

REDUCED_SIZE = 1
"""Bit of NewSubfileType that marks a smaller copy; SubfileType has this value plus 1."""

SMALLEST_TILE = 64
"""Number of pixels for which a page may have one more strip or tile."""
LARGEST_TILE = 1 << 24
"""Number of pixels that the tiles of a page of any size may have."""
MOST_BEYOND = 4
"""Largest number of tile pixels per page pixel: tiles reach beyond the right and lower side."""

_PREDICTED = {Compression.LZW, Compression.DEFLATE, Compression.OLD_DEFLATE}
_PREDICTED |= {Compression.LZMA, Compression.ZSTD}
"""Compressions with a predictor; other compressions ignore it."""


@dataclass(frozen=True)
class TiffSegment:
    """A strip or tile: the position of its samples in the page."""

    rows: slice
    columns: slice
    samples: slice
    shape: tuple[int, int, int]
    """(H, W, C) as stored: tiles at the border are not cropped."""


@dataclass(frozen=True)
class Page:
    """How one page stores its pixels."""

    directory: Directory
    number: int
    """Number of the page in the file, from 1; 0 for a page other than the photo's."""
    pages: int
    """Number of the file's pages."""
    width: int
    height: int
    channels: int
    """1 or 3, alpha not counted."""
    samples: int
    """Number of channels, including alpha."""
    alpha_is_opacity: bool
    """Whether the extra sample is opacity, unless the file declares another meaning."""
    is_planar: bool
    """Whether each sample has its own strips or tiles."""
    is_white_zero: bool
    is_tiled: bool
    segment_height: int
    segment_width: int
    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]
    coding: Coding

    def segments(self) -> Iterator[TiffSegment]:
        """Yield the strips or tiles in the order of their offsets."""
        depth = 1 if self.is_planar else self.samples
        for sample in range(0, self.samples, depth):
            for top in range(0, self.height, self.segment_height):
                rows = slice(top, min(top + self.segment_height, self.height))
                height = self.segment_height if self.is_tiled else rows.stop - top
                for left in range(0, self.width, self.segment_width):
                    columns = slice(left, min(left + self.segment_width, self.width))
                    shape = (height, self.segment_width, depth)
                    yield TiffSegment(rows, columns, slice(sample, sample + depth), shape)

    def coded(self, data: bytes) -> Iterator[bytes]:
        """Yield the coded strips or tiles, or raise `ValueError` if one ends after the file."""
        for offset, count in zip(self.offsets, self.byte_counts, strict=True):
            if offset + count > len(data):
                raise ValueError("ends before its pixels do")
            yield data[offset : offset + count]


def read_page(file: TiffFile, directory: Directory | None = None) -> Page:
    """Read how the first page of full size, or another page, stores its pixels.

    Args:
        file: The file.
        directory: Directory of the other page; the result's ``number`` is then 0.

    Raises:
        PhotoError: If the page is of an unsupported kind.
        ValueError: If its fields are contradictory.
    """
    pages = list(file.pages())
    number = 0
    if directory is None:
        number, directory = _first_full_size(file, pages)
    _read_compression(file, directory)
    channels, samples, photometric = _read_samples(file, directory)
    width = file.value(directory, Tag.IMAGE_WIDTH)
    height = file.value(directory, Tag.IMAGE_LENGTH)
    segment_height, segment_width = _read_segment_size(file, directory, height, width)
    if min(width, height, segment_width, segment_height) < 1:
        raise ValueError("its picture has a side without pixels")
    is_planar = samples > 1 and file.value(directory, Tag.PLANAR_CONFIGURATION, 1) == 2
    if is_planar and photometric == YCBCR:
        raise PhotoError("YCbCr TIFF files in planes cannot be processed")
    count = _count_segments((height, width), (segment_height, segment_width))
    offsets, byte_counts = _read_places(file, directory, count * (samples if is_planar else 1))
    page = Page(
        directory=directory,
        number=number,
        pages=len(pages),
        width=width,
        height=height,
        channels=channels,
        samples=samples,
        alpha_is_opacity=file.value(directory, Tag.EXTRA_SAMPLES, UNASSOCIATED_ALPHA)
        != UNSPECIFIED,
        is_planar=is_planar,
        is_white_zero=photometric == WHITE_IS_ZERO,
        is_tiled=Tag.TILE_OFFSETS in directory.entries,
        segment_height=segment_height,
        segment_width=segment_width,
        offsets=offsets,
        byte_counts=byte_counts,
        coding=_read_coding(file, directory, photometric, segment_height * segment_width),
    )
    return _with_lengths(page, len(file.data))


def _with_lengths(page: Page, file_size: int) -> Page:
    """Return a page with the lengths of its strips or tiles; raise `ValueError` if they overlap."""
    if not all(page.byte_counts) or not page.byte_counts:
        page = replace(page, byte_counts=_uncompressed_sizes(page))
    if sum(page.byte_counts) > file_size + 2 * page.width * page.height * page.samples:
        raise ValueError("its strips or tiles overlap")  # reading them could take for ever
    return page


def _uncompressed_sizes(page: Page) -> tuple[int, ...]:
    """Return the sizes of the strips or tiles of a page that does not state them."""
    if page.coding.compression != Compression.NONE:
        raise PhotoError(
            "the TIFF file does not state the lengths of its compressed strips; "
            "open it in an image editor and save it again"
        )
    size = page.coding.sample_type.itemsize
    return tuple(math.prod(segment.shape) * size for segment in page.segments())


def _count_segments(size: tuple[int, int], segment: tuple[int, int]) -> int:
    """Count the strips or tiles of a plane; raise `ExcessError` for too many.

    Args:
        size: Height and width of the page.
        segment: Height and width of a strip or tile.
    """
    pixels = size[0] * size[1]
    rows, columns = (-(-whole // part) for whole, part in zip(size, segment, strict=True))
    refuse_excess(rows * columns, ALWAYS_ALLOWED + pixels // SMALLEST_TILE, "strips or tiles")
    stored = rows * segment[0] * columns * segment[1]
    refuse_excess(stored, LARGEST_TILE + MOST_BEYOND * pixels, "pixels in its tiles")
    return rows * columns


def _first_full_size(file: TiffFile, pages: list[Directory]) -> tuple[int, Directory]:
    for number, page in enumerate(pages, 1):
        if not is_reduced(file, page):
            return number, page
    raise PhotoError("the TIFF file holds nothing but thumbnails")


def is_reduced(file: TiffFile, page: Directory) -> bool:
    """Return whether a page is marked as a smaller copy of another page."""
    is_new = file.value(page, Tag.NEW_SUBFILE_TYPE) & REDUCED_SIZE
    return bool(is_new) or file.value(page, Tag.SUBFILE_TYPE) == REDUCED_SIZE + 1


def _read_samples(file: TiffFile, page: Directory) -> tuple[int, int, int]:
    """Return channels, samples with alpha, and PhotometricInterpretation."""
    photometric = file.value(page, Tag.PHOTOMETRIC_INTERPRETATION, -1)
    is_jpeg = file.value(page, Tag.COMPRESSION, 1) == Compression.JPEG
    if photometric in _REFUSED_PHOTOMETRICS and not (is_jpeg and photometric == YCBCR):
        kind = _REFUSED_PHOTOMETRICS[photometric]
        raise PhotoError(f"{kind} TIFF files cannot be processed; grey and RGB can")
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR):
        raise PhotoError(f"TIFF files of photometric interpretation {photometric} are unknown")
    channels = 3 if photometric in (RGB, YCBCR) else 1
    samples = file.value(page, Tag.SAMPLES_PER_PIXEL, 1)
    if samples < channels:
        raise ValueError("it has fewer samples than colours")
    if samples > channels + 1:
        raise PhotoError("TIFF files with more than one extra channel cannot be processed")
    return channels, samples, photometric


def _read_compression(file: TiffFile, page: Directory) -> Compression:
    number = file.value(page, Tag.COMPRESSION, 1)
    if number in tuple(Compression):
        return Compression(number)
    kind = _REFUSED_COMPRESSIONS.get(number, f"number {number}")
    raise PhotoError(
        f"TIFF compression {kind} cannot be processed; "
        "save the file in an image editor with LZW, Deflate (ZIP) or none"
    )


def _read_coding(file: TiffFile, page: Directory, photometric: int, pixels: int) -> Coding:
    compression = _read_compression(file, page)
    predictor = NO_PREDICTOR
    if compression in _PREDICTED:
        predictor = file.value(page, Tag.PREDICTOR, NO_PREDICTOR)
    if predictor not in (NO_PREDICTOR, HORIZONTAL_DIFFERENCING):
        raise PhotoError(f"TIFF predictor {predictor} cannot be processed")
    if file.value(page, Tag.FILL_ORDER, 1) != 1:
        raise PhotoError("TIFF files with reversed bits (FillOrder 2) cannot be processed")
    sampling = file.values(page, Tag.YCBCR_SUBSAMPLING)
    if photometric == YCBCR and sampling not in ((), (1, 1), (2, 1), (2, 2)):
        raise PhotoError("the TIFF file's chroma sampling cannot be written")
    tables = page.entries.get(Tag.JPEG_TABLES) if compression == Compression.JPEG else None
    return Coding(
        compression,
        predictor,
        _read_sample_type(file, page),
        photometric == YCBCR,
        pixels,
        read_tables(file.raw(tables)) if tables and tables.count else b"",
    )


def _read_sample_type(file: TiffFile, page: Directory) -> np.dtype[Any]:
    for kind in file.values(page, Tag.SAMPLE_FORMAT):
        if kind != 1:
            name = _SAMPLE_FORMATS.get(kind, "undefined")
            raise PhotoError(f"{name} TIFF files cannot be processed; unsigned integers can")
    depths = set(file.values(page, Tag.BITS_PER_SAMPLE)) or {1}
    if not depths <= {8, 16} or len(depths) > 1:
        depth = "/".join(str(depth) for depth in sorted(depths))
        raise PhotoError(f"{depth}-bit TIFF files cannot be processed; 8 and 16 bit can")
    return np.dtype(f"{file.order}u{depths.pop() // 8}")


def _read_segment_size(file: TiffFile, page: Directory, height: int, width: int) -> tuple[int, int]:
    if Tag.TILE_OFFSETS in page.entries:
        return file.value(page, Tag.TILE_LENGTH), file.value(page, Tag.TILE_WIDTH)
    return min(file.value(page, Tag.ROWS_PER_STRIP, height), height), width


def place_tags(page: Directory) -> tuple[Tag, Tag]:
    """Return the tags of the offsets and lengths of strips or tiles."""
    if Tag.TILE_OFFSETS in page.entries:
        return Tag.TILE_OFFSETS, Tag.TILE_BYTE_COUNTS
    return Tag.STRIP_OFFSETS, Tag.STRIP_BYTE_COUNTS


def _read_places(
    file: TiffFile, page: Directory, count: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the offsets and byte counts of ``count`` strips or tiles."""
    offsets, byte_counts = (file.values(page, tag)[:count] for tag in place_tags(page))
    has_byte_counts = place_tags(page)[1] in page.entries
    if len(offsets) < count or (has_byte_counts and len(byte_counts) < count):
        raise ValueError("strips or tiles are missing")
    return offsets, byte_counts
