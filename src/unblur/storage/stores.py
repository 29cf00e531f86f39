"""Reach stores of objects through fsspec: open them, repeat requests, and explain errors."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from unblur.errors import (
    START_LIMIT,
    PhotoError,
    UsageError,
    describe_unexpected,
    is_thread_limit,
)
from unblur.extras import needed_extra
from unblur.storage.addresses import without_any_secret
from unblur.storage.places import Url
from unblur.storage.servers import CLASSES, PACKAGES, WITH_FOLDERS, is_missing, settings_of
from unblur.storage.waiting import PassingError, Retries, in_thread, persist
from unblur.user_text import describe_os_error

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""The extra that each kind of store needs."""
_MODULES = {"s3": "s3fs", "gs": "gcsfs"}
"""The library of each extra."""

_OTHER_PACKAGES = {**dict.fromkeys(("az", "abfs", "abfss"), "adlfs"), "hdfs": "pyarrow"}
"""The packages that other kinds of stores need, where fsspec says it in other words, or late."""
_AROUND_OTHERS = (
    *("asyncwrapper", "blockcache", "cached", "dir", "filecache", "generic", "reference"),
    "simplecache",
)
"""Kinds of fsspec that change another store, and are none by themselves."""
_FAULTS_OF_ADDRESS = (TypeError, ValueError, LookupError, AttributeError)
"""Errors that libraries raise for addresses without a part that their kind of store needs."""
_NOISE = re.compile(r" ssl:\w+")
"""Text that aiohttp adds to the name of a host."""
_LACKING = re.compile(r"\w+\.__init__\(\) missing \d+ required positional arguments?: ")
"""Python's words for an address without parts that its kind of store needs."""
_REFUSED = "the server refuses this user and password"
_IN_WORDS = {
    **dict.fromkeys(("LogonFailure", "SMBAuthenticationError"), _REFUSED),  # smbprotocol
    "AuthenticationException": _REFUSED,  # paramiko
    "BadHostKeyException": "the server has another key than in ~/.ssh/known_hosts; if that is "
    "right, remove the old one: ssh-keygen -R HOST",
}
"""Messages for libraries' errors, by their names."""
_PASSING_NAMES = (
    *("ServerDisconnectedError", "ClientPayloadError"),  # aiohttp
    "error_temp",  # ftplib
    "SSHException",  # paramiko; refused passwords have a name of their own
)
"""Names of libraries' errors that may pass, and are no `OSError`."""
_PASSING_NUMBERS = (errno.EBUSY, errno.EAGAIN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPIPE)


@cache
def _store_class(scheme: str) -> type[AbstractFileSystem]:
    import fsspec

    if scheme == "data":
        raise UsageError("data: addresses hold their data themselves: save the photo as a file")
    if scheme in _AROUND_OTHERS:
        raise UsageError(f"{scheme}:// works only around another store: give that store's address")
    try:
        if scheme in CLASSES:
            return CLASSES[scheme]()
        kind: type[AbstractFileSystem] = fsspec.get_filesystem_class(scheme)
        return kind
    except ValueError as error:
        raise UsageError(f"{scheme}:// is not a known kind of store") from error
    except ImportError as error:
        raise _missing_library(scheme, error) from error


def _missing_library(scheme: str, error: ImportError) -> UsageError:
    """Return the error for a kind of store that needs another package."""
    if isinstance(error, ModuleNotFoundError) and error.name == "fsspec":
        return UsageError(describe_unexpected(error))  # which every store needs
    if extra := EXTRAS.get(scheme):
        needed = needed_extra(_MODULES[extra], extra, error.__cause__ or error)
        return UsageError(f"{scheme}:// addresses need {needed}")
    if package := (PACKAGES | _OTHER_PACKAGES).get(scheme):
        return UsageError(f"{scheme}:// addresses need a package: pip install {package}")
    return UsageError(f"{scheme}:// addresses cannot be used: {error}")


def open_store(url: Url) -> tuple[AbstractFileSystem, str]:
    """Return a store and an object's name in it; raise `UsageError` if the store is unusable."""
    kind, text = _store_class(url.scheme), url.address
    if url.scheme in WITH_FOLDERS:  # fsspec would take # and ? for parts of an address
        options, path = settings_of(url)
    else:
        options, path = kind._get_kwargs_from_urls(text), str(kind._strip_protocol(text))
    try:
        # A cached listing would miss the changes of other runs.
        store = kind(use_listings_cache=False, **options)
    except TypeError as error:
        if "use_listings_cache" not in str(error):
            raise
        store = kind(**options)  # such as that of SFTP, which keeps no listings
    return store, path


def ask_store(url: Url, act: Callable[[AbstractFileSystem, str], T], sentence: str = "{1}") -> T:
    """Call a function with an object's store, and the object's name in it.

    Args:
        url: Address of the object.
        act: The function; it is called again if the store fails in a way that may pass.
        sentence: Message for an error of the store, with its address and its cause.

    Raises:
        PhotoError: If the store fails, or the function raises it.
        UsageError: If the store is unusable.
    """

    def ask() -> T:
        try:
            return in_thread(lambda: act(*open_store(url)))  # some stores connect at once
        except (PhotoError, UsageError):
            raise
        except ImportError as error:  # some libraries import others late
            raise _missing_library(url.scheme, error) from error
        except Exception as error:  # each store's library has its own errors
            line = " ".join(_reason(error).split()) or type(error).__name__
            text = sentence.format(url, without_any_secret(line, url.address))
            failure = PassingError(text) if _may_pass(error) else PhotoError(text)
            failure.place = url
            if isinstance(failure, PassingError):
                _store_class(url.scheme).clear_instance_cache()  # and the broken connection
            raise failure from error

    if url.scheme in EXTRAS:  # their libraries repeat requests themselves
        return ask()
    return persist(Retries(str(url), url.path.partition("/")[0]), ask)


def _may_pass(error: BaseException) -> bool:
    """Return whether the same request may succeed later."""
    cause = _system_error(error)
    number = cause.errno if cause else None
    if isinstance(cause, ConnectionError | TimeoutError) or number in _PASSING_NUMBERS:
        return True
    return isinstance(error, EOFError) or type(error).__name__ in _PASSING_NAMES


def _reason(error: Exception) -> str:
    """Return the error of a store's library in words for users."""
    if is_missing(error):
        return "no such object"
    if is_thread_limit(error):  # of the thread that asks the store
        return START_LIMIT
    if words := _IN_WORDS.get(type(error).__name__):
        return words
    cause = _system_error(error)
    if cause is not None and cause is not error:
        # Of a failed connection; the number tells more than the text.
        number = cause.errno or 0  # negative where a name has no address
        reason = os.strerror(number) if number > 0 else describe_os_error(cause)
        return f"cannot connect: {reason.lower()}"
    if isinstance(error, _FAULTS_OF_ADDRESS):
        fault = _LACKING.sub("it lacks ", str(error))
        return f"is not an address of a photo in such a store ({fault})"
    text = error.strerror if isinstance(error, OSError) else None  # without number and path
    return _NOISE.sub("", text or str(error))


def _system_error(error: BaseException) -> OSError | None:
    """Return the system's error that a library has made another one of, or the error itself."""
    seen: list[BaseException] = []
    following: list[object] = [error]
    while following:
        one = following.pop(0)
        if not isinstance(one, BaseException) or one in seen:
            continue
        if isinstance(one, OSError) and one.errno is not None:
            return one
        seen.append(one)
        following += [one.__cause__, one.__context__, getattr(one, "os_error", None)]
        following += [getattr(one, "reason", None), *one.args]
        several = getattr(one, "errors", None)  # of paramiko: one for each address of a host
        following += several.values() if isinstance(several, dict) else []
    return error if isinstance(error, OSError) else None
