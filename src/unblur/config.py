"""Find the user's folders and files, and read the configuration."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

import platformdirs

from unblur.errors import UsageError, refuse_empty
from unblur.forks import PerProcess
from unblur.user_text import describe_os_error, did_you_mean, problem_of_text

MODELS_VARIABLE = "UNBLUR_MODELS_DIR"
MIRROR_VARIABLE = "UNBLUR_MIRROR"
"""Environment variable with the address of a folder to use instead of the publishers'."""
MOST_CONFIG_BYTES = 1 << 20
LARGEST_BITS = 64
"""Bits of the numbers that TOML allows."""
LONGEST_SHOWN = 60
"""Characters of a line or a value in a message."""
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
    return _absolute(platformdirs.site_config_dir(multipath=True))


def system_data_folders() -> list[Path]:
    """Return the folders with data for all users, the most important first."""
    return _absolute(platformdirs.site_data_dir(multipath=True))


def _absolute(folders: str) -> list[Path]:
    """Return the folders of a list like ``PATH``; the specification ignores relative ones."""
    return [path for path in map(Path, folders.split(os.pathsep)) if path.is_absolute()]


def _data_path() -> Path:
    return platformdirs.user_data_path("unblur")


def _user_folder(find: Callable[[], Path]) -> Path:
    """Return one of the user's folders, or `NO_HOME`.

    In a container, HOME may be missing or empty and the user may have no entry in the
    password database.
    """
    with _without_odd_folders():
        try:
            folder = find()
        except RuntimeError:
            return NO_HOME
    return folder if folder.is_absolute() else NO_HOME  # "~/..." from older platformdirs


_changing_environment = PerProcess(threading.Lock)
_FOLDER_VARIABLES = "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"


@contextlib.contextmanager
def _without_odd_folders() -> Iterator[None]:
    """Take folders that are not absolute out of the environment.

    Libraries take an empty HOME for the root folder. The XDG Base Directory Specification demands
    that relative folders are ignored.
    """
    with _changing_environment.get():
        given = {name: os.environ[name] for name in _FOLDER_VARIABLES if name in os.environ}
        odd = {name: folder for name, folder in given.items() if not Path(folder).is_absolute()}
        for name in odd:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(odd)


def read_config(path: Path | None, known: Mapping[str, bool]) -> dict[str, Any]:
    """Read the defaults of options from TOML; ``tile = 512`` means ``--tile 512``.

    A text that begins with ``~/`` is a path in the home folder.

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
    if path is None and not os.path.lexists(chosen):  # no error in a locked folder
        return {}
    try:
        # A pipe that the user names may be a command's output; another one would be waited for.
        data = _read_text(chosen, regular=path is None)
        text = data.decode("utf-8-sig")  # editors on Windows add a mark
        values = tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(f"{chosen}: no such file") from None
    except OSError as error:
        raise UsageError(f"{chosen}: cannot be read: {describe_os_error(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{chosen}: cannot be read as TOML: {_explain(error, text)}") from error
    options: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name in options:
            raise UsageError(f"{chosen}: {key} is set twice, with - and with _")
        if name not in known:
            raise UsageError(f"{chosen}: {_describe_unknown(key, value, known)}")
        options[name] = _checked(f"{chosen}: {key}", value, takes_list=known[name])
    return options


def _read_text(path: Path, *, regular: bool) -> bytes:
    """Return the content of a text file, or raise `OSError` or `UsageError`.

    Args:
        path: The file.
        regular: Whether to refuse pipes and devices.
    """
    if regular and path.exists() and not path.is_file() and not path.is_dir():
        raise UsageError(f"{path}: is a pipe or a device, not a file")
    with path.open("rb") as file:
        data = file.read(MOST_CONFIG_BYTES + 1)
    if len(data) > MOST_CONFIG_BYTES:
        raise UsageError(f"{path}: is too large for a configuration")
    if problem := problem_of_text(data):
        raise UsageError(f"{path}: {problem}")
    return data


def _explain(error: Exception, text: str) -> str:
    """Return the parser's message, with the line that it tells, which has the name."""
    lines = text.split("\n")  # as TOML counts them
    if number := re.search(r"at line ([0-9]+)", str(error)):
        message, line = str(error), lines[int(number[1]) - 1]
    elif isinstance(error, RecursionError):
        message, line = "nested too deeply", max(lines, key=lambda one: one.count("["))
    else:  # Python's limit, which names no line
        message, line = "a number has too many digits", max(lines, key=_count_digits)
    return f"{message}: {_shortened(line.strip())}"


def _count_digits(line: str) -> int:
    return sum(map(str.isdigit, line))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _describe_unknown(key: str, value: object, known: Mapping[str, bool]) -> str:
    """Return the message for a name that is no option, with the option that is most like it."""
    if isinstance(value, dict):
        return f"unknown option {key!r}: options stand at the top of the file, not in a table"
    advice = did_you_mean(key.replace("_", "-"), [name.replace("_", "-") for name in known])
    return f"unknown option {key!r}{advice}"


def _checked(name: str, value: Any, *, takes_list: bool) -> Any:  # noqa: ANN401 (TOML)
    """Return a value as an option reads it, or raise `UsageError`.

    Args:
        name: The file and the option, for messages.
        value: The value in the file.
        takes_list: Whether the option takes several values.
    """
    refuse_empty(name, value)
    if isinstance(value, int) and value.bit_length() >= LARGEST_BITS:
        raise UsageError(f"{name} takes a smaller number")
    if takes_list:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(part, str) for part in values):
            raise UsageError(f"{name} takes a list of strings, not {_shown(value)}")
        return values
    if not isinstance(value, str | int | float):
        raise UsageError(f"{name} takes one value, not {_shown(value)}")
    if isinstance(value, str) and value.startswith("~/"):
        return f"{home_folder()}{value[1:]}"  # a slash at the end means a folder
    return value


def _shown(value: object) -> str:
    """Return a value of TOML as the user wrote it, about."""
    if isinstance(value, date | time):
        return value.isoformat()
    try:
        return "a table" if isinstance(value, dict) else _shortened(repr(value))
    except ValueError:  # a number in it has too many digits for Python
        return "this list"
