"""Measure free main memory, within the limits of containers."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import psutil

from unblur.cgroups import own_groups
from unblur.errors import PhotoError
from unblur.user_text import size


@dataclass(frozen=True)
class _Files:
    """Names of a control group's memory files, in one version of cgroups."""

    controller: str
    """See `own_groups`."""
    limit: str
    usage: str
    reclaimable: str
    """Entry of ``memory.stat`` with the cached pages that the kernel frees first."""


_VERSIONS = (
    _Files("", "memory.max", "memory.current", "inactive_file"),
    _Files("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


_MEMINFO = Path("/proc/meminfo")

_ask: ContextVar[Callable[[int], None]] = ContextVar("ask", default=lambda count: None)
"""Function that `require_memory` calls first."""


def free_main_memory() -> int:
    """Return the bytes of main memory that are free, within the container's limit."""
    return _within_limit(_available())


def obtainable_memory() -> int:
    """Return the bytes of free memory and swap, within the container's limit."""
    return _within_limit(_available() + _free_swap())


def _available() -> int:
    """Return the bytes of main memory that are available on the machine."""
    try:
        return int(psutil.virtual_memory().available)
    except (OSError, psutil.Error):  # a sandbox without /proc, or whose /proc has only processes
        if sys.platform == "win32":
            raise
        pages, size = (os.sysconf(f"SC_{name}") for name in ("AVPHYS_PAGES", "PAGE_SIZE"))
        return max(0, pages * size)  # cached files count as used here


def _within_limit(free: int) -> int:
    limit = tightest_limit()
    return free if limit is None else min(free, limit[0])


def _free_swap() -> int:
    """Return the bytes of free swap, or 0 if they are unknown."""
    try:
        if sys.platform == "linux":  # psutil warns there if other counters are missing
            entries = dict(
                line.split(":") for line in _MEMINFO.read_text("utf-8", "replace").splitlines()
            )
            return 1024 * int(entries["SwapFree"].split()[0])
        return int(psutil.swap_memory().free)
    except (OSError, RuntimeError, ValueError, KeyError):  # a sandbox; Windows without counters
        return 0


@contextlib.contextmanager
def asking_first(ask: Callable[[int], None]) -> Iterator[None]:
    """Let `require_memory` call a function first in this thread while the context lasts.

    Args:
        ask: Takes the number of bytes; may wait until other photos have freed them.
    """
    token = _ask.set(ask)
    try:
        yield
    finally:
        _ask.reset(token)


def require_memory(count: int) -> None:
    """Raise `PhotoError` unless ``count`` more bytes are free; the system might kill the run."""
    _ask.get()(count)
    free = obtainable_memory()
    if count > free:
        raise PhotoError(lack_of_memory(count, free))


def lack_of_memory(needed: int, free: int) -> str:
    """Return the message for a photo that needs more bytes than are free."""
    return (
        f"needs about {size(needed, math.ceil)} more memory, {size(free, math.floor)} are free: "
        "close other programs, or use --jobs 1"
    )


def limiting_file() -> Path | None:
    """Return the control group's file that limits `free_main_memory`, or ``None``."""
    limit = tightest_limit()
    return limit[1] if limit and limit[0] < _available() else None


def tightest_limit() -> tuple[int, Path] | None:
    """Return the bytes left within the tightest limit of a container or job, and its file.

    Cached file pages count as used, but the kernel frees them before it enforces a limit; see
    "working set" in
    https://kubernetes.io/docs/tasks/configure-pod-container/assign-memory-resource/
    """
    limits = [
        (left, group / files.limit)
        for files in _VERSIONS
        for group in own_groups(files.controller)
        if (left := _left(group, files)) is not None
    ]
    return min(limits, default=None)


def _left(group: Path, files: _Files) -> int | None:
    """Return the bytes left within a group's limit, or ``None`` without a group or a limit."""
    try:
        allowed = int((group / files.limit).read_text("utf-8", "replace"))
        used = int((group / files.usage).read_text("utf-8", "replace"))
    except (OSError, ValueError):  # the file is missing, or contains "max"
        return None
    return max(0, allowed - max(0, used - _reclaimable(group, files)))


def _reclaimable(group: Path, files: _Files) -> int:
    try:
        entries = dict(
            line.split()
            for line in (group / "memory.stat").read_text("utf-8", "replace").splitlines()
        )
        return int(entries.get(files.reclaimable, 0))
    except (OSError, ValueError):
        return 0


def return_freed_memory() -> None:
    """Let glibc return freed memory to the system, such as a decoder's memory for a photo."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # missing in musl
        if trim:
            trim(0)
