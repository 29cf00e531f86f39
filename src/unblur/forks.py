"""Keep apart what belongs to one process only, such as locks and threads.

A fork copies memory, but only the thread that called it. A copied lock may be held by a thread that
is missing in the copy, so nobody would ever release it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_forks = 0


def count_forks() -> int:
    """Return the number of forks since this module was imported that led to this process."""
    return _forks


def _note_fork() -> None:
    global _forks
    _forks += 1


if sys.platform != "win32":  # which has no forks
    os.register_at_fork(after_in_child=_note_fork)


class PerProcess(Generic[T]):
    """A value that each process makes when it first needs it, also a process made by ``fork``.

    Args:
        make: Returns a new value.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}

    def get(self) -> T:
        """Return the value of this process; threads share it."""
        # If two threads come first, they make two values, and both get the same one.
        return self._values.setdefault(_forks, self._make())
