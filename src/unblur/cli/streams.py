"""The standard streams: there from the start, and standard output kept for photos."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


def prepare_streams() -> None:
    """Make sure that standard streams are there, and wait where they are slow.

    The null device takes the place of those that the caller has closed. Otherwise the
    next file that is opened would get it, and what is printed would get into that file.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            with contextlib.suppress(AttributeError, OSError):  # Windows knows it of pipes at most
                os.set_blocking(descriptor, True)
            continue
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        # Standard input is opened for writing, so that reading it fails.
        os.open(os.devnull, os.O_WRONLY)
        setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))


@contextlib.contextmanager
def claimed_stdout() -> Iterator[int]:
    """Give a descriptor of standard output that nobody else writes to.

    While it lasts, descriptor 1 leads to standard error, so that a stray print
    of any library cannot get into the photo.
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
