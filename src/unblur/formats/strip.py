"""Leave out of a file all that is not needed to show the photo as before.

What stays besides the pixels: the colour profile and whatever else tells what
colours are meant, the resolution, transparency, and an orientation other than
upright, in an EXIF block that says nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from unblur.formats import bmff, jpeg, metadata, png
from unblur.formats.bmff_items import ItemFile, with_true_brands
from unblur.formats.photo import AVIF, HEIF, JPEG, PNG, Format

JFIF = b"JFIF\0"
JFIF_BYTES = 12
"""Of a JFIF segment up to the thumbnail's width and height."""
NO_THUMBNAIL = bytes(2)
ADOBE_BYTES = 12

PNG_SHOWN = png.ABOUT_PIXELS | metadata.PNG_COLOR | {b"sRGB", b"mDCV", b"cLLI", b"sBIT", b"pHYs"}
"""Chunks that tell how pixels are to be shown; an embedded profile is put back apart."""


def strip(form: Format, data: bytes) -> bytes:
    """Return a file without metadata.

    Args:
        form: Any but TIFF.
        data: The file.

    Raises:
        ValueError: If it is damaged.
    """
    if form in (AVIF, HEIF):  # whose profile and rotation belong to the image itself
        return bmff.write(_without_others(bmff.read(data)))
    kept = metadata.extract(form, data).stripped()
    if form is JPEG:
        data = b"".join(_shown_segments(data))
    elif form is PNG:
        shown = (chunk.raw for chunk in png.chunks(data) if chunk.type in PNG_SHOWN)
        data = png.SIGNATURE + b"".join(shown)
    return metadata.insert(form, data, kept)


def _shown_segments(data: bytes) -> Iterator[bytes]:
    """Yield the segments of the first image that tell how to decode and show it."""
    for segment in jpeg.segments(data):
        payload = segment.payload(data) if segment.is_metadata else b""
        if not segment.is_metadata:
            yield data[segment.start : segment.stop]
        elif segment.marker == jpeg.APP0 and payload.startswith(JFIF):
            yield jpeg.make_segment(jpeg.APP0, payload[:JFIF_BYTES] + NO_THUMBNAIL)
        elif segment.marker == jpeg.APP14 and payload.startswith(b"Adobe"):
            yield jpeg.make_segment(jpeg.APP14, payload[:ADOBE_BYTES])


def _without_others(file: ItemFile) -> ItemFile:
    """Return a file of the primary image, what it is made of, and its transparency."""
    images = {file.primary_id, *file.alpha_ids}
    kept = images.union(file.sources(*images))
    items = {key: item for key, item in file.items.items() if key in kept}
    return replace(
        file,
        items=items,
        references=tuple(ref for ref in file.references if {ref.source, *ref.targets} <= kept),
        meta=tuple(box for box in file.meta if box[4:8] in (b"hdlr", b"pitm")),
        before=tuple(with_true_brands(box, items) for box in file.before if box[4:8] == b"ftyp"),
        after=(),
    )
