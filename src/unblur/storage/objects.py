"""Read and write whole objects in object stores, such as S3, through fsspec.

An object appears, or replaces an older object, when its last byte has arrived.
"""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from unblur.errors import START_LIMIT, PhotoError, UsageError, is_thread_limit
from unblur.file_limits import refuse_oversize
from unblur.storage.drafts import APPEARED, Draft
from unblur.storage.files import CHANGED_WHILE_READ
from unblur.storage.places import FileState, Place, Url
from unblur.storage.targets import EXISTS
from unblur.user_text import describe_os_error

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""The extra that each kind of store needs."""

UNKNOWN = -1
"""Size of an object whose store does not state it, such as a web server that compresses."""
PART_BYTES = 1 << 20

DIGEST = "sha256 "
"""Prefix of the preliminary version of an object that is not in its store yet."""

_MARKS = ("ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "created")
"""Names under which stores report an object's version, the most reliable first."""
_CONTENT_TYPE = {"s3": "ContentType", "gs": "content_type"}
"""Names of the option for the content type in the libraries of the extras."""
_FAULTS_OF_ADDRESS = (TypeError, ValueError, LookupError, AttributeError)
"""Errors that libraries raise for addresses without a part that their kind of store needs."""
_NOISE = re.compile(r" ssl:\w+")
"""Text that aiohttp adds to the name of a host."""
READ_ONLY = ("http", "https")
"""Kinds of stores to which nothing can be written."""
_TYPES = mimetypes.MimeTypes()
for _kind, _ending in (("webp", ".webp"), ("avif", ".avif"), ("heic", ".heic"), ("heif", ".heif")):
    _TYPES.add_type(f"image/{_kind}", _ending)  # unknown to Python before 3.13


def read(url: Url, most: int | None = None) -> tuple[bytes, FileState]:
    """Read a whole object.

    Args:
        url: Address of the object.
        most: Largest size in bytes; larger objects are refused without reading them.

    Returns:
        The object's content, and its state just before it was read.

    Raises:
        PhotoError: If the object is too large, unreadable, or changes while it is read.
    """
    before = state_of(url)
    with _store_errors_as_photo_errors(url) as (store, path):
        if before and before.size == UNKNOWN:
            data = _read_parts(store, path, most)
            return data, replace(before, size=len(data))
        refuse_oversize(before.size if before else 0, most)
        data = store.cat_file(path)
    if before is None or before.size != len(data):
        raise PhotoError(CHANGED_WHILE_READ)
    return data, before


def _read_parts(store: AbstractFileSystem, path: str, most: int | None) -> bytes:
    """Read a whole object of unknown size, or raise `PhotoError` as soon as it is too large."""
    data = bytearray()
    with store.open(path, "rb") as file:
        while part := file.read(PART_BYTES):
            data += part
            refuse_oversize(len(data), most)
    return bytes(data)


def read_header(url: Url, size: int) -> bytes:
    """Read the first bytes of an object, or raise `PhotoError`."""
    with _store_errors_as_photo_errors(url) as (store, path):
        header: bytes = store.cat_file(path, start=0, end=size)
        return header


def write(url: Url, data: bytes, replaces: bool) -> FileState:
    """Write a whole object in one step, and return its state.

    Args:
        url: Address of the object.
        data: Its content.
        replaces: Whether to replace an existing object. If not, an existing object is an error,
            even if it has just appeared; only Amazon's and Google's stores can guarantee this.

    Raises:
        PhotoError: If writing fails, or an object exists and must not be replaced.
    """
    options = {} if replaces else {"mode": "create"}
    kind = _TYPES.guess_type(url.name)[0]
    extra = EXTRAS.get(url.scheme)
    if kind and extra:
        options[_CONTENT_TYPE[extra]] = kind
    if not replaces and state_of(url):
        raise PhotoError(EXISTS.format(url))
    with _store_errors_as_photo_errors(url, "cannot write {}: {}") as (store, path):
        try:
            store.pipe_file(path, data, **options)
        except FileExistsError as error:
            # If the library repeated a request whose answer was lost, the object is ours.
            if not holds(url, FileState(len(data), _digest(data))):
                raise PhotoError(EXISTS.format(url)) from error
    written = state_of(url)
    if written is None or written.size != len(data):
        raise PhotoError(f"{url} was replaced by another program while it was written")
    return written


def copy(source: Url, target: Url) -> None:
    """Copy an object inside its store, unless the copy exists.

    Raises:
        PhotoError: If copying fails, or another object has the name of the copy.
    """
    if state_of(target) is None:
        with _store_errors_as_photo_errors(target, "cannot write {}: {}") as (store, path):
            store.cp_file(_open(source)[1], path)
    elif read(target)[0] != read(source)[0]:
        raise PhotoError(APPEARED.format(target))


def existing_beside(url: Url, names: list[str], start: str) -> set[str]:
    """Return which candidate names exist beside an object.

    Amazon's and Google's stores list names by prefix in one request. Other stores get one request
    per name.

    Args:
        url: Address of the object.
        names: Candidate names.
        start: Common prefix of all candidates.

    Raises:
        PhotoError: If the store fails.
    """
    if url.scheme not in EXTRAS:
        return {name for name in names if state_of(url.with_name(name))}
    folder = url.path.rpartition("/")[0]
    with _store_errors_as_photo_errors(Url(url.scheme, folder)) as (store, path):
        found = store.find(path, prefix=start)
    return {name.removeprefix(f"{path}/") for name in found} & set(names)


def is_folder(url: Url) -> bool:
    """Return whether there are objects below an address, or raise `PhotoError`."""
    with _store_errors_as_photo_errors(url) as (store, path):
        return bool(store.isdir(path))


def state_of(place: Place) -> FileState | None:
    """Return the state of a file or an object; ``None`` if it does not exist.

    Raises:
        PhotoError: If the store fails.
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
    """Return whether a file or an object still has a state.

    Raises:
        PhotoError: If the store fails.
    """
    found = state_of(place)
    if found is None or found == state:
        return found == state
    if not isinstance(place, Url) or not str(state.mark).startswith(DIGEST):
        return False
    return found.size == state.size and _digest(read(place)[0]) == state.mark


class Upload(Draft):
    """An output for an object store; it stays in memory until it is published."""

    def __init__(self, url: Url, data: bytes) -> None:
        self._url, self._data = url, data
        self.state = FileState(len(data), _digest(data))

    def __exit__(self, *unused: object) -> None:
        self._data = b""

    def publish(self, replaces: bool) -> FileState:
        """Write the object; see `Draft`."""
        return write(self._url, self._data, replaces)


class ListedObjects:
    """The states of listed objects; one request to a store lists a thousand objects."""

    def __init__(self) -> None:
        self._states: dict[Url, FileState] = {}
        self._folders: list[Url] = []

    def add(self, folder: Url) -> list[Url]:
        """List the objects below a folder, and return them sorted, or raise `PhotoError`."""
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
        """Return the state of a listed object; of other places, as the function `state_of` does."""
        if isinstance(place, Url) and any(place.key_below(f) is not None for f in self._folders):
            return self._states.get(place)
        return state_of(place)


def _digest(data: bytes) -> str:
    return DIGEST + hashlib.sha256(data).hexdigest()


def _state(info: dict[str, Any]) -> FileState:
    name = next((name for name in _MARKS if info.get(name)), "")
    value = info.get(name, "")
    if isinstance(value, datetime):  # some listings have a number instead
        value = value.timestamp()
    size = info["size"]
    return FileState(UNKNOWN if size is None else size, f"{name} {value}")


@cache
def _store_class(scheme: str) -> type[AbstractFileSystem]:
    import fsspec

    if scheme == "data":
        raise UsageError("data: addresses hold their data themselves: save the photo as a file")
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
    """Return a store and an object's name in it; raise `UsageError` if the store is unusable."""
    kind = _store_class(url.scheme)
    text = str(url)
    # A cached listing would miss the changes of other runs.
    store = kind(use_listings_cache=False, **kind._get_kwargs_from_urls(text))
    return store, str(kind._strip_protocol(text))


@contextlib.contextmanager
def _store_errors_as_photo_errors(
    url: Url, sentence: str = "{1}"
) -> Iterator[tuple[AbstractFileSystem, str]]:
    """Yield the store and an object's name in it; raise the store's errors as `PhotoError`."""
    try:
        yield _open(url)  # some stores connect at once
    except (PhotoError, UsageError):
        raise
    except Exception as error:  # each store's library has its own errors
        line = " ".join(_reason(error).split()) or type(error).__name__
        raise PhotoError(sentence.format(url, line)) from error


def _reason(error: Exception) -> str:
    """Return the error of a store's library in words for users."""
    if isinstance(error, FileNotFoundError):
        return "no such object"
    if is_thread_limit(error):  # of the thread that asks the store
        return START_LIMIT
    if isinstance(error, _FAULTS_OF_ADDRESS):
        return f"is not an address of a photo in such a store ({error})"
    cause = getattr(error, "os_error", None)
    if isinstance(cause, OSError):  # of a failed connection; the number tells more than the text
        number = cause.errno or 0  # negative where a name has no address
        reason = os.strerror(number) if number > 0 else describe_os_error(cause)
        return f"cannot connect: {reason.lower()}"
    text = error.strerror if isinstance(error, OSError) else None  # without number and path
    return _NOISE.sub("", text or str(error))
