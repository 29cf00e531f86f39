"""Read photos from web servers."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from unblur.file_limits import refuse_oversize
from unblur.storage import http
from unblur.storage.http import Headers, MissingError, Watch
from unblur.storage.places import UNKNOWN, FileState, Url
from unblur.storage.waiting import in_thread, persist

T = TypeVar("T")

_MARKS = ("ETag", "Last-Modified")
"""Headers that tell versions of a file apart, the most reliable first."""


def read(url: Url, most: int | None) -> tuple[bytes, FileState]:
    """Read a whole photo; see `unblur.storage.objects.read`."""
    data = io.BytesIO()
    watch = Watch(check=partial(refuse_oversize, most=most))
    fetched = http.fetch(url.address, data, watch)
    return data.getvalue(), _state(fetched.headers)


def read_header(url: Url, size: int) -> bytes:
    """Read the first bytes of a photo, or raise `PhotoError`."""

    def ask() -> bytes:
        with (
            http.new_session() as session,
            http.answer(session, url.address, Range=f"bytes=0-{size - 1}") as response,
        ):
            if response.status_code == 416:  # the file is empty
                return b""
            http.refuse_error(response)
            start: bytes = next(response.iter_content(size), b"")
            return start

    return _persistently(url, ask)


def state_of(url: Url) -> FileState | None:
    """Return the state of a photo; ``None`` if the server does not have it."""
    try:
        return _persistently(url, lambda: _ask_for_state(url))
    except MissingError:
        return None


def _ask_for_state(url: Url) -> FileState:
    with http.new_session() as session:
        with http.answer(session, url.address, "HEAD") as response:
            headers = Headers.of(response)
            if response.status_code == 200 and headers.length is not None:
                return _state(headers)
        # Some servers refuse HEAD, or state no size; the body of this answer is not read.
        with http.answer(session, url.address) as response:
            http.refuse_error(response)
            return _state(Headers.of(response))


def _persistently(url: Url, ask: Callable[[], T]) -> T:
    retries = http.retries_of(url.address)
    return persist(retries, lambda: in_thread(ask))


def _state(headers: Headers) -> FileState:
    size = UNKNOWN if headers.length is None else headers.length
    marks = (f"{name} {headers[name.lower()]}" for name in _MARKS if headers.get(name.lower()))
    return FileState(size, next(marks, ""))
