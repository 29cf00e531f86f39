"""TIFF 6.0 and BigTIFF: decode a photo, and put new pixels into the original's container.

Only the first page of full size and its smaller copies change. All other bytes are kept: other
pages, metadata and gaps. LZW, PackBits and Zstandard need the extra ``deep``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unblur.errors import PhotoError
from unblur.formats import tiff_pictures
from unblur.formats.codec import Codec, Target
from unblur.formats.metadata import FURTHER_PAGES, Metadata
from unblur.formats.photo import TIFF, Encoded, Photo
from unblur.formats.pixels import refuse_large, refuse_thin
from unblur.formats.tiff_coding import Samples
from unblur.formats.tiff_directory import ASSOCIATED_ALPHA, Tag, TiffFile, read_tiff
from unblur.formats.tiff_fields import Field, read_fields, read_linked, write_block
from unblur.formats.tiff_pages import Page, read_page
from unblur.formats.tiff_splice import decode_page, replace_page
from unblur.formats.tiff_writer import write_tiff

_EXIF_IN_FIRST = {Tag.IMAGE_DESCRIPTION, Tag.MAKE, Tag.MODEL, Tag.ORIENTATION, Tag.X_RESOLUTION}
_EXIF_IN_FIRST |= {Tag.Y_RESOLUTION, Tag.RESOLUTION_UNIT, Tag.SOFTWARE, Tag.DATE_TIME}
_EXIF_IN_FIRST |= {Tag.ARTIST, Tag.HOST_COMPUTER, Tag.COPYRIGHT}
"""Fields of a TIFF page that are also valid in an EXIF block (Exif 2.32, 4.6.4)."""
_LEFT_OUT = {Tag.IPTC: "IPTC", Tag.PHOTOSHOP: "Photoshop's data", Tag.SUB_IFDS: "sub-images"}
_LEFT_OUT[Tag.LAYERS] = "layers"


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode the first page of full size."""
    page = read_page(read_tiff(data))
    refuse_large(page.width, page.height, max_pixels)
    refuse_thin(page.width, page.height, max_pixels)
    pixels, alpha = decode_page(data, page)
    return Photo(pixels, alpha, TIFF, data, {}, alpha_is_opacity=page.alpha_is_opacity)


def coded_pixels(data: bytes, index: None = None) -> Iterator[bytes]:
    """Yield the strips or tiles of the first page of full size, which new pixels replace."""
    page = read_page(read_tiff(data))
    if sum(page.byte_counts) > 2 * len(data):
        raise ValueError("its strips or tiles overlap")
    yield from page.coded(data)


def encode(photo: Photo, pixels: Samples) -> Encoded:
    """Encode new pixels like the original's, in its container, and read the result back."""
    original = read_tiff(photo.container)
    page = read_page(original)
    if photo.alpha is not None and _is_premultiplied(original, page):
        # Colours above their opacity would glow. Those of the original stay.
        pixels = np.minimum(pixels, np.maximum(photo.pixels, photo.alpha[..., None]))
    data = replace_page(original, page, pixels, photo.alpha)
    notes = (f"page {page.number} of {page.pages} was deblurred",) if page.pages > 1 else ()
    return Encoded(data, notes)


def _is_premultiplied(file: TiffFile, page: Page) -> bool:
    """Return whether a page's colours are multiplied by its opacity (TIFF 6.0, p. 77)."""
    return file.value(page.directory, Tag.EXTRA_SAMPLES) == ASSOCIATED_ALPHA


def metadata(data: bytes, index: None = None) -> Metadata:
    """Read the metadata of the first page of full size."""
    file = read_tiff(data)
    page = read_page(file)
    fields = read_fields(file, page.directory.start)
    exif, has_notes = _make_exif(file, fields)
    left_out = [name for tag, name in _LEFT_OUT.items() if tag in fields]
    left_out += ["maker notes"] * has_notes + [FURTHER_PAGES] * (page.pages > 1)
    xmp, icc = (fields[tag].values if tag in fields else b"" for tag in (Tag.XMP, Tag.ICC_PROFILE))
    return Metadata(exif, xmp, icc, tuple(left_out))


def _make_exif(file: TiffFile, fields: dict[int, Field]) -> tuple[bytes, bool]:
    """Make an EXIF block from a page's fields; also return whether the page has maker notes.

    Maker notes are left out, because their offsets are valid only at their old position.
    """
    first = [field for tag, field in fields.items() if tag in _EXIF_IN_FIRST]
    linked, has_notes = {}, False
    for tag in (Tag.EXIF_IFD, Tag.GPS_IFD):
        inner = read_linked(file, fields, tag)
        has_notes |= inner.pop(Tag.MAKER_NOTE, None) is not None
        inner.pop(Tag.INTEROPERABILITY_IFD, None)
        linked[tag] = list(inner.values())
    if not first and not any(linked.values()):
        return b"", has_notes
    return write_block(first, linked, file.order), has_notes


def check_conversion(photo: Photo) -> tuple[str, ...]:
    """Refuse a photo whose colours are multiplied by its opacity."""
    file = read_tiff(photo.container)
    if _is_premultiplied(file, read_page(file)):
        raise PhotoError("a TIFF file with premultiplied alpha cannot be converted")
    return ()


def _write(photo: Photo, metadata: Metadata, quality: int | None) -> bytes:
    return write_tiff(photo.pixels, photo.alpha, metadata, alpha_is_opacity=photo.alpha_is_opacity)


CODEC = Codec(
    decode=decode,
    encode=encode,
    coded_pixels=coded_pixels,
    metadata=metadata,
    redraw=tiff_pictures.redraw,
    kept_pictures=tiff_pictures.layers,
    check_conversion=check_conversion,
    target=Target(_write, has_extra_channel=True),
)
