"""List the file managers that can show the action, in a table with one row each."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unblur.config import NO_HOME, common_config_folder, common_data_folder, home_folder
from unblur.desktop import templates, thunar
from unblur.desktop.file_mark import Mark
from unblur.desktop.templates import ACTION


@dataclass(frozen=True)
class ManagerFile:
    """A file that a file manager reads to show the action."""

    path: Callable[[], Path]
    """Returns the file's path, which begins with `NO_HOME` if there is no home folder."""
    add: Callable[[bytes | None, Mark], bytes]
    """Returns the content with the action; the first argument is the old content, if any."""
    cut: Callable[[bytes, Mark], bytes | None] = lambda data, mark: None
    """Returns the content without the action; ``None`` to delete the file."""
    is_shared: bool = False
    """Whether the file also contains the user's own actions."""
    mode: int | None = None
    """Permissions of the file; ``None``: those of the old file, or as the umask allows."""


@dataclass(frozen=True)
class FileManager:
    """A file manager."""

    name: str
    """Name on the command line; on Linux, also the name of the file manager's program."""
    label: str
    """Name that users know, and the menu that contains the action."""
    parts: tuple[ManagerFile, ...]
    system: str = "linux"
    """System as in `sys.platform`; ``linux`` stands for all systems with XDG folders."""

    @property
    def is_found(self) -> bool:
        """Whether the file manager is installed. Finder and Explorer are part of their systems."""
        return self.system != "linux" or shutil.which(self.name) is not None


def _made(content: Callable[[Mark], bytes]) -> Callable[[bytes | None, Mark], bytes]:
    return lambda old, mark: content(mark)


def _scripts(manager: str) -> tuple[ManagerFile, ...]:
    path = lambda: common_data_folder() / manager / "scripts" / ACTION  # noqa: E731
    return (ManagerFile(path, _made(templates.shell_script), mode=0o755),)


def _workflow_folder() -> Path:
    return home_folder() / "Library" / "Services" / f"{ACTION}.workflow" / "Contents"


def _send_to_folder() -> Path:
    return Path(os.environ.get("APPDATA") or NO_HOME) / "Microsoft" / "Windows" / "SendTo"


MANAGERS = (
    FileManager("nautilus", "Files of GNOME: Scripts", _scripts("nautilus")),
    FileManager("nemo", "Files of Cinnamon: Scripts", _scripts("nemo")),
    FileManager(
        "dolphin",
        "Dolphin of KDE: Actions",
        (
            ManagerFile(
                lambda: common_data_folder() / "kio" / "servicemenus" / "unblur.desktop",
                _made(templates.service_menu),
                mode=0o755,  # in the home folder, KDE ignores menus that are not executable
            ),
        ),
    ),
    FileManager(
        "thunar",
        "Thunar of Xfce: the menu itself",
        (
            ManagerFile(
                lambda: common_config_folder() / thunar.FILE,
                thunar.with_action,
                thunar.without_action,
                is_shared=True,
            ),
        ),
    ),
    FileManager(
        "finder",
        "Finder of macOS: Quick Actions",
        (
            ManagerFile(lambda: _workflow_folder() / "Info.plist", _made(templates.workflow_info)),
            ManagerFile(lambda: _workflow_folder() / "document.wflow", _made(templates.workflow)),
        ),
        "darwin",
    ),
    FileManager(
        "explorer",
        "Explorer of Windows: Send to",
        (ManagerFile(lambda: _send_to_folder() / f"{ACTION}.lnk", _made(templates.shortcut)),),
        "win32",
    ),
)
"""All file managers; see `managers_of`."""


def managers_of(system: str = sys.platform) -> list[FileManager]:
    """Return the file managers of a system."""
    system = system if system in ("darwin", "win32") else "linux"
    return [manager for manager in MANAGERS if manager.system == system]
