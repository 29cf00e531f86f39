"""Libraries that are installed only by users who need them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from unblur.errors import PhotoError, UnblurError


def load_extra(
    module: str, extra: str, purpose: str, error_type: type[UnblurError] = PhotoError
) -> ModuleType:
    """Import a library of one of the package's extras.

    Args:
        module: The library's name.
        extra: The extra that installs it.
        purpose: What needs it, in the plural, for the message.
        error_type: What to raise.

    Raises:
        UnblurError: Of ``error_type``, if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise error_type(
            f"{purpose} need the extra {extra}: pip install 'unblur[{extra}]'"
        ) from error
