"""The library ncnn, which is an extra and may be missing or damaged."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from importlib import metadata
from types import ModuleType

from unblur.errors import DeviceError
from unblur.extras import load_extra


@cache
def has_ncnn() -> bool:
    """Return whether ncnn is installed; if it is damaged, it may still fail to load."""
    return importlib.util.find_spec("ncnn") is not None


def load_ncnn() -> ModuleType:
    """Import ncnn.

    Raises:
        DeviceError: If it is not installed or cannot be loaded, with the command that installs it.
    """
    if not has_ncnn():
        return load_extra("ncnn", "ncnn", "computations with ncnn", DeviceError)
    try:
        return importlib.import_module("ncnn")
    except Exception as error:  # whatever a damaged or unsuitable library raises
        raise DeviceError(
            f"ncnn cannot be loaded ({error}): use --engine torch, or install it again: "
            "pip install --force-reinstall --no-deps ncnn"
        ) from error


def ncnn_version() -> str:
    """Return the version of ncnn as far as it is known."""
    try:
        return metadata.version("ncnn")
    except metadata.PackageNotFoundError:  # compiled by the user
        return "unknown"
