"""TIFF: decode a photo, and put new pixels into the original's container.

TIFF 6.0 and BigTIFF. Only the strips or tiles of one page change, and the two
fields that tell where they lie and how long they are. New ones are written over
the old, and to the end of the file where those leave no room; each is compressed
as it was. Every other byte stays: other pages, thumbnails, metadata, gaps.

The page is the first of full size: some files begin with a thumbnail. Files
without compression, or with Deflate, LZMA or JPEG, need no extra at any depth;
LZW, PackBits and Zstandard need ``deep``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from unblur.errors import PhotoError
from unblur.formats.photo import TIFF, Encoded, Photo
from unblur.formats.pixels import refuse_large
from unblur.formats.tiff_coding import (
    HORIZONTAL_DIFFERENCING,
    NO_PREDICTOR,
    Coding,
    Compression,
    Samples,
    decode_segment,
    encode_segment,
    read_tables,
)
from unblur.formats.tiff_directory import (
    LONG,
    LONG8,
    UNASSOCIATED_ALPHA,
    UNSPECIFIED,
    Directory,
    Entry,
    Tag,
    TiffFile,
    read_tiff,
)
from unblur.limits import ALWAYS_ALLOWED, refuse_excess
from unblur.main_memory import require_memory

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6
"""Values of PhotometricInterpretation that are processed, YCbCr only inside JPEG."""

_REFUSED_PHOTOMETRICS = {3: "palette", 4: "mask", 5: "CMYK", YCBCR: "YCbCr", 8: "Lab"}
_REFUSED_PHOTOMETRICS |= {9: "Lab", 10: "Lab", 32844: "LogL", 32845: "LogLuv"}

_SAMPLE_FORMATS = {1: "unsigned", 2: "signed", 3: "floating point"}

REDUCED_SIZE = 1
"""Bit of NewSubfileType, and value + 1 of SubfileType, that marks a thumbnail."""

SMALLEST_TILE = 64
"""Pixels of which each allow one strip or tile more."""
LARGEST_TILE = 1 << 24
"""Pixels that the tiles of a page may always have."""
MOST_BEYOND = 4
"""What tiles may have for each pixel of the page: they reach beyond its right and lower side."""

_PREDICTED = frozenset(
    {
        Compression.LZW,
        Compression.DEFLATE,
        Compression.OLD_DEFLATE,
        Compression.LZMA,
        Compression.ZSTD,
    }
)
"""Compressions that the predictor belongs to; with others it means nothing."""


@dataclass(frozen=True)
class Segment:
    """A strip or tile: where its samples belong in the page."""

    rows: slice
    columns: slice
    samples: slice
    shape: tuple[int, int, int]
    """(H, W, C) as it is stored: tiles at the border are whole."""


@dataclass(frozen=True)
class Page:
    """How the pixels of one page are stored."""

    directory: Directory
    number: int
    """Its place in the file, from 1."""
    pages: int
    """How many the file has."""
    width: int
    height: int
    channels: int
    """1 or 3, alpha not counted."""
    samples: int
    """Channels, and alpha if there is one."""
    alpha_is_opacity: bool
    """Whether that one is not said to be something else."""
    is_planar: bool
    """Whether each sample has strips or tiles of its own."""
    is_white_zero: bool
    is_tiled: bool
    segment_height: int
    segment_width: int
    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]
    coding: Coding

    def segments(self) -> Iterator[Segment]:
        """Yield the strips or tiles in the sequence of their offsets."""
        depth = 1 if self.is_planar else self.samples
        for sample in range(0, self.samples, depth):
            for top in range(0, self.height, self.segment_height):
                rows = slice(top, min(top + self.segment_height, self.height))
                height = self.segment_height if self.is_tiled else rows.stop - top
                for left in range(0, self.width, self.segment_width):
                    columns = slice(left, min(left + self.segment_width, self.width))
                    shape = (height, self.segment_width, depth)
                    yield Segment(rows, columns, slice(sample, sample + depth), shape)

    def coded(self, data: bytes) -> Iterator[bytes]:
        """Yield the strips or tiles of the file as they are in it.

        Raises:
            ValueError: If one ends after the file.
        """
        for offset, count in zip(self.offsets, self.byte_counts, strict=True):
            if offset + count > len(data):
                raise ValueError("ends before its pixels do")
            yield data[offset : offset + count]


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode the first page of full size.

    Raises:
        PhotoError: If it is too large, or of a kind that cannot be processed.
        Exception: Whatever is raised for damaged files.
    """
    page = read_page(read_tiff(data))
    refuse_large(page.width, page.height, max_pixels)
    require_memory(2 * page.width * page.height * page.samples * page.coding.sample_type.itemsize)
    samples: Samples = np.empty(
        (page.height, page.width, page.samples), page.coding.sample_type.newbyteorder("=")
    )
    for segment, coded in zip(page.segments(), page.coded(data), strict=True):
        block = decode_segment(coded, segment.shape, page.coding)
        target = samples[segment.rows, segment.columns, segment.samples]
        target[:] = block[: target.shape[0], : target.shape[1]]
    pixels, alpha = samples[..., : page.channels], None
    if page.samples > page.channels:
        alpha = np.ascontiguousarray(samples[..., page.channels])
    pixels = ~pixels if page.is_white_zero else np.ascontiguousarray(pixels)
    return Photo(pixels, alpha, TIFF, data, {}, alpha_is_opacity=page.alpha_is_opacity)


def coded_pixels(data: bytes) -> Iterator[bytes]:
    """Yield the strips or tiles of the first page of full size, which new pixels replace.

    Raises:
        PhotoError: If the page is of a kind that cannot be processed.
        ValueError: If the file is damaged.
    """
    page = read_page(read_tiff(data))
    if sum(page.byte_counts) > 2 * len(data):
        raise ValueError("its strips or tiles overlap")
    yield from page.coded(data)


def encode(photo: Photo, pixels: Samples) -> Encoded:
    """Code new pixels as the original's are, in its container.

    The result is read back: nothing but the pixels may have changed.

    Raises:
        PhotoError: If the file cannot hold them.
    """
    original = read_tiff(photo.container)
    page = read_page(original)
    blocks = _blocks(page, pixels, photo.alpha)
    coded = [
        encode_segment(block, page.coding, old)
        for block, old in zip(blocks, page.coded(photo.container), strict=True)
    ]
    result = replace(original, data=splice(original, page, coded))
    try:
        _check_rest(original, result, page)
        _check_pixels(result, page, _blocks(page, pixels, photo.alpha))
    except ValueError as error:
        raise PhotoError(f"the result could not be read back ({error})") from error
    notes = (f"page {page.number} of {page.pages} was deblurred",) if page.pages > 1 else ()
    return Encoded(result.data, notes)


def _blocks(page: Page, pixels: Samples, alpha: Samples | None) -> Iterator[Samples]:
    """Yield what belongs into each strip or tile; borders are filled with the nearest pixels."""
    for segment in page.segments():
        block = pixels[segment.rows, segment.columns]
        if page.is_white_zero:
            block = ~block
        if alpha is not None:
            block = np.dstack([block, alpha[segment.rows, segment.columns]])
        height, width, _ = segment.shape
        margin = ((0, height - block.shape[0]), (0, width - block.shape[1]), (0, 0))
        yield np.pad(block[..., segment.samples], margin, mode="edge")


def read_page(file: TiffFile) -> Page:
    """Read how the first page of full size is stored.

    Raises:
        PhotoError: If it is of a kind that cannot be processed.
        ValueError: If what is said of it makes no sense.
    """
    pages = list(file.pages())
    number, directory = _first_full_size(file, pages)
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
    if sum(byte_counts) > len(file.data) + 2 * width * height * samples:
        raise ValueError("its strips or tiles overlap")  # reading them could take for ever
    return Page(
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


def _count_segments(size: tuple[int, int], segment: tuple[int, int]) -> int:
    """Count the strips or tiles of a plane.

    Args:
        size: Height and width of the page.
        segment: The same of a strip or tile.

    Raises:
        ExcessError: If they are too many, or reach far beyond the page.
    """
    pixels = size[0] * size[1]
    rows, columns = (-(-whole // part) for whole, part in zip(size, segment, strict=True))
    refuse_excess(rows * columns, ALWAYS_ALLOWED + pixels // SMALLEST_TILE, "strips or tiles")
    stored = rows * segment[0] * columns * segment[1]
    refuse_excess(stored, LARGEST_TILE + MOST_BEYOND * pixels, "pixels in its tiles")
    return rows * columns


def _first_full_size(file: TiffFile, pages: list[Directory]) -> tuple[int, Directory]:
    for number, page in enumerate(pages, 1):
        is_reduced = file.value(page, Tag.NEW_SUBFILE_TYPE) & REDUCED_SIZE
        if not is_reduced and file.value(page, Tag.SUBFILE_TYPE) != REDUCED_SIZE + 1:
            return number, page
    raise PhotoError("the TIFF file holds nothing but thumbnails")


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


def _read_coding(file: TiffFile, page: Directory, photometric: int, pixels: int) -> Coding:
    number = file.value(page, Tag.COMPRESSION, 1)
    if number not in tuple(Compression):
        kind = "old JPEG" if number == 6 else f"number {number}"
        raise PhotoError(f"TIFF compression {kind} cannot be processed")
    compression = Compression(number)
    predictor = NO_PREDICTOR
    if compression in _PREDICTED:
        predictor = file.value(page, Tag.PREDICTOR, NO_PREDICTOR)
    if predictor not in (NO_PREDICTOR, HORIZONTAL_DIFFERENCING):
        raise PhotoError(f"TIFF predictor {predictor} cannot be processed")
    if file.value(page, Tag.FILL_ORDER, 1) != 1:
        raise PhotoError("TIFF files with reversed bits (FillOrder 2) cannot be processed")
    if photometric == YCBCR and file.values(page, Tag.YCBCR_SUBSAMPLING) not in (
        (),
        (1, 1),
        (2, 1),
        (2, 2),
    ):
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


def _place_tags(page: Directory) -> tuple[Tag, Tag]:
    if Tag.TILE_OFFSETS in page.entries:
        return Tag.TILE_OFFSETS, Tag.TILE_BYTE_COUNTS
    return Tag.STRIP_OFFSETS, Tag.STRIP_BYTE_COUNTS


def _read_places(
    file: TiffFile, page: Directory, count: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the offsets and byte counts of so many strips or tiles."""
    offsets, byte_counts = (file.values(page, tag)[:count] for tag in _place_tags(page))
    if len(offsets) < count or len(byte_counts) < count:
        raise ValueError("strips or tiles are missing")
    return offsets, byte_counts


def splice(file: TiffFile, page: Page, coded: Sequence[bytes]) -> bytes:
    """Replace the strips or tiles of a page.

    Args:
        file: The original.
        page: One of its pages.
        coded: The new strips or tiles, in the sequence of the old.

    Raises:
        PhotoError: If the file would become larger than its offsets can tell.
    """
    output = bytearray(file.data)
    byte_counts = [len(data) for data in coded]
    offsets = _place(page, byte_counts, len(file.data))
    for offset, data in zip(offsets, coded, strict=True):
        output += bytes(max(0, offset - len(output)))
        output[offset : offset + len(data)] = data
    for tag, values in zip(_place_tags(page.directory), (offsets, byte_counts), strict=True):
        _replace_values(output, file, page.directory.entries[tag], values)
    return bytes(output)


def _place(page: Page, sizes: list[int], end: int) -> list[int]:
    """Return where new strips or tiles go.

    Each takes its own place if all can. Otherwise they fill the places of all,
    in the old sequence, and the rest goes to the end of the file.
    """
    old = zip(page.byte_counts, sizes, strict=True)
    if all(new <= count for count, new in old) and len(set(page.offsets)) == len(sizes):
        return list(page.offsets)
    offsets = list(page.offsets)
    spaces = chain(_spaces(page), [(end, end + sum(sizes) + len(sizes) + 1)])
    at, stop = next(spaces)
    for index in sorted(range(len(sizes)), key=page.offsets.__getitem__):
        at += at % 2  # on a word boundary (TIFF 6.0, section 2)
        while at + sizes[index] > stop:
            at, stop = next(spaces)
            at += at % 2
        offsets[index] = at
        at += sizes[index]
    return offsets


def _spaces(page: Page) -> Iterator[tuple[int, int]]:
    """Yield from where to where the old strips or tiles lie without a gap."""
    first, reached = 0, 0
    for start, count in sorted(zip(page.offsets, page.byte_counts, strict=True)):
        if start > reached + 1:  # a single byte is but filled up to a word boundary
            yield first, reached
            first = start
        reached = max(reached, start + count)
    yield first, reached


def _replace_values(output: bytearray, file: TiffFile, entry: Entry, values: list[int]) -> None:
    """Write a field's numbers in place, or as a wider type where those do not fit."""
    sizes = {3: "H", LONG: "I", LONG8: "Q"}
    code = sizes.get(entry.type, "")
    wide = LONG8 if file.is_big else LONG
    if max(values) >= 1 << 8 * struct.calcsize("<" + sizes[wide]):
        raise PhotoError("the result would be larger than 4 GiB, which only a BigTIFF can be")
    if code and max(values) < 1 << 8 * struct.calcsize("<" + code):
        struct.pack_into(f"{file.order}{len(values)}{code}", output, entry.start, *values)
        return
    packed = struct.pack(f"{file.order}{len(values)}{sizes[wide]}", *values)
    struct.pack_into(f"{file.order}H{sizes[wide]}", output, entry.position + 2, wide, len(values))
    start = entry.position + file.entry_size - struct.calcsize("<" + sizes[wide])
    if len(values) > 1:
        output += bytes(len(output) % 2)
        struct.pack_into(file.order + sizes[wide], output, start, len(output))
        start = len(output)
    output[start : start + len(packed)] = packed


def _check_rest(original: TiffFile, result: TiffFile, page: Page) -> None:
    """Make sure that all fields and all other pages are as they were.

    Raises:
        PhotoError: If pixels share bytes with something else.
    """
    reached = 0
    for start, stop in sorted(_kept_ranges(original, page)):
        start = max(start, reached)  # what overlaps is compared once
        if original.data[start:stop] != result.data[start:stop]:
            raise PhotoError("the TIFF file's pixels share bytes with something else in it")
        reached = max(stop, reached)


def _kept_ranges(file: TiffFile, page: Page) -> Iterator[tuple[int, int]]:
    """Yield from where to where bytes must stay as they are."""
    yield 0, 16 if file.is_big else 8  # the header
    replaced = {page.directory.entries[tag].position for tag in _place_tags(page.directory)}
    for directory in file.directories():
        start = directory.start
        for entry in directory.entries.values():
            if entry.position in replaced:
                yield start, entry.position
                start = entry.position + file.entry_size
            else:
                yield entry.start, entry.start + entry.size
        yield start, directory.stop
        if directory.start != page.directory.start:
            yield from file.data_ranges(directory)


def _check_pixels(result: TiffFile, page: Page, blocks: Iterable[Samples]) -> None:
    """Make sure that the file reads as what was written.

    Raises:
        PhotoError: If it does not.
    """
    coded = read_page(result).coded(result.data)
    for segment, data, block in zip(page.segments(), coded, blocks, strict=True):
        read = decode_segment(data, segment.shape, page.coding)
        if page.coding.is_lossless and not np.array_equal(read, block):
            raise PhotoError("the new pixels could not be read back from the TIFF file")
