"""Files recognised by what is in them: a hash of the coded pixels.

The hash covers what deblurring replaces, and nothing else (see
`unblur.formats.coding.coded_pixels`). It is BLAKE2b (RFC 7693) of 16 bytes: two photos
of a library never share it by chance.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from unblur.errors import PhotoError
from unblur.formats.photo import Format, format_by_name, identify
from unblur.storage import files
from unblur.storage.attributes import Attributes
from unblur.storage.places import Content, FileState

HASH_BYTES = 16


def content_of(data: bytes, index: object = None) -> Content:
    """Return the hashes of a file's content.

    Args:
        data: The whole file. One that cannot be parsed has no hash of its pixels.
        index: That of the photo with these bytes, or of the encoded result, if there is one.
    """
    from unblur.formats import coding

    whole = hashlib.blake2b(data, digest_size=HASH_BYTES).hexdigest()
    form, pixels = identify(data), hashlib.blake2b(digest_size=HASH_BYTES)
    try:
        for piece in coding.coded_pixels(data, index):
            pixels.update(piece)
    except PhotoError:
        return Content("", whole)
    assert form is not None
    return Content(f"{form.name} {pixels.hexdigest()}", whole)


def format_of_hash(pixels: str) -> Format | None:
    """Return the format that a hash of pixels was taken in; see `Content.pixels`."""
    return format_by_name(pixels.rpartition(" ")[0])


def read_content(path: Path, most: int | None = None) -> tuple[FileState, Attributes]:
    """Read a file and hash its content.

    Args:
        path: Where it lies.
        most: Refuse it without reading it if it has more bytes.

    Returns:
        Its state, with the content, and its attributes.

    Raises:
        PhotoError: If it cannot be read.
    """
    data, attributes = files.read_photo_bytes(path, most)
    return replace(FileState.of(attributes.status), content=content_of(data)), attributes
