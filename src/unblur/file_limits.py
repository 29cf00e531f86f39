"""Limits on the work that a file can cause.

A file of a few kilobytes can claim thousands of parts, or pixels, that would take hours to
process. The limits are far above those of real photos, and grow with the file's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TypeVar

from unblur import user_text
from unblur.errors import ExcessError, PhotoError

T = TypeVar("T")

ALWAYS_ALLOWED = 10_000
"""Number of parts that a file of any size may have."""
BYTES_OF_PART = 256
"""A file may have one more part for each of these many bytes."""

BYTES_OF_PIXEL = 8
"""Four uncompressed samples of 16 bits, the most of any supported format."""
BYTES_BESIDE_PIXELS = 1 << 30
"""Bytes for metadata, layers, further pages and images, and a video: far more than photos have."""


def most_bytes(max_pixels: int) -> int:
    """Return the largest file size in bytes for a photo of at most ``max_pixels`` pixels."""
    return BYTES_OF_PIXEL * max_pixels + BYTES_BESIDE_PIXELS


def refuse_oversize(size: int, most: int | None) -> None:
    """Raise `PhotoError` if a file has more than ``most`` bytes; ``None``: no limit."""
    if most is not None and size > most:
        raise PhotoError(
            f"larger than {user_text.size(most, math.floor)}, the most that a photo within "
            "--max-pixels can take; raise that if it is one"
        )


def refuse_excess(count: int, most: int, parts: str) -> None:
    """Raise `ExcessError` if a file has more than ``most`` parts; ``parts`` names them, plural."""
    if count > most:
        raise ExcessError(
            f"has more than {most:,} {parts}, far more than a photo needs; "
            "if it is one, save it again in an image editor"
        )


def limited(parts: Iterable[T], size: int, name: str) -> Iterator[T]:
    """Yield the parts of a file; raise `ExcessError` as soon as there are too many.

    Args:
        parts: Parts of any kind.
        size: Size in bytes of the data that has the parts.
        name: Name of the parts, in the plural.
    """
    most = ALWAYS_ALLOWED + size // BYTES_OF_PART
    for number, part in enumerate(parts, 1):
        if number > most:
            refuse_excess(number, most, name)
        yield part
