"""Limits on the work that a file can cause.

A few kilobytes can claim thousands of parts, or pixels, that would take hours. The
limits are far above those of photos, and grow with the size of what has the parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from unblur.errors import ExcessError, PhotoError

T = TypeVar("T")

ALWAYS_ALLOWED = 10_000
"""Parts that a file of any size may have."""
BYTES_OF_PART = 256
"""A file may have one more part for each so many bytes."""

BYTES_OF_PIXEL = 8
"""Four uncompressed samples of 16 bits, the most of any supported format."""
BYTES_BESIDE_PIXELS = 1 << 30
"""For metadata, layers, further pages and images, and a film: far more than photos have."""


def most_bytes(max_pixels: int) -> int:
    """Return the largest size of the file of a photo of so many pixels."""
    return BYTES_OF_PIXEL * max_pixels + BYTES_BESIDE_PIXELS


def refuse_oversize(size: int, most: int | None) -> None:
    """Raise `PhotoError` if a file of ``size`` bytes exceeds `most_bytes`, where that is given."""
    if most is not None and size > most:
        raise PhotoError(
            f"larger than {most / 1e9:.1f} GB, the most that a photo within --max-pixels "
            "can take; raise that if it is one"
        )


def refuse_excess(count: int, most: int, parts: str) -> None:
    """Raise `ExcessError` if a file has more than ``most`` parts, which are named in the plural."""
    if count > most:
        raise ExcessError(
            f"has more than {most:,} {parts}, far more than a photo needs; "
            "if it is one, save it anew in an image editor"
        )


def limited(parts: Iterable[T], size: int, name: str) -> Iterator[T]:
    """Yield the parts of a file, or raise `ExcessError` at the first that is too many.

    Args:
        parts: Parts of any kind.
        size: Bytes that they are parts of.
        name: Their name, in the plural.
    """
    most = ALWAYS_ALLOWED + size // BYTES_OF_PART
    for number, part in enumerate(parts, 1):
        if number > most:
            refuse_excess(number, most, name)
        yield part
