"""Mark results of ``--in-place`` with an extended attribute, for machines without the record.

The mark changes no byte of the file, and survives moves and copies that keep extended attributes.
The mark contains the hash of the result's pixels, and is valid only for these pixels: if an editor
copies the mark to another picture, that picture is still deblurred.
"""

from __future__ import annotations

from dataclasses import replace

from unblur.run.history import Record, pixels_in, whole_in
from unblur.storage.places import Content, FileState, Place

_VERSION = "1"


def make_mark(content: Content, before: FileState, settings: str) -> bytes:
    """Return the mark of a result that replaces its photo.

    Args:
        content: Hashes of the result.
        before: State of the photo, with the hashes of its content.
        settings: See `unblur.run.runner.Session`.
    """
    given = pixels_in(before), whole_in(before)
    lines = (_VERSION, content.pixels, content.whole, *given, settings)
    return "\n".join(lines).encode()


def read_mark(mark: bytes, place: Place, state: FileState) -> Record | None:
    """Read the record in a file's mark.

    Args:
        mark: The mark; empty if there is none.
        place: The file.
        state: State of the file, with the hashes of its content.

    Returns:
        A record whose source and target are the file; ``None`` if the mark is missing, has another
        version, or belongs to other pixels.
    """
    version, *values = mark.decode("utf-8", "replace").split("\n")
    if version != _VERSION or len(values) != 5:
        return None
    pixels, whole, source_pixels, source_whole, settings = values
    if not pixels or pixels != pixels_in(state):
        return None
    before = FileState(0, 0, Content(source_pixels, source_whole))
    after = replace(state, content=Content(pixels, whole))
    return Record(place, before, place, after, settings)
