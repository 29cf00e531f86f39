"""Errors for users, each with its exit code; explanations of Python's own errors."""

from __future__ import annotations

import sys
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the program; a stable part of its interface."""

    OK = 0
    """All photos are done or skipped."""
    FAILED = 1
    """At least one photo failed; the others are done."""
    USAGE = 2
    """The command line is wrong; nothing was done."""
    NOTHING_TO_DO = 3
    """There was no photo to process."""
    WEIGHTS = 4
    """The weights are missing or damaged."""
    DEVICE = 5
    """The requested device is not available, computes wrongly, or was lost during the run."""
    HUNG_UP = 129
    """Stopped because its terminal was closed (128 + SIGHUP)."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C (128 + SIGINT)."""
    TERMINATED = 143
    """Stopped by SIGTERM (128 + SIGTERM)."""


class UnblurError(Exception):
    """Base class of all errors with a message for the user."""

    exit_code = ExitCode.FAILED


class PhotoError(UnblurError):
    """A photo, or its result, that cannot be read, processed or written."""

    place: object = None
    """Place that the message is about, if it does not name it; ``None``: the photo."""


class UnflushedError(PhotoError):
    """A file that has its name and its content, but may be lost if the power fails now."""


class ExcessError(PhotoError, ValueError):
    """A file with far more parts than a photo; readers of metadata catch the `ValueError`."""


class UsageError(UnblurError):
    """A request that contradicts itself."""

    exit_code = ExitCode.USAGE


class WeightsError(UnblurError):
    """Weights that are missing, damaged, or of another network."""

    exit_code = ExitCode.WEIGHTS


class DeviceError(UnblurError):
    """A requested device that is not available, computes wrongly, or was lost."""

    exit_code = ExitCode.DEVICE


class DesktopError(UnblurError):
    """A file of a file manager that cannot be read or changed."""


def refuse_empty(name: str, value: object) -> None:
    """Raise `UsageError` if a value is an empty text, or a list or a tuple that has one.

    Args:
        name: The value's name in the message.
        value: A value of any type.
    """
    if "" in (value if isinstance(value, list | tuple) else (value,)):
        raise UsageError(f"{name} is empty: was a variable not set?")


_MEMORY_LIMIT = (
    "out of memory: close other programs, or raise the limit (ulimit -v; in a container, the limit "
    "of memory)"
)
_NO_MEMORY_WORDS = "failed to map segment", "cannot allocate memory", "cannot apply additional"
"""Messages of the system if a library does not fit into memory."""
RAISE_LIMIT = (
    "close other programs, or raise the limit (ulimit -u; in a container, the limit of PIDs)"
)
START_LIMIT = f"the system starts no more threads or processes: {RAISE_LIMIT}"
"""Message where a thread or a process cannot be started: the system has one limit for both."""


def is_thread_limit(error: BaseException) -> bool:
    """Return whether an error means that the system starts no more threads."""
    return isinstance(error, RuntimeError) and "can't start new thread" in str(error)


def _is_memory_limit(error: BaseException) -> bool:
    """Return whether an error means that main memory is full while the program starts."""
    if isinstance(error, ImportError | OSError):
        text = str(error).lower()
        return any(words in text for words in _NO_MEMORY_WORDS)
    return isinstance(error, MemoryError)


def _library(error: ModuleNotFoundError) -> str:
    """Return the name of a missing library; empty if it is a module of unblur."""
    name = (error.name or "").partition(".")[0]
    return "" if name == "unblur" else name


def _describe_missing(library: str) -> str:
    if library in sys.stdlib_module_names:  # a build of Python without a library of the system
        return f"this Python lacks its own module {library}: use a complete Python"
    return f"the Python library {library} is missing: install unblur again, with pip or pipx"


def _origin(error: BaseException) -> BaseException:
    """Return the first error of a chain; libraries wrap the system's error in pages of advice."""
    while earlier := error.__cause__ or (not error.__suppress_context__ and error.__context__):
        error = earlier
    return error


def describe_unexpected(error: BaseException) -> str:
    """Return the message for an error that is no `UnblurError`: the system's, or a bug."""
    if isinstance(error, ModuleNotFoundError) and (library := _library(error)):
        return _describe_missing(library)
    origin = _origin(error)
    if is_thread_limit(origin):
        return START_LIMIT
    if isinstance(error, ImportError) or isinstance(origin, ImportError | OSError):
        error = origin
    if _is_memory_limit(origin):
        return _MEMORY_LIMIT
    if isinstance(origin, OSError) and origin.strerror:
        file = f": {origin.filename}" if isinstance(origin.filename, str) else ""
        return f"{origin.strerror.lower()}{file}; -vv shows where"
    return f"unexpected {type(error).__name__}: {error}; -vv shows where"
