"""Tell processes apart, also those of which one got the number of another that has ended."""

from __future__ import annotations

import os
import platform

import psutil

SAME_START_SECONDS = 1.0
"""A process starts once, but systems compute the time anew from a clock that may be adjusted."""


def own_process() -> str:
    """Return text that no other process on this machine has, now or later."""
    number = os.getpid()
    return f"{number} {_start(number)}"


def is_own(process: str) -> bool:
    """Tell whether this process got the text from `own_process`."""
    return process.partition(" ")[0] == str(os.getpid()) and is_running(process)


def is_running(process: str) -> bool:
    """Tell whether a process that got its text from `own_process` still runs on this machine."""
    number, _, start = process.partition(" ")
    if not number.isdigit() or not psutil.pid_exists(int(number)):
        return False
    now = _start(int(number))
    try:
        return not now or abs(float(start) - float(now)) <= SAME_START_SECONDS
    except ValueError:  # the system did not tell the start
        return True


def machine() -> str:
    """Return the name of this machine; several may share the folders of a user."""
    return platform.node()


def _start(number: int) -> str:
    """Return the seconds since 1970 at which a process started; nothing if they are not known."""
    try:
        return f"{psutil.Process(number).create_time():.2f}"
    except (OSError, psutil.Error):  # a sandbox without /proc
        return ""
