"""The mark of a result: an extended attribute that tells what it is, where no record does.

It costs no tag, and survives a move or a copy that keeps extended attributes.
It is trusted only of a file whose pixels are those that it names: an editor that
carries it over to another picture does no harm.
"""

from __future__ import annotations

from unblur.history import Record, pixels_in
from unblur.places import Content, FileState

_VERSION = "1"
_IN_PLACE, _BESIDE = "in place", "beside"
"""Where a result was put when it was made: over its photo, or elsewhere."""


def make_mark(record: Record) -> bytes:
    """Return the mark of a result, whose content is known."""
    assert record.after.content
    place = _IN_PLACE if record.replaced_its_photo else _BESIDE
    content = record.after.content
    lines = (_VERSION, place, content.pixels, content.whole, pixels_in(record.before))
    return "\n".join((*lines, record.settings)).encode()


def read_mark(mark: bytes, state: FileState) -> Record | None:
    """Return what a mark tells of a file.

    Args:
        mark: The mark, or nothing.
        state: Of the file, with its content.

    Returns:
        The record of a result at a place that nobody knows, or ``None`` if the mark is of another
        picture or version.
    """
    version, *values = mark.decode("utf-8", "replace").split("\n")
    if version != _VERSION or len(values) != 5:
        return None
    place, pixels, whole, source_pixels, settings = values
    if not pixels or pixels != pixels_in(state):
        return None
    before = FileState(0, 0, Content(source_pixels, ""))
    after = FileState(state.size, 0, Content(pixels, whole))
    return Record(place if place == _IN_PLACE else "", before, place, after, settings)
