"""The control groups (Linux) that hold this process, and may limit what it takes.

Containers, batch systems and systemd units put processes into groups that lie in each
other; each may have a limit, and the tightest counts. See cgroups(7),
https://man7.org/linux/man-pages/man7/cgroups.7.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MOUNTED = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
"""Names this process's groups, a line for each hierarchy: ``number:controllers:path``."""


def own_groups(controller: str, root: Path = MOUNTED, own: Path = OWN) -> Iterator[Path]:
    """Yield the folder of each group that holds this process, the outermost first.

    Folders need not exist: a container may see its own group as the outermost.

    Args:
        controller: Whose hierarchy of version 1, or empty for version 2.
        root: Where the groups are mounted.
        own: The file that names this process's groups.
    """
    group = root / controller
    yield group
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            for name in Path(path).parts[1:]:
                group = group / name
                yield group
