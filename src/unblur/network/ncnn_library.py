"""The library ncnn, which is an extra and may be missing or damaged."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from types import ModuleType

from unblur.errors import DeviceError
from unblur.extras import load_extra
from unblur.network.openmp import openmp_variables


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
    _share_openmp()
    try:
        with openmp_variables():
            return importlib.import_module("ncnn")
    except Exception as error:  # whatever a damaged or unsuitable library raises
        raise DeviceError(
            f"ncnn cannot be loaded ({error}): use --engine torch, or install it again: "
            "pip install --force-reinstall --no-deps ncnn"
        ) from error


def _share_openmp() -> None:
    """Let ncnn use the threads of PyTorch's OpenMP library, if this is GNU's and loaded.

    Each of the two brings a copy. With two copies, the waiting threads of one take processor time
    from the threads of the other.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # it has another name
            # Symbols of a global library take precedence over those of libraries loaded later.
            ctypes.CDLL("libgomp.so.1", os.RTLD_NOLOAD | os.RTLD_GLOBAL)


def ncnn_version() -> str:
    """Return the version of ncnn as far as it is known."""
    try:
        return metadata.version("ncnn")
    except metadata.PackageNotFoundError:  # compiled by the user
        return "unknown"
