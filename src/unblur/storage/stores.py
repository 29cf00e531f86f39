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
from unblur.storage.places import Url
from unblur.storage.waiting import PassingError, Retries, in_thread, persist
from unblur.user_text import describe_os_error, without_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""The extra that each kind of store needs."""
_MODULES = {"s3": "s3fs", "gs": "gcsfs"}
"""The library of each extra."""

WITH_FOLDERS = ("ftp", "ftps", "sftp", "ssh", "smb")
"""Kinds of servers with folders, where a file that is being written can be seen."""
_FAULTS_OF_ADDRESS = (TypeError, ValueError, LookupError, AttributeError)
"""Errors that libraries raise for addresses without a part that their kind of store needs."""
_NOISE = re.compile(r" ssl:\w+")
"""Text that aiohttp adds to the name of a host."""
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
    try:
        kind: type[AbstractFileSystem] = fsspec.get_filesystem_class(scheme)
        return kind
    except ValueError as error:
        raise UsageError(f"{scheme}:// is not a known kind of store") from error
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        if extra is None:
            raise UsageError(f"{scheme}:// addresses cannot be used: {error}") from error
        needed = needed_extra(_MODULES[extra], extra, error.__cause__ or error)
        raise UsageError(f"{scheme}:// addresses need {needed}") from error


def open_store(url: Url) -> tuple[AbstractFileSystem, str]:
    """Return a store and an object's name in it; raise `UsageError` if the store is unusable."""
    kind, text = _store_class(url.scheme), url.address
    if url.scheme in WITH_FOLDERS:  # fsspec would take # and ? in names for parts of an address
        host, _, name = url.path.partition("/")
        options, path = kind._get_kwargs_from_urls(f"{url.scheme}://{host}/"), f"/{name}"
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
        except Exception as error:  # each store's library has its own errors
            line = " ".join(_reason(error).split()) or type(error).__name__
            text = without_secrets(sentence.format(url, line))
            if not _may_pass(error):
                raise PhotoError(text) from error
            _store_class(url.scheme).clear_instance_cache()  # and the broken connection
            raise PassingError(text) from error

    if url.scheme in EXTRAS:  # their libraries repeat requests themselves
        return ask()
    return persist(Retries(str(url), url.path.partition("/")[0]), ask)


def _may_pass(error: BaseException) -> bool:
    """Return whether the same request may succeed later."""
    number = getattr(error, "errno", None)
    if isinstance(error, ConnectionError | TimeoutError | EOFError) or number in _PASSING_NUMBERS:
        return True
    return type(error).__name__ in _PASSING_NAMES


def _reason(error: Exception) -> str:
    """Return the error of a store's library in words for users."""
    if isinstance(error, FileNotFoundError):
        return "no such object"
    if isinstance(error, ModuleNotFoundError):
        return describe_unexpected(error)
    if is_thread_limit(error):  # of the thread that asks the store
        return START_LIMIT
    if isinstance(error, _FAULTS_OF_ADDRESS):
        return f"is not an address of a photo in such a store ({error})"
    cause = getattr(error, "os_error", None)
    if isinstance(cause, OSError):  # of a failed connection; the number tells more than the text
        number = cause.errno or 0  # negative where a name has no address
        reason = os.strerror(number) if number > 0 else describe_os_error(cause)
        return f"cannot connect: {reason.lower()}"
    text = error.strerror if isinstance(error, OSError) else None  # without number and path
    return _NOISE.sub("", text or str(error))
