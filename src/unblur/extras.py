"""Find optional libraries, which extras of the package install, and programs of the system."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from unblur.errors import PhotoError, UnblurError
from unblur.user_text import one_line


def load_extra(
    module: str, extra: str, purpose: str, error_type: type[UnblurError] = PhotoError
) -> ModuleType:
    """Import an optional library, or raise ``error_type`` with the command that mends this.

    Args:
        module: The library's name.
        extra: The extra that installs it.
        purpose: Subject of the message, in the plural, such as ``camera RAW files``.
        error_type: Error to raise if the library is missing, or cannot be loaded.
    """
    try:
        return import_module(module)
    except Exception as error:  # whatever a damaged or unsuitable library raises
        raise error_type(f"{purpose} need {needed_extra(module, extra, error)}") from error


def needed_extra(module: str, extra: str, error: BaseException) -> str:
    """Return the end of a message about what needs an optional library that cannot be imported.

    Args:
        module: The library's name.
        extra: The extra that installs it.
        error: Why it cannot be imported.
    """
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return f"the extra {extra}: pip install 'unblur[{extra}]'"
    reason = one_line(error)
    return f"{module}, which cannot be loaded ({reason}): pip install --force-reinstall {module}"


def is_older(version: str, least: str) -> bool:
    """Return whether a library's version is older than ``least``, by their first two numbers."""
    own, needed = (
        tuple(int(part) for part in text.split("+")[0].split(".")[:2]) for text in (version, least)
    )
    return own < needed


def find_program(name: str) -> str | None:
    """Return the path of a program, or ``None`` if it is missing.

    On Windows, `shutil.which` also looks in the current folder, which may be a folder of photos
    from a stranger. This function looks only where `PATH` leads to.
    """
    if sys.platform != "win32":
        return shutil.which(name)
    folders = (Path(folder) for folder in os.get_exec_path())
    found = (shutil.which(str(folder / name)) for folder in folders if folder.is_absolute())
    return next(filter(None, found), None)
