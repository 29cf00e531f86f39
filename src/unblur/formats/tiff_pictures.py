"""Redraw thumbnails and previews in a TIFF file, and find other pictures of the old photo."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np

from unblur.errors import PhotoError
from unblur.formats import embedded_pictures
from unblur.formats.embedded_pictures import SUB_IMAGES, THUMBNAILS, Redraw, Redrawn
from unblur.formats.tiff_directory import Directory, Entry, Tag, TiffFile, read_tiff
from unblur.formats.tiff_pages import Page, is_reduced, read_page
from unblur.formats.tiff_splice import decode_page, replace_page

Found = TypeVar("Found")

MOST_PICTURES = 16
"""Largest number of further pages and sub-images to examine."""
MAX_PIXELS = 50_000_000
"""Largest number of pixels of a page or sub-image to redraw."""


def redraw(data: bytes, redraw: Redraw, index: None = None) -> Redrawn:
    """Redraw the thumbnails and previews of the first page of full size.

    Thumbnails and previews are: other pages and sub-images that are marked as smaller copies, JPEG
    pictures as in EXIF, and pictures in Photoshop's data and in maker notes.

    Args:
        data: The whole file.
        redraw: How to redraw pictures.
        index: Nothing.

    Raises:
        ValueError: If the file is damaged.
    """
    file = read_tiff(data)
    page = read_page(file)
    stale = list[str]()
    for directory, name in islice(_before_damage(_others(file, page)), MOST_PICTURES):
        changed = _in_directory(file, directory, redraw)
        stale += [name] * (changed is None)
        file = replace(file, data=changed or file.data)
    for entry, in_bytes in _before_damage(_blocks(file, page)):
        new = in_bytes(file.raw(entry), redraw)
        stop = entry.start + entry.size
        file = replace(file, data=file.data[: entry.start] + new.data + file.data[stop:])
        stale += new.stale
    return Redrawn(file.data, tuple(stale))


def _others(file: TiffFile, page: Page) -> Iterator[tuple[Directory, str]]:
    """Yield thumbnail pages, and sub-images of the photo's page, each with its name."""
    for other in file.pages():
        is_thumbnail = Tag.JPEG_OFFSET in other.entries or is_reduced(file, other)
        if is_thumbnail and other.start != page.directory.start:
            yield other, THUMBNAILS
    for start in file.values(page.directory, Tag.SUB_IFDS):
        yield file.directory(start), SUB_IMAGES


def _blocks(
    file: TiffFile, page: Page
) -> Iterator[tuple[Entry, Callable[[bytes, Redraw], Redrawn]]]:
    """Yield the fields whose values hold JPEG pictures, and the functions to redraw these."""
    entry = page.directory.entries.get(Tag.PHOTOSHOP)
    if entry and entry.is_within(file.data):
        yield entry, embedded_pictures.in_photoshop_data
    start = file.value(page.directory, Tag.EXIF_IFD)
    entry = file.directory(start).entries.get(Tag.MAKER_NOTE) if start else None
    if entry and entry.is_within(file.data):
        yield entry, embedded_pictures.in_exif


def _before_damage(found: Iterator[Found]) -> Iterator[Found]:
    """Yield entries up to the first damaged entry; no program can read later entries."""
    with contextlib.suppress(ValueError):
        yield from found


def _in_directory(file: TiffFile, directory: Directory, redraw: Redraw) -> bytes | None:
    """Return a file with a directory's picture redrawn; ``None`` if it cannot be redrawn."""
    try:
        if start := file.value(directory, Tag.JPEG_OFFSET):
            output = bytearray(file.data)
            place = slice(start, start + file.value(directory, Tag.JPEG_BYTE_COUNT))
            return bytes(output) if embedded_pictures.redraw_place(output, place, redraw) else None
        if not is_reduced(file, directory):
            return None
        page = read_page(file, directory)
        if page.width * page.height > MAX_PIXELS or page.coding.sample_type.itemsize > 1:
            return None
        old, alpha = decode_page(file.data, page)
        pixels = redraw.pixels(old.astype(np.uint8, copy=False))
        return None if pixels is None else replace_page(file, page, pixels, alpha)
    except (PhotoError, ValueError):
        return None


def layers(data: bytes, index: None = None) -> Iterator[str]:
    """Yield the name of an editor's layers, which are not redrawn, if there are any."""
    file = read_tiff(data)
    if Tag.LAYERS in read_page(file).directory.entries:
        yield embedded_pictures.LAYERS
