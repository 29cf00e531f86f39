"""JPEG: decode a photo, and put new pixels into the original's container.

Markers are those of ITU-T T.81 (annex B); the multi-picture index is CIPA
DC-007. Whatever follows the first image (second images, gain maps, videos) is
kept byte for byte, and the index that points there is brought up to date.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from unblur.errors import PhotoError
from unblur.formats.jpeg_colors import move_colors
from unblur.formats.jpeg_index import move_index
from unblur.formats.photo import JPEG, Encoded, Photo
from unblur.formats.pixels import code_pixels, open_image, to_array
from unblur.limits import limited, refuse_excess
from unblur.score import reduction

SOI, EOI, SOS, COM = 0xD8, 0xD9, 0xDA, 0xFE
APP0, APP1, APP2, APP11, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xEE, 0xEF
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers; the three left out are DHT, JPG and DAC."""

LONGEST_SEGMENT = 0xFFFF - 2
"""Bytes that a segment holds besides its marker and its length."""

_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Inside coded data only stuffed zeros and restart markers follow 0xFF. Any number of 0xFF may
come before: to match those, too, would take quadratic time over a block of nothing else."""
_SEGMENT_START = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
"""The markers left out stand alone; the image's end does so, too."""

MOST_SCANS = 100
"""Encoders write about ten; each takes as long as decoding all pixels, however short it is."""

EXIF = b"Exif\0\0"
MPF = b"MPF\0"


@dataclass(frozen=True)
class Segment:
    """A marker and what belongs to it, in a file's bytes."""

    marker: int
    start: int
    stop: int

    @property
    def is_metadata(self) -> bool:
        """Whether it is an application segment or a comment."""
        return APP0 <= self.marker <= APP15 or self.marker == COM

    def payload(self, data: bytes) -> bytes:
        """Return what follows marker and length."""
        return data[self.start + 4 : self.stop]


_SUBSAMPLING: dict[tuple[float, float], str] = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
"""Luma samples per chroma sample, across and down. Pillow cannot write others, such as 4:4:0;
those become 4:4:4, never coarser than they were."""

_BLOCKS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}
"""Luma samples per chroma sample, down and across, of what Pillow can write."""


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode the first image, and note how it is coded.

    Raises:
        PhotoError: If it is too large, or neither grey nor RGB.
        Exception: Whatever Pillow raises for damaged files.
    """
    image = _open(data, max_pixels)
    return Photo(to_array(image), None, JPEG, data, _read_coding(image, is_rgb_coded(data)))


def decode_reduced(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode the luma of the first image as finely as `unblur.score` measures it.

    libjpeg takes a half, a quarter or an eighth of each side out of the coded
    frequencies, in a fraction of the time.

    Returns:
        (H, W, 1).

    Raises:
        PhotoError: If it is too large, or neither grey nor RGB.
        Exception: Whatever Pillow raises for damaged files.
    """
    image = _open(data, max_pixels)
    factor = reduction(*image.size)
    image.draft("L", (image.width // factor, image.height // factor))
    return to_array(image.convert("L"))


def _open(data: bytes, max_pixels: int) -> JpegImageFile:
    image = open_image(without_metadata(data), ["JPEG"], max_pixels)
    assert isinstance(image, JpegImageFile)
    # At once: what libjpeg does not consume of a block is scanned again with the next.
    image.decodermaxblock = max(image.decodermaxblock, len(data))
    if image.mode not in ("L", "RGB"):
        raise PhotoError(f"{image.mode} colour cannot be processed; grey and RGB can")
    return image


def _read_coding(image: JpegImageFile, rgb_coded: bool) -> dict[str, Any]:
    """Return the options that make Pillow code as an image is coded.

    Raises:
        PhotoError: If it has no quantisation tables, as lossless JPEG has none.
    """
    try:
        tables = [image.quantization[table] for *_, table in image.layer]
    except KeyError:
        raise PhotoError("lossless JPEG files cannot be processed") from None
    coding: dict[str, Any] = {"progressive": "progressive" in image.info}
    if len(tables) == 3:
        # Pillow cannot write RGB whose components differ in size, which no camera does.
        subsampling = "4:4:4" if rgb_coded else _read_subsampling(image)
        coding |= {"subsampling": subsampling, "keep_rgb": rgb_coded}
        # Pillow gives components without a table of their own the first one, but
        # chroma the second; what that makes right need not be written again.
        if tables[0] == tables[1] == tables[2]:
            tables = tables[:1]
        elif tables[1] == tables[2] and not rgb_coded:
            tables = tables[:2]
    return coding | {"qtables": tables}


def _read_subsampling(image: JpegImageFile) -> str:
    """Return the original's chroma subsampling, or what is finer and Pillow can write."""
    (_, across, down, _), *chroma = image.layer
    ratios = {(across / part[1], down / part[2]) for part in chroma}
    return _SUBSAMPLING.get(ratios.pop(), "4:4:4") if len(ratios) == 1 else "4:4:4"


def encode(photo: Photo, pixels: NDArray[np.uint8]) -> Encoded:
    """Code new pixels with the original's tables and sampling, in its container."""
    if pixels.shape[2] == 1 or photo.coding["keep_rgb"]:
        return splice(photo.container, code_pixels(pixels, None, "JPEG", **photo.coding))
    image = open_image(without_metadata(photo.container), ["JPEG"], pixels.size)
    image.draft("YCbCr", image.size)
    image.load()
    move_colors(image, photo.pixels, pixels, _BLOCKS[photo.coding["subsampling"]])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{**photo.coding, "keep_rgb": False})
    return splice(photo.container, buffer.getvalue())


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the first image's segments, from SOI to EOI.

    A scan's coded data belongs to its SOS segment. Bytes between segments that
    belong to none are passed over, as every decoder does.

    Raises:
        ExcessError: If there are too many.
        ValueError: If there is no image, or it ends too early.
    """
    return limited(_segments(data), len(data), "segments")


def _segments(data: bytes) -> Iterator[Segment]:
    if data[:2] != b"\xff\xd8":
        raise ValueError("does not begin as a JPEG")
    yield Segment(SOI, 0, 2)
    position = 2
    while True:
        match = _SEGMENT_START.search(data, position)
        if not match:
            raise ValueError("ends before its image does")
        marker, start = match[1][0], match.end() - 2
        if marker == EOI:
            yield Segment(EOI, start, match.end())
            return
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        position = match.end() + length
        if length < 2 or position > len(data):
            raise ValueError("a segment ends after the file")
        if marker == SOS:
            following = _SCAN_END.search(data, position)
            position = following.start() if following else len(data)
        yield Segment(marker, start, position)


def coded_pixels(data: bytes) -> Iterator[bytes]:
    """Yield the first image's frame, tables and scans, which new pixels replace.

    One whose end marker is missing counts up to where its bytes end.

    Raises:
        ValueError: If there is no scan.
    """
    has_scan = False
    try:
        for segment in segments(data):
            if not segment.is_metadata and segment.marker not in (SOI, EOI):
                has_scan |= segment.marker == SOS
                yield data[segment.start : segment.stop]
    except ValueError:
        if not has_scan:
            raise


def make_segment(marker: int, payload: bytes) -> bytes:
    """Write a segment of at most `LONGEST_SEGMENT` bytes."""
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def is_rgb_coded(data: bytes) -> bool:
    """Tell whether three components hold RGB rather than YCbCr, by libjpeg's rules."""
    transform = None
    names = b""
    for segment in segments(data):
        if segment.marker == SOS:
            break
        payload = segment.payload(data)
        if segment.marker == APP0 and payload.startswith(b"JFIF\0"):
            return False
        if segment.marker in FRAMES:
            names = payload[6::3]
        transform = _adobe_transform(segment, payload, transform)
    return len(names) == 3 and (names == b"RGB" if transform is None else transform == 0)


def _adobe_transform(segment: Segment, payload: bytes, default: int | None = None) -> int | None:
    """Return the colour transform that an Adobe segment tells; the default for other segments."""
    if segment.marker == APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
        return payload[11]
    return default


def without_metadata(data: bytes) -> bytes:
    """Return the first image with only those segments that tell how its pixels are coded.

    What is decoded is this: a library that trips over a damaged tag, or takes a
    file with a multi-picture index for another format, must not refuse the photo.

    Raises:
        ExcessError: If it has more scans than any encoder writes.
        ValueError: If there is no image, or it ends too early.
    """
    kept = [s for s in segments(data) if s.marker in (APP0, APP14) or not s.is_metadata]
    refuse_excess(sum(segment.marker == SOS for segment in kept), MOST_SCANS, "scans")
    return b"".join(data[segment.start : segment.stop] for segment in kept)


def splice(original: bytes, coded: bytes) -> Encoded:
    """Put the pixels of one file into the container of another.

    Every application segment and comment of the original is kept, byte for
    byte and in order, and so is all that follows its first image. Frame,
    tables and scans are the coded file's.

    Left out, with a note: a C2PA manifest, which signs the old pixels and would
    now be taken for a forgery; an Adobe segment that misstates how the new
    pixels are coded.

    Args:
        original: The file that gives the metadata.
        coded: The file that gives the pixels.

    Raises:
        ValueError: If either is no whole JPEG.
    """
    kept, notes = _kept_metadata(original, coded)
    output = bytearray(b"\xff\xd8")
    indexes = []  # where multi-picture indexes lie: in the original, in the output
    for segment in kept:
        if segment.marker == APP2 and segment.payload(original).startswith(MPF):
            header = len(MPF) + 4
            indexes.append((segment.start + header, len(output) + header, segment.stop))
        output += original[segment.start : segment.stop]
    for segment in segments(coded):
        if segment.marker != SOI and not segment.is_metadata:
            output += coded[segment.start : segment.stop]
    ends = (image_end(original), len(output))
    for old_base, new_base, stop in indexes:
        move_index(output, original[old_base:stop], old_base, new_base, ends)
    output += original[ends[0] :]
    return Encoded(bytes(output), notes)


def edit_exif(data: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    """Change the first image's EXIF block, of which it can have one, to one of the same length.

    Args:
        data: The whole file.
        edit: Given the block from its byte order mark on (Exif 2.32, section 4.7.2).

    Raises:
        ValueError: If there is no image, or it ends too early.
    """
    for segment in segments(data):
        start = segment.start + 4 + len(EXIF)
        if segment.marker == APP1 and segment.payload(data).startswith(EXIF):
            return data[:start] + edit(data[start : segment.stop]) + data[segment.stop :]
    return data


def first_exif(data: bytes) -> bytes:
    """Return a file's EXIF block from its byte order mark on, or nothing.

    Args:
        data: The file, or as much of its beginning as may hold the block.
    """
    with contextlib.suppress(ValueError):  # nothing but the block is looked at
        for segment in segments(data):
            payload = segment.payload(data)
            if segment.marker == APP1 and payload.startswith(EXIF):
                return payload[len(EXIF) :]
    return b""


def image_end(data: bytes) -> int:
    """Return where the first image ends.

    Raises:
        ValueError: If there is no image, or it ends too early.
    """
    return max(segment.stop for segment in segments(data))


def _kept_metadata(original: bytes, coded: bytes) -> tuple[list[Segment], tuple[str, ...]]:
    kept, manifests, notes = [], set(), dict[str, None]()  # in order of appearance
    components, rgb_coded = _component_count(coded), is_rgb_coded(coded)
    for segment in segments(original):
        if not segment.is_metadata:
            continue
        payload = segment.payload(original)
        if segment.marker == APP11 and payload[:2] == b"JP":
            # ISO 19566-5: boxes too long for one segment share their number.
            box = payload[2:4] + payload[12:16]
            if box.endswith(b"jumb") and b"c2pa" in payload[16:64]:
                manifests.add(box)
            if box in manifests:
                continue
        transform = _adobe_transform(segment, payload)
        if transform is not None:
            is_rgb = transform == 0 and components == 3
            if is_rgb != rgb_coded:
                notes["an Adobe segment that misstates the colour coding was left out"] = None
                continue
        kept.append(segment)
    if manifests:
        notes["the C2PA manifest was left out: it signs the pixels as they were"] = None
    return kept, tuple(notes)


def _component_count(data: bytes) -> int:
    for segment in segments(data):
        if segment.marker in FRAMES:
            return segment.payload(data)[5]
    raise ValueError("has no image")
