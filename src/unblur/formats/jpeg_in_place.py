"""Encode a JPEG picture into the bytes of an old picture, so that no offset changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

COARSER = (1.0, 1.2, 1.5, 2.0)
"""Factors of the old picture's quantisation steps, tried in turn."""


def code_within(
    room: int, coding: dict[str, Any], code: Callable[[dict[str, Any]], bytes]
) -> bytes | None:
    """Encode a picture at the highest quality that fits.

    Args:
        room: Number of bytes to fill.
        coding: The old picture's options for Pillow.
        code: Encodes the new picture with options.

    Returns:
        ``room`` bytes, padded with zeros; ``None`` if the picture does not fit.
    """
    codings = (code(options) for options in _options(coding))
    coded = next((coded for coded in codings if len(coded) <= room), None)
    return None if coded is None else coded.ljust(room, b"\0")


def _options(coding: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield options for Pillow; each gives fewer bytes than the last."""
    yield coding
    for factor in COARSER:
        tables = [[_coarser(step, factor) for step in table] for table in coding["qtables"]]
        yield coding | {"optimize": True, "qtables": tables}


def _coarser(step: int, factor: float) -> int:
    return max(step, min(255, round(factor * step)))
