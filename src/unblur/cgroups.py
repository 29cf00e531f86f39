"""Find the process's control groups: containers, batch systems and systemd limit them on Linux.

Groups are nested; the tightest limit counts. See cgroups(7),
https://man7.org/linux/man-pages/man7/cgroups.7.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MOUNTED = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
"""File with this process's groups, one line per hierarchy: ``number:controllers:path``."""


def own_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups, the outermost first; some may be missing.

    Args:
        controller: Controller of a hierarchy of version 1; empty for version 2.
    """
    group = MOUNTED / controller
    yield group
    try:
        lines = OWN.read_text("utf-8", "replace").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            for name in Path(path).parts[1:]:
                group = group / name
                yield group
