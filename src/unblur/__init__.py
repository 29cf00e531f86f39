"""Deblur photos, and keep everything else in their files."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unblur.version import __version__

if TYPE_CHECKING:
    from unblur.api import Deblurrer, blur_score, deblur, find_blur, list_models
    from unblur.blur import Blur, Kind
    from unblur.errors import (
        DeviceError,
        ExitCode,
        PhotoError,
        UnblurError,
        UsageError,
        WeightsError,
    )
    from unblur.models.catalog import Model

_IN_API = ("Deblurrer", "blur_score", "deblur", "find_blur", "list_models")
_HOMES = dict.fromkeys(_IN_API, "api") | {
    "Model": "models.catalog",
    "Blur": "blur",
    "Kind": "blur",
}
"""Modules of public names, imported at the first use; other names are in `unblur.errors`."""

__all__ = [
    "Blur",
    "Deblurrer",
    "DeviceError",
    "ExitCode",
    "Kind",
    "Model",
    "PhotoError",
    "UnblurError",
    "UsageError",
    "WeightsError",
    "__version__",
    "blur_score",
    "deblur",
    "find_blur",
    "list_models",
]


if not TYPE_CHECKING:  # for type checkers, only the names above are there

    def __getattr__(name: str) -> Any:  # noqa: ANN401 (of many types)
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"unblur.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
