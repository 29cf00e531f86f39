"""The mark of what replaced its photo: an extended attribute that tells so where no record does.

It costs no tag, and survives a move or a copy that keeps extended attributes.
It is trusted only of a file whose pixels are those that it names: an editor that
carries it over to another picture does no harm.
"""

from __future__ import annotations

from dataclasses import replace

from unblur.run.history import Record, pixels_in, whole_in
from unblur.storage.places import Content, FileState, Place

_VERSION = "1"


def make_mark(content: Content, before: FileState, settings: str) -> bytes:
    """Return the mark of a result that replaces its photo.

    Args:
        content: The result's.
        before: The photo's state.
        settings: What the result depends on besides its photo.
    """
    given = pixels_in(before), whole_in(before)
    lines = (_VERSION, content.pixels, content.whole, *given, settings)
    return "\n".join(lines).encode()


def read_mark(mark: bytes, place: Place, state: FileState) -> Record | None:
    """Return what a mark tells of a file.

    Args:
        mark: The mark, or nothing.
        place: Where the file lies.
        state: The file's, with its content.

    Returns:
        The record of a result that has replaced its photo, or ``None`` if the mark is of
        another picture or version.
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
