"""Find the user's folders and files, and read the configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from unblur.errors import UsageError, refuse_empty
from unblur.user_text import describe_os_error, problem_of_text

MODELS_VARIABLE = "UNBLUR_MODELS_DIR"
NO_HOME = Path(os.devnull) / "unblur"
"""Path that stands for a missing home folder; it does not exist, and cannot be created."""


def models_folder() -> Path:
    """Return the folder of downloaded and imported weights, which may be missing."""
    chosen = os.environ.get(MODELS_VARIABLE)
    return Path(chosen) if chosen else _user_folder(_data_path) / "models"


def history_file() -> Path:
    """Return the path of the record of results, which may be missing."""
    return _user_folder(_data_path) / "history.sqlite3"


def self_tests_file() -> Path:
    """Return the path of the stored results of self-tests, which may be missing."""
    return _user_folder(lambda: platformdirs.user_cache_path("unblur")) / "self-tests.json"


def vulkan_file() -> Path:
    """Return the path of the stored list of GPUs with Vulkan, which may be missing."""
    return self_tests_file().with_name("vulkan.json")


def config_file() -> Path:
    """Return the default path of the configuration, which may be missing."""
    return _user_folder(lambda: platformdirs.user_config_path("unblur")) / "unblur.toml"


def home_folder() -> Path:
    """Return the user's home folder, or `NO_HOME`."""
    return _user_folder(Path.home)


def common_data_folder() -> Path:
    """Return the user's data folder of all programs: ``XDG_DATA_HOME``."""
    return _user_folder(platformdirs.user_data_path)


def common_config_folder() -> Path:
    """Return the user's settings folder of all programs: ``XDG_CONFIG_HOME``."""
    return _user_folder(platformdirs.user_config_path)


def system_config_folders() -> list[Path]:
    """Return the folders with settings for all users, the most important first."""
    return [Path(name) for name in platformdirs.site_config_dir(multipath=True).split(os.pathsep)]


def system_data_folders() -> list[Path]:
    """Return the folders with data for all users, the most important first."""
    return [Path(name) for name in platformdirs.site_data_dir(multipath=True).split(os.pathsep)]


def _data_path() -> Path:
    return platformdirs.user_data_path("unblur")


def _user_folder(find: Callable[[], Path]) -> Path:
    """Return one of the user's folders, or `NO_HOME`.

    In a container, HOME may be missing or empty and the user may have no entry in the
    password database.
    """
    if os.environ.get("HOME") == "":
        del os.environ["HOME"]  # libraries would take an empty value for the root folder
    try:
        folder = find()
    except RuntimeError:
        return NO_HOME
    return folder if folder.is_absolute() else NO_HOME  # "~/..." from older platformdirs


def read_config(path: Path | None, known: Mapping[str, bool]) -> dict[str, Any]:
    """Read the defaults of options from TOML; ``tile = 512`` means ``--tile 512``.

    Args:
        path: The file, or ``None`` for `config_file`, which may be missing.
        known: Names of options, with underscores, and whether they take a list.

    Raises:
        UsageError: If the file cannot be read, is not TOML, or has a wrong option or value.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    chosen = path or config_file()
    if path is None and not os.path.exists(chosen):  # noqa: PTH110 (no error in a locked folder)
        return {}
    try:
        data = chosen.read_bytes()
        if problem := problem_of_text(data):
            raise UsageError(f"{chosen}: {problem}")
        values = tomllib.loads(data.decode("utf-8-sig"))  # editors on Windows add a mark
    except FileNotFoundError:
        raise UsageError(f"{chosen}: no such file") from None
    except OSError as error:
        raise UsageError(f"{chosen}: cannot be read: {describe_os_error(error)}") from error
    except ValueError as error:
        raise UsageError(f"{chosen}: cannot be read as TOML: {error}") from error
    options = {name.replace("-", "_"): value for name, value in values.items()}
    for name, value in options.items():
        if name not in known:
            raise UsageError(f"{chosen}: unknown option {name!r}")
        refuse_empty(f"{chosen}: {name}", value)
        if not known[name]:
            if not isinstance(value, str | int | float):
                raise UsageError(f"{chosen}: {name} takes one value, not {value!r}")
            if not isinstance(value, bool):
                options[name] = str(value)  # Click reads flags from text, not from numbers
            continue
        options[name] = value if isinstance(value, list) else [value]
        if not all(isinstance(part, str) for part in options[name]):
            raise UsageError(f"{chosen}: {name} takes a list of strings, not {value!r}")
    return options
