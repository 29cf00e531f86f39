"""The number of threads that the system lets a run start."""

from __future__ import annotations

import functools
import os
import threading

from unblur.errors import is_thread_limit

MOST_OPENBLAS_THREADS = 64
"""Threads that the OpenBLAS in NumPy's packages starts at most."""
THREADS_BESIDE = 4
"""Threads for reading, writing and comparing photos, and for the progress bar."""


def starts_threads(count: int | None = None) -> bool:
    """Return whether the system starts a number of threads at the same time.

    Args:
        count: The number; ``None``: as many as a run may have.
    """
    most = _most_threads()
    return startable_threads() >= (most if count is None else min(count, most))


@functools.cache
def startable_threads() -> int:
    """Return how many threads the system starts at the same time, at most as many as a run has.

    They are started, and end at once: no system tells how many more threads it allows. This is
    done once, before libraries start theirs.
    """
    end, started = threading.Event(), []
    try:
        for _ in range(_most_threads()):
            thread = threading.Thread(target=end.wait)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        if not is_thread_limit(error):
            raise
    finally:
        end.set()
        for thread in started:
            thread.join()
    return len(started)


def _most_threads() -> int:
    """Return how many threads a run may have: those of NumPy, those of PyTorch, and others."""
    cores = os.cpu_count() or 1
    return min(cores, MOST_OPENBLAS_THREADS) + cores + THREADS_BESIDE
