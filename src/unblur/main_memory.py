"""How much main memory is free, and how to give back what was freed. Needs no PyTorch."""

from __future__ import annotations

import ctypes
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil

from unblur.cgroups import MOUNTED, OWN, own_groups
from unblur.errors import PhotoError


@dataclass(frozen=True)
class _Files:
    """The files of a version of cgroups in which a group's memory is told."""

    controller: str
    """See `own_groups`."""
    limit: str
    usage: str
    reclaimable: str
    """The entry of ``memory.stat`` that counts cached pages that the kernel gives up first."""


_VERSIONS = (
    _Files("", "memory.max", "memory.current", "inactive_file"),
    _Files("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_main_memory() -> int:
    """Return the bytes of main memory that are free, within the container's limit."""
    free = int(psutil.virtual_memory().available)
    limit = cgroup_free_memory()
    return free if limit is None else min(free, limit)


def obtainable_memory() -> int:
    """Return the bytes that can be had before the system ends programs: swap counts, too."""
    free = int(psutil.virtual_memory().available) + _free_swap()
    limit = cgroup_free_memory()
    return free if limit is None else min(free, limit)


def _free_swap() -> int:
    """Return the bytes of swap that are free, or 0 where the system does not tell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about counters that are not asked for
            return int(psutil.swap_memory().free)
    except (OSError, RuntimeError):  # a container without /proc/vmstat; Windows without counters
        return 0


def require_memory(count: int) -> None:
    """Refuse what needs more memory than can be had, before the system ends the program.

    Args:
        count: Bytes that are needed besides what is already taken.

    Raises:
        PhotoError: If they are more than there are.
    """
    free = obtainable_memory()
    if count > free:
        raise PhotoError(lack_of_memory(count, free))


def lack_of_memory(needed: int, free: int) -> str:
    """Return the sentence for a photo that needs more bytes than are free."""
    return (
        f"needs about {needed / 1e9:.1f} GB more memory, {free / 1e9:.1f} GB are free: "
        "close other programs, or use --jobs 1"
    )


def cgroup_free_memory(root: Path = MOUNTED, own: Path = OWN) -> int | None:
    """Return what the limits of a container, or of a batch system's job, leave.

    Cached file pages count as used, but are given up before a limit strikes; see
    "working set" in
    https://kubernetes.io/docs/tasks/configure-pod-container/assign-memory-resource/

    Args:
        root: Where the groups are mounted.
        own: The file that names this process's groups.

    Returns:
        Bytes left by the tightest limit, or ``None`` without one.
    """
    left = [
        _left(group, files)
        for files in _VERSIONS
        for group in own_groups(files.controller, root, own)
    ]
    return min((count for count in left if count is not None), default=None)


def _left(group: Path, files: _Files) -> int | None:
    """Return what a group's limit leaves, or ``None`` where there is no group or no limit."""
    try:
        allowed = int((group / files.limit).read_text())
        used = int((group / files.usage).read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None
    return max(0, allowed - max(0, used - _reclaimable(group, files)))


def _reclaimable(group: Path, files: _Files) -> int:
    try:
        entries = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(entries.get(files.reclaimable, 0))
    except (OSError, ValueError):
        return 0


def return_freed_memory() -> None:
    """Hand memory that was freed back to the system, where the C library keeps it (glibc).

    A decoder frees as much as a photo takes; kept, it would count twice.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim:
            trim(0)
