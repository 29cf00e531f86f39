"""What stands against a result in its place, found before any work is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from unblur import stores
from unblur.files import exists, is_device, is_folder, read_photo_bytes
from unblur.filesystems import can_be_named
from unblur.find import is_same
from unblur.places import BACKUP_ENDING, Place, Url

if TYPE_CHECKING:
    from unblur.done import Look

_EXISTS = "{} exists; --overwrite replaces it"


def problem_in_place(photo: Place, keeps_backup: bool, look: Look) -> str | None:
    """Return what stands against replacing a photo by its result, if anything does.

    Args:
        photo: The photo.
        keeps_backup: Whether its original is to be kept beside it.
        look: Tells the state of what lies at a place.

    Raises:
        PhotoError: If a store does not tell.
    """
    if isinstance(photo, Path):  # of an object only its store knows whether it may be replaced
        if not os.access(photo, os.W_OK):
            return "is read-only, and would be replaced"
        if not os.access(photo.parent, os.W_OK):
            return f"{photo.parent} cannot be written to"
    if keeps_backup and (other := _other_backup(photo, look)):
        return f"{other} exists; it would be replaced"
    return None


def _other_backup(photo: Place, look: Look) -> Place | None:
    """Return where the original of a photo is to be kept, if something else is there.

    A run that was killed leaves a backup that is its photo still.
    """
    backup = photo.with_name(photo.name + BACKUP_ENDING)
    if isinstance(photo, Path) and is_same(photo, backup):
        return None
    there, wanted = look(backup), look(photo)
    if there is None or wanted is None:
        return None
    return None if there.size == wanted.size and _read(backup) == _read(photo) else backup


def _read(place: Place) -> bytes:
    return stores.read(place)[0] if isinstance(place, Url) else read_photo_bytes(place)[0]


def problem_of_target(target: Place, may_replace: bool, look: Look) -> str | None:
    """Return what stands against writing a result, if anything does.

    Args:
        target: Its place.
        may_replace: Whether a file that is there may be replaced.
        look: Tells the state of what lies at a place.

    Raises:
        PhotoError: If a store does not tell.
    """
    if isinstance(target, Url):
        return _EXISTS.format(target) if look(target) and not may_replace else None
    if not can_be_named(target.name):
        return f"{target.name} cannot be the name of a file on Windows"
    if is_folder(target):
        return f"{target} is a folder"
    if is_device(target):
        return f"{target} is no file that could be replaced; - is standard output"
    if exists(target) and not may_replace:
        return _EXISTS.format(target)
    folder = next(parent for parent in target.absolute().parents if exists(parent))
    if not is_folder(folder):
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK):
        return f"{folder} cannot be written to"
    return None
