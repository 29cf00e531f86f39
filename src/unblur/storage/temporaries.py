"""Make temporary files in the folder of the final file, and remove those of killed runs.

The name of a temporary file contains the machine that writes it, and a lock shows that it is still
being written. Many network file systems do not show the locks of other machines.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unblur.storage.places import longest_name, shortened

TEMPORARY_FILES = ".*.unblur-*.tmp"
"""Pattern of the names of temporary files of all machines."""
_ENDING = re.compile(r"\.unblur-([a-z0-9-]+)-[0-9a-f]{6}\.tmp")
"""Pattern of the end of a temporary file's name, which contains its host."""
LONGEST_HOST = 12
"""Most characters of the host name; four characters of a hash follow."""
MACHINE_ID = Path("/etc/machine-id")
"""File with the unique number of a Linux installation, see machine-id(5)."""
ABANDONED_AFTER_SECONDS = 3600.0


@dataclass
class Temporary:
    """An open temporary file."""

    descriptor: int
    path: Path
    is_locked: bool
    _is_open: bool = True

    def close(self) -> None:
        """Close the file, which releases its lock."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):  # its bytes were flushed, or it is of no use
                os.close(self.descriptor)


@functools.cache
def host() -> str:
    """Return a short name of this machine, made of letters, digits and dashes.

    The name ends with a hash of the whole host name and the machine's number, because many machines
    are called ``localhost``.
    """
    import socket

    name = socket.gethostname()
    number = b""
    with contextlib.suppress(OSError):  # only Linux has one, outside containers
        number = MACHINE_ID.read_bytes()
    digest = hashlib.sha256(os.fsencode(name) + b"\0" + number).hexdigest()[:4]
    plain = re.sub("[^a-z0-9]+", "-", name.lower())[:LONGEST_HOST].strip("-")
    return f"{plain}-{digest}" if plain else digest


@contextlib.contextmanager
def temporary_beside(path: Path, mode: int = 0o666) -> Iterator[Temporary]:
    """Open a temporary file in the target's folder; at the end, remove it if it still exists.

    The file is locked while it is open. Files of killed runs have no lock; `sweep` removes them.

    Args:
        path: The target.
        mode: Permissions of the new file, of which the umask removes some.
    """
    is_ours = False
    while not is_ours:
        temporary = _create(path, mode)
        try:
            is_ours = _claim(temporary)
            if is_ours:
                yield temporary
        finally:
            temporary.close()
            with contextlib.suppress(OSError):  # some folders let users make files, not remove them
                temporary.path.unlink(missing_ok=True)


def temporary_name(name: str, longest: int) -> str:
    """Return the name of a new temporary file for a target, of at most ``longest`` bytes."""
    ending = f".unblur-{host()}-{secrets.token_hex(3)}.tmp"
    return f".{shortened(name, longest - len(ending) - 1)}{ending}"


def _create(path: Path, mode: int) -> Temporary:
    scratch = path.with_name(temporary_name(path.name, longest_name(path)))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return Temporary(os.open(scratch, flags, mode), scratch, is_locked=False)


def _claim(temporary: Temporary) -> bool:
    """Lock a new file; return whether it still exists: another run may have removed it."""
    try:
        temporary.is_locked = _lock(temporary.descriptor)
    except BlockingIOError:
        return False
    return temporary.path.exists()


def sweep(folder: Path, trust_locks: bool = True) -> int:
    """Remove temporary files of killed runs from a folder, and return their number.

    Locked files are kept. Unlocked files of this machine are removed. Files of other machines, and
    files that cannot be locked, are removed when they are an hour old.

    Args:
        folder: The folder; subfolders are not searched.
        trust_locks: Whether a missing lock means that a file is abandoned. On some network file
            systems every lock succeeds, so the age of the file decides.
    """
    removed = 0
    clock = functools.cache(lambda: time_in(folder))
    with contextlib.suppress(OSError):
        for scratch in folder.glob(TEMPORARY_FILES):
            with contextlib.suppress(OSError):
                removed += _remove_if_abandoned(scratch, trust_locks, clock)
    return removed


def is_being_written(path: Path, but_by: Path | None = None) -> bool:
    """Return whether another run has a temporary file for a path.

    Args:
        path: The path.
        but_by: A temporary file of this run, which does not count.
    """
    clock = functools.cache(lambda: time_in(path.parent))
    return any(
        scratch != but_by and _is_for(scratch, path) and _is_in_use(scratch, clock)
        for scratch in path.parent.glob(TEMPORARY_FILES)
    )


def _is_for(scratch: Path, path: Path) -> bool:
    """Return whether a temporary file has the name of a path, which may be shortened."""
    ending = _ENDING.search(scratch.name)
    return ending is not None and path.name.startswith(scratch.name[1 : ending.start()])


def _is_in_use(scratch: Path, clock: Callable[[], float]) -> bool:
    """Return whether a run may still write a temporary file."""
    try:
        descriptor = _open(scratch)
    except FileNotFoundError:
        return False
    except OSError:  # it belongs to another user
        return True
    try:
        if _lock(descriptor) and _has_our_locks(scratch):
            return False
        return not _is_old(descriptor, clock)
    except OSError:  # it is locked, or no file can be made to ask for the time
        return True
    finally:
        os.close(descriptor)


def time_in(folder: Path) -> float:
    """Return the time by the clock that sets the times of a folder's files, in seconds.

    On a network file system this is the clock of the server, from which the clock of this machine
    may differ by hours.

    Raises:
        OSError: If no file can be made in the folder.
    """
    with temporary_beside(folder / "clock") as probe:
        return max(_times(os.fstat(probe.descriptor)))


def _times(status: os.stat_result) -> tuple[float, float]:
    """Return when a file was modified, and another time, in seconds since 1970.

    ``--preserve-times`` sets the time of modification to that of the photo, in the past or in the
    future. The other time (creation on Windows, last change elsewhere) cannot be set.
    """
    return status.st_mtime, status.st_ctime


def has_unfinished(folder: Path) -> bool:
    """Return whether a folder holds temporary files of this machine."""
    return any(_has_our_locks(scratch) for scratch in folder.glob(TEMPORARY_FILES))


def _has_our_locks(scratch: Path) -> bool:
    """Return whether this machine wrote a temporary file, and therefore sees its lock."""
    ending = _ENDING.search(scratch.name)
    return ending is not None and ending[1] == host()


def _remove_if_abandoned(scratch: Path, trust_locks: bool, clock: Callable[[], float]) -> bool:
    if not _ENDING.search(scratch.name):
        return False
    descriptor = _open(scratch)
    try:
        # Try to lock in any case: if that fails, the file is being written.
        if _lock(descriptor) and trust_locks and _has_our_locks(scratch):
            scratch.unlink()
            return True
        is_old = _is_old(descriptor, clock)
    finally:
        os.close(descriptor)
    if is_old:
        scratch.unlink()  # after closing: Windows cannot remove an open file
    return is_old


def _open(scratch: Path) -> int:
    return os.open(scratch, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))


def _is_old(descriptor: int, clock: Callable[[], float]) -> bool:
    now, times = clock(), _times(os.fstat(descriptor))
    return all(abs(now - moment) > ABANDONED_AFTER_SECONDS for moment in times)


def _lock(descriptor: int) -> bool:
    """Lock an open file; return whether the system and file system support locks.

    Raises:
        BlockingIOError: If another process has locked it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True
