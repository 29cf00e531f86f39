"""JPEG: decode a photo, and put new pixels into the original's container.

All bytes after the first image (second images, gain maps, videos) are kept, and the
multi-picture index (CIPA DC-007) that points there is updated.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from unblur.errors import PhotoError
from unblur.formats import jpeg_markers as marks
from unblur.formats import jpeg_metadata, jpeg_pictures
from unblur.formats.codec import Codec, Reduced, Target
from unblur.formats.jpeg_colors import extended, move_colors
from unblur.formats.jpeg_end import refuse_missing, with_end
from unblur.formats.jpeg_gain_maps import find_companions, with_new_gain_maps
from unblur.formats.jpeg_index import move_index
from unblur.formats.jpeg_markers import Segment, segments
from unblur.formats.jpeg_stored import read_stored
from unblur.formats.metadata import C2PA_LEFT_OUT, Metadata, read_orientation
from unblur.formats.photo import JPEG, Encoded, Photo
from unblur.formats.pixels import code_pixels, open_image, saved, to_array, turned
from unblur.score import reduction

_SUBSAMPLING: dict[tuple[float, float], str] = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
"""Luma samples per chroma sample, across and down. Pillow cannot write other samplings, such as
4:4:0; they become 4:4:4."""

_BLOCKS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}
"""Luma samples per chroma sample, down and across, of the samplings that Pillow can write."""

_NEW = {"quality": 95, "subsampling": "4:4:4"}
"""Pillow's options for photos of other formats; the quality is higher than its default."""


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode the first image, and record how it is encoded."""
    data, parts, notes = _with_end(data, max_pixels)
    image = _open_first(data, parts, max_pixels)
    coding = _read_coding(image, marks.is_rgb_coded(data, parts))
    coding["restart_marker_blocks"] = marks.restart_interval(data, parts)
    pixels = to_array(image)
    refuse_missing(data, parts, pixels, functools.partial(_decode_alone, max_pixels=max_pixels))
    gain_maps = find_companions(data, parts, decode, image.width * image.height)
    return Photo(pixels, None, JPEG, data, coding, notes, index=parts, companions=gain_maps)


def _with_end(data: bytes, max_pixels: int) -> tuple[bytes, tuple[Segment, ...], tuple[str, ...]]:
    decode = functools.partial(_decode_alone, max_pixels=max_pixels)
    data, parts, notes = with_end(data, decode)
    _refuse_unsupported(data, parts)
    return data, parts, notes


def _decode_alone(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode only the pixels of the first image."""
    parts = tuple(segments(data))
    _refuse_unsupported(data, parts)
    return to_array(_open_first(data, parts, max_pixels))


def _refuse_unsupported(data: bytes, parts: Iterable[Segment]) -> None:
    """Raise `PhotoError` for a frame that Pillow takes for damaged, or cannot encode."""
    for segment in parts:
        if segment.marker in marks.FRAMES:
            bits, *height = segment.payload(data)[:3]
            if segment.marker in marks.LOSSLESS_FRAMES:
                raise PhotoError("lossless JPEG files cannot be processed")
            if bits != 8:
                raise PhotoError(f"{bits}-bit JPEG files cannot be processed")
            if not any(height):
                raise PhotoError(
                    "JPEG files that state their height after the pixels (DNL) cannot be processed"
                )


def decode_reduced(data: bytes, max_pixels: int) -> Reduced:
    """Decode the luma of the first image at the resolution that `unblur.score` needs.

    libjpeg can decode an image at a half, a quarter or an eighth of its sides in a fraction of the
    time.
    """
    data, parts, _ = _with_end(data, max_pixels)
    image = _open_first(data, parts, max_pixels)
    whole, factor = image.width, reduction(*image.size)
    image.draft("L", (image.width // factor, image.height // factor))
    luma = to_array(image.convert("L"))
    refuse_missing(data, parts, luma, functools.partial(_decode_alone, max_pixels=max_pixels))
    luma = turned(luma, read_orientation(marks.first_exif(data)))
    return Reduced(luma, round(whole / image.width))


def _open_first(data: bytes, parts: tuple[Segment, ...], max_pixels: int) -> JpegImageFile:
    """Open the first image; raise `ValueError` if nearly all of its pixels are missing.

    Pillow would make these grey, and take memory for all of them.
    """
    image = _open(marks.without_metadata(data, parts), max_pixels)
    if marks.lacks_pixels(data, parts):
        raise ValueError("ends before its pixels do")
    return image


def _open(data: bytes, max_pixels: int) -> JpegImageFile:
    image = open_image(data, JpegImageFile, max_pixels)
    # All at once: libjpeg scans the unused rest of a block again with the next.
    image.decodermaxblock = max(image.decodermaxblock, len(data))
    if image.mode not in ("L", "RGB"):
        raise PhotoError(f"{image.mode} colour cannot be processed; grey and RGB can")
    return image


def _read_coding(image: JpegImageFile, rgb_coded: bool) -> dict[str, Any]:
    """Return the options with which Pillow encodes alike, or raise `KeyError` without a table."""
    tables = [image.quantization[table] for *_, table in image.layer]
    coding: dict[str, Any] = {"progressive": "progressive" in image.info}
    if len(tables) == 3:
        # Pillow cannot write RGB whose components differ in size, which no camera does.
        subsampling = "4:4:4" if rgb_coded else _read_subsampling(image)
        coding |= {"subsampling": subsampling, "keep_rgb": rgb_coded}
        # Without a table, Pillow gives chroma the second table, and others the first one.
        if tables[0] == tables[1] == tables[2]:
            tables = tables[:1]
        elif tables[1] == tables[2] and not rgb_coded:
            tables = tables[:2]
    return coding | {"qtables": tables}


def _read_subsampling(image: JpegImageFile) -> str:
    """Return the original's chroma subsampling, or a finer one that Pillow can write."""
    (_, across, down, _), *chroma = image.layer
    ratios = {(across / part[1], down / part[2]) for part in chroma}
    return _SUBSAMPLING.get(ratios.pop(), "4:4:4") if len(ratios) == 1 else "4:4:4"


def encode(photo: Photo, pixels: NDArray[np.uint8]) -> Encoded:
    """Code new pixels with the original's tables and sampling, in its container."""
    original, stale = with_new_gain_maps(photo.container, photo.companions, encode)
    return replace(_encode(photo, original, pixels), stale=stale)


def _encode(photo: Photo, original: bytes, pixels: NDArray[np.uint8]) -> Encoded:
    parts, size = photo.index, pixels.shape[:2]
    height, width = _size_of_blocks(photo, size)
    padded = marks.without_metadata(marks.with_size(original, parts, height, width), parts)
    if pixels.shape[2] == 1 or photo.coding["keep_rgb"]:
        stored = to_array(_open(padded, height * width))
        whole = extended(stored, photo.pixels, pixels)
        coded = code_pixels(whole, None, "JPEG", **photo.coding)
    else:
        subsampling = photo.coding["subsampling"]
        colors = read_stored(lambda: _open(padded, height * width), subsampling == "4:2:0")
        image = move_colors(colors, photo.pixels, pixels, _BLOCKS[subsampling])
        coded = saved(image, "JPEG", **{**photo.coding, "keep_rgb": False})
    encoded = splice(original, coded, parts)
    return replace(encoded, data=marks.with_size(encoded.data, encoded.index, *size))


def _size_of_blocks(photo: Photo, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the blocks that a photo of this size is encoded in.

    Blocks at the right and lower edge also have samples that nobody sees. If these changed, all
    samples of the blocks would. Scans of a single component have only the blocks with at least one
    visible sample (ITU-T T.81, A.2).
    """
    scans = sum(segment.marker == marks.SOS for segment in photo.index)
    is_interleaved = scans == 1 and not photo.coding["progressive"]
    chroma = _BLOCKS[photo.coding.get("subsampling", "4:4:4")] if is_interleaved else (1, 1)
    units = (marks.BLOCK * samples for samples in chroma)
    height, width = (-(-side // unit) * unit for side, unit in zip(size, units, strict=True))
    return (height, width) if max(height, width) <= marks.LONGEST_SIDE else size


def coded_pixels(data: bytes, parts: Iterable[Segment] | None = None) -> Iterator[memoryview]:
    """Yield the first image's frame, tables and scans, which new pixels replace.

    An image without an end marker reaches the end of the file.
    """
    has_scan, view = False, memoryview(data)  # whose slices copy nothing
    try:
        for segment in parts or segments(data):
            if not segment.is_metadata and segment.marker not in (marks.SOI, marks.EOI):
                has_scan |= segment.marker == marks.SOS
                yield view[segment.start : segment.stop]
    except ValueError:
        if not has_scan:
            raise


def splice(
    original: bytes, coded: bytes, original_parts: tuple[Segment, ...] | None = None
) -> Encoded:
    """Put the pixels of one file into the container of another.

    Frame, tables and scans come from the encoded file, all other bytes from the original. A C2PA
    manifest, which signs the old pixels, and an Adobe segment that contradicts the encoding of the
    new ones are left out, with a note.

    Args:
        original: The file with the metadata.
        coded: The file with the pixels.
        original_parts: The original's segments, if known.

    Raises:
        ValueError: If either is not a complete JPEG.
    """
    old, new = original_parts or tuple(segments(original)), tuple(segments(coded))
    rgb_coded = marks.is_rgb_coded(coded, new) if marks.component_count(coded, new) == 3 else None
    kept, notes = _kept_metadata(original, old, rgb_coded)
    output = bytearray(b"\xff\xd8")
    parts = [Segment(marks.SOI, 0, 2)]
    indexes = []  # offsets of multi-picture indexes: in the original, in the output, and end

    def append(data: bytes, segment: Segment) -> None:
        start = len(output)
        output.extend(memoryview(data)[segment.start : segment.stop])
        parts.append(Segment(segment.marker, start, len(output)))

    for segment in kept:
        if segment.marker == marks.APP2 and segment.payload(original).startswith(marks.MPF):
            header = len(marks.MPF) + 4
            indexes.append((segment.start + header, len(output) + header, segment.stop))
        append(original, segment)
    for segment in new:
        if segment.marker != marks.SOI and not segment.is_metadata:
            append(coded, segment)
    ends = (marks.image_end(original, old), len(output))
    for old_base, new_base, stop in indexes:
        move_index(output, original[old_base:stop], old_base, new_base, ends)
    output += original[ends[0] :]
    return Encoded(bytes(output), notes, tuple(parts))


def _kept_metadata(
    original: bytes, parts: Iterable[Segment], rgb_coded: bool | None
) -> tuple[list[Segment], tuple[str, ...]]:
    """Return the original's segments of metadata that are valid for the new pixels, and notes.

    Args:
        original: The original file.
        parts: Its segments.
        rgb_coded: Whether the new pixels are RGB rather than YCbCr; ``None`` if they are grey.
    """
    kept, manifests, notes = [], set(), dict[str, None]()  # in order of appearance
    for segment in parts:
        if not segment.is_metadata:
            continue
        payload = segment.payload(original)
        if segment.marker == marks.APP11 and payload[:2] == b"JP":
            # ISO 19566-5: boxes too long for one segment share their number.
            box = payload[2:4] + payload[12:16]
            if box.endswith(b"jumb") and b"c2pa" in payload[16:64]:
                manifests.add(box)
            if box in manifests:
                continue
        transform = marks.adobe_transform(segment, payload)
        if None not in (transform, rgb_coded) and (transform == 0) != rgb_coded:
            notes["an Adobe segment that misstates the colour coding was left out"] = None
            continue
        kept.append(segment)
    if manifests:
        notes[C2PA_LEFT_OUT] = None
    return kept, tuple(notes)


def _write(photo: Photo, metadata: Metadata, quality: int | None) -> bytes:
    options = _NEW if quality is None else {**_NEW, "quality": quality}
    coded = code_pixels(photo.pixels, None, "JPEG", **options)
    return jpeg_metadata.with_metadata(coded, metadata)


CODEC = Codec(
    decode=decode,
    encode=encode,
    coded_pixels=coded_pixels,
    metadata=jpeg_metadata.metadata,
    stripped=jpeg_metadata.stripped,
    decode_reduced=decode_reduced,
    redraw=jpeg_pictures.redraw,
    kept_pictures=jpeg_pictures.gain_maps,
    target=Target(
        _write,
        longest_side=marks.LONGEST_SIDE,
        is_8_bit=True,
        has_quality=True,
        has_opacity=False,
        too_large=jpeg_metadata.too_large,
    ),
)
