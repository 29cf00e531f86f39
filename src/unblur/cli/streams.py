"""Prepare the standard streams: open closed ones, and reserve them for the program's own text."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from unblur.formats.library_messages import STANDARD_ERROR, allow_redirection


def prepare_streams() -> None:
    """Open closed standard streams, and make them blocking.

    A stream that the caller closed becomes the null device. Otherwise the next opened file would
    get its descriptor, and messages would be written into that file.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            with contextlib.suppress(AttributeError, OSError):  # Windows supports at most pipes
                os.set_blocking(descriptor, True)
            continue
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        # Standard input is opened for writing, so that reading it fails.
        os.open(os.devnull, os.O_WRONLY)
        setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))
    _part_from_libraries()


def _part_from_libraries() -> None:
    """Give the program's own messages another descriptor than the messages of C libraries."""
    if sys.platform == "win32":  # each library may have its own table of descriptors
        return
    with contextlib.suppress(AttributeError, OSError):  # `sys.stderr` is no file
        if sys.stderr.fileno() == STANDARD_ERROR:
            encoding, errors = sys.stderr.encoding, sys.stderr.errors
            own = os.dup(STANDARD_ERROR)
            # Open until the process ends, as the standard streams are.
            sys.stderr = os.fdopen(
                own, "w", buffering=1, encoding=encoding, errors=errors, closefd=False
            )
        allow_redirection()


@contextlib.contextmanager
def claimed_stdout() -> Iterator[int]:
    """Reserve standard output, and yield a descriptor for it.

    While the context lasts, descriptor 1 is standard error, so that text printed by a library
    cannot get into a photo.
    """
    sys.stdout.flush()
    claimed = os.dup(1)
    try:
        os.dup2(2, 1)
        yield claimed
    finally:
        sys.stdout.flush()
        os.dup2(claimed, 1)
        os.close(claimed)
