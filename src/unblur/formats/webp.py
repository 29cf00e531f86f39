"""WebP: decode a still photo, and put new pixels into the original's container.

RFC 9649, section 2, describes the container, and RFC 6386, section 9, VP8's frame header. A lossy
file keeps its quality, which the quantiser of its VP8 frame gives, and its alpha chunk (ALPH). A
lossless file stays lossless, even in transparent pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL.WebPImagePlugin import WebPImageFile

from unblur.errors import PhotoError
from unblur.file_limits import limited
from unblur.formats.codec import Codec, Target
from unblur.formats.embedded_pictures import Redraw, Redrawn, in_exif
from unblur.formats.metadata import C2PA_LEFT_OUT, Metadata, from_byte_order
from unblur.formats.photo import WEBP, Encoded, Photo
from unblur.formats.pixels import code_pixels, open_image, refuse_large, to_array
from unblur.formats.png_chunks import Chunk
from unblur.formats.refusals import ANIMATED, ONE_FRAME

LOSSY, LOSSLESS = b"VP8 ", b"VP8L"
EXTENDED, ALPHA = b"VP8X", b"ALPH"
PICTURE = frozenset({EXTENDED, ALPHA, LOSSY, LOSSLESS})
METADATA_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
"""Chunks of metadata, and the bits of VP8X that announce them."""
ALPHA_FLAG = 0x10
ANIMATION, FRAME = b"ANIM", b"ANMF"
ANIMATION_FLAG = 0x02
FRAME_FIELDS_BYTES = 16
"""Number of bytes before a frame's picture: its position, size, duration and flags."""
PARTIAL = "an animation whose only frame is smaller than itself cannot be processed"
RIFF_HEADER_BYTES, CHUNK_HEADER_BYTES = 12, 8
C2PA = b"C2PA"

FRAME_START = b"\x9d\x01\x2a"
"""Bytes after the three bytes of a key frame's tag."""
FRAME_HEADER_BYTES = 10
MACROBLOCK_PX = 16 * 16
"""Pixels of a macroblock, whose prediction mode takes more than a bit (RFC 6386, 8.2 and 11.2)."""
MAX_QUANTIZER = 127

QUALITY = 90
"""Quality for photos from other formats, higher than libwebp's default."""


class _InPieces(io.BytesIO):
    """Returns a few bytes at a time, as files may.

    They are too few for Pillow to compare the photo's size with its own limit; see `open_image`.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most the file's header, or all of the rest."""
        return super().read(size if size is None or size < 0 else min(size, RIFF_HEADER_BYTES + 4))


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a still photo or an animation of one frame, and record how it is encoded."""
    still = as_still(data)
    notes = (ONE_FRAME,) if still != data else ()
    data, frame = still, _image_chunk(still)
    width, height, _ = _read_frame(frame)
    refuse_large(width, height, max_pixels)  # opening a file with libwebp already takes memory
    if frame.type == LOSSY and width * height > 8 * len(frame.data) * MACROBLOCK_PX:
        raise ValueError("ends before its pixels do")
    image = open_image(data, lambda file: WebPImageFile(_InPieces(file.read())), max_pixels)
    pixels, alpha = to_array(image), None
    if image.mode == "RGBA":
        pixels, alpha = np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3])
    if frame.type == LOSSLESS:
        return Photo(pixels, alpha, WEBP, data, {"lossless": True, "exact": True}, notes)
    return Photo(pixels, alpha, WEBP, data, {"quality": estimate_quality(frame.data)}, notes)


def encode(photo: Photo, pixels: NDArray[np.uint8]) -> Encoded:
    """Encode new pixels like the original's, in its container."""
    alpha = photo.alpha if "lossless" in photo.coding else None
    return splice(photo.container, code_pixels(pixels, alpha, "WEBP", **photo.coding))


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks of the RIFF form.

    Raises:
        ExcessError: If there are too many.
        ValueError: If the file is no WebP or is cut off.
    """
    return limited(_chunks(data), len(data), "chunks")


def _chunks(data: bytes) -> Iterator[Chunk]:
    stop = _form_end(data)
    position = RIFF_HEADER_BYTES
    while position < stop:
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + length
        if position + 8 > stop or end > stop:
            raise ValueError("a chunk ends after the file")
        following = min(end + length % 2, stop)
        yield Chunk(
            data[position : position + 4], data[position + 8 : end], data[position:following]
        )
        position = following


def coded_pixels(data: bytes, index: None = None) -> Iterator[bytes]:
    """Yield the data of the chunk that new pixels replace, VP8 or VP8L."""
    yield _image_chunk(as_still(data)).data


def as_still(data: bytes) -> bytes:
    """Return an animation of one frame as a still photo, and other files as they are.

    Raises:
        PhotoError: If the frame is smaller than the animation.
        ValueError: If the file is no WebP or is cut off.
    """
    parts = list(chunks(data))
    frames = [chunk.data for chunk in parts if chunk.type == FRAME]
    if len(frames) != 1 or parts[0].type != EXTENDED or parts[0].data[0] & ANIMATION_FLAG == 0:
        return data
    frame, header = frames[0], bytearray(parts[0].raw)
    if frame[:6] != bytes(6) or frame[6:12] != parts[0].data[4:10]:  # place and size
        raise PhotoError(PARTIAL)
    header[8] &= ~ANIMATION_FLAG
    picture = frame[FRAME_FIELDS_BYTES:]
    body = bytearray(b"WEBP" + header)
    for chunk in parts[1:]:
        if chunk.type == FRAME:
            body += picture + bytes(len(picture) % 2)
        elif chunk.type != ANIMATION:
            body += chunk.raw
    return _make_form(body) + data[_form_end(data) :]


def splice(original: bytes, coded: bytes) -> Encoded:
    """Put the pixels of one file into the container of another.

    The chunk of pixels (VP8 or VP8L) is replaced, and a C2PA manifest is left out. All other chunks
    are kept.

    Args:
        original: The file with the metadata.
        coded: The file with the pixels, lossy or lossless as the original.

    Raises:
        PhotoError: If the original is an animation.
        ValueError: If either is not a whole WebP.
    """
    old, new = _image_chunk(original), _image_chunk(coded)
    notes: tuple[str, ...] = ()
    body = bytearray(b"WEBP")
    for chunk in chunks(original):
        if chunk == old:
            body += new.raw
        elif chunk.type == C2PA:
            notes = (C2PA_LEFT_OUT,)
        else:
            body += chunk.raw
    return Encoded(_make_form(body) + original[_form_end(original) :], notes)


def read_metadata(data: bytes, index: None = None) -> Metadata:
    """Read the first chunk of each kind (RFC 9649, 2.7)."""
    found: dict[bytes, bytes] = {}
    for chunk in chunks(data):
        found.setdefault(chunk.type, chunk.data)
    exif = from_byte_order(found.get(b"EXIF", b""))
    known = {*PICTURE, *METADATA_FLAGS}
    left_out = ("chunks that only WebP has",) if found.keys() - known else ()
    return Metadata(exif, found.get(b"XMP ", b""), found.get(b"ICCP", b""), left_out)


def with_metadata(data: bytes, metadata: Metadata) -> bytes:
    """Return a still photo with other metadata, and list them in VP8X (RFC 9649, 2.7).

    Raises:
        PhotoError: If the file is an animation.
        ValueError: If it is not a whole WebP.
    """
    frame = _image_chunk(data)
    alpha = next((chunk.raw for chunk in chunks(data) if chunk.type == ALPHA), b"")
    width, height, has_alpha = _read_frame(frame)
    flags = ALPHA_FLAG if alpha or has_alpha else 0
    blocks = {b"ICCP": metadata.icc, b"EXIF": metadata.exif, b"XMP ": metadata.xmp}
    blocks = {kind: block for kind, block in blocks.items() if block}
    for kind in blocks:
        flags |= METADATA_FLAGS[kind]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    made = {kind: _make_chunk(kind, block) for kind, block in blocks.items()}
    body = b"WEBP" + _make_chunk(EXTENDED, bytes([flags, 0, 0, 0]) + size)
    body += made.pop(b"ICCP", b"") + alpha + frame.raw + bytes(len(frame.raw) % 2)
    body += b"".join(made.values())
    return _make_form(body)


def _read_frame(frame: Chunk) -> tuple[int, int, bool]:
    """Return width, height, and whether a lossless picture has alpha (RFC 9649, 3.4)."""
    if frame.type == LOSSY:
        width, height = (int.from_bytes(frame.data[at : at + 2], "little") for at in (6, 8))
        return max(1, width & 0x3FFF), max(1, height & 0x3FFF), False
    bits = int.from_bytes(frame.data[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)


def _make_form(body: bytes | bytearray) -> bytes:
    """Return the bytes of a RIFF form, whose body begins with ``WEBP``."""
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _make_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)


def estimate_quality(frame: bytes) -> int:
    """Estimate the quality, 0 to 100, of a VP8 chunk, or raise `ValueError` if it is damaged.

    The inverse of libwebp's `QualityToCompression`; quantisers of segments spread around it.
    """
    linear = (1 - read_quantizer(frame) / MAX_QUANTIZER) ** 3
    return round(100 * (1.5 * linear if linear < 0.5 else (linear + 1) / 2))


def read_quantizer(frame: bytes) -> float:
    """Return a VP8 key frame's quantiser index, 0 (finest) to 127, or the mean of its segments'.

    See RFC 6386, 9.2 to 9.6.

    Raises:
        ValueError: If it is not a VP8 key frame.
    """
    if len(frame) < FRAME_HEADER_BYTES or frame[0] & 1 or frame[3:6] != FRAME_START:
        raise ValueError("does not begin as a VP8 key frame")
    reader = BoolReader(frame[FRAME_HEADER_BYTES:])
    reader.literal(2)  # colour space, clamping
    absolute = False
    segments: list[int] = []
    if reader.literal(1):
        absolute, segments = _read_segmentation(reader)
    reader.literal(1 + 6 + 3)  # loop filter: type, level, sharpness
    if reader.literal(1) and reader.literal(1):
        for _ in range(8):  # loop filter deltas
            reader.optional_signed(6)
    reader.literal(2)  # partitions
    base = reader.literal(7)
    indexes = [index if absolute else base + index for index in segments] or [base]
    return sum(min(max(index, 0), MAX_QUANTIZER) for index in indexes) / len(indexes)


def _read_segmentation(reader: BoolReader) -> tuple[bool, list[int]]:
    """Read whether the segments' quantisers replace the frame's, and the four quantisers."""
    update_map, absolute, quantizers = reader.literal(1), False, []
    if reader.literal(1):
        absolute = bool(reader.literal(1))
        quantizers = [reader.optional_signed(7) for _ in range(4)]
        for _ in range(4):  # loop filter levels
            reader.optional_signed(6)
    if update_map:
        for _ in range(3):  # tree probabilities
            reader.optional(8)
    return absolute, quantizers


class BoolReader:
    """The boolean entropy decoder (RFC 6386, 7.3) for headers, in which all bits have even odds."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._value = int.from_bytes(data[:2].ljust(2, b"\0"), "big")
        self._position = 2
        self._range = 255
        self._shift = 0

    def literal(self, bits: int) -> int:
        """Read an unsigned number, its most significant bit first."""
        value = 0
        for _ in range(bits):
            value = 2 * value + self._bit()
        return value

    def optional(self, bits: int) -> int:
        """Read a flag; if it is set, also the number that follows. Return 0 without the flag."""
        return self.literal(bits) if self._bit() else 0

    def optional_signed(self, bits: int) -> int:
        """Read a flag; if it is set, also the number and sign that follow."""
        if not self._bit():
            return 0
        magnitude = self.literal(bits)
        return -magnitude if self._bit() else magnitude

    def _bit(self) -> int:
        split = 1 + (self._range - 1) // 2
        bit = int(self._value >= split << 8)
        if bit:
            self._value -= split << 8
        self._range = self._range - split if bit else split
        while self._range < 128:
            self._value <<= 1
            self._range <<= 1
            self._shift += 1
            if self._shift == 8:
                self._value |= self._data[self._position] if self._position < len(self._data) else 0
                self._position += 1
                self._shift = 0
        return bit


def _form_end(data: bytes) -> int:
    """Return the end of the RIFF form; the last byte of padding may be missing."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("does not begin as a WebP")
    stop = 8 + int.from_bytes(data[4:8], "little")
    if stop > len(data) + 1:
        raise ValueError("ends before its container does")
    return min(stop, len(data))


def _image_chunk(data: bytes) -> Chunk:
    """Return the chunk of pixels.

    Raises:
        PhotoError: If the file is an animation.
        ValueError: If there is none.
    """
    found: dict[bytes, Chunk] = {}
    for chunk in chunks(data):
        if chunk.type in (ANIMATION, FRAME):
            raise PhotoError(ANIMATED)
        found.setdefault(chunk.type, chunk)
    frame = found.get(LOSSY) or found.get(LOSSLESS)
    if frame is None:
        raise ValueError("has no pixels")
    return frame


def redraw(data: bytes, redraw: Redraw, index: None = None) -> Redrawn:
    """Redraw the pictures in a file's EXIF block."""
    position = RIFF_HEADER_BYTES
    for chunk in chunks(data):
        if chunk.type == b"EXIF":
            exif = from_byte_order(chunk.data)
            new = in_exif(exif, redraw)
            stop = position + CHUNK_HEADER_BYTES + len(chunk.data)
            return replace(new, data=data[: stop - len(exif)] + new.data + data[stop:])
        position += len(chunk.raw)
    return Redrawn(data)


def stripped(data: bytes) -> bytes:
    """Return a file with only its picture, profile and orientation."""
    return with_metadata(data, read_metadata(data).stripped())


def _write(photo: Photo, metadata: Metadata, quality: int | None) -> bytes:
    quality = QUALITY if quality is None else quality
    return with_metadata(code_pixels(photo.pixels, photo.alpha, "WEBP", quality=quality), metadata)


CODEC = Codec(
    decode=decode,
    encode=encode,
    coded_pixels=coded_pixels,
    metadata=read_metadata,
    stripped=stripped,
    redraw=redraw,
    # The headers of VP8 and VP8L have 14 bits for a side.
    target=Target(_write, longest_side=16_383, is_8_bit=True, has_quality=True, has_grey=False),
)
