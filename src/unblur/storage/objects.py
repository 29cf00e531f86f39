"""Read and write whole objects in object stores, such as S3, through fsspec.

An object appears, or replaces an older object, when its last byte has arrived.
"""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from unblur.errors import PhotoError
from unblur.file_limits import refuse_oversize
from unblur.storage.drafts import APPEARED, Draft
from unblur.storage.files import CHANGED_WHILE_READ
from unblur.storage.places import UNKNOWN, FileState, Place, Url, longest_name
from unblur.storage.servers import WITH_FOLDERS, is_missing, rename
from unblur.storage.stores import EXTRAS, ask_store, open_store
from unblur.storage.targets import EXISTS
from unblur.storage.temporaries import temporary_name

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

PART_BYTES = 1 << 20

DIGEST = "sha256 "
"""Prefix of the version of an object that is not in its store yet, or whose store states none."""

_MARKS = (
    *("ETag", "etag", "generation", "sha", "blob_id", "mtime", "LastModified", "last_modified"),
    *("modified", "modify", "modificationTime", "created"),
)
"""Names under which stores report an object's version, the most reliable first."""
_CONTENT_TYPE = {"s3": "ContentType", "gs": "content_type"}
"""Names of the option for the content type in the libraries of the extras."""
_CANNOT_WRITE = "cannot write {}: {}"
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
    if url.is_web:
        from unblur.storage import web

        data, state = web.read(url, most)
        return data, _certain(state, data)
    before = state_of(url)
    if before and before.size == UNKNOWN:
        data = ask_store(url, lambda store, path: _read_parts(store, path, most))
        return data, _certain(before, data)
    refuse_oversize(before.size if before else 0, most)
    data = ask_store(url, lambda store, path: bytes(store.cat_file(path)))
    if before is None or before.size != len(data):
        raise PhotoError(CHANGED_WHILE_READ)
    return data, _certain(before, data)


def _certain(state: FileState, data: bytes) -> FileState:
    """Return the state of an object with this content; see `DIGEST`."""
    return replace(state, size=len(data), mark=state.mark or _digest(data))


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
    if url.is_web:
        from unblur.storage import web

        return web.read_header(url, size)
    return ask_store(url, lambda store, path: bytes(store.cat_file(path, start=0, end=size)))


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

    def put(store: AbstractFileSystem, path: str) -> None:
        try:
            if url.scheme in WITH_FOLDERS:
                _put_whole(url, data, store, path, replaces)
            else:
                store.pipe_file(path, data, **options)
        except FileExistsError as error:
            # If a request was repeated whose answer was lost, the object is ours.
            if not holds(url, FileState(len(data), _digest(data))):
                raise PhotoError(EXISTS.format(url)) from error

    ask_store(url, put, _CANNOT_WRITE)
    written = state_of(url)
    if written is None or written.size not in (len(data), UNKNOWN):
        raise PhotoError(f"{url} was replaced by another program while it was written")
    return _certain(written, data)


def _put_whole(url: Url, data: bytes, store: AbstractFileSystem, path: str, replaces: bool) -> None:
    """Write a file to a server with folders, under a temporary name until it is whole."""
    folder = path.rpartition("/")[0]
    store.makedirs(folder, exist_ok=True)
    scratch = f"{folder}/{temporary_name(url.name, longest_name(url))}"
    try:
        store.pipe_file(scratch, data)
        rename(url, store, scratch, path, replaces)
    except BaseException:
        with contextlib.suppress(Exception):  # the first error tells more
            store.rm_file(scratch)
        raise


def copy(source: Url, target: Url) -> None:
    """Copy an object inside its store, unless the copy exists.

    Raises:
        PhotoError: If copying fails, or another object has the name of the copy.
    """
    if state_of(target) is None:
        if source.scheme in WITH_FOLDERS:  # these cannot copy
            write(target, read(source)[0], replaces=False)
        else:
            ask_store(
                target,
                lambda store, path: store.cp_file(open_store(source)[1], path),
                _CANNOT_WRITE,
            )
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

    def find(store: AbstractFileSystem, path: str) -> set[str]:
        return {name.removeprefix(f"{path}/") for name in store.find(path, prefix=start)}

    return ask_store(Url(url.scheme, url.path.rpartition("/")[0]), find) & set(names)


def is_folder(url: Url) -> bool:
    """Return whether there are objects below an address, or raise `PhotoError`.

    Web servers have no folders, only pages that may link to photos.
    """
    return not url.is_web and ask_store(url, lambda store, path: bool(store.isdir(path)))


def state_of(place: Place) -> FileState | None:
    """Return the state of a file or an object; ``None`` if it does not exist.

    Raises:
        PhotoError: If the store fails.
    """
    if not isinstance(place, Url):
        return FileState.at(place)
    if place.is_web:
        from unblur.storage import web

        return web.state_of(place)

    def find_state(store: AbstractFileSystem, path: str) -> FileState | None:
        try:
            info = store.info(path)
        except Exception as error:
            if is_missing(error):
                return None
            raise
        return _state(info) if info["type"] == "file" else None

    return ask_store(place, find_state)


def holds(place: Place, state: FileState, found: FileState | None = None) -> bool:
    """Return whether a file or an object still has a state.

    Args:
        place: The file or object. If its store states no versions, it is read.
        state: The state.
        found: Its present state, if it is known.

    Raises:
        PhotoError: If the store fails.
    """
    found = found or state_of(place)
    if found is None or found == state:
        return found == state
    if not isinstance(place, Url) or found.size not in (state.size, UNKNOWN):
        return False
    if str(state.mark).startswith(DIGEST):
        return _digest(read(place)[0]) == state.mark
    return found.mark == state.mark != ""


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
        path, found = ask_store(folder, lambda store, path: (path, store.find(path, detail=True)))
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
    return FileState(UNKNOWN if size is None else size, f"{name} {value}" if name else "")
