"""The photos at the paths that a user named, and below them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from wcmatch import glob

from unblur import files, stores
from unblur.errors import PhotoError
from unblur.filesystems import is_hidden, is_link, unlimited
from unblur.options import COMPARED, Options
from unblur.photo import FORMATS, HEADER_BYTES, PHOTO_SUFFIXES, Format, identify
from unblur.places import Place, Url, place
from unblur.stores import Listing

BACKUP_ENDING = ".orig"
COMPARISON_ENDING = COMPARED + ".png"
BACKUP = "a backup"
NO_PHOTO = "not a photo that can be processed"
_GLOB_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB | glob.MATCHBASE


@dataclass(frozen=True)
class Found:
    """A place to try, or one that is not tried for a reason."""

    place: Place
    below: PurePath
    """Where it lies below the folder that the user named."""
    problem: str | None = None
    """Why it cannot be done."""
    passed_over: str | None = None
    """Why it is left alone."""
    form: Format | None = None
    """What its first bytes tell, where they were looked at to recognise it."""


def find(
    named: Place,
    options: Options,
    listing: Listing,
    recall: Callable[[Path], Format | None] = lambda path: None,
) -> Iterator[Found]:
    """Yield a named file or object as it is, and what is below a named folder.

    Args:
        named: A photo, or a folder.
        options: What the user asked for.
        listing: Takes in the objects below folders.
        recall: Returns the format of a file that is known, which then is not opened.
    """
    try:
        is_folder = is_folder_at(named)
        if not is_folder:
            yield Found(named, PurePath(named.name))
        elif not options.recursive:
            reason = "is a folder; --recursive takes what is in it"
            yield Found(named, PurePath(), problem=reason)
        elif isinstance(named, Url):
            yield from _find_objects(named, options, listing)
        else:
            yield from _find_files(named, named, options, recall)
    except PhotoError as error:
        yield Found(named, PurePath(), problem=str(error))


def is_folder_at(named: Place) -> bool:
    """Tell whether a place is a folder.

    Raises:
        PhotoError: If a store does not tell.
    """
    return stores.is_folder(named) if isinstance(named, Url) else files.is_folder(named)


def format_of(photo: Place) -> Format | None:
    """Return the format of a photo, as far as its first bytes tell.

    An object is told by its name's ending: a request for each would take longer
    than all else. What it holds is looked at when it is read.
    """
    if isinstance(photo, Url) and photo.suffix.lower() in PHOTO_SUFFIXES:
        return next(form for form in FORMATS if photo.suffix.lower() in form.suffixes)
    try:
        return identify(_read_header(photo) or b"")
    except PhotoError:
        return None  # which is told when it is read


def _read_header(photo: Place) -> bytes | None:
    if isinstance(photo, Url):
        return stores.read_header(photo, HEADER_BYTES)
    return files.read_header(photo, HEADER_BYTES)


def _find_files(
    folder: Path, top: Path, options: Options, recall: Callable[[Path], Format | None]
) -> Iterator[Found]:
    """Yield what is below a folder, sorted."""
    try:
        names = sorted(entry.name for entry in os.scandir(unlimited(folder)))
    except OSError as error:
        reason = f"cannot be listed: {files.describe_os_error(error)}"
        yield Found(folder, PurePath(), problem=reason)
        return
    for name in names:
        path = folder / name
        below = path.relative_to(top)
        if not files.is_folder(path):
            yield _look_at_file(path, below, options, recall)
        elif reason_not_to_enter := _reason_not_to_enter(path, options):
            yield Found(path, below, passed_over=reason_not_to_enter)
        else:
            yield from _find_files(path, top, options, recall)


def _reason_not_to_enter(folder: Path, options: Options) -> str | None:
    if is_link(unlimited(folder)):
        return "a link to a folder"
    if is_hidden(unlimited(folder)):
        return "hidden"
    if options.output is not None and is_same(folder, place(options.output)):
        return "the folder for the results"
    return None


def _look_at_file(
    path: Path, below: PurePath, options: Options, recall: Callable[[Path], Format | None]
) -> Found:
    hidden = "hidden" if is_hidden(unlimited(path)) else None
    if reason := hidden or _reason_to_pass_over(path, below, options):
        return Found(path, below, passed_over=reason)
    if known := recall(path):
        return Found(path, below, form=known)
    header = _read_header(path)
    form = identify(header or b"")
    # One that cannot be read is tried all the same, to be told as an error.
    may_be_photo = form or (header is None and path.suffix.lower() in PHOTO_SUFFIXES)
    return Found(path, below, passed_over=None if may_be_photo else NO_PHOTO, form=form)


def _reason_to_pass_over(photo: Place, below: PurePath, options: Options) -> str | None:
    if photo.stem.endswith(options.suffix) and not options.in_place:
        return "a result of an earlier run"
    if photo.name.endswith(BACKUP_ENDING):
        return BACKUP
    if photo.name.endswith(COMPARISON_ENDING):
        return "a comparison of an earlier run"
    if options.include and not glob.globmatch(below, list(options.include), flags=_GLOB_FLAGS):
        return "not included"
    if options.exclude and glob.globmatch(below, list(options.exclude), flags=_GLOB_FLAGS):
        return "excluded"
    return None


def _find_objects(folder: Url, options: Options, listing: Listing) -> Iterator[Found]:
    """Yield the objects below a folder, sorted."""
    for url in listing.add(folder):
        key = str(url.key_below(folder))
        below = PurePosixPath(key)
        yield Found(url, below, passed_over=_reason_to_pass_over_object(url, key, options))


def _reason_to_pass_over_object(url: Url, key: str, options: Options) -> str | None:
    output = place(options.output) if options.output else None
    if isinstance(output, Url) and url.key_below(output) is not None:
        return "in the folder for the results"
    if isinstance(output, Path) and _leads_out(key):
        return "its name would lead out of the folder for the results"
    if any(part.startswith(".") for part in key.split("/")):
        return "hidden"
    if url.suffix.lower() not in PHOTO_SUFFIXES and not url.name.endswith(BACKUP_ENDING):
        return NO_PHOTO
    return _reason_to_pass_over(url, PurePosixPath(key), options)


def _leads_out(key: str) -> bool:
    """Tell whether a key, taken for a path below a folder, could lead out of that."""
    return ".." in re.split(r"[/\\]", key) or (os.name == "nt" and ":" in key)


def is_same(first: Place, second: Place) -> bool:
    """Tell whether two places are one file or object."""
    if isinstance(first, Url) or isinstance(second, Url):
        return first == second
    try:
        return first.samefile(second)
    except OSError:
        return False
