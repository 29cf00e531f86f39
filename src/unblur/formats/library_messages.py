"""Collect the messages of C libraries, which name no file, instead of showing them.

LibRaw and libjpeg write to file descriptor 2 of the whole process. Only the command line allows to
redirect it, because its own messages have another descriptor; see `unblur.cli.streams`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

STANDARD_ERROR = 2


@dataclass
class _Redirection:
    """The redirection that all threads share; it lasts while any of them collects messages."""

    is_allowed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: int = 0
    is_shared: bool = False
    """Whether several threads have collected at once, so that messages belong to none of them."""
    saved: int = -1
    """Copy of the descriptor of standard error."""
    file: IO[bytes] | None = None

    def enter(self) -> None:
        """Redirect standard error, unless another thread has done so."""
        with self.lock:
            if not self.threads:
                self.file = tempfile.TemporaryFile()  # noqa: SIM115 (`leave` closes it)
                self.saved = os.dup(STANDARD_ERROR)
                os.dup2(self.file.fileno(), STANDARD_ERROR)
                self.is_shared = False
            self.threads += 1
            self.is_shared |= self.threads > 1

    def leave(self) -> list[str]:
        """Return the messages of this thread, if they can be told from those of others."""
        with self.lock:
            self.threads -= 1
            if self.threads:
                return []
            assert self.file is not None
            os.dup2(self.saved, STANDARD_ERROR)
            os.close(self.saved)
            with self.file as file:
                file.seek(0)
                lines = file.read().decode("utf-8", "replace").splitlines()
            return [] if self.is_shared else lines


_redirection = _Redirection()


def allow_redirection() -> None:
    """Let `collected_messages` redirect standard error of the whole process."""
    _redirection.is_allowed = True


@contextlib.contextmanager
def collected_messages() -> Iterator[list[str]]:
    """Yield a list that gets the lines of C libraries when the context ends.

    Several threads may collect at once; then nobody gets the lines, because they name no photo.
    """
    lines: list[str] = []
    if not _redirection.is_allowed:
        yield lines
        return
    try:
        _redirection.enter()
    except OSError:  # no room for a temporary file: the messages are shown
        yield lines
        return
    try:
        yield lines
    finally:
        lines += _redirection.leave()
