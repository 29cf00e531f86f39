"""Redraw a thumbnail of a photo with the crop, size and black bars of the old thumbnail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unblur.formats.pixels import reduced

MIN_LIKENESS = 0.85
"""Least correlation of a photo with its thumbnail. Thumbnails by cameras reach at least 0.91;
rotated or mirrored thumbnails reach at most 0.8."""
SAMPLES = 3
"""Size to which a photo is first reduced by averaging, relative to the thumbnail."""


@dataclass(frozen=True)
class Placement:
    """The part of a photo that a thumbnail shows, and its position in the thumbnail."""

    source: tuple[float, float, float, float]
    """Left, top, right and bottom in the photo."""
    target: tuple[int, int, int, int]
    """Left, top, right and bottom in the thumbnail; black bars are outside."""


def draw_like(old: NDArray[np.uint8], pixels: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Draw a photo like an old, small picture of it, with the same size, crop and black bars.

    Args:
        old: (h, w, 1 or 3), the picture.
        pixels: (H, W, 1 or 3), the photo, 8 or 16 bits.

    Returns:
        An array like ``old``; ``None`` if ``old`` shows something other than the photo.
    """
    height, width = pixels.shape[:2]
    rows, columns, channels = old.shape
    factor = max(1, min(width // columns, height // rows) // SAMPLES)
    photo = reduced(pixels, factor).convert("L" if channels == 1 else "RGB")
    placements = _placements((width, height), (columns, rows))
    drawings = [_place(photo, factor, placement, old) for placement in placements]
    likeness, drawn = max(drawings, key=lambda drawing: drawing[0])
    return drawn if likeness >= MIN_LIKENESS else None


def _place(
    photo: Image.Image, factor: int, placement: Placement, old: NDArray[np.uint8]
) -> tuple[float, NDArray[np.uint8]]:
    """Draw a reduced photo over a copy of the old thumbnail; return their likeness and the copy."""
    (x, y, x_stop, y_stop), (left, top, right, bottom) = placement.source, placement.target
    box = (x / factor, y / factor, x_stop / factor, y_stop / factor)
    # Of the tested filters, this one was the most similar to those of cameras.
    part = photo.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
    drawn = old.copy()
    drawn[top:bottom, left:right] = np.asarray(part).reshape(bottom - top, right - left, -1)
    return _likeness(drawn[top:bottom, left:right], old[top:bottom, left:right]), drawn


def _placements(photo: tuple[int, int], thumbnail: tuple[int, int]) -> Iterator[Placement]:
    """Yield the possible placements of a photo in a thumbnail; sizes are (W, H)."""
    (width, height), (columns, rows) = photo, thumbnail
    whole, full = (0.0, 0.0, float(width), float(height)), (0, 0, columns, rows)
    yield Placement(whole, full)  # stretched
    scale = min(columns / width, rows / height)
    left, top = _bar(columns, width * scale), _bar(rows, height * scale)
    yield Placement(whole, (left, top, columns - left, rows - top))  # between bars
    scale = max(columns / width, rows / height)
    x = max(0.0, (width - columns / scale) / 2)
    y = max(0.0, (height - rows / scale) / 2)
    yield Placement((x, y, width - x, height - y), full)  # cropped


def _bar(length: int, shown: float) -> int:
    """Return the width of each of two bars beside a photo of at least one pixel."""
    return min(round((length - shown) / 2), (length - 1) // 2)


def _likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the correlation of two pictures' brightness; 0 if either is uniform."""
    a, b = (picture.mean(axis=2) - picture.mean() for picture in (one, other))
    energy = float((a * a).sum() * (b * b).sum())
    return float((a * b).sum()) / energy**0.5 if energy else 0.0
