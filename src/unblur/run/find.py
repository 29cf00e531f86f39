"""Find the photos that the user names, and photos in folders and subfolders."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PurePosixPath

from wcmatch import glob

from unblur.errors import PhotoError
from unblur.formats.photo import HEADER_BYTES, Format, format_by_suffix, identify
from unblur.options import Options
from unblur.run.ignored import (
    CACHE_SIGNATURE,
    CACHE_TAG,
    IN_THE_CLOUD,
    cannot_be_photo,
    reason_by_content,
    reason_by_name,
    stands_for_file,
)
from unblur.run.result_names import COMPARISON_ENDINGS
from unblur.storage import any_place, files, objects
from unblur.storage.filesystems import is_hidden, is_in_cloud, is_link, status_in_listing, unlimited
from unblur.storage.objects import ListedObjects
from unblur.storage.places import Place, Url, is_backup, parse_place
from unblur.user_text import describe_os_error

BACKUP = "a backup"
_OTHERS_BACKUP = re.compile(r"\.\w+(_original|~|\.bak)$", re.IGNORECASE)
"""Extensions of backups that ExifTool and editors write."""
LINK = "a link to a file; --in-place follows it only if it is named"
NO_SEARCH = "--recursive cannot search a web server: name the address of each photo"
NO_PHOTO = "not a photo that can be processed"
_GLOB_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB | glob.MATCHBASE


@dataclass(frozen=True)
class Found:
    """A file, folder or object: a photo to try, or something to skip."""

    place: Place
    below: PurePath
    """Path relative to the folder that the user named."""
    problem: str | None = None
    """Why the photo cannot be processed."""
    passed_over: str | None = None
    """Why it is skipped."""
    form: Format | None = None
    """Format by the first bytes; ``None`` if they were not read."""


KnownFormat = Callable[[Path], Format | None]
"""Returns the format of a file from the record of results, without opening the file."""


def find(
    named: Place,
    options: Options,
    listing: ListedObjects,
    known_format: KnownFormat = lambda path: None,
) -> Iterator[Found]:
    """Yield a file or object that the user names, or everything below a named folder.

    Objects below a named folder are added to ``listing``, with their states.
    """
    try:
        is_folder = any_place.is_folder(named)
        if options.recursive and isinstance(named, Url) and named.is_web and _is_page(named):
            yield Found(named, PurePath(), problem=NO_SEARCH)
        elif not is_folder:
            yield Found(named, PurePath(named.name))
        elif not options.recursive:
            reason = "is a folder; add --recursive to search it"
            yield Found(named, PurePath(), problem=reason)
        elif isinstance(named, Url):
            yield from _find_objects(named, options, listing)
        else:
            yield from _find_files(named, options, known_format)
    except PhotoError as error:
        yield Found(named, PurePath(), problem=str(error))


def _is_page(url: Url) -> bool:
    """Return whether a web server's address is not that of a photo."""
    if format_by_suffix(url.suffix):
        return False
    return identify(any_place.read_header(url, HEADER_BYTES) or b"") is None


def format_of(photo: Place) -> Format | None:
    """Return the format of a photo by its first bytes.

    The extension of an object's name gives its format, because one request per object would take
    too long. The content is checked when the object is read.
    """
    if isinstance(photo, Url) and (form := format_by_suffix(photo.suffix)):
        return form
    try:
        return identify(any_place.read_header(photo, HEADER_BYTES) or b"")
    except PhotoError:
        return None  # reading the photo will report the error


@dataclass(frozen=True)
class _Entry:
    """A file or folder in a listing."""

    path: Path
    below: PurePath
    """Path relative to the folder that the user named."""
    is_folder: bool
    """Whether it is a folder, or a link to one."""
    status: os.stat_result | None
    """Status of the file or folder; for a link, the status of the link."""


def _find_files(top: Path, options: Options, known_format: KnownFormat) -> Iterator[Found]:
    """Yield the files below a folder, sorted, and the skipped folders."""
    # A stack of listings: folders may be nested deeper than Python can recurse.
    stack: list[Iterator[_Entry]] = [iter([_Entry(top, PurePath(), is_folder=True, status=None)])]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif not entry.is_folder:
            yield _look_at_file(entry, options, known_format)
        elif reason := _reason_not_to_enter(entry, options):
            yield Found(entry.path, entry.below, passed_over=reason)
        else:
            try:
                with os.scandir(unlimited(entry.path)) as folder:
                    listing = sorted(folder, key=lambda one: one.name)
            except OSError as error:
                reason = f"cannot be listed: {describe_os_error(error)}"
                yield Found(entry.path, PurePath(), problem=reason)
                continue
            if reason := _reason_by_content(entry, listing):
                yield Found(entry.path, entry.below, passed_over=reason)
            else:
                stack.append(map(partial(_to_entry, entry), listing))


def _to_entry(folder: _Entry, listed: os.DirEntry[str]) -> _Entry:
    try:
        is_folder = listed.is_dir()
    except OSError:  # such as a loop of links
        is_folder = False
    path = folder.path / listed.name
    status = status_in_listing(listed, unlimited(path))
    return _Entry(path, folder.below / listed.name, is_folder, status)


def _reason_not_to_enter(entry: _Entry, options: Options) -> str | None:
    if entry.below == PurePath():
        return None  # the user named it
    if is_link(entry.status):
        return "a link to a folder"
    if is_hidden(entry.path.name, entry.status):
        return "hidden"
    output = parse_place(options.output or "")
    with contextlib.suppress(PhotoError):  # its results would be recognised anyway
        if options.output is not None and any_place.is_same(entry.path, output):
            return "the output folder"
    return reason_by_name(entry.path.name)


def _reason_by_content(folder: _Entry, listing: list[os.DirEntry[str]]) -> str | None:
    """Return why a folder is skipped because of its content, unless the user named it."""
    if folder.below == PurePath():
        return None
    is_tagged = any(one.name == CACHE_TAG and not one.is_symlink() for one in listing)
    tag = files.read_header(folder.path / CACHE_TAG, len(CACHE_SIGNATURE)) if is_tagged else None
    return reason_by_content(folder.path.name, (one.name for one in listing), tag)


def _look_at_file(entry: _Entry, options: Options, known_format: KnownFormat) -> Found:
    path, below = entry.path, entry.below
    reason = _reason_not_to_open(entry) or _reason_to_pass_over(path, below, options)
    follows_link = options.in_place and is_link(entry.status)
    if not reason and follows_link and files.certainly(files.is_regular, path):
        reason = LINK  # it may lead out of the folder, even into the library of a program
    if reason or is_in_cloud(entry.status):
        return Found(path, below, passed_over=reason or IN_THE_CLOUD)
    if known := known_format(path):
        return Found(path, below, form=known)
    header = any_place.read_header(path, HEADER_BYTES)
    form = identify(header or b"")
    # An unreadable file with the extension of a photo is tried, so that its error is reported.
    may_be_photo = form or (header is None and format_by_suffix(path.suffix))
    return Found(path, below, passed_over=None if may_be_photo else NO_PHOTO, form=form)


def _reason_not_to_open(entry: _Entry) -> str | None:
    name = entry.path.name
    in_cloud = stands_for_file(name)
    if cannot_be_photo(in_cloud or name):
        return NO_PHOTO
    if in_cloud:
        return IN_THE_CLOUD
    return "hidden" if is_hidden(name, entry.status) else None


def _reason_to_pass_over(photo: Place, below: PurePath, options: Options) -> str | None:
    if photo.stem.endswith(options.suffix) and not options.in_place:
        return "a result of an earlier run"
    if reason := reason_of_backup(photo.name):
        return reason
    if photo.name.endswith(COMPARISON_ENDINGS):
        return "a comparison of an earlier run"
    if options.include and not glob.globmatch(below, list(options.include), flags=_GLOB_FLAGS):
        return "not included"
    if options.exclude and glob.globmatch(below, list(options.exclude), flags=_GLOB_FLAGS):
        return "excluded"
    return None


def reason_of_backup(name: str) -> str | None:
    """Return whose backup a file is, by its name; ``None`` for other files."""
    if is_backup(name):
        return BACKUP
    return "a backup of another program" if _OTHERS_BACKUP.search(name) else None


def _find_objects(folder: Url, options: Options, listing: ListedObjects) -> Iterator[Found]:
    """Yield the objects below a folder, sorted."""
    urls = listing.add(folder)
    left_alone = _folders_left_alone(urls, folder)
    for url in urls:
        key = str(url.key_below(folder))
        reasons = (left_alone.get(parent) for parent, _ in _folders_above(key))
        reason = next(filter(None, reasons), None)
        reason = reason or _reason_to_pass_over_object(url, key, options)
        yield Found(url, PurePosixPath(key), passed_over=reason)


def _folders_above(key: str) -> Iterator[tuple[str, str]]:
    """Yield each folder above an object, the nearest first, with the next name on the path."""
    slash = "/"
    while slash:
        key, slash, name = key.rpartition("/")
        yield key, name


def _folders_left_alone(urls: list[Url], top: Url) -> dict[str, str]:
    """Return the skipped folders below ``top``, with the reasons."""
    names: dict[str, set[str]] = {}
    for url in urls:
        for folder, name in _folders_above(str(url.key_below(top))):
            is_known = folder in names
            names.setdefault(folder, set()).add(name)
            if is_known:
                break
    reasons = {}
    for folder, inside in names.items():
        if not folder:
            continue  # the user named it
        name = folder.rpartition("/")[2]
        tag = None
        if CACHE_TAG in inside:
            with contextlib.suppress(PhotoError):  # an unreadable tag is ignored
                url = Url(top.scheme, f"{top.path}/{folder}/{CACHE_TAG}")
                tag = objects.read_header(url, len(CACHE_SIGNATURE))
        if reason := reason_by_name(name) or reason_by_content(name, inside, tag):
            reasons[folder] = reason
    return reasons


def _reason_to_pass_over_object(url: Url, key: str, options: Options) -> str | None:
    output = parse_place(options.output) if options.output else None
    if isinstance(output, Url) and url.key_below(output) is not None:
        return "in the output folder"
    if isinstance(output, Path) and _leads_out(key):
        return "its name would lead out of the output folder"
    if any(part.startswith(".") for part in key.split("/")):
        return "hidden"
    if not format_by_suffix(url.suffix) and not is_backup(url.name):
        return NO_PHOTO
    return _reason_to_pass_over(url, PurePosixPath(key), options)


def _leads_out(key: str) -> bool:
    """Return whether a key, used as a relative path, could lead out of a folder."""
    parts = re.split(r"[/\\]", key)
    # On Windows, a name after a colon is a stream, and a leading backslash is the root.
    return ".." in parts or (os.name == "nt" and (":" in key or key.lstrip("/").startswith("\\")))
