"""Name the place of a photo: the path of a file, or the address of an object in a store."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeAlias, TypeVar
from urllib.parse import quote, unquote

from unblur.errors import PhotoError, UsageError
from unblur.storage.addresses import WEB, remember, shown, with_quoted_login
from unblur.storage.filesystems import status_at
from unblur.user_text import describe_os_error

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # a single letter is a Windows drive


@dataclass(frozen=True, order=True)
class Url:
    """The address of an object, or of a folder, which is a common prefix of objects' names.

    Names are not quoted, except on web servers, and ``//`` is kept.
    """

    scheme: str
    """The kind of store: ``s3``, ``gs``."""
    path: str
    """Bucket and key, without a slash at either end; perhaps user and password before them,
    quoted."""

    def __str__(self) -> str:
        """Return the address without passwords and signatures, for messages and records."""
        return shown(self.address)

    __fspath__ = __str__

    @property
    def address(self) -> str:
        """The whole address; it may contain a password."""
        return f"{self.scheme}://{self.path}"

    @property
    def is_web(self) -> bool:
        """Whether a web server has the object."""
        return self.scheme in WEB

    @property
    def name(self) -> str:
        """The part after the last slash; on web servers unquoted, and without the query."""
        if not self.is_web:
            return self.path.rpartition("/")[2]
        quoted = re.split("[?#]", self.path)[0].partition("/")[2].rpartition("/")[2]
        name = unquote(quoted)
        if name in ("", ".", ".."):
            return "photo"
        return quoted if re.search(r"[/\\\x00]", name) else name

    @property
    def stem(self) -> str:
        """The name without its extension."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The extension of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    def with_name(self, name: str) -> Url:
        """Return the address of another object beside this one."""
        path = re.split("[?#]", self.path)[0] if self.is_web else self.path
        folder, slash, _ = path.rpartition("/")
        return Url(self.scheme, folder + slash + (quote(name) if self.is_web else name))

    def __truediv__(self, below: PurePath) -> Url:
        return Url(self.scheme, f"{self.path}/{below.as_posix()}")

    def key_below(self, folder: Url) -> str | None:
        """Return the key relative to a folder, or ``None`` if the object is not in it."""
        start = folder.path + "/"
        is_below = self.scheme == folder.scheme and self.path.startswith(start)
        return self.path[len(start) :] if is_below else None


Place: TypeAlias = Path | Url
AnyPlace = TypeVar("AnyPlace", Path, Url)
_THIS_COMPUTER = ("", "localhost")
BACKUP_ENDING = ".orig"
"""Extension of originals that ``--in-place`` keeps."""


def parse_place(text: str) -> Place:
    """Return an address if a text begins with ``scheme://``; otherwise a path.

    File managers use ``file://`` addresses (RFC 8089); they become paths.

    Raises:
        UsageError: If a ``file://`` address names another computer.
    """
    match = _SCHEME.match(text)
    if match is None:
        return Path(text)
    if match[1].lower() in ("file", "local"):
        return _file_at(text[match.end() :])
    remember(text)
    rest = with_quoted_login(text)[match.end() :]
    return Url(match[1].lower(), rest.strip("/"))


def _file_at(address: str) -> Path:
    """Return the path of a ``file://`` address, given without its beginning."""
    from urllib.request import url2pathname

    host, slash, path = address.partition("/")
    if sys.platform == "win32" and host.lower() not in _THIS_COMPUTER:
        share = "" if host.endswith(":") else "//"  # some write file://C:/ with two slashes
        return Path(url2pathname(f"{share or '/'}{host}/{path}"))
    if host.lower() not in _THIS_COMPUTER:
        raise UsageError(
            f"file://{address} is on the computer {host}: give the path of a file here, or "
            "file:/// with three slashes"
        )
    return Path(url2pathname(slash + path))


def is_backup(name: str) -> bool:
    """Return whether a name is the name of a backup, in any case."""
    return name.lower().endswith(BACKUP_ENDING)


def backup_of(photo: AnyPlace) -> AnyPlace:
    """Return the place where ``--in-place`` keeps the original of a photo."""
    return photo.with_name(photo.name + BACKUP_ENDING)


@dataclass(frozen=True)
class Content:
    """Hashes of a file's content; see `unblur.run.hashes.content_of`."""

    pixels: str
    """The format's name and the hash of the coded pixels. Moving the file or editing its tags does
    not change them. Empty if the file cannot be parsed."""
    whole: str
    """Hash of all bytes."""


UNKNOWN = -1
"""Size of an object whose store does not state it, such as a web server that compresses."""


@dataclass(frozen=True)
class FileState:
    """State of a file or an object; a different state means that the content was changed."""

    size: int
    mark: int | str
    """A file's time of modification in nanoseconds, or an object's version; empty if the store
    states none."""
    content: Content | None = field(default=None, compare=False)
    """Hashes of the content; ``None`` if the content was not read."""

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """Return the state that a file's status describes."""
        return cls(status.st_size, status.st_mtime_ns)

    @classmethod
    def at(cls, path: Path) -> FileState | None:
        """Return the state of a file, or ``None`` if it does not exist.

        Raises:
            PhotoError: If this cannot be found out.
        """
        try:
            status = status_at(path)
        except OSError as error:
            raise PhotoError(f"{path}: {describe_os_error(error)}") from error
        return cls.of(status) if status else None


def longest_name(place: Place) -> int:
    """Return the length in bytes of the longest name in a place's folder, which may be missing.

    Encrypted folders have lower limits: eCryptfs allows 143 bytes; see pathconf(3).
    """
    usual = 255
    pathconf = getattr(os, "pathconf", None)  # missing on Windows
    if pathconf is None or isinstance(place, Url):
        return usual
    for folder in place.parents:
        with contextlib.suppress(OSError, ValueError):
            most = pathconf(folder, "PC_NAME_MAX")
            return min(most, usual) if most > 0 else usual
    return usual


def shortened(name: str, most_bytes: int) -> str:
    """Return a name, cut off after at most ``most_bytes`` bytes."""
    while name and len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name
