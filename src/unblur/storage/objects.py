"""Object stores, such as S3, through fsspec: objects are read and written whole.

A store has no half-written objects: one appears, or replaces another, when its
last byte has arrived.
"""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from unblur.errors import PhotoError, UsageError
from unblur.limits import refuse_oversize
from unblur.storage.places import FileState, Place, Url

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""The package's extras that bring what a kind of store needs."""

DIGEST = "sha256 "
"""Begins the mark of an object that is not in its store yet, whose version nobody knows."""

_MARKS = ("ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "created")
"""What stores call an object's version, the surest first."""
_CONTENT_TYPE = {"s3": "ContentType", "gs": "content_type"}
"""What the libraries of the extras call it."""
_TYPES = mimetypes.MimeTypes()
for _kind, _ending in (("webp", ".webp"), ("avif", ".avif"), ("heic", ".heic"), ("heif", ".heif")):
    _TYPES.add_type(f"image/{_kind}", _ending)  # which old versions of Python do not know


def read(url: Url, most: int | None = None) -> tuple[bytes, FileState]:
    """Read a whole object.

    Args:
        url: Where it lies.
        most: Refuse it without reading it if it has more bytes.

    Returns:
        Its content, and its state just before.

    Raises:
        PhotoError: If it is too large, cannot be read, or changes meanwhile.
    """
    before = state_of(url)
    refuse_oversize(before.size if before else 0, most)
    with _store_errors_as_photo_errors(url) as (store, path):
        data: bytes = store.cat_file(path)
    if before is None or before.size != len(data):
        raise PhotoError("changed while it was read; run again when it is whole")
    return data, before


def read_header(url: Url, size: int) -> bytes:
    """Read the first bytes of an object.

    Raises:
        PhotoError: If they cannot be read.
    """
    with _store_errors_as_photo_errors(url) as (store, path):
        header: bytes = store.cat_file(path, start=0, end=size)
        return header


def write(url: Url, data: bytes, replaces: bool) -> FileState:
    """Write a whole object, in one step.

    Args:
        url: Where to.
        data: Its content.
        replaces: Replace one that is there. Otherwise that stays, even if it appeared
            only now, where the store itself can refuse: S3 and Google's can.

    Returns:
        Its state.

    Raises:
        PhotoError: If it cannot be written, or one is there that must stay.
    """
    options = {} if replaces else {"mode": "create"}
    kind = _TYPES.guess_type(url.name)[0]
    extra = EXTRAS.get(url.scheme)
    if kind and extra:
        options[_CONTENT_TYPE[extra]] = kind
    if not replaces and state_of(url):
        raise PhotoError(f"{url} exists; --overwrite replaces it")
    with _store_errors_as_photo_errors(url, "cannot write {}: {}") as (store, path):
        try:
            store.pipe_file(path, data, **options)
        except FileExistsError as error:
            # A request that was repeated because its answer got lost finds its own work.
            if not holds(url, FileState(len(data), _digest(data))):
                raise PhotoError(f"{url} exists; --overwrite replaces it") from error
    written = state_of(url)
    if written is None or written.size != len(data):
        raise PhotoError(f"{url} was replaced by another program while it was written")
    return written


def copy(source: Url, target: Url) -> None:
    """Copy an object inside its store, unless the copy is there.

    Raises:
        PhotoError: If that is not possible.
    """
    if state_of(target) is None:
        with _store_errors_as_photo_errors(target, "cannot write {}: {}") as (store, path):
            store.cp_file(_open(source)[1], path)


def is_folder(url: Url) -> bool:
    """Tell whether there are objects below an address.

    Raises:
        PhotoError: If the store does not tell.
    """
    with _store_errors_as_photo_errors(url) as (store, path):
        return bool(store.isdir(path))


def state_of(place: Place) -> FileState | None:
    """Return the state of a file or an object, or ``None`` if there is none.

    Raises:
        PhotoError: If the store does not tell.
    """
    if not isinstance(place, Url):
        return FileState.at(place)
    with _store_errors_as_photo_errors(place) as (store, path):
        try:
            info = store.info(path)
        except FileNotFoundError:
            return None
    return _state(info) if info["type"] == "file" else None


def holds(place: Place, state: FileState) -> bool:
    """Tell whether a file or an object is the one that a state was taken of.

    Raises:
        PhotoError: If the store does not tell.
    """
    found = state_of(place)
    if found is None or found == state:
        return found == state
    if not isinstance(place, Url) or not str(state.mark).startswith(DIGEST):
        return False
    return found.size == state.size and _digest(read(place)[0]) == state.mark


class Upload:
    """A whole object that is not in its store yet; see `unblur.storage.drafts.Draft`."""

    def __init__(self, url: Url, data: bytes) -> None:
        self._url, self._data = url, data
        self.state = FileState(len(data), _digest(data))

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *unused: object) -> None:
        self._data = b""

    def publish(self, replaces: bool) -> FileState:
        """Write it; see `unblur.storage.drafts.Draft`."""
        return write(self._url, self._data, replaces)


class Listing:
    """States of objects, as of one moment: a request to a store tells a thousand of them."""

    def __init__(self) -> None:
        self._states: dict[Url, FileState] = {}
        self._folders: list[Url] = []

    def add(self, folder: Url) -> list[Url]:
        """Take in all objects below a folder, and return them sorted.

        Raises:
            PhotoError: If the store does not list them.
        """
        with _store_errors_as_photo_errors(folder) as (store, path):
            found = store.find(path, detail=True)
        states = {
            Url(folder.scheme, (folder.path + name.removeprefix(path)).lstrip("/")): _state(info)
            for name, info in found.items()
            if info["type"] == "file" and not name.endswith("/")
        }
        self._states |= states
        self._folders.append(folder)
        return sorted(states)

    def state_of(self, place: Place) -> FileState | None:
        """Return the state of a file or an object, or ``None`` if there is none.

        Raises:
            PhotoError: If the store does not tell.
        """
        if isinstance(place, Url) and any(place.key_below(f) is not None for f in self._folders):
            return self._states.get(place)
        return state_of(place)


def _digest(data: bytes) -> str:
    return DIGEST + hashlib.sha256(data).hexdigest()


def _state(info: dict[str, Any]) -> FileState:
    name = next((name for name in _MARKS if info.get(name)), "")
    value = info.get(name, "")
    if isinstance(value, datetime):  # a list may tell as a number what info tells as a date
        value = value.timestamp()
    return FileState(info["size"], f"{name} {value}")


@cache
def _store_class(scheme: str) -> type[AbstractFileSystem]:
    import fsspec

    try:
        kind: type[AbstractFileSystem] = fsspec.get_filesystem_class(scheme)
        return kind
    except ValueError as error:
        raise UsageError(f"{scheme}:// is not a known kind of store") from error
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        if extra is None:
            raise UsageError(f"{scheme}:// addresses cannot be used: {error}") from error
        line = f"addresses need the extra {extra}: pip install 'unblur[{extra}]'"
        raise UsageError(f"{scheme}:// {line}") from error


def _open(url: Url) -> tuple[AbstractFileSystem, str]:
    """Return the store and an object's name in it.

    Raises:
        UsageError: If there is no such kind of store, or what it needs is not installed.
    """
    kind = _store_class(url.scheme)
    text = str(url)
    # Stores that list from memory would not see what other runs do.
    store = kind(use_listings_cache=False, **kind._get_kwargs_from_urls(text))
    return store, str(kind._strip_protocol(text))


@contextlib.contextmanager
def _store_errors_as_photo_errors(
    url: Url, sentence: str = "{1}"
) -> Iterator[tuple[AbstractFileSystem, str]]:
    """Give the store and an object's name in it, and turn its errors into ones for the user."""
    store, path = _open(url)
    try:
        yield store, path
    except PhotoError:
        raise
    except Exception as error:  # each store's library has errors of its own
        reason = "no such object" if isinstance(error, FileNotFoundError) else str(error)
        line = " ".join(reason.split()) or type(error).__name__
        raise PhotoError(sentence.format(url, line)) from error
