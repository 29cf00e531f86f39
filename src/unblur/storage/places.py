"""Where photos lie: files by their paths, objects in stores by their addresses."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeAlias, TypeVar

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # of a letter alone it is a drive


@dataclass(frozen=True, order=True)
class Url:
    """The address of an object, or of the folder that a common beginning of names makes.

    Names are taken as they are: nothing is quoted, and ``//`` stays.
    """

    scheme: str
    """Tells the kind of store: ``s3``, ``gs``."""
    path: str
    """Bucket and key, without a slash at either end."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    __fspath__ = __str__

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    def with_name(self, name: str) -> Url:
        """Return the address of another object beside this one."""
        folder, slash, _ = self.path.rpartition("/")
        return Url(self.scheme, folder + slash + name)

    def __truediv__(self, below: PurePath) -> Url:
        return Url(self.scheme, f"{self.path}/{below.as_posix()}")

    def key_below(self, folder: Url) -> str | None:
        """Return where it lies below a folder, or ``None`` if it does not."""
        start = folder.path + "/"
        is_below = self.scheme == folder.scheme and self.path.startswith(start)
        return self.path[len(start) :] if is_below else None


Place: TypeAlias = Path | Url
LONGEST_NAME_BYTES = 255
"""Of a file's name, that file systems allow."""
BACKUP_ENDING = ".orig"
"""Ends the names of originals that are kept beside the results that replaced them."""


def parse_place(text: str) -> Place:
    """Return the place that a user means: what begins with ``scheme://`` is an address.

    That of a file, as file managers hand it over (RFC 8089), is its path.
    """
    match = _SCHEME.match(text)
    if match is None:
        return Path(text)
    if match[1].lower() == "file":
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        return Path(url2pathname(urlsplit(text).path))
    return Url(match[1].lower(), text[match.end() :].strip("/"))


AnyPlace = TypeVar("AnyPlace", Path, Url)


def is_backup(name: str) -> bool:
    """Tell whether a name is one of a backup, also where a file system has changed its case."""
    return name.lower().endswith(BACKUP_ENDING)


def backup_of(photo: AnyPlace) -> AnyPlace:
    """Return where an original is kept when its result replaces it."""
    return photo.with_name(photo.name + BACKUP_ENDING)


@dataclass(frozen=True)
class Content:
    """Hashes of a file's content; see `unblur.run.content.content_of`."""

    pixels: str
    """Of the coded pixels, after the name of the format. Moving the file or editing its tags
    does not change it. Empty if the file cannot be parsed."""
    whole: str
    """Of all bytes."""


@dataclass(frozen=True)
class FileState:
    """What tells a file or an object from the same one changed."""

    size: int
    mark: int | str
    """A file's time of modification in nanoseconds; a store's own word for an object's version."""
    content: Content | None = field(default=None, compare=False)
    """What is in it, where that was looked at."""

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """Take it from what `os.stat` says."""
        return cls(status.st_size, status.st_mtime_ns)

    @classmethod
    def at(cls, path: Path) -> FileState | None:
        """Return the state of a file, or ``None`` if there is none."""
        try:
            return cls.of(path.stat())
        except OSError:
            return None


def shortened(name: str, most_bytes: int) -> str:
    """Return a name, or as much of its beginning as fits into some bytes."""
    while name and len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name
