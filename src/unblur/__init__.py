"""Deblur photos; everything else in the file stays as it was."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unblur.version import __version__

if TYPE_CHECKING:
    from unblur.api import Deblurrer, blur_score, deblur, list_models
    from unblur.errors import (
        DeviceError,
        ExitCode,
        PhotoError,
        UnblurError,
        UsageError,
        WeightsError,
    )
    from unblur.models.catalog import Model

_HOMES = {
    "Deblurrer": "api",
    "DeviceError": "errors",
    "ExitCode": "errors",
    "Model": "models.catalog",
    "PhotoError": "errors",
    "UnblurError": "errors",
    "UsageError": "errors",
    "WeightsError": "errors",
    "blur_score": "api",
    "deblur": "api",
    "list_models": "api",
}
"""The module of each public name, imported when the name is used: PyTorch takes seconds."""

__all__ = [
    "Deblurrer",
    "DeviceError",
    "ExitCode",
    "Model",
    "PhotoError",
    "UnblurError",
    "UsageError",
    "WeightsError",
    "__version__",
    "blur_score",
    "deblur",
    "list_models",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (of many types)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"unblur.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
