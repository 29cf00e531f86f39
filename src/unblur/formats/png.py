"""PNG: decode a photo, and put new pixels into the original's container.

See the W3C PNG specification (third edition), sections 5 and 11. Pillow reduces 16-bit colours to 8
bits, so 16-bit files need the extra ``deep``.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from unblur.errors import PhotoError
from unblur.extras import load_extra
from unblur.file_limits import refuse_excess
from unblur.formats import png_metadata, png_pictures
from unblur.formats.codec import Codec, Target
from unblur.formats.metadata import C2PA_LEFT_OUT, Metadata
from unblur.formats.photo import PNG, Encoded, Photo
from unblur.formats.pixels import (
    code_pixels,
    open_image,
    refuse_thin,
    rows_of,
    to_array,
    to_samples,
)
from unblur.formats.png_chunks import ABOUT_PIXELS, REPLACED, SIGNATURE, Chunk, chunks, make_chunk
from unblur.formats.refusals import ANIMATED
from unblur.main_memory import require_memory

PALETTE = 3
"""Colour type in IHDR whose samples are indexes into PLTE."""

_CHANNELS = {0: 1, 2: 3, PALETTE: 1, 4: 2, 6: 4}
"""Samples per pixel by colour type (table 8), except for palettes."""

_ONE_PASS = ((0, 0, 1, 1),)
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row, and their distances, of the passes of an interlaced photo (8.1)."""

INFLATED_AT_ONCE = 16 << 20
"""Bytes of pixels to decompress at once for counting."""

KEY_BECAME_ALPHA = "the transparent colour became an alpha channel"

ABOUT_PALETTE = frozenset({b"PLTE", b"hIST"})
TRANSPARENCY = b"tRNS"
C2PA = b"caBX"
APPLE = b"CgBI"
"""First chunk of a PNG that only Apple's systems decode."""
APPLE_OFFSETS = b"iDOT"
"""Apple's private chunk with byte offsets into IDAT, which new pixels make invalid."""


@dataclass(frozen=True)
class Header:
    """The fields of IHDR that describe how pixels are stored."""

    width: int
    height: int
    bit_depth: int
    color_type: int
    is_interlaced: bool

    @property
    def stored_bytes(self) -> int:
        """Number of bytes of all rows, each with its filter type (sections 7.2 and 8)."""
        bits, size = self.bit_depth * _CHANNELS[self.color_type], 0
        for left, top, across, down in _PASSES if self.is_interlaced else _ONE_PASS:
            rows = len(range(top, self.height, down))
            columns = len(range(left, self.width, across))
            size += rows * (1 + (columns * bits + 7) // 8) if columns else 0
        return size


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a still photo; a palette becomes truecolour, and a colour key an alpha channel."""
    header = read_header(data)
    if is_animated(data):
        raise PhotoError(ANIMATED)
    opened = open_image(without_metadata(data), PngImageFile, max_pixels)
    refuse_thin(header.width, header.height, max_pixels)
    if header.bit_depth == 16:
        return _decode_16_bit(data, header)
    if ImageFile.LOAD_TRUNCATED_IMAGES:  # then Pillow decodes damaged pixels without an error
        _check_stream(data, header)
    if opened.mode == "1":
        raise PhotoError("1-bit images are not photos")
    image, notes = _as_truecolor(opened, header)
    samples = to_array(image)
    if header.is_interlaced or _ends_empty(opened):  # Pillow leaves missing rows empty
        _check_stream(data, header)
    return _make_photo(samples, data, notes)


def _ends_empty(image: Image.Image) -> bool:
    """Return whether all samples of the last row are zero."""
    return rows_of(image, image.height - 1, image.height).getbbox(alpha_only=False) is None


def _as_truecolor(image: Image.Image, header: Header) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert a palette or a colour key; return the image, and a note on the change."""
    has_key = "transparency" in image.info
    if header.color_type == PALETTE:
        return image.convert("RGBA" if has_key else "RGB"), ("the palette became truecolour",)
    if not has_key:
        return image, ()
    if header.bit_depth < 8:  # the key counts the file's levels, not Pillow's 256
        image.info["transparency"] *= 255 // (2**header.bit_depth - 1)
    return image.convert("LA" if image.mode == "L" else "RGBA"), (KEY_BECAME_ALPHA,)


def _decode_16_bit(data: bytes, header: Header) -> Photo:
    library = load_extra("imagecodecs", "deep", "16-bit PNG files")
    with contextlib.suppress(zlib.error, EOFError):  # libpng decides on damage
        _check_stream(data, header)
    require_memory(2 * 2 * header.width * header.height * _CHANNELS[header.color_type])
    samples = library.png_decode(without_metadata(data))
    samples = samples.reshape(header.height, header.width, -1)
    has_key = samples.shape[2] > _CHANNELS[header.color_type]
    return _make_photo(samples, data, (KEY_BECAME_ALPHA,) if has_key else ())


def _check_stream(data: bytes, header: Header) -> None:
    """Decompress all pixels, piece by piece, and keep none.

    Raises:
        ExcessError: If there are far more pixels than the photo has.
        zlib.error: If they are damaged.
        EOFError: If they are cut off, even if they end like a whole stream.
    """
    row = 8 + header.width * _CHANNELS[header.color_type] * header.bit_depth // 8
    most = 2 * header.height * row + INFLATED_AT_ONCE  # interlaced photos have twice the rows
    inflated, inflate = 0, zlib.decompressobj()
    for chunk in chunks(data):
        coded = chunk.data if chunk.type == b"IDAT" else b""
        while coded and not inflate.eof:
            inflated += len(inflate.decompress(coded, INFLATED_AT_ONCE))
            refuse_excess(inflated, most, "bytes of pixels")
            coded = inflate.unconsumed_tail
    if not inflate.eof or inflated < header.stored_bytes:
        raise EOFError("its pixels are cut off")


def _make_photo(samples: NDArray[Any], data: bytes, notes: tuple[str, ...]) -> Photo:
    """Split (H, W, 1 to 4) samples into colours and alpha."""
    alpha = None
    if samples.shape[2] in (2, 4):
        samples, alpha = samples[..., :-1], np.ascontiguousarray(samples[..., -1])
    return Photo(np.ascontiguousarray(samples), alpha, PNG, data, {}, notes)


def encode(photo: Photo, pixels: NDArray[Any]) -> Encoded:
    """Encode new pixels in the original's container."""
    return splice(photo.container, code(pixels, photo.alpha))


def code(pixels: NDArray[Any], alpha: NDArray[Any] | None) -> bytes:
    """Encode 8- or 16-bit pixels as a file without metadata, or raise `PhotoError`."""
    if pixels.dtype == np.uint16:
        library = load_extra("imagecodecs", "deep", "16-bit PNG files")
        coded: bytes = library.png_encode(to_samples(pixels, alpha))
        return coded
    return code_pixels(pixels, alpha, "PNG")


def coded_pixels(data: bytes, index: None = None) -> Iterator[bytes]:
    """Yield the data that new pixels replace: header, palette and encoded pixels."""
    for chunk in chunks(data):
        if chunk.type in REPLACED or chunk.type == b"PLTE":
            yield chunk.data


def read_header(data: bytes) -> Header:
    """Read IHDR, or raise `ValueError`."""
    if not data.startswith(SIGNATURE + b"\0\0\0\x0dIHDR") or len(data) < 33:
        if data[12:16] == APPLE:
            raise PhotoError(
                "Apple's own form of PNG, of an app for iOS (CgBI), cannot be processed; "
                "convert it to ordinary PNG with: pngcrush -revert-iphone-optimizations"
            )
        raise ValueError("does not begin as a PNG")
    header = Header(*struct.unpack(">IIBB2x?", data[16:29]))
    if header.bit_depth not in (1, 2, 4, 8, 16):
        raise ValueError(f"has an impossible bit depth, {header.bit_depth}")
    return header


def is_animated(data: bytes) -> bool:
    """Return whether the file has more frames than its picture (11.3.6)."""
    is_still = True
    for chunk in chunks(data):
        if chunk.type == b"acTL":
            is_still = int.from_bytes(chunk.data[:4], "big") == 1
        elif chunk.type == b"fdAT":
            is_still = False
    return not is_still


def without_metadata(data: bytes) -> bytes:
    """Return the file with only the chunks that its pixels need, or raise `ValueError`.

    Libraries decode these bytes, because damaged metadata could make them refuse the photo.
    """
    return SIGNATURE + b"".join(chunk.raw for chunk in chunks(data) if chunk.type in ABOUT_PIXELS)


def splice(original: bytes, coded: bytes) -> Encoded:
    """Put the pixels of one file into the container of another.

    Chunks that do not describe how pixels are stored are kept, and so are bytes after the last
    chunk. A palette is left out, and so is a colour key (tRNS) that became an alpha channel.

    Args:
        original: The file with the metadata.
        coded: The file with the pixels, 8 or 16 bit, grey or truecolour.

    Raises:
        ValueError: If either is not a whole PNG, or the original has no pixels.
    """
    old, new = read_header(original), read_header(coded)
    pixels = b"".join(chunk.raw for chunk in chunks(coded) if chunk.type == b"IDAT")
    output = bytearray(SIGNATURE + coded[8:33])
    notes: tuple[str, ...] = ()
    palette = b""
    length = len(SIGNATURE)
    for chunk in chunks(original):
        length += len(chunk.raw)
        if chunk.type == b"PLTE":
            palette = chunk.data
        if chunk.type == b"IDAT":
            output += pixels
            pixels = b""
        elif chunk.type == C2PA:
            notes = (C2PA_LEFT_OUT,)
        elif kept := _kept_chunk(chunk, palette, old, new):
            output += kept
    if pixels:
        raise ValueError("has no pixels")
    return Encoded(bytes(output) + original[length:], notes)


def _kept_chunk(chunk: Chunk, palette: bytes, old: Header, new: Header) -> bytes:
    """Return a chunk of the original for the new file, adapted if necessary, or nothing."""
    has_alpha = bool(new.color_type & 4)
    if chunk.type in REPLACED or chunk.type == APPLE_OFFSETS:
        return b""
    if chunk.type == TRANSPARENCY and has_alpha:
        return b""
    if old.color_type != PALETTE:
        return _rescaled(chunk, old, new)
    if chunk.type in ABOUT_PALETTE or chunk.type == TRANSPARENCY:
        return b""
    if chunk.type == b"bKGD":
        index = 3 * int.from_bytes(chunk.data[:1], "big")
        color = palette[index : index + 3]
        if len(color) < 3:
            return b""
        return make_chunk(b"bKGD", bytes(byte for value in color for byte in (0, value)))
    if chunk.type == b"sBIT" and has_alpha:
        return make_chunk(b"sBIT", chunk.data[:3] + b"\x08")
    return chunk.raw


def _rescaled(chunk: Chunk, old: Header, new: Header) -> bytes:
    """Adapt chunks whose meaning depends on sample depth or on alpha."""
    if chunk.type == b"bKGD" and old.bit_depth < new.bit_depth and len(chunk.data) == 2:
        factor = (2**new.bit_depth - 1) // (2**old.bit_depth - 1)
        value = int.from_bytes(chunk.data, "big") * factor
        return make_chunk(b"bKGD", min(value, 2**new.bit_depth - 1).to_bytes(2, "big"))
    if chunk.type == b"sBIT" and new.color_type & 4 and not old.color_type & 4:
        return make_chunk(b"sBIT", chunk.data + bytes([new.bit_depth]))
    return chunk.raw


def _write(photo: Photo, metadata: Metadata, quality: int | None) -> bytes:
    return png_metadata.with_metadata(code(photo.pixels, photo.alpha), metadata)


CODEC = Codec(
    decode=decode,
    encode=encode,
    coded_pixels=coded_pixels,
    metadata=png_metadata.metadata,
    stripped=png_metadata.stripped,
    redraw=png_pictures.redraw,
    target=Target(_write),
)
