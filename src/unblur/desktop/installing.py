"""Add the action to a file manager, remove it, and find out whether it is installed."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unblur.config import NO_HOME
from unblur.desktop.file_mark import Mark, read_mark
from unblur.desktop.managers import FileManager, ManagerFile
from unblur.errors import DesktopError, PhotoError
from unblur.storage.attributes import Attributes
from unblur.storage.drafts import FileDraft, make_folder
from unblur.storage.files import certainly, exists, is_regular, read_photo_bytes
from unblur.storage.filesystems import follow_links
from unblur.storage.temporaries import sweep
from unblur.user_text import describe_os_error

INSTALLED, ABSENT, CHANGED, FOREIGN = "installed", "not installed", "changed", "not made by unblur"
"""States of the action in a file manager."""


@dataclass(frozen=True)
class State:
    """The state of the action in a file manager."""

    name: str
    """Name of the file manager."""
    is_found: bool
    """Whether the file manager is on this machine."""
    state: str
    """`INSTALLED`, `ABSENT`, `CHANGED` (by the user or an older version), or `FOREIGN` (another
    program wrote a file of this name)."""
    path: str
    """The action's file, which may be missing."""
    program: str | None
    """The program that the action starts; ``None`` if the action is not installed."""
    program_exists: bool
    """Whether that program exists."""


def find_program() -> Path:
    """Return the absolute path of the installed program ``unblur``.

    ``python -m unblur`` is not used, because Python would import modules from the photos' folder.

    Raises:
        DesktopError: If the program is not installed, or file managers cannot read its path.
    """
    suffix = ".exe" if sys.platform == "win32" else ""
    started = Path(sys.argv[0]).with_suffix(suffix) if sys.argv[0] else Path()
    for path in (started, Path(sysconfig.get_path("scripts")) / f"unblur{suffix}"):
        if path.stem == "unblur" and _is_program(path):
            program = os.path.abspath(path)  # noqa: PTH100 (links stay: pipx replaces their targets)
            if not program.isprintable():
                raise DesktopError(f"file managers cannot start {program}: its path is not text")
            return Path(program)
    raise DesktopError("there is no program unblur to start: install it with pip, pipx or uv")


def _is_program(path: Path) -> bool:
    return certainly(is_regular, path) and os.access(path, os.X_OK)


def install(manager: FileManager, program: Path) -> list[Path]:
    """Add the action to a file manager, and return the files written.

    Args:
        manager: The file manager.
        program: The program that the action starts.

    Raises:
        DesktopError: If unblur did not write a file, or a file is damaged. Then no file is written.
        PhotoError: If a file cannot be written.
    """
    changes = [_planned(part, program) for part in manager.parts]
    for change in changes:
        make_folder(change.path.parent)
        sweep(change.path.parent)
        with FileDraft(change.path, change.data, change.like, mode=change.mode) as draft:
            draft.publish(replaces=change.replaces)
    return [change.path for change in changes]


@dataclass(frozen=True)
class _Change:
    """A file to write."""

    path: Path
    data: bytes
    replaces: bool
    """Whether an older file exists; unblur wrote it, or the file is shared."""
    like: Attributes | None
    """Attributes of the older file, if there is one."""
    mode: int | None


def _planned(part: ManagerFile, program: Path) -> _Change:
    path = _place(part)
    if NO_HOME in path.parents:
        raise DesktopError("there is no home folder: set HOME (on Windows APPDATA)")
    with _named(path):
        data, like = _read(path) or (None, None)
        mark = read_mark(data) if data else None
        is_foreign = data is not None and not mark
        if not part.is_shared and (is_foreign or path.is_symlink()):
            raise DesktopError("was not made by unblur: move it away and run again")
        levels = mark.levels if mark else _missing_levels(path)
        new = part.add(data, Mark(levels, program))
    return _Change(path, new, data is not None, like if part.mode is None else None, part.mode)


def _place(part: ManagerFile) -> Path:
    """Return the path of a part; if the user's file is a link, the path of the link's target."""
    return follow_links(part.path()) if part.is_shared else part.path()


def _missing_levels(path: Path) -> int:
    missing = itertools.takewhile(lambda one: not os.path.lexists(one), (path, *path.parents))
    return len(list(missing))


def _read(path: Path) -> tuple[bytes, Attributes] | None:
    return read_photo_bytes(path) if exists(path) else None


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the file's name to errors."""
    try:
        yield
    except (DesktopError, PhotoError) as error:
        raise DesktopError(f"{path}: {error}") from error


def remove(manager: FileManager) -> list[Path]:
    """Remove the action from a file manager, and return the changed or deleted files.

    Files that unblur did not write are kept. Folders that were made for the action are deleted if
    they are empty.

    Raises:
        DesktopError: If a file is damaged, or cannot be deleted.
        PhotoError: If a file cannot be written.
    """
    parts = reversed(manager.parts)  # the first part made the folders
    return [path for part in parts if (path := _remove_part(part))]


def levels_made(manager: FileManager) -> int:
    """Return the number of path levels that were made for the action; 0 if it is not installed."""
    marks = []
    for part in manager.parts:
        with contextlib.suppress(DesktopError):  # `remove` reports it
            marks.append(_part_state(part)[1])
    return max((mark.levels for mark in marks if mark), default=0)


def _remove_part(part: ManagerFile) -> Path | None:
    path = _place(part)
    with _named(path):
        data, like = _read(path) or (b"", None)
        mark = read_mark(data)
        if mark is None:
            return None
        rest = part.cut(data, mark)
    if rest is None:
        _delete(path, mark.levels)
    else:
        with FileDraft(path, rest, like) as draft:
            draft.publish(replaces=True)
    return path


def _delete(path: Path, levels: int) -> None:
    """Delete a file, and the folders that were made for it if they are empty."""
    try:
        path.unlink()
    except OSError as error:
        raise DesktopError(f"cannot delete {path}: {describe_os_error(error)}") from error
    with contextlib.suppress(OSError):  # something else is in the folder
        for folder in list(path.parents)[: levels - 1]:
            folder.rmdir()


def look_up(manager: FileManager) -> State:
    """Return the state of the action in a file manager.

    Raises:
        DesktopError: If a file cannot be read.
    """
    found = [_part_state(part) for part in manager.parts]
    states = {state for state, _ in found}
    state = states.pop() if len(states) == 1 else FOREIGN if FOREIGN in states else CHANGED
    mark = next((mark for _, mark in found if mark), None)
    return State(
        manager.name,
        manager.is_found,
        state,
        str(manager.parts[0].path()),
        str(mark.program) if mark else None,
        mark is not None and _is_program(mark.program),
    )


def _part_state(part: ManagerFile) -> tuple[str, Mark | None]:
    path = part.path()
    with _named(path):
        data, _ = _read(path) or (None, None)
    if data is None:
        return ABSENT, None
    mark = read_mark(data)
    if mark is None:
        return (ABSENT if part.is_shared else FOREIGN), None
    # Thunar rewrites a shared file in its own style.
    is_same = part.is_shared or part.add(None, mark) == data
    return (INSTALLED if is_same else CHANGED), mark
