"""Write text for users: escape it for terminals, and describe system errors."""

from __future__ import annotations

import os
import re

_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that do not represent a byte of a file name; see `os.fsencode`."""


def printable(text: str | os.PathLike[str]) -> str:
    r"""Return text as one line without characters that control a terminal.

    Control characters, line breaks, marks of writing direction and lone surrogates are escaped as
    in Python: ``\x1b``, ``\n``, ``\u202e``. Bytes of file names that are not UTF-8 become U+FFFD.
    """
    encoded = os.fsencode(_NO_BYTES.sub(lambda match: _escape(match[0]), os.fspath(text)))
    return "".join(c if c.isprintable() else _escape(c) for c in encoded.decode("utf-8", "replace"))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def describe_os_error(error: OSError) -> str:
    """Return the system's message in lower case, without the path."""
    return (error.strerror or str(error)).lower()


def one_of(names: list[str]) -> str:
    """Return names as an enumeration: ``a, b or c``."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if names[1:] else names[0]
