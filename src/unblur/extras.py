"""Import optional libraries, which extras of the package install."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from unblur.errors import PhotoError, UnblurError


def load_extra(
    module: str, extra: str, purpose: str, error_type: type[UnblurError] = PhotoError
) -> ModuleType:
    """Import an optional library, or raise ``error_type`` with the command that installs it.

    Args:
        module: The library's name.
        extra: The extra that installs it.
        purpose: Subject of the message, in the plural, such as ``camera RAW files``.
        error_type: Error to raise if the library is missing.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise error_type(
            f"{purpose} need the extra {extra}: pip install 'unblur[{extra}]'"
        ) from error
