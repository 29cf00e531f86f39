"""Camera RAW: develop a photo to a new 16-bit TIFF, because RAW files cannot be written.

LibRaw (the extra ``raw``) develops the sensor data with the camera's white balance to upright
sRGB (IEC 61966-2-1). Exif fields about camera and exposure, XMP and IPTC are kept. Maker notes
are not, because their offsets would be wrong. The result is not compressed.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from unblur.errors import PhotoError
from unblur.extras import load_extra
from unblur.formats import jpeg_markers, tiff, tiff_writer
from unblur.formats.codec import Codec
from unblur.formats.library_messages import collected_messages
from unblur.formats.metadata import Metadata, upright_xmp
from unblur.formats.photo import RAW, Encoded, Photo
from unblur.formats.pixels import refuse_large
from unblur.formats.tiff_coding import Compression
from unblur.formats.tiff_directory import (
    JPEG_XL,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Tag,
    TiffFile,
    read_tiff,
)
from unblur.formats.tiff_fields import (
    Field,
    read_fields,
    read_linked,
    write_block,
    write_header,
    write_numbers,
)
from unblur.main_memory import require_memory

SRGB_GAMMA = (2.4, 12.92)
"""Exponent, and slope near black, of the sRGB transfer function; LibRaw's own default is BT.709."""

_KEPT = frozenset(
    {Tag.IMAGE_DESCRIPTION, Tag.MAKE, Tag.MODEL, Tag.DATE_TIME, Tag.ARTIST, Tag.COPYRIGHT, Tag.IPTC}
)
"""Fields of the first directory that are also valid for the result."""

_EXIF_IN_FIRST = frozenset({33434, 33437, 34850, 34855, 36867, 36868, *range(37377, 37387)})
"""Fields such as exposure, aperture and time, which TIFF/EP has in the first directory."""

_TIME_OF_PHOTO = 36867
"""DateTimeOriginal."""
_LEFT_OUT = frozenset(
    {Tag.MAKER_NOTE, Tag.INTEROPERABILITY_IFD, Tag.PIXEL_X_DIMENSION, Tag.PIXEL_Y_DIMENSION}
)
"""Fields of the Exif directory that are not valid for the result."""

_UNKNOWN_OFFSET = 0xFFFFFFFF
"""StripOffsets in Panasonic RAW files, which have the offset in another field."""


def decode(data: bytes, max_pixels: int) -> Photo:
    """Develop a photo; its ``index`` has the metadata for the new TIFF."""
    if is_cut_off(data):
        raise PhotoError("the camera RAW file is cut off")
    library = load_extra("rawpy", "raw", "camera RAW files")
    try:
        with collected_messages() as messages, library.imread(io.BytesIO(data)) as raw:
            refuse_large(raw.sizes.width, raw.sizes.height, max_pixels)
            require_memory(2 * 6 * raw.sizes.width * raw.sizes.height)
            pixels = raw.postprocess(
                use_camera_wb=True,
                no_auto_bright=True,
                gamma=SRGB_GAMMA,
                output_color=library.ColorSpace.sRGB,
                output_bps=16,
            )
            known = _find_metadata(data, raw, library)
    except library.LibRawError as error:
        raise PhotoError(_describe_unread(data)) from error
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    left = "maker notes are" if _is_dated(known) else "its date, maker notes and other tags are"
    notes = [f"developed to a 16-bit TIFF; {left} in the RAW file only"]
    if messages:  # LibRaw goes on, with a wrong part
        notes.append(f"the camera RAW file may be damaged in parts ({messages[0].strip()})")
    return Photo(pixels, None, RAW, data, {}, tuple(notes), index=developed_metadata(pixels, known))


def _is_dated(known: TiffFile) -> bool:
    """Return whether the photo's time was found; containers older than TIFF have it elsewhere."""
    first = read_fields(known, known.first)
    return _TIME_OF_PHOTO in first.keys() | read_linked(known, first, Tag.EXIF_IFD).keys()


def _describe_unread(data: bytes) -> str:
    """Return why LibRaw cannot develop a file."""
    with contextlib.suppress(ValueError):
        file = read_tiff(data)
        for directory in file.directories():
            if file.value(directory, Tag.COMPRESSION) in JPEG_XL:
                return (
                    "compressed as JPEG XL, which LibRaw cannot read; let the camera write DNG in "
                    "lossless JPEG (iPhone: ProRAW format 'JPEG Lossless'), or convert the file "
                    "with Adobe DNG Converter"
                )
    return "damaged, or of a camera that LibRaw does not know"


def encode(photo: Photo, pixels: NDArray[np.uint16]) -> Encoded:
    """Write a new TIFF of developed pixels and the photo's metadata."""
    return Encoded(tiff_writer.write_tiff(pixels, None, photo.index, Compression.NONE))


def coded_pixels(data: bytes, index: Metadata | None = None) -> Iterator[bytes]:
    """Yield the strips or tiles of a RAW file; the whole file if it does not list them."""
    pieces: set[tuple[int, int]] = set()
    with contextlib.suppress(ValueError):
        file = read_tiff(data)
        for directory in file.directories():
            pieces.update(file.data_ranges(directory))
    are_listed = pieces and max(stop for _, stop in pieces) <= len(data)
    if are_listed and sum(stop - start for start, stop in pieces) <= len(data):
        for start, stop in sorted(pieces):
            yield data[start:stop]
    else:
        yield data


def is_cut_off(data: bytes) -> bool:
    """Return whether a file ends before its last piece; LibRaw would fill the rest with black."""
    return any(stop > len(data) for stop in _stops(data))


def _stops(data: bytes) -> Iterator[int]:
    """Yield the end positions of the file's pieces, if its container is known."""
    with contextlib.suppress(ValueError):
        file = read_tiff(data)
        for directory in file.directories():
            for start, stop in file.data_ranges(directory):
                yield stop - start if start == _UNKNOWN_OFFSET else stop
    if data.startswith(b"FUJIFILMCCD-RAW") and len(data) >= 108:
        # Offset and length of the JPEG, the sensor's description and the sensor data.
        places = struct.unpack_from(">6I", data, 84)
        yield from (sum(places[index : index + 2]) for index in (0, 2, 4))
    if data.startswith(b"ftypcrx ", 4):
        yield from _box_stops(data)


def _box_stops(data: bytes) -> Iterator[int]:
    """Yield the positions after the outermost boxes (ISO/IEC 14496-12, section 4.2)."""
    position = 0
    while 0 <= position <= len(data) - 16:
        size, _, long_size = struct.unpack_from(">I4sQ", data, position)
        if size == 0:  # the box reaches the end of the file
            return
        position += max(8, long_size if size == 1 else size)
        yield position


def _find_metadata(data: bytes, raw: Any, library: Any) -> TiffFile:  # noqa: ANN401
    """Return the file itself if it has directories; otherwise its thumbnail's EXIF block."""
    with contextlib.suppress(ValueError):
        return read_tiff(data)
    with contextlib.suppress(ValueError, library.LibRawError):
        thumbnail = raw.extract_thumb()
        if thumbnail.format == library.ThumbFormat.JPEG:
            return read_tiff(jpeg_markers.first_exif(thumbnail.data))
    return read_tiff(write_header("<", 0))  # an empty file


def metadata(data: bytes, index: Metadata) -> Metadata:
    """Return the metadata for the new TIFF, which `decode` has read."""
    pixel = np.zeros((1, 1, 3), np.uint16)
    return tiff.metadata(tiff_writer.write_tiff(pixel, None, index, Compression.NONE))


def developed_metadata(pixels: NDArray[np.uint16], known: TiffFile) -> Metadata:
    """Return the metadata of developed pixels, (H, W, 3 or 1), sRGB or grey.

    Args:
        pixels: The pixels.
        known: A file whose first directory has the camera's fields; their byte order is kept.
    """
    height, width, channels = pixels.shape
    first = read_fields(known, known.first)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return Metadata(
        exif=_make_exif(known, first),
        xmp=upright_xmp(first[Tag.XMP].values) if Tag.XMP in first else b"",
        icc=profile if channels == 3 else b"",
    ).with_size(width, height)


def _make_exif(file: TiffFile, first: dict[int, Field]) -> bytes:
    """Make an EXIF block from the camera's fields; the developed photo is upright."""
    order = file.order
    exif, gps = (read_linked(file, first, tag) for tag in (Tag.EXIF_IFD, Tag.GPS_IFD))
    exif = {tag: first[tag] for tag in _EXIF_IN_FIRST & first.keys()} | exif
    exif.setdefault(Tag.EXIF_VERSION, Field(Tag.EXIF_VERSION, UNDEFINED, 4, b"0232"))
    exif[Tag.COLOR_SPACE] = write_numbers(Tag.COLOR_SPACE, order, SHORT, 1)
    linked = {
        Tag.EXIF_IFD: [item for tag, item in exif.items() if tag not in _LEFT_OUT],
        Tag.GPS_IFD: list(gps.values()),
    }
    kept = [item for tag, item in first.items() if tag in _KEPT]
    about_pixels = [
        write_numbers(Tag.ORIENTATION, order, SHORT, 1),
        write_numbers(Tag.X_RESOLUTION, order, RATIONAL, 300, 1),
        write_numbers(Tag.Y_RESOLUTION, order, RATIONAL, 300, 1),
        write_numbers(Tag.RESOLUTION_UNIT, order, SHORT, 2),
    ]
    return write_block(kept + about_pixels, linked, order)


CODEC = Codec(
    decode=decode,
    encode=encode,
    coded_pixels=coded_pixels,
    metadata=metadata,
)
