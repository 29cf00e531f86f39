"""Time decoding and encoding of a large JPEG photo on one core, without the network."""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unblur.formats import any_format

T = TypeVar("T")

WIDTH_PX, HEIGHT_PX = 4000, 3000
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def make_photo(path: Path, quality: int, subsampling: str) -> bytes:
    """Tile a photo to 12 megapixels, and code it as JPEG."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    down, across = -(-HEIGHT_PX // pixels.shape[0]), -(-WIDTH_PX // pixels.shape[1])
    pixels = np.tile(pixels, (down, across, 1))[:HEIGHT_PX, :WIDTH_PX]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def sharper(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Change every pixel, as a deblurred photo would be."""
    change = pixels.astype(np.int16) - np.roll(pixels, 1, axis=0)
    changed: NDArray[np.uint8] = np.clip(pixels + change // 2, 0, 255).astype(np.uint8)
    return changed


def fastest(function: Callable[[], T], rounds: int) -> tuple[T, float]:
    """Return a function's result, and the processor seconds of its fastest round."""
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        result = function()
        seconds.append(time.process_time() - started)
    return result, min(seconds)


def main() -> None:
    """Print a row for each chroma subsampling."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--quality", type=int, default=92)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for subsampling in SAMPLINGS:
        data = make_photo(options.photo, options.quality, subsampling)
        photo, decoding = fastest(partial(any_format.decode, data), options.rounds)
        pixels = sharper(photo.pixels)
        encoded, encoding = fastest(partial(any_format.encode, photo, pixels), options.rounds)
        size = len(encoded.data) / 1e6
        print(f"{subsampling}: decode {decoding:.3f} s, encode {encoding:.3f} s, {size:.2f} MB")


if __name__ == "__main__":
    main()
