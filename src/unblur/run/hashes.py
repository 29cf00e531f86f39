"""Hash the content of photos and results, to recognise moved files.

The hash of the pixels covers the coded pixels without metadata (see
`unblur.formats.any_format.coded_pixels`). With BLAKE2b (RFC 7693) and 16 bytes, two different
photos practically never have the same hash.
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
    """Return two hashes of a file: of its pixels, and of all bytes.

    Args:
        data: The whole file. If it cannot be parsed, the hash of the pixels is empty.
        index: Index of the decoded photo or encoded result with these bytes, if there is one.
    """
    from unblur.formats import any_format

    whole = hashlib.blake2b(data, digest_size=HASH_BYTES).hexdigest()
    form, pixels = identify(data), hashlib.blake2b(digest_size=HASH_BYTES)
    try:
        for piece in any_format.coded_pixels(data, index):
            pixels.update(piece)
    except PhotoError:
        return Content("", whole)
    assert form is not None
    return Content(f"{form.name} {pixels.hexdigest()}", whole)


def format_of_hash(pixels: str) -> Format | None:
    """Return the format in a hash of pixels; see `Content.pixels`."""
    return format_by_name(pixels.rpartition(" ")[0])


def read_content(path: Path, most: int | None = None) -> tuple[FileState, Attributes]:
    """Read a file and hash its content.

    Args:
        path: The file.
        most: Largest size to read, in bytes; ``None``: any size.

    Returns:
        The file's state, with the hashes of its content, and its attributes.

    Raises:
        PhotoError: If the file cannot be read, or is larger than ``most``.
    """
    data, attributes = files.read_photo_bytes(path, most)
    return replace(FileState.of(attributes.status), content=content_of(data)), attributes
