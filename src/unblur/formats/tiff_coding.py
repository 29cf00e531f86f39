"""Decode and encode one strip or tile of a TIFF.

TIFF 6.0, sections 9 (PackBits), 13 (LZW) and 14 (predictor); TIFF Technical
Note 2 (JPEG); Deflate, LZMA and Zstandard as libtiff stores them. Only
LZW, PackBits and Zstandard need an extra.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unblur.extras import load_extra
from unblur.file_limits import refuse_excess
from unblur.formats import jpeg, jpeg_markers


class Compression(IntEnum):
    """Values of the Compression tag that can be read and written."""

    NONE = 1
    LZW = 5
    JPEG = 7
    DEFLATE = 8
    PACKBITS = 32773
    OLD_DEFLATE = 32946
    LZMA = 34925
    ZSTD = 50000


_BY_EXTRA = {Compression.LZW: "lzw", Compression.PACKBITS: "packbits", Compression.ZSTD: "zstd"}
"""imagecodecs' names of the compressions that need it."""

MOST_TABLES, MOST_TABLE_BYTES = 16, 1 << 14
"""Limits for the JPEG tables that all strips or tiles share; each strip or tile decodes them."""

LZMA_MEMORY_BYTES = 256 << 20
"""Memory limit in bytes, enough for the highest preset; a file could ask for 4 GiB."""

DEFLATE_LEVEL = 4
"""Compression level, four times as fast as the default, 6; photos are at most 5 percent larger."""

NO_PREDICTOR, HORIZONTAL_DIFFERENCING = 1, 2

Samples: TypeAlias = NDArray[Any]
"""(H, W, C), uint8 or uint16."""


@dataclass(frozen=True)
class Coding:
    """How a page's strips or tiles are encoded."""

    compression: Compression
    predictor: int
    sample_type: np.dtype[Any]
    """Type of samples, with 8 or 16 bits, in the file's byte order."""
    is_ycbcr: bool
    """Whether JPEG data contain YCbCr, which decoding converts to RGB."""
    segment_pixels: int
    """Number of pixels of a whole strip or tile; only a hostile JPEG has more."""
    jpeg_tables: bytes = field(default=b"", repr=False)
    """JPEG tables that all strips or tiles share, from `read_tables`."""

    @property
    def is_lossless(self) -> bool:
        """Whether decoding returns the encoded pixels exactly."""
        return self.compression != Compression.JPEG


def decode_segment(data: bytes, shape: tuple[int, int, int], coding: Coding) -> Samples:
    """Decode one strip or tile to samples in the machine's byte order.

    Args:
        data: The encoded strip or tile.
        shape: Shape of the samples, (H, W, C); further samples are ignored.
        coding: How the page is encoded.

    Raises:
        PhotoError: If an extra is missing.
        Exception: The libraries raise any type for damaged data.
    """
    if coding.compression == Compression.JPEG:
        return _decode_jpeg(data, shape, coding)
    size = shape[0] * shape[1] * shape[2] * coding.sample_type.itemsize
    decoded = _decompress(data, coding.compression, size)
    if len(decoded) < size:
        raise ValueError("a strip or tile ends too early")
    samples: NDArray[Any] = np.frombuffer(
        decoded, coding.sample_type, size // coding.sample_type.itemsize
    )
    samples = samples.reshape(shape).astype(coding.sample_type.newbyteorder("="))
    if coding.predictor == HORIZONTAL_DIFFERENCING:
        np.cumsum(samples, axis=1, dtype=samples.dtype, out=samples)
    return samples


def encode_segment(samples: Samples, coding: Coding, original: bytes) -> bytes:
    """Encode one strip or tile.

    Args:
        samples: The samples, (H, W, C).
        coding: How the page is encoded.
        original: The old strip or tile; its JPEG tables and sampling are kept.

    Raises:
        PhotoError: If an extra is missing.
    """
    if coding.compression == Compression.JPEG:
        return _encode_jpeg(samples, coding, original)
    if coding.predictor == HORIZONTAL_DIFFERENCING:
        samples = np.diff(samples, axis=1, prepend=samples.dtype.type(0))
    return _compress(np.ascontiguousarray(samples, coding.sample_type), coding.compression)


def _decompress(data: bytes, compression: Compression, size: int) -> bytes:
    """Decompress data to at most ``size`` bytes."""
    if compression == Compression.NONE:
        return data
    if compression in (Compression.DEFLATE, Compression.OLD_DEFLATE):
        return zlib.decompressobj().decompress(data, size)
    if compression == Compression.LZMA:
        return lzma.LZMADecompressor(memlimit=LZMA_MEMORY_BYTES).decompress(data, size)
    return _codec(compression, "decode")(data, out=size)


def _compress(samples: NDArray[Any], compression: Compression) -> bytes:
    if compression == Compression.NONE:
        return samples.tobytes()
    if compression in (Compression.DEFLATE, Compression.OLD_DEFLATE):
        return zlib.compress(samples.data, DEFLATE_LEVEL)
    if compression == Compression.LZMA:
        return lzma.compress(samples.data)
    rows = samples.reshape(len(samples), -1).view(np.uint8)
    if compression == Compression.PACKBITS:  # each row separately (section 9)
        return b"".join(_codec(compression, "encode")(row) for row in rows)
    return _codec(compression, "encode")(rows)


def _codec(compression: Compression, verb: str) -> Callable[..., bytes]:
    library = load_extra("imagecodecs", "deep", f"{compression.name} compressed TIFF files")
    codec: Callable[..., bytes] = getattr(library, f"{_BY_EXTRA[compression]}_{verb}")
    return codec


def _decode_jpeg(data: bytes, shape: tuple[int, int, int], coding: Coding) -> Samples:
    height, width, channels = shape
    photo = jpeg.decode(_whole_jpeg(data, coding), coding.segment_pixels)
    rows, columns, components = photo.pixels.shape
    if rows < height or columns != width or components != channels:
        raise ValueError("a strip or tile has another size than the page says")
    return photo.pixels[:height]


def _encode_jpeg(samples: Samples, coding: Coding, original: bytes) -> bytes:
    """Encode like the original; application segments, which TIFF does not use, are left out."""
    old = jpeg.decode(_whole_jpeg(original, coding), coding.segment_pixels)
    pixels = old.pixels.copy()  # it may have more rows than the strip
    pixels[: len(samples)] = samples
    new = jpeg.encode(old, pixels)
    return b"".join(new.data[s.start : s.stop] for s in new.index if not s.is_metadata)


def read_tables(stream: bytes) -> bytes:
    """Return the segments of a JPEG stream of tables.

    Raises:
        ExcessError: If there are too many.
        ValueError: If it is damaged.
    """
    tables = list(_coded_segments(stream))
    refuse_excess(len(tables), MOST_TABLES, "JPEG tables")
    joined = b"".join(tables)
    refuse_excess(len(joined), MOST_TABLE_BYTES, "bytes of JPEG tables")
    return joined


def _coded_segments(stream: bytes) -> Iterator[bytes]:
    for segment in jpeg_markers.segments(stream):
        if segment.marker not in (jpeg_markers.SOI, jpeg_markers.EOI) and not segment.is_metadata:
            yield stream[segment.start : segment.stop]


def _whole_jpeg(data: bytes, coding: Coding) -> bytes:
    """Complete a strip or tile with the page's tables and colour space."""
    transform = b"\x01" if coding.is_ycbcr else b"\0"
    adobe = b"\xff\xee\x00\x0eAdobe\0\x64" + bytes(4) + transform  # T.872, section 6.5.3
    return b"".join([b"\xff\xd8", adobe, coding.jpeg_tables, *_coded_segments(data), b"\xff\xd9"])
