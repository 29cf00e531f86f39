"""Write a new TIFF around an EXIF block, which is itself a TIFF.

The block stays at the beginning, so that its offsets, including those in maker notes, stay
valid. Pixels follow, then a directory that replaces the block's first one (TIFF 6.0,
sections 2, 8, 14 and 18). The block's thumbnail is not listed, because it would count as a page.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from unblur.errors import PhotoError
from unblur.formats.tiff_coding import (
    HORIZONTAL_DIFFERENCING,
    NO_PREDICTOR,
    Coding,
    Compression,
    Samples,
    encode_segment,
)
from unblur.formats.tiff_directory import (
    BYTE,
    DATA_TAGS,
    LONG,
    SHORT,
    UNASSOCIATED_ALPHA,
    UNDEFINED,
    UNSPECIFIED,
    Tag,
    TiffFile,
    is_camera_raw,
    read_tiff,
)
from unblur.formats.tiff_fields import (
    Field,
    read_fields,
    write_directory,
    write_header,
    write_numbers,
)

if TYPE_CHECKING:
    from unblur.formats.metadata import Metadata

STRIP_BYTES = 1 << 20
_ABOUT_OTHER_PIXELS = frozenset(
    {
        *chain.from_iterable(DATA_TAGS),
        Tag.NEW_SUBFILE_TYPE,
        Tag.SUBFILE_TYPE,
        Tag.FILL_ORDER,
        Tag.SUB_IFDS,
        Tag.JPEG_TABLES,
        Tag.YCBCR_SUBSAMPLING,
        Tag.DNG_VERSION,
    }
)
"""Fields that do not belong into an EXIF block, and would be wrong for the new pixels."""


def write_tiff(
    pixels: Samples,
    alpha: Samples | None,
    metadata: Metadata,
    compression: Compression = Compression.DEFLATE,
    alpha_is_opacity: bool = True,
) -> bytes:
    """Write a TIFF of one page.

    Args:
        pixels: (H, W, 1 or 3), 8 or 16 bits.
        alpha: (H, W), of the same type.
        metadata: Metadata to write; EXIF is left out if it is damaged, or if the file would look
            like camera RAW.
        compression: ``DEFLATE`` or ``NONE``.
        alpha_is_opacity: Whether ``alpha`` is opacity, and not another channel.

    Raises:
        PhotoError: If the file would be too large for its offsets.
    """
    exif = _read_exif(metadata.exif)
    samples = pixels if alpha is None else np.dstack([pixels, alpha])
    output = bytearray(exif.data + bytes(len(exif.data) % 2))
    fields = read_fields(exif, exif.first)
    fields = {tag: field for tag, field in fields.items() if tag not in _ABOUT_OTHER_PIXELS}
    coding = _choose_coding(samples, compression, exif.order)
    fields |= _describe(samples, pixels.shape[2], coding, exif.order)
    if alpha is not None:
        kind = UNASSOCIATED_ALPHA if alpha_is_opacity else UNSPECIFIED
        fields[Tag.EXTRA_SAMPLES] = write_numbers(Tag.EXTRA_SAMPLES, exif.order, SHORT, kind)
    fields |= _append_strips(output, samples, coding, exif.order)
    if metadata.xmp:
        fields[Tag.XMP] = Field(Tag.XMP, BYTE, len(metadata.xmp), metadata.xmp)
    if metadata.icc:
        fields[Tag.ICC_PROFILE] = Field(Tag.ICC_PROFILE, UNDEFINED, len(metadata.icc), metadata.icc)
    output[:8] = write_header(exif.order, len(output))
    output += write_directory(list(fields.values()), exif.order, len(output))
    data = bytes(output)
    if metadata.exif and is_camera_raw(data):
        others = replace(metadata, exif=b"")
        return write_tiff(pixels, alpha, others, compression, alpha_is_opacity)
    return data


def _choose_coding(samples: Samples, compression: Compression, order: str) -> Coding:
    _, width, depth = samples.shape
    rows = max(1, STRIP_BYTES // (width * depth * samples.itemsize))
    predictor = NO_PREDICTOR if compression is Compression.NONE else HORIZONTAL_DIFFERENCING
    kind = np.dtype(f"{order}u{samples.itemsize}")
    return Coding(compression, predictor, kind, False, rows * width)


def _append_strips(
    output: bytearray, samples: Samples, coding: Coding, order: str
) -> dict[int, Field]:
    """Append encoded pixels to a file; return the fields with their offsets and lengths."""
    height, width, _ = samples.shape
    rows = coding.segment_pixels // width
    offsets, sizes = [], []
    for top in range(0, height, rows):
        strip = encode_segment(samples[top : top + rows], coding, b"")
        offsets.append(len(output))
        sizes.append(len(strip))
        output += strip + bytes(len(strip) % 2)
    if len(output) >= 1 << 32:
        raise PhotoError("the result would be larger than 4 GiB, which only a BigTIFF can be")
    numbers: dict[int, list[int]] = {
        Tag.ROWS_PER_STRIP: [rows],
        Tag.STRIP_OFFSETS: offsets,
        Tag.STRIP_BYTE_COUNTS: sizes,
    }
    return {tag: write_numbers(tag, order, LONG, *values) for tag, values in numbers.items()}


def _read_exif(exif: bytes) -> TiffFile:
    """Return an EXIF block as a TIFF; if it is damaged, a TIFF without directories."""
    try:
        file = read_tiff(exif)
        file.directory(file.first)
    except ValueError:
        return read_tiff(write_header("<", 0))
    return file


def _describe(samples: Samples, channels: int, coding: Coding, order: str) -> dict[int, Field]:
    """Return the fields that describe how pixels are stored, except for the strips."""
    height, width, depth = samples.shape
    numbers: dict[Tag, tuple[int, ...]] = {
        Tag.IMAGE_WIDTH: (width,),
        Tag.IMAGE_LENGTH: (height,),
        Tag.BITS_PER_SAMPLE: (8 * samples.itemsize,) * depth,
        Tag.COMPRESSION: (coding.compression,),
        Tag.PHOTOMETRIC_INTERPRETATION: (2 if channels == 3 else 1,),
        Tag.SAMPLES_PER_PIXEL: (depth,),
        Tag.PLANAR_CONFIGURATION: (1,),
        Tag.PREDICTOR: (coding.predictor,),
        Tag.SAMPLE_FORMAT: (1,) * depth,  # unsigned
    }
    kinds = {Tag.IMAGE_WIDTH: LONG, Tag.IMAGE_LENGTH: LONG}
    return {
        tag: write_numbers(tag, order, kinds.get(tag, SHORT), *values)
        for tag, values in numbers.items()
    }
