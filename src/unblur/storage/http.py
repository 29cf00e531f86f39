"""Download a file over HTTP from unreliable servers and networks.

Proxies and certificate authorities come from the environment, as `requests` reads them:
``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``.
"""

from __future__ import annotations

import email.utils
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import requests
from urllib3.exceptions import HTTPError

from unblur.errors import PhotoError
from unblur.storage import waiting
from unblur.storage.addresses import shown, without_any_secret
from unblur.storage.waiting import PassingError, Retries, in_thread
from unblur.user_text import describe_os_error, duration
from unblur.version import __version__

CHUNK_BYTES = 1 << 16
PASSING_STATUSES = (408, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed later."""
MOST_REDIRECTS = 10
MOST_DIGITS = 18
"""Most digits of a number in a header; Python refuses to read one of thousands of digits."""
_CODES = re.compile(r"\[(Errno|SSL)[^]]*\] | \(_ssl\.c:\d+\)")
"""Text that Python adds to the messages of the system and of OpenSSL."""
WORTH_BYTES = 1 << 20
"""Number of received bytes that renew the retries after a broken connection."""


class MissingError(PhotoError):
    """A file that the server does not have."""


@dataclass(frozen=True)
class Watch:
    """Callbacks of a download; those of sizes in bytes may raise an error to refuse it."""

    progress: Callable[[int, int | None], None] = lambda done, total: None
    """Takes the number of bytes received, and the total if the server states it."""
    begin: Callable[[int], None] = lambda size: None
    """Takes the size before the first byte is written; 0 if the server does not state it."""
    check: Callable[[int], None] = lambda size: None
    """Takes the stated size, and the number of bytes that are about to be received."""
    refuses_pages: bool = False
    """Whether a web page is not the file."""


@dataclass(frozen=True)
class Fetched:
    """A file that was downloaded."""

    sha256: str
    """The sha256 of its bytes."""
    headers: Headers
    """The headers of the server's last answer with the whole file."""


class Headers(dict[str, str]):
    """The headers of an answer, with names in lower case."""

    @classmethod
    def of(cls, response: requests.Response) -> Headers:
        """Return the headers of an answer."""
        return cls((name.lower(), value) for name, value in response.headers.items())

    @property
    def length(self) -> int | None:
        """Size of the file in bytes; ``None`` if it is not known."""
        is_coded = self.get("content-encoding", "identity").lower() not in ("", "identity")
        return None if is_coded else _number(self.get("content-length", ""))


class _Partial:
    """The bytes received so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.headers = Headers()
        self.restart()

    def restart(self) -> None:
        """Delete the bytes received so far."""
        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self.digest = hashlib.sha256()
        self.version: str | None = None

    def continues(self, response: requests.Response, total: int | None) -> bool:
        """Return whether an answer is a part of the same version of the file."""
        tag, known = response.headers.get("ETag"), self.headers.get("etag")
        return tag in (None, known) and total in (None, self.headers.length)

    def add(self, chunk: bytes) -> None:
        """Append bytes."""
        try:
            self._file.write(chunk)
        except OSError as error:
            raise PhotoError(
                f"the download cannot be written: {describe_os_error(error)}"
            ) from error
        self.digest.update(chunk)
        self.size += len(chunk)


def fetch(url: str, file: BinaryIO, watch: Watch) -> Fetched:
    """Download a file; whenever the connection breaks, ask for the missing part.

    A signal ends the wait for the server, even while its address is looked up; see `in_thread`.

    Args:
        url: Address of the file.
        file: Open for writing; on return it contains only the download.
        watch: Callbacks; another thread calls them.

    Raises:
        MissingError: If the server does not have the file.
        PhotoError: If the server does not send the file.
    """
    return in_thread(lambda: _fetch(url, file, watch))


def _fetch(url: str, file: BinaryIO, watch: Watch) -> Fetched:
    partial, worth, retries = _Partial(file), WORTH_BYTES, retries_of(url)
    with new_session() as session:
        while True:
            try:
                _receive(url, partial, session, watch)
                break
            except PassingError as broken:
                if partial.size >= worth:
                    retries.renew()
                    worth = partial.size + WORTH_BYTES
                retries.wait_after(broken)
    retries.succeeded()
    file.flush()
    return Fetched(partial.digest.hexdigest(), partial.headers)


def retries_of(url: str) -> Retries:
    """Return the retries of a request."""
    return Retries(shown(url), url.partition("://")[2].partition("/")[0])


def new_session() -> requests.Session:
    """Return a session with the settings for all requests."""
    session = requests.Session()
    session.max_redirects = MOST_REDIRECTS
    # Size and checksum are those of the bytes as sent, so ask for no compression.
    session.headers["Accept-Encoding"] = "identity"
    session.headers["User-Agent"] = f"unblur/{__version__}"
    return session


@contextmanager
def answer(
    session: requests.Session, url: str, method: str = "GET", **headers: str
) -> Iterator[requests.Response]:
    """Send a request, and yield the answer before its body is read.

    Raises:
        PassingError: If another try may succeed.
        PhotoError: If not.
    """
    patience = waiting.PATIENCE
    timeout = patience.connect_seconds, patience.silence_seconds
    with _translated(url):
        response = session.request(
            method, url, headers=headers, stream=True, timeout=timeout, allow_redirects=True
        )
    with response:
        yield response


def refuse_error(response: requests.Response) -> None:
    """Raise the error that an answer states.

    Raises:
        MissingError: If the server does not have the file.
        PassingError: If another try may succeed.
        PhotoError: If not.
    """
    if response.status_code < 400:
        return
    line = _status_line(response)
    if response.status_code in (404, 410):
        raise MissingError(line)
    if response.status_code not in PASSING_STATUSES:
        raise PhotoError(line)
    seconds = _retry_after(response)
    asks = f", and asks to wait {duration(seconds)}" if seconds else ""
    raise PassingError(f"{line}{asks}", seconds)


def _status_line(response: requests.Response) -> str:
    return f"answers {response.status_code} {response.reason or ''}".rstrip()


def _retry_after(response: requests.Response) -> float:
    """Return the seconds that a server asks to wait (RFC 9110, section 10.2.3); else 0."""
    value = response.headers.get("Retry-After", "").strip()
    if (seconds := _number(value)) is not None:
        return float(seconds)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, moment - time.time())


def _receive(url: str, partial: _Partial, session: requests.Session, watch: Watch) -> None:
    """Request the missing bytes once, and append the bytes received.

    Raises:
        PassingError: If the connection broke.
        PhotoError: If a retry is useless.
    """
    wanted = {}
    if partial.size and partial.version:
        wanted = {"Range": f"bytes={partial.size}-", "If-Range": partial.version}
    with answer(session, url, **wanted) as response:
        total = _begin(response, partial, watch)
        if total is not None:
            watch.check(total)
        if not partial.size:
            watch.begin(total or 0)
        for chunk in _chunks(response, partial, total):
            if watch.refuses_pages and not partial.size and _is_html(chunk):
                raise PhotoError("sent a web page instead of the file")
            watch.check(partial.size + len(chunk))
            partial.add(chunk)
            watch.progress(partial.size, total)
    if total is not None and partial.size != total:
        raise PassingError(f"the connection ended after {partial.size} of {total} bytes")


def _begin(response: requests.Response, partial: _Partial, watch: Watch) -> int | None:
    """Check the server's answer; return the size of the whole file, or ``None`` if unknown."""
    start, total = content_range(response)
    if response.status_code == 206 and start == partial.size and partial.continues(response, total):
        return total
    if response.status_code in (206, 416):  # the server misunderstood the request
        partial.restart()
        raise PassingError("the server sent another part than was asked for")
    refuse_error(response)
    if response.status_code != 200:
        raise PhotoError(_status_line(response))
    headers = Headers.of(response)
    if watch.refuses_pages and headers.get("content-type", "").lower().startswith("text/html"):
        raise PhotoError("sends a web page instead of the file")
    partial.restart()
    partial.headers = headers
    tag = headers.get("etag", "W/")
    # RFC 9110, section 13.1.5: a weak tag does not guarantee equal bytes.
    weak = tag.startswith("W/")
    partial.version = headers.get("last-modified") if weak else tag
    if headers.length is None:
        partial.version = None  # the bytes may be coded, so parts of them do not fit together
    return headers.length


def content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """Return the start of a partial answer and the whole size (RFC 9110, section 14.4)."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    place, _, total = rest.partition("/")
    start = _number(place.partition("-")[0])
    return (None, None) if unit != "bytes" or start is None else (start, _number(total))


def _number(text: str) -> int | None:
    """Return the number in a header; ``None`` if it is none, or one that nothing can have."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def _chunks(response: requests.Response, partial: _Partial, total: int | None) -> Iterator[bytes]:
    """Yield the server's bytes; raise `PassingError` if they end early."""
    try:
        yield from response.iter_content(CHUNK_BYTES)
    except (requests.RequestException, HTTPError) as error:
        received = partial.size if total is None else f"{partial.size} of {total}"
        if "timed out" in str(error):
            raise PassingError(f"the server stopped sending after {received} bytes") from error
        raise PassingError(f"the connection ended after {received} bytes") from error


def _is_html(chunk: bytes) -> bool:
    return chunk.lstrip().lower().startswith((b"<!doctype html", b"<html"))


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Raise errors of `requests` as `PhotoError`, with a sentence for the user."""
    try:
        yield
    except requests.TooManyRedirects as error:
        raise PhotoError("redirects in a loop") from error
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE" not in str(error):  # such as a server that does not encrypt
            raise PassingError(f"makes no secure connection ({_cause(error, url)})") from error
        raise PhotoError(
            f"its certificate is not trusted ({_cause(error, url)}); "
            "REQUESTS_CA_BUNDLE names a file of further authorities"
        ) from error
    except requests.exceptions.ProxyError as error:
        raise PassingError(f"the proxy does not answer ({_cause(error, url)})") from error
    except (requests.Timeout, requests.ConnectionError) as error:
        if "timed out" in str(error):
            raise PassingError(f"does not answer ({_cause(error, url)})") from error
        raise PassingError(f"cannot be reached ({_cause(error, url)})") from error
    except requests.exceptions.InvalidSchema as error:
        raise PhotoError("redirects to an address that is none of a web server") from error
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        # such as a missing CA bundle, or an address that is none
        raise PhotoError(without_any_secret(str(error), url)) from error


def _cause(error: BaseException, url: str) -> str:
    """Return the message of the first error in a chain of errors."""
    while True:
        inner = [one for one in (getattr(error, "reason", None), *error.args) if one]
        deeper = next((one for one in inner if isinstance(one, BaseException)), None)
        if deeper is None:
            text = _CODES.sub("", str(getattr(error, "strerror", None) or error))
            return without_any_secret(text.split(": ")[-1], url)
        error = deeper
