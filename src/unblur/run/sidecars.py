"""Files beside a photo in which programs keep its ratings, edits, albums and places.

Programs find them by the photo's name, so a result needs copies under its own. Files that are
not true of the result are no sidecars: an ``.AAE`` crops the original's pixels, and a film
belongs to a Live Photo.
"""

from __future__ import annotations

from pathlib import Path

from unblur.errors import PhotoError
from unblur.run.jobs import Job
from unblur.storage.drafts import FileDraft
from unblur.storage.files import exists, is_regular, read_photo_bytes

AFTER_NAME = (".xmp", ".json", ".pp3")
"""Endings of darktable, digiKam, Google Takeout and RawTherapee, after the photo's whole name."""
AFTER_STEM = (".xmp", ".pp3")
"""Endings of Lightroom and others, in place of the photo's own."""
SUPPLEMENT, LONGEST_SUPPLEMENTED = ".supplemental-metadata", 46
"""What Google Takeout adds before ``.json``; longer names are cut off."""
MOST_BYTES = 64 << 20

Pairs = tuple[tuple[Path, Path], ...]


def find_sidecars(job: Job) -> Pairs:
    """Return the photo's sidecars, each with its place beside the result."""
    source, target = job.source, job.target
    if not isinstance(source, Path) or not isinstance(target, Path) or source == target:
        return ()
    pairs = zip(_names(source), _names(target), strict=True)
    found: dict[str, tuple[Path, Path]] = {}  # once each where names differ in case only
    for name, new in pairs:
        path, place = source.with_name(name), target.with_name(new)
        if is_regular(path) and path != place:
            found.setdefault(name.lower(), (path, place))
    return tuple(found.values())


def _names(photo: Path) -> list[str]:
    names = [photo.name + ending for ending in AFTER_NAME]
    names += [photo.stem + ending for ending in AFTER_STEM]
    supplemented = (photo.name + SUPPLEMENT, photo.stem + SUPPLEMENT)
    names += [name[:LONGEST_SUPPLEMENTED] + ".json" for name in supplemented]
    return [*names, *(str(Path(name).with_suffix(Path(name).suffix.upper())) for name in names)]


def note_on_sidecars(pairs: Pairs) -> tuple[str, ...]:
    """Return a note on sidecars that are not copied, or nothing."""
    names = ", ".join(sorted(path.name for path, _ in pairs))
    return (f"left beside the original: {names}; --sidecars copies such files",) if names else ()


def copy_sidecars(pairs: Pairs) -> tuple[str, ...]:
    """Copy sidecars, each in one step; return notes on those that could not be copied.

    A file that is there already is never replaced: somebody may have rated the result.
    """
    return tuple(note for path, place in pairs if (note := _copy(path, place)))


def _copy(path: Path, place: Path) -> str:
    try:
        data, attributes = read_photo_bytes(path, MOST_BYTES)
        if is_regular(place) and read_photo_bytes(place, MOST_BYTES)[0] == data:
            return ""
        with FileDraft(place, data, attributes, keep_time=True) as draft:
            draft.publish(replaces=False)
    except PhotoError as error:
        reason = f"{place.name} exists, and stays" if exists(place) else str(error)
        return f"{path.name} was not copied: {reason}"
    return ""
