"""Decode and encode the pixels of 10- and 12-bit AVIF photos, with the extra ``deep``.

Pillow would reduce them to 8 bits. imagecodecs always encodes the full range with the matrix of
BT.601, and writes range and matrix into the file's colour space, where
`unblur.formats.bmff_items.splice` keeps them.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from unblur.extras import load_extra
from unblur.formats.pixels import rounded, widened
from unblur.main_memory import require_memory

SPEED = 6
"""Speed of encoding, the default of Pillow and of libavif's programs."""
FINEST_LOSSY = 99
"""Highest lossy quality: imagecodecs encodes quality 100 without loss, but only as 4:4:4."""


def decode(data: bytes, depth: int, width: int, height: int) -> NDArray[np.uint16]:
    """Decode the pixels of a file, (H, W, 1 or 3), scaled from ``depth`` to 16 bits.

    Args:
        data: A file of one image.
        depth: 10 or 12.
        width: In pixels.
        height: In pixels.

    Raises:
        PhotoError: If the extra is missing, or memory is short.
        ValueError: If the file has another depth or size.
        Exception: If the file is damaged, of imagecodecs' own type.
    """
    library = _load_library(depth)
    require_memory(2 * 2 * 3 * width * height)
    samples: NDArray[np.uint16] = library.avif_decode(data)
    if samples.dtype != np.uint16 or samples.shape[:2] != (height, width):
        raise ValueError("has pixels of another kind than its header tells")
    return widened(samples.reshape(height, width, -1), depth)


def code(pixels: NDArray[np.uint16], *, bit_depth: int, subsampling: str, quality: int) -> bytes:
    """Encode (H, W, 1 or 3) pixels, scaled to 16 bits, as a file without metadata.

    Args:
        pixels: The pixels.
        bit_depth: 10 or 12.
        subsampling: Chroma subsampling as in Pillow, such as ``4:2:0``; ``4:0:0`` is grey.
        quality: 0 to 100.
    """
    samples = rounded(pixels, bit_depth)
    if samples.shape[2] == 1:  # two-dimensional arrays would be encoded without loss
        samples = np.repeat(samples, 3, axis=2)
    if subsampling != "4:4:4":
        quality = min(quality, FINEST_LOSSY)
    coded: bytes = _load_library(bit_depth).avif_encode(
        samples,
        quality,
        speed=SPEED,
        bitspersample=bit_depth,
        pixelformat="yuv" + subsampling.replace(":", ""),
    )
    return coded


def _load_library(depth: int) -> ModuleType:
    return load_extra("imagecodecs", "deep", f"{depth}-bit AVIF files")
