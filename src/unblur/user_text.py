"""Write text for users: escape it for terminals, describe system errors, and format numbers.

No number is rounded to something false: what is not 0 is never called 0, and a limit that was
exceeded never looks equal to what exceeds it.
"""

from __future__ import annotations

import codecs
import difflib
import os
import re
from collections.abc import Callable, Iterable

_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that do not represent a byte of a file name; see `os.fsencode`."""

ZERO_WIDTH_JOINER = "\u200d"
JOINERS = f"\u200c{ZERO_WIDTH_JOINER}"
"""Invisible characters that Persian, Indian scripts and emoji are spelled with."""


def printable(text: str | os.PathLike[str]) -> str:
    r"""Return text as one line without characters that control a terminal.

    Control characters, line breaks, marks of writing direction and lone surrogates are escaped as
    in Python: ``\x1b``, ``\n``, ``\u202e``. Bytes of file names that are not UTF-8 become U+FFFD.
    `JOINERS` stay.
    """
    escaped = _NO_BYTES.sub(lambda match: _escape(match[0]), os.fspath(text))
    # Not by `os.fsencode`: where file names are in Latin-1, its bytes are no UTF-8.
    decoded = escaped.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c in JOINERS else _escape(c) for c in decoded)


def encoded(text: str) -> bytes:
    """Return text with file names as bytes: each name has the bytes that it has on the disk.

    Characters that names cannot have in the user's locale are escaped as in `printable`.
    """
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return b"".join(map(_encoded_character, text))


def _encoded_character(character: str) -> bytes:
    try:
        return os.fsencode(character)
    except UnicodeEncodeError:
        return _escape(character).encode("ascii")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def problem_of_text(data: bytes) -> str | None:
    """Return why a file's content is not text in UTF-8; ``None`` if it is."""
    other = "is in UTF-16 or another encoding: save it with the encoding UTF-8"
    if b"\0" in data and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # In texts in UTF-16 or UTF-32, half of the bytes are NUL, or three quarters.
        share = data.count(0) / len(data)
        is_text = 0.3 < share < 0.8 and max(h.count(0) / len(h) for h in _halves(data)) >= 0.5
        return other if is_text else "is not a text file"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return other
    return None


def _halves(data: bytes) -> list[bytes]:
    """Return the bytes at even and at odd positions, where there are any."""
    return [half for half in (data[::2], data[1::2]) if half]


def describe_os_error(error: OSError) -> str:
    """Return the system's message in lower case, without the path."""
    return (error.strerror or str(error)).lower()


def one_line(error: BaseException) -> str:
    """Return an error's message, which may have several lines, in one line; never empty."""
    return " ".join(str(error).split()) or type(error).__name__


def one_of(names: list[str]) -> str:
    """Return names as an enumeration: ``a, b or c``."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if names[1:] else names[0]


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return advice with the known name that is most like another name; empty if none is.

    Args:
        name: The unknown name.
        known: The known names.
        prefix: Beginning of all names, which makes none of them alike.
    """
    rests = [other.removeprefix(prefix) for other in known]
    alike = difflib.get_close_matches(name.removeprefix(prefix), rests, 1)
    return f"; did you mean {prefix}{alike[0]}?" if alike else ""


_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def size(count: int, rounded: Callable[[float], int] = round) -> str:
    """Return a number of bytes as text: ``1.2 GB``, ``812 bytes``.

    Args:
        count: The number.
        rounded: `math.floor` or `math.ceil` for a number that is compared with another one.
    """
    for unit, factor in _UNITS:
        if count >= factor:
            return f"{rounded(10 * count / factor) / 10:.1f} {unit}"
    return f"{count} bytes"


def percent(share: float, digits: int = 0) -> str:
    """Return a share from 0 to 1 in percent; only 0 is ``0%``, and only 1 is ``100%``."""
    least = 0.1 ** (digits + 2)
    if 0 < share < least / 2:
        return f"less than {least:.{digits}%}"
    if 1 - least / 2 <= share < 1:
        return f"more than {1 - least:.{digits}%}"
    return f"{share:.{digits}%}"


def duration(seconds: float) -> str:
    """Return a time as text, such as ``3 min 5 s`` or ``0.04 s``."""
    if seconds < 0.095:
        return f"{seconds:.1g} s" if seconds >= 0.001 or not seconds else "less than 0.001 s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def megapixels(count: int) -> str:
    """Return a number of pixels in millions, without the unit: ``24``, ``0.0031``."""
    millions = count / 1e6
    if millions < 0.01:
        return f"{millions:.6f}".rstrip("0").rstrip(".")
    return f"{millions:,.0f}" if millions >= 10 else f"{millions:.2g}"
