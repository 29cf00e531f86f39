"""Download a file over HTTP from unreliable servers and networks.

Proxies and certificate authorities come from the environment, as `requests` reads them:
``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError
from urllib3.util import Retry

from unblur.errors import WeightsError
from unblur.user_text import describe_os_error
from unblur.version import __version__

CHUNK_BYTES = 1 << 16
LARGEST_DOWNLOAD_BYTES = 4 << 30
"""Largest download: larger than any network here, including its optimiser's state."""
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed later."""
MOST_REDIRECTS = 10
WORTH_BYTES = 1 << 20
"""Number of received bytes that renew the retries after a broken connection."""


@dataclass(frozen=True)
class Patience:
    """Waiting times for a server, and the number of retries."""

    retries: int = 4
    backoff_seconds: float = 0.5
    """Unit of the waits between retries: 0, then 2, 4 and 8 units, plus a random time of up to
    2."""
    connect_seconds: float = 10.0
    silence_seconds: float = 30.0
    """Time without a byte after which a server counts as stalled."""

    def policy(self) -> Retry:
        """Return these settings for `urllib3`."""
        return Retry(
            total=self.retries,
            other=0,  # such as a refused certificate, where a retry does not help
            backoff_factor=self.backoff_seconds,
            backoff_jitter=2 * self.backoff_seconds,
            status_forcelist=PASSING_STATUSES,
            raise_on_status=False,
            # A server may ask to wait for hours.
            respect_retry_after_header=False,
        )


PATIENCE = Patience()


@dataclass(frozen=True)
class Watch:
    """Callbacks of a download."""

    progress: Callable[[int, int | None], None] = lambda done, total: None
    """Takes the number of bytes received, and the total if the server states it."""
    trouble: Callable[[str], None] = lambda text: None
    """Takes a sentence about a failure after which the download goes on."""
    begin: Callable[[int], None] = lambda size: None
    """Takes the size in bytes before the first byte is written; may raise to refuse the
    download."""


class _RefusedError(Exception):
    """Raised if the server cannot send the file."""


class _BrokenError(Exception):
    """Raised if the connection broke; a retry may succeed."""


class _Partial:
    """The bytes received so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.restart()

    def restart(self) -> None:
        """Delete the bytes received so far."""
        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self.digest = hashlib.sha256()
        self.version: str | None = None

    def add(self, chunk: bytes) -> None:
        """Append bytes."""
        if self.size + len(chunk) > LARGEST_DOWNLOAD_BYTES:
            raise _RefusedError(_TOO_LARGE)
        try:
            self._file.write(chunk)
        except OSError as error:
            raise WeightsError(
                f"the download cannot be written: {describe_os_error(error)}"
            ) from error
        self.digest.update(chunk)
        self.size += len(chunk)


_TOO_LARGE = f"sends more than {LARGEST_DOWNLOAD_BYTES >> 30} GiB, too much for a weights file"


def fetch(url: str, file: BinaryIO, size: int | None, sha256: str | None, watch: Watch) -> str:
    """Download a file.

    Args:
        url: Address of the file.
        file: Open for writing; on return it contains only the download.
        size: Expected size in bytes, if known.
        sha256: Expected hash, if known.
        watch: Callbacks.

    Returns:
        The sha256 of the file.

    Raises:
        WeightsError: If the server does not send the file.
    """
    with requests.Session() as session:
        session.max_redirects = MOST_REDIRECTS
        # Size and checksum are those of the bytes as sent, so ask for no compression.
        session.headers["Accept-Encoding"] = "identity"
        session.headers["User-Agent"] = f"unblur/{__version__}"
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=PATIENCE.policy()))
        partial = _Partial(file)
        try:
            _fetch_from(url, partial, session, watch)
            _check(partial, size, sha256)
        except _RefusedError as refusal:
            raise WeightsError(f"{without_password(url)}: {refusal}") from refusal
    file.flush()
    return partial.digest.hexdigest()


def without_password(url: str) -> str:
    """Return an address without user name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _check(partial: _Partial, size: int | None, sha256: str | None) -> None:
    if size is not None and partial.size != size:
        raise _RefusedError(f"sent {partial.size} bytes instead of {size}")
    found = partial.digest.hexdigest()
    if sha256 is not None and found != sha256:
        raise _RefusedError(f"sent another file: its sha256 is {found}, not {sha256}")


def _fetch_from(url: str, partial: _Partial, session: requests.Session, watch: Watch) -> None:
    """Request the file; whenever the connection breaks, request the missing part."""
    policy, worth = PATIENCE.policy(), WORTH_BYTES
    while True:
        try:
            return _receive(url, partial, session, watch)
        except _BrokenError as broken:
            if partial.size >= worth:
                policy, worth = PATIENCE.policy(), partial.size + WORTH_BYTES
            try:
                policy = policy.increment("GET", url, error=ProtocolError(str(broken)))
            except MaxRetryError:
                raise _RefusedError(str(broken)) from broken
            watch.trouble(f"{without_password(url)}: {broken}; trying again")
            policy.sleep()


def _receive(url: str, partial: _Partial, session: requests.Session, watch: Watch) -> None:
    """Request the missing bytes once, and append the bytes received.

    Raises:
        _BrokenError: If the connection broke.
        _RefusedError: If a retry is useless.
    """
    wanted = {}
    if partial.size and partial.version:
        wanted = {"Range": f"bytes={partial.size}-", "If-Range": partial.version}
    timeout = (PATIENCE.connect_seconds, PATIENCE.silence_seconds)
    with _translated(), session.get(url, headers=wanted, stream=True, timeout=timeout) as response:
        total = _begin(response, partial)
        if total is not None and total > LARGEST_DOWNLOAD_BYTES:
            raise _RefusedError(_TOO_LARGE)
        if not partial.size:
            watch.begin(total or 0)
        for chunk in _chunks(response, partial, total):
            if not partial.size and _is_html(chunk):
                raise _RefusedError("sent a web page instead of the file")
            partial.add(chunk)
            watch.progress(partial.size, total)
    if total is not None and partial.size != total:
        raise _BrokenError(f"the connection ended after {partial.size} of {total} bytes")


def _begin(response: requests.Response, partial: _Partial) -> int | None:
    """Check the server's answer; return the size of the whole file, or ``None`` if unknown."""
    start, total = _content_range(response)
    if response.status_code == 206 and start == partial.size:
        return total
    if response.status_code in (206, 416):  # the server misunderstood the request
        partial.restart()
        raise _BrokenError("the server sent another part than was asked for")
    if response.status_code != 200:
        raise _RefusedError(f"answers {response.status_code} {response.reason or ''}".rstrip())
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise _RefusedError("sends a web page instead of the file")
    partial.restart()
    tag = response.headers.get("ETag", "W/")
    # RFC 9110, section 13.1.5: a weak tag does not guarantee equal bytes.
    weak = tag.startswith("W/")
    partial.version = response.headers.get("Last-Modified") if weak else tag
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """Return the start of a partial answer and the whole size (RFC 9110, section 14.4)."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    place, _, total = rest.partition("/")
    start = place.partition("-")[0]
    if unit != "bytes" or not start.isdecimal():
        return None, None
    return int(start), int(total) if total.isdecimal() else None


def _chunks(response: requests.Response, partial: _Partial, total: int | None) -> Iterator[bytes]:
    """Yield the server's bytes; raise `_BrokenError` if they end early."""
    try:
        yield from response.iter_content(CHUNK_BYTES)
    except (requests.RequestException, HTTPError) as error:
        stalled = "timed out" in str(error)
        what = "the server stopped sending" if stalled else "the connection ended"
        whole = "" if total is None else f" of {total}"
        raise _BrokenError(f"{what} after {partial.size}{whole} bytes") from error


def _is_html(chunk: bytes) -> bool:
    return chunk.lstrip().lower().startswith((b"<!doctype html", b"<html"))


@contextmanager
def _translated() -> Iterator[None]:
    """Raise errors of `requests` as `_RefusedError`, with a sentence for the user."""
    try:
        yield
    except requests.TooManyRedirects as error:
        raise _RefusedError("redirects in a loop") from error
    except requests.exceptions.SSLError as error:
        raise _RefusedError(
            f"its certificate is not trusted ({_cause(error)}); "
            "REQUESTS_CA_BUNDLE names a file of further authorities"
        ) from error
    except requests.exceptions.ProxyError as error:
        raise _RefusedError(f"the proxy does not answer ({_cause(error)})") from error
    except (requests.Timeout, requests.ConnectionError) as error:
        what = "does not answer" if "timed out" in str(error) else "cannot be reached"
        raise _RefusedError(f"{what} ({_cause(error)})") from error
    except (requests.RequestException, OSError) as error:  # such as a missing CA bundle
        raise _RefusedError(str(error)) from error


def _cause(error: BaseException) -> str:
    """Return the message of the first error in a chain of errors."""
    while True:
        inner = error.args[0] if error.args else None
        deeper = getattr(error, "reason", None) or inner
        if not isinstance(deeper, BaseException):
            return str(getattr(error, "strerror", None) or error).split(": ")[-1]
        error = deeper
