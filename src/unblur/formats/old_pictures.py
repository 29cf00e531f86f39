"""Pictures inside a file that go on showing the photo as it was.

They are kept byte for byte, because only the programs that made them can write them. A note
names them: some programs show them instead of the photo.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from unblur.formats.metadata import find_thumbnail

LAYERS = "the layers of an image editor"
SUB_IMAGES = "sub-images"
EDITOR_THUMBNAIL = "Photoshop's thumbnail"
PREVIEWS = "previews of the camera"
GAIN_MAP = "the gain map"
THUMBNAILS = "thumbnails"

_JPEG_START = b"\xff\xd8\xff"
_THUMBNAIL_RESOURCES = (b"8BIM\x04\x09", b"8BIM\x04\x0c")
"""Image resources 1033 and 1036 (Adobe Photoshop File Formats Specification)."""


def describe(names: Iterable[str]) -> tuple[str, ...]:
    """Return the note on such pictures, or nothing."""
    names = dict.fromkeys(names)
    return (f"still as in the old photo: {', '.join(names)}",) if names else ()


def in_exif(exif: bytes) -> Iterator[str]:
    """Yield the name of previews in an EXIF block, other than its thumbnail."""
    place = find_thumbnail(exif)
    parts = (exif[: place.start], exif[place.stop :]) if place else (exif,)
    if any(_JPEG_START in part for part in parts):
        yield PREVIEWS


def in_photoshop_data(data: bytes) -> Iterator[str]:
    """Yield the name of a thumbnail in Photoshop's image resources."""
    if any(mark in data for mark in _THUMBNAIL_RESOURCES):
        yield EDITOR_THUMBNAIL
