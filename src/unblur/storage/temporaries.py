"""Temporary files: results that are being written, beside their places.

The name of one says which machine writes it, and a lock says that it is still being
written. Locks of other machines are not seen on many network file systems.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unblur.storage.places import LONGEST_NAME_BYTES, shortened

TEMPORARY_FILES = ".*.unblur-*.tmp"
"""Matches every temporary file, of any machine."""
_ENDING = re.compile(r"\.unblur-(?:([a-z0-9-]+)-)?[0-9a-z]{6}\.tmp")
"""The end of a temporary file's name, with its host; earlier versions wrote no host."""
LONGEST_HOST = 12
"""Characters of the host's own name; four more tell hosts apart that begin alike."""
MACHINE_ID = Path("/etc/machine-id")
"""A number that systemd gives to each installation, see machine-id(5)."""
ABANDONED_AFTER_SECONDS = 3600.0


@dataclass
class Temporary:
    """A temporary file that is open."""

    descriptor: int
    path: Path
    is_locked: bool
    _is_open: bool = True

    def close(self) -> None:
        """Write no more, and give up the lock."""
        if self._is_open:
            self._is_open = False
            os.close(self.descriptor)


@functools.cache
def host() -> str:
    """Return a short name of this machine, of letters, digits and dashes.

    It ends with a hash of the whole name and the machine's number, since many machines are
    called ``localhost``.
    """
    import socket

    name = socket.gethostname()
    number = b""
    with contextlib.suppress(OSError):  # only Linux has it, and containers do not
        number = MACHINE_ID.read_bytes()
    digest = hashlib.sha256(os.fsencode(name) + b"\0" + number).hexdigest()[:4]
    plain = re.sub("[^a-z0-9]+", "-", name.lower())[:LONGEST_HOST].strip("-")
    return f"{plain}-{digest}" if plain else digest


@contextlib.contextmanager
def temporary_beside(path: Path, is_private: bool = False) -> Iterator[Temporary]:
    """Open a temporary file in the target's folder, and remove it in the end if it is there.

    It is locked as long as it is open, so that `sweep` of another run can tell
    it from one whose run was killed.

    Args:
        path: The target.
        is_private: Let nobody but the user read it, whatever the umask says.
    """
    is_ours = False
    while not is_ours:
        temporary = _create(path, 0o600 if is_private else 0o666)
        try:
            is_ours = _claim(temporary)
            if is_ours:
                yield temporary
        finally:
            temporary.close()
            temporary.path.unlink(missing_ok=True)


def _create(path: Path, mode: int) -> Temporary:
    ending = f".unblur-{host()}-{secrets.token_hex(3)}.tmp"
    room = LONGEST_NAME_BYTES - len(ending) - 1
    scratch = path.with_name(f".{shortened(path.name, room)}{ending}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return Temporary(os.open(scratch, flags, mode), scratch, is_locked=False)


def _claim(temporary: Temporary) -> bool:
    """Lock a new file, and tell whether it is still there.

    Until it is locked, `sweep` of another run takes it for abandoned.
    """
    try:
        temporary.is_locked = _lock(temporary.descriptor)
    except BlockingIOError:
        return False
    return temporary.path.exists()


def sweep(folder: Path, trust_locks: bool = True) -> int:
    """Remove temporary files of runs that were killed, and return how many.

    A file of this machine that is locked is being written and stays; one that is not locked
    is removed. Files of other machines, and files where none can be locked, are removed when
    they are an hour old.

    Args:
        folder: Where to look.
        trust_locks: Whether a file of this machine that is not locked is removed whatever
            its age; on some network file systems every lock succeeds.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for scratch in folder.glob(TEMPORARY_FILES):
            with contextlib.suppress(OSError):
                removed += _remove_if_abandoned(scratch, trust_locks)
    return removed


def has_unfinished(folder: Path) -> bool:
    """Tell whether a folder holds temporary files whose locks this machine can trust."""
    return any(_has_our_locks(scratch) for scratch in folder.glob(TEMPORARY_FILES))


def _has_our_locks(scratch: Path) -> bool:
    """Tell whether this machine would see the lock of a temporary file."""
    ending = _ENDING.search(scratch.name)
    return ending is not None and ending[1] in (None, host())


def _remove_if_abandoned(scratch: Path, trust_locks: bool) -> bool:
    if not _ENDING.search(scratch.name):
        return False
    descriptor = os.open(scratch, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        status = os.fstat(descriptor)
        # Time of modification is set back by --preserve-times. The other one, of creation on
        # Windows and of any change elsewhere, cannot be.
        changed = max(status.st_mtime, status.st_ctime)
        is_old = time.time() - changed > ABANDONED_AFTER_SECONDS
        # Locked also where that proves nothing: a file whose lock is seen is being written.
        if _lock(descriptor) and trust_locks and _has_our_locks(scratch):
            scratch.unlink()
            return True
    finally:
        os.close(descriptor)
    if is_old:
        scratch.unlink()  # closed: Windows removes no open file
    return is_old


def _lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; return whether files can be locked here.

    Raises:
        BlockingIOError: If another run holds it.
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
