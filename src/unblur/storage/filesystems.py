"""Handle differences between Linux, macOS and Windows, and between their file systems.

Sources: Microsoft, *Naming Files, Paths, and Namespaces* and *Reparse Point
Tags*; Apple, *Apple File System Reference* (names are compared regardless of
normalisation, and regardless of case unless the volume is case-sensitive).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

LONGEST_PLAIN_PATH = 200
"""In characters: Windows' limit of 260, minus room for names of results and temporary files."""

MOST_LINKS = 40
"""Links that Linux follows in one path."""

_JUNCTION = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT, which `stat` names on Windows only
_DEVICES = r"CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3]"
_NO_WINDOWS_NAME = re.compile(
    rf"({_DEVICES})[ ]*(\..*)?"  # a device, whatever follows the first dot
    r"|.*[\x00-\x1f<>:\"/\\|?*].*"
    r"|.*[. ]",  # Windows would remove these characters at the end
    re.IGNORECASE | re.DOTALL,
)
_ACCESS_DENIED, _SHARING_VIOLATION = 5, 32
_RECALLED = stat.FILE_ATTRIBUTE_OFFLINE | 0x00040000 | 0x00400000
"""The latter are FILE_ATTRIBUTE_RECALL_ON_OPEN and FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS."""
_NOTHING_THERE = errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG
_NOT_SUPPORTED = errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENOTTY
_DATALESS = 0x40000000
"""SF_DATALESS, which `stat` names from Python 3.13 on."""


def identity(path: Path) -> str:
    """Return a text that is the same for all paths of a file; the file may be missing.

    Resolved folders are cached: resolving them for 50,000 photos would take most of the time.
    """
    if path.name in ("", "..") or os.path.islink(path):  # noqa: PTH114 (takes any name)
        folder, name = os.path.split(_resolved(path))
    else:
        folder, name = real_folder(str(path.parent)), path.name
    text = os.path.join(folder, name)  # noqa: PTH118 (a Path takes ten times as long)
    if sys.platform == "darwin":
        text = unicodedata.normalize("NFC", text)
    return text.lower() if ignores_case(Path(folder)) else text


@functools.lru_cache(maxsize=4096)
def real_folder(folder: str) -> str:
    """Resolve a folder's path; ``real_folder.cache_clear()`` forgets earlier results."""
    return _resolved(folder)


def _resolved(path: Path | str) -> str:
    """Return a path without links, as far as they can be read: using the path reports the error."""
    try:
        return os.path.realpath(path)
    except OSError:
        return os.path.abspath(path)  # noqa: PTH100 (takes any name)


def follow_links(path: Path) -> Path:
    """Return the file that a link leads to, or the path itself if it is no link.

    Relative paths stay relative, as the user typed them. A loop of links leads to one of them.
    """
    for _ in range(MOST_LINKS):
        try:
            path = path.parent / os.readlink(path)  # noqa: PTH115 (takes any name)
        except (OSError, ValueError):  # no link
            break
    return path


@functools.lru_cache(maxsize=1024)
def ignores_case(folder: Path) -> bool:
    """Return whether a folder treats names that differ only by case as the same name.

    The names in the folder show this; nothing is written.
    """
    for place in (folder, *folder.parents):
        # A folder that is missing or cannot be listed is assumed to be like its parent.
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.name != entry.name.swapcase():
                    return are_one(place / entry.name, place / entry.name.swapcase())
    return sys.platform in ("darwin", "win32")


def names_in(folder: Path) -> frozenset[str]:
    """Return the names in a folder, or raise `OSError`."""
    return frozenset(os.listdir(folder))  # noqa: PTH208 (faster)


def are_one(
    first: Path, second: Path, listing: Callable[[Path], frozenset[str]] = names_in
) -> bool:
    """Return whether two different spellings lead to one file; ``False`` if either is missing.

    Only the listing shows this: two hard links have the same status, and on some file systems in
    user space one file has another status by each spelling.

    Args:
        first: A path.
        second: The other spelling.
        listing: Returns the names in a folder.
    """
    folder, other = first.parent, second.parent
    try:
        first.lstat()
        second.lstat()
        if folder == other:
            return not listing(folder) >= {first.name, second.name}
    except OSError:
        return False
    same_name = first.name == second.name or are_one(first, folder / second.name, listing)
    return same_name and are_one(folder, other, listing)


def is_missing(error: OSError) -> bool:
    """Return whether an error of `stat` means that a path leads to nothing.

    Other errors, such as "permission denied", hide what is there.
    """
    return error.errno in _NOTHING_THERE or (
        sys.platform == "win32" and error.errno == errno.EINVAL
    )


def status_at(path: Path, follow_links: bool = True) -> os.stat_result | None:
    """Return the status of a file or folder; ``None`` if there is none.

    Raises:
        OSError: If this cannot be found out, such as in a folder that may not be entered.
    """
    try:
        return unlimited(path).stat(follow_symlinks=follow_links)
    except OSError as error:
        if is_missing(error):
            return None
        raise


def unlimited(path: Path) -> Path:
    r"""Return a path in the form that Windows accepts: ``\\?\`` comes before a long path."""
    if sys.platform != "win32":
        return path
    absolute = os.path.abspath(path)  # noqa: PTH100 (after the prefix, Windows resolves no dots)
    return Path(with_prefix(absolute)) if len(absolute) > LONGEST_PLAIN_PATH else path


def with_prefix(absolute: str) -> str:
    r"""Return an absolute Windows path with the prefix that lifts the limit of its length."""
    if absolute.startswith("\\\\?\\"):
        return absolute
    if absolute.startswith("\\\\"):
        return "\\\\?\\UNC" + absolute[1:]
    return "\\\\?\\" + absolute


def can_be_named(name: str) -> bool:
    """Return whether the system allows a file name; Windows reserves some for devices."""
    return sys.platform != "win32" or not _NO_WINDOWS_NAME.fullmatch(name)


def status_in_listing(entry: os.DirEntry[str], path: Path) -> os.stat_result | None:
    """Return the status of an entry of a listing, without following links; ``None`` if unavailable.

    On Windows, only the listing shows that a file is in the cloud.

    Args:
        entry: The entry.
        path: The entry's path, as `unlimited` returns it.
    """
    try:
        return entry.stat(follow_symlinks=False) if sys.platform == "win32" else path.lstat()
    except OSError:
        return None


def is_hidden(name: str, status: os.stat_result | None) -> bool:
    """Return whether a name begins with a dot, or Windows or macOS marks its file as hidden."""
    return name.startswith(".") or _has_mark(status, stat.FILE_ATTRIBUTE_HIDDEN, stat.UF_HIDDEN)


def is_in_cloud(status: os.stat_result | None) -> bool:
    """Return whether opening a file would download it.

    See Microsoft, *File Attribute Constants*; Apple's ``sys/stat.h``.
    """
    return _has_mark(status, _RECALLED, _DATALESS)


def _has_mark(status: os.stat_result | None, attributes: int, flags: int) -> bool:
    """Return whether a file has any of these attributes (on Windows) or flags (on macOS)."""
    has_attribute = getattr(status, "st_file_attributes", 0) & attributes
    return bool(has_attribute or getattr(status, "st_flags", 0) & flags)


def is_link(status: os.stat_result | None) -> bool:
    """Return whether a status belongs to a symbolic link, or to a junction on Windows."""
    if status is None:
        return False
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _JUNCTION


@contextlib.contextmanager
def if_supported(*more: int) -> Iterator[None]:
    """Ignore errors that mean that a file system does not support an operation.

    Network file systems and file systems in user space refuse fsync with different errors.

    Args:
        more: Further values of `errno` that mean "not supported" for this operation.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_NOT_SUPPORTED, *more):
            raise


def is_in_use(error: OSError) -> bool:
    """Return whether Windows refused because another program may have the file open."""
    return getattr(error, "winerror", None) in (_ACCESS_DENIED, _SHARING_VIOLATION)
