"""Examine and read a place, which is the path of a file or the address of an object."""

from __future__ import annotations

from unblur.storage import files, objects
from unblur.storage.places import Place, Url


def exists(place: Place) -> bool:
    """Return whether a path leads to anything, or an object exists.

    Raises:
        PhotoError: If a store does not answer, or a folder may not be entered.
    """
    if isinstance(place, Url):
        return objects.state_of(place) is not None
    return files.exists(place)


def is_folder(place: Place) -> bool:
    """Return whether a path leads to a folder, or there are objects below an address.

    Raises:
        PhotoError: If a store does not answer, or a folder may not be entered.
    """
    return objects.is_folder(place) if isinstance(place, Url) else files.is_folder(place)


def is_same(first: Place, second: Place) -> bool:
    """Return whether two places name the same file or object.

    Raises:
        PhotoError: If a file cannot be looked at, so that it may be the same.
    """
    if isinstance(first, Url) or isinstance(second, Url):
        return first == second
    return files.is_same(first, second)


def read(place: Place, most: int | None = None) -> bytes:
    """Read a whole file or object.

    Args:
        place: Its path or address.
        most: Largest size in bytes; a larger one is refused without reading it.

    Raises:
        PhotoError: If it is too large, unreadable, not a regular file, or changes while it is read.
    """
    if isinstance(place, Url):
        return objects.read(place, most)[0]
    return files.read_photo_bytes(place, most)[0]


def read_header(place: Place, size: int) -> bytes | None:
    """Return the first bytes of a file or object.

    Returns:
        At most ``size`` bytes; for paths, empty without a regular file, and ``None`` if the file
        cannot be read.

    Raises:
        PhotoError: If an object cannot be read.
    """
    if isinstance(place, Url):
        return objects.read_header(place, size)
    return files.read_header(place, size)
