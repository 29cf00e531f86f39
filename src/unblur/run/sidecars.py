"""Copy sidecars, in which programs store a photo's ratings, edits, albums and locations.

Programs find sidecars by the photo's name, so a result needs copies under its own name. Files that
do not apply to the result are not copied: an ``.AAE`` crops the original's pixels, and a video
belongs to a Live Photo.
"""

from __future__ import annotations

from pathlib import Path

from unblur.errors import PhotoError
from unblur.options import Options
from unblur.run.jobs import Job
from unblur.storage import any_place, objects
from unblur.storage.drafts import FileDraft
from unblur.storage.files import certainly, is_regular, read_photo_bytes
from unblur.storage.places import Place, Url

AFTER_NAME = (".xmp", ".json", ".pp3")
"""Extensions after the photo's full name, by darktable, digiKam, Google Takeout and RawTherapee."""
AFTER_STEM = (".xmp", ".pp3")
"""Extensions that replace the photo's extension, by Lightroom and others."""
SUPPLEMENT, LONGEST_SUPPLEMENTED = ".supplemental-metadata", 46
"""Text that Google Takeout adds before ``.json``, and the length to which it cuts names."""
MOST_BYTES = 64 << 20

Pairs = tuple[tuple[Place, Place], ...]
"""Sidecars, each with the place of its copy beside the result."""


def plan_copies(job: Job, options: Options) -> tuple[Pairs, tuple[str, ...]]:
    """Return the sidecars to copy, and notes on sidecars that are not copied.

    Object stores are searched only if the user wants copies, because a search takes a request per
    photo. Results of ``--in-place`` keep the names of their photos, and with them the sidecars.
    """
    if options.in_place:
        return (), ()
    if isinstance(job.source, Url) and not options.sidecars:
        return (), ()
    try:
        pairs = _find(job)
    except PhotoError as error:  # must not lose the result
        return (), (f"its sidecars were not looked for: {error}",)
    if options.sidecars or not pairs:
        return pairs, ()
    names = ", ".join(sorted(path.name for path, _ in pairs))
    return (), (f"left beside the original: {names}; --sidecars copies such files",)


def _find(job: Job) -> Pairs:
    source, target = job.source, job.target
    if source is None or target is None:
        return ()
    names, new_names = _names(source), _names(target)
    there = _existing(source, names)
    found: dict[str, tuple[Place, Place]] = {}  # names that differ only by case count once
    for name, new in zip(names, new_names, strict=True):
        path, place = source.with_name(name), target.with_name(new)
        if name in there and path != place:
            found.setdefault(name if isinstance(source, Url) else name.lower(), (path, place))
    return tuple(found.values())


def _existing(photo: Place, names: list[str]) -> set[str]:
    """Return which candidate names exist beside a photo."""
    if isinstance(photo, Url):
        start = f"{photo.stem}."[:LONGEST_SUPPLEMENTED]  # all names begin like this
        return objects.existing_beside(photo, names, start)
    return {name for name in names if is_regular(photo.with_name(name))}


def _names(photo: Place) -> list[str]:
    names = [photo.name + ending for ending in AFTER_NAME]
    names += [photo.stem + ending for ending in AFTER_STEM]
    supplemented = (photo.name + SUPPLEMENT, photo.stem + SUPPLEMENT)
    names += [name[:LONGEST_SUPPLEMENTED] + ".json" for name in supplemented]
    return [*names, *(str(Path(name).with_suffix(Path(name).suffix.upper())) for name in names)]


def copy_sidecars(pairs: Pairs) -> tuple[str, ...]:
    """Copy sidecars, each in one step; return notes on sidecars that could not be copied.

    Existing files are never replaced, because the user may have rated the result.
    """
    return tuple(note for path, place in pairs if (note := _copy(path, place)))


def _copy(path: Place, place: Place) -> str:
    try:
        if certainly(any_place.exists, place) and _read(place) == _read(path):
            return ""
        _copy_to_new(path, place)
    except PhotoError as error:
        is_there = certainly(any_place.exists, place)
        reason = f"{place.name} exists, and stays" if is_there else str(error)
        return f"{path.name} was not copied: {reason}"
    return ""


def _read(place: Place) -> bytes:
    return any_place.read(place, MOST_BYTES)


def _copy_to_new(path: Place, place: Place) -> None:
    """Copy a file or an object; raise `PhotoError` on failure, or if the copy exists."""
    if isinstance(place, Url):
        objects.write(place, _read(path), replaces=False)
        return
    if isinstance(path, Url):
        data, attributes = _read(path), None
    else:
        data, attributes = read_photo_bytes(path, MOST_BYTES)
    with FileDraft(place, data, attributes, keep_time=True) as draft:
        draft.publish(replaces=False)
