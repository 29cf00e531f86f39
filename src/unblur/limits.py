"""How much work a file may ask for, so that none can stop a run.

A file of a few kilobytes can claim thousands of parts, or pixels, that would take
hours. The limits here are far above what photos have. They grow with the size of
what is divided into parts, so that the time to read it grows no faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from unblur.errors import ExcessError, PhotoError

T = TypeVar("T")

ALWAYS_ALLOWED = 10_000
"""Parts that a file of any size may have."""
BYTES_OF_PART = 256
"""Each so many allow one part more."""

BYTES_OF_PIXEL = 8
"""Four samples of 16 bits that are not compressed: no format that is processed takes more."""
BYTES_BESIDE_PIXELS = 1 << 30
"""For metadata, layers, further pages and images, and a film: far more than photos have."""


def most_bytes(max_pixels: int) -> int:
    """Return how large the file of a photo of so many pixels can be."""
    return BYTES_OF_PIXEL * max_pixels + BYTES_BESIDE_PIXELS


def refuse_oversize(size: int, most: int | None) -> None:
    """Refuse a file by its size, before it is read as a whole.

    Args:
        size: In bytes, as far as known.
        most: What `most_bytes` allows; ``None`` is any size.

    Raises:
        PhotoError: If it is larger.
    """
    if most is not None and size > most:
        raise PhotoError(
            f"larger than {most / 1e9:.1f} GB, the most that a photo within --max-pixels "
            "can take; raise that if it is one"
        )


def refuse_excess(count: int, most: int, parts: str) -> None:
    """Refuse a file of too many parts.

    Args:
        count: How many it has, or at least.
        most: How many are allowed.
        parts: What they are, in the plural.

    Raises:
        ExcessError: If there are more than allowed.
    """
    if count > most:
        raise ExcessError(
            f"has more than {most:,} {parts}, far more than a photo needs; "
            "if it is one, save it anew in an image editor"
        )


def limited(parts: Iterable[T], size: int, name: str) -> Iterator[T]:
    """Yield the parts of a file as long as there are not too many.

    Args:
        parts: Of any kind.
        size: Bytes of which they are parts.
        name: What they are, in the plural.

    Raises:
        ExcessError: If there are too many.
    """
    most = ALWAYS_ALLOWED + size // BYTES_OF_PART
    for number, part in enumerate(parts, 1):
        if number > most:
            refuse_excess(number, most, name)
        yield part
