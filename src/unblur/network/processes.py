"""Identify processes, even if a new process has the number of an ended one."""

from __future__ import annotations

import os
import platform

import psutil

SAME_START_SECONDS = 1.0
"""Largest difference between two readings of one start time. Systems compute the time anew from a
clock that may be adjusted."""
UNKNOWN = "unknown"


def own_process() -> str:
    """Return a text that identifies this process for ever: its number, start time and machine."""
    number = os.getpid()
    return f"{number} {_start(number)} {machine()}"


def is_own(process: str) -> bool:
    """Return whether a text from `own_process` identifies this process."""
    return process.partition(" ")[0] == str(os.getpid()) and is_running(process)


def is_running(process: str) -> bool:
    """Return whether the process that a text from `own_process` identifies still runs.

    Processes of other machines, which may share the user's folders, are assumed to run.
    """
    number, _, rest = process.partition(" ")
    start, _, where = rest.partition(" ")
    if where != machine():
        return True
    if not number.isdigit() or not psutil.pid_exists(int(number)):
        return False
    now = _start(int(number))
    return UNKNOWN in (start, now) or abs(float(start) - float(now)) <= SAME_START_SECONDS


def machine() -> str:
    """Return the name of this machine."""
    return platform.node()


def _start(number: int) -> str:
    """Return the seconds since 1970 at which a process started, or `UNKNOWN`."""
    try:
        return f"{psutil.Process(number).create_time():.2f}"
    except (OSError, psutil.Error):  # a sandbox without /proc
        return UNKNOWN
