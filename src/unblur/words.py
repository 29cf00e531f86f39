"""Text for users: what a terminal can be given, and why the system refused something."""

from __future__ import annotations

import os
import re

_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte of a file name, see `os.fsencode`."""


def printable(text: str | os.PathLike[str]) -> str:
    r"""Return text on one line that a terminal shows and does not obey.

    Control characters, line ends, marks that turn the direction of writing and lone surrogates
    are escaped as in Python: ``\x1b``, ``\n``, ``\u202e``. Bytes of file names that are no UTF-8
    become U+FFFD. What is printable already stays as it is.
    """
    encoded = os.fsencode(_NO_BYTES.sub(lambda match: _escape(match[0]), os.fspath(text)))
    return "".join(c if c.isprintable() else _escape(c) for c in encoded.decode("utf-8", "replace"))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def describe_os_error(error: OSError) -> str:
    """Return the system's reason in lower case, without the path."""
    return (error.strerror or str(error)).lower()
