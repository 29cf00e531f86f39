"""Decode the pixels of a TIFF page, and replace them with new pixels.

Only the strips or tiles of the page change, and the two fields with their offsets and lengths. New
strips or tiles are compressed like the old ones, and written over the old ones, or to the end of
the file if they do not fit.
"""

from __future__ import annotations

import contextlib
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from unblur.errors import PhotoError
from unblur.formats.tiff_coding import Samples, decode_segment, encode_segment
from unblur.formats.tiff_directory import LONG, LONG8, SHORT, Entry, TiffFile
from unblur.formats.tiff_pages import Page, place_tags, read_page
from unblur.main_memory import require_memory


def decode_page(data: bytes, page: Page) -> tuple[Samples, Samples | None]:
    """Decode a page of a file.

    Returns:
        Pixels, (H, W, 1 or 3), and the (H, W) channel besides the colours, or ``None``.

    Raises:
        PhotoError: If there is not enough memory.
        ValueError: If it is damaged.
    """
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
    return ~pixels if page.is_white_zero else np.ascontiguousarray(pixels), alpha


def replace_page(original: TiffFile, page: Page, pixels: Samples, alpha: Samples | None) -> bytes:
    """Return a file with new pixels in a page, encoded like the old pixels and read back.

    Args:
        original: The file.
        page: The page.
        pixels: (H, W, 1 or 3).
        alpha: (H, W), the channel besides the colours.

    Raises:
        PhotoError: If the file would be too large, or cannot be read back.
    """
    blocks = _blocks(page, pixels, alpha)
    coded = [
        encode_segment(block, page.coding, old)
        for block, old in zip(blocks, page.coded(original.data), strict=True)
    ]
    result = replace(original, data=splice(original, page, coded))
    try:
        _check_rest(original, result, page)
        _check_pixels(result, page, _blocks(page, pixels, alpha))
    except ValueError as error:
        raise PhotoError(f"the result could not be read back ({error})") from error
    return result.data


def _blocks(page: Page, pixels: Samples, alpha: Samples | None) -> Iterator[Samples]:
    """Yield the pixels of each strip or tile; outside the page, repeat the nearest pixels."""
    for segment in page.segments():
        block = pixels[segment.rows, segment.columns]
        if page.is_white_zero:
            block = ~block
        if alpha is not None:
            block = np.dstack([block, alpha[segment.rows, segment.columns]])
        height, width, _ = segment.shape
        margin = ((0, height - block.shape[0]), (0, width - block.shape[1]), (0, 0))
        yield np.pad(block[..., segment.samples], margin, mode="edge")


def splice(file: TiffFile, page: Page, coded: Sequence[bytes]) -> bytes:
    """Replace the strips or tiles of a page with new ones in the same order.

    Raises:
        PhotoError: If the file would be too large for its offsets.
    """
    output = bytearray(file.data)
    byte_counts = [len(data) for data in coded]
    offsets = _place(page, byte_counts, len(file.data))
    for offset, data in zip(offsets, coded, strict=True):
        output += bytes(max(0, offset - len(output)))
        output[offset : offset + len(data)] = data
    for tag, values in zip(place_tags(page.directory), (offsets, byte_counts), strict=True):
        if tag in page.directory.entries:  # uncompressed strips may lack lengths
            _replace_values(output, file, page.directory.entries[tag], values)
    return bytes(output)


def _place(page: Page, sizes: list[int], end: int) -> list[int]:
    """Return the offsets of new strips or tiles.

    If all fit, each keeps its offset. Otherwise they fill the space of the old strips or tiles in
    order, and the rest is appended to the file.
    """
    old = zip(page.byte_counts, sizes, strict=True)
    if all(new <= count for count, new in old) and len(set(page.offsets)) == len(sizes):
        return list(page.offsets)
    offsets = list(page.offsets)
    spaces = chain(_spaces(page), [(end, end + sum(sizes) + len(sizes) + 1)])
    at, stop = next(spaces)
    for index in sorted(range(len(sizes)), key=page.offsets.__getitem__):
        at += at % 2  # an even offset (TIFF 6.0, section 2)
        while at + sizes[index] > stop:
            at, stop = next(spaces)
            at += at % 2
        offsets[index] = at
        at += sizes[index]
    return offsets


def _spaces(page: Page) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run of old strips or tiles without a gap."""
    first, reached = 0, 0
    for start, count in sorted(zip(page.offsets, page.byte_counts, strict=True)):
        if start > reached + 1:  # a gap of one byte is padding
            yield first, reached
            first = start
        reached = max(reached, start + count)
    yield first, reached


def _replace_values(output: bytearray, file: TiffFile, entry: Entry, values: list[int]) -> None:
    """Write a field's numbers in place, in a wider type if they do not fit."""
    sizes = {SHORT: "H", LONG: "I", LONG8: "Q"}
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
    """Raise `PhotoError` if a field or another page of the file has changed."""
    reached = 0
    for start, stop in sorted(_kept_ranges(original, page)):
        start = max(start, reached)  # overlapping bytes are compared once
        if original.data[start:stop] != result.data[start:stop]:
            raise PhotoError("the TIFF file's pixels share bytes with something else in it")
        reached = max(stop, reached)


def _kept_ranges(file: TiffFile, page: Page) -> Iterator[tuple[int, int]]:
    """Yield start and stop of the bytes that must stay.

    Values of a damaged field may overlap the page's pixels, or lie outside the file.
    """
    pixels = [place for space in _spaces(page) for place in space]
    yield 0, 16 if file.is_big else 8  # the header
    entries, tags = page.directory.entries, place_tags(page.directory)
    replaced = {entries[tag].position for tag in tags if tag in entries}
    for directory in file.directories():
        start = directory.start
        for entry in directory.entries.values():
            if entry.position in replaced:
                yield start, entry.position
                start = entry.position + file.entry_size
            elif not _overlaps(pixels, entry.start, entry.start + entry.size):
                yield entry.start, min(entry.start + entry.size, len(file.data))
        yield start, directory.stop
        if directory.start != page.directory.start:
            with contextlib.suppress(ValueError):  # damaged places of another page
                for first, end in file.data_ranges(directory):
                    yield first, min(end, len(file.data))


def _overlaps(places: list[int], start: int, stop: int) -> bool:
    """Return whether a range overlaps any of the ranges with these starts and stops, in order."""
    before = bisect_right(places, start)
    return before % 2 == 1 or (before < len(places) and places[before] < stop)


def _check_pixels(result: TiffFile, page: Page, blocks: Iterable[Samples]) -> None:
    """Raise `PhotoError` if the file does not decode to the pixels that were written."""
    coded = read_page(result, result.directory(page.directory.start)).coded(result.data)
    for segment, data, block in zip(page.segments(), coded, blocks, strict=True):
        read = decode_segment(data, segment.shape, page.coding)
        if page.coding.is_lossless and not np.array_equal(read, block):
            raise PhotoError("the new pixels could not be read back from the TIFF file")
