"""Measure the error of tiles, and that of naive tiles.

``python -m benchmarks.tiles PHOTO`` compares, in float32, the photo deblurred
in tiles with the photo deblurred in one piece: as the tool does it, and the
naive way, with all three scales inside each of overlapping square tiles.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unblur.models.catalog import find_weights
from unblur.models.weights import load_network
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.options import NetworkOptions

TILES = (128, 256, 512, 1024)
OVERLAPS = (32, 64, 128, 256)
WHOLE = 1 << 16
"""Side of a tile that any photo fits into."""


def naively(
    whole: NetworkDeblurrer, pixels: NDArray[np.uint8], tile: int, overlap: int
) -> tuple[NDArray[np.uint8], float]:
    """Deblur each tile on its own, and keep its middle.

    Returns:
        The result, and the pixels computed per pixel of the photo.
    """
    result, computed = np.empty_like(pixels), 0
    height, width = pixels.shape[:2]
    margin, step = overlap // 2, tile - overlap
    for top, left in itertools.product(range(0, height, step), range(0, width, step)):
        y, x = max(0, top - margin), max(0, left - margin)
        deblurred = whole(np.ascontiguousarray(pixels[y : y + tile, x : x + tile]))
        middle = deblurred[top - y : top - y + step, left - x : left - x + step]
        result[top : top + step, left : left + step] = middle
        computed += deblurred.shape[0] * deblurred.shape[1]
    return result, computed / (height * width)


def difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> str:
    """Return the difference of two results in words."""
    apart = np.abs(first.astype(float) - second)
    if not apart.any():
        return "none"
    psnr = 10 * np.log10(255**2 / np.square(apart).mean())
    return f"{psnr:.1f} dB, at most {apart.max():.0f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", default="srn-compact")
    options = parser.parse_args()
    network = load_network(find_weights(options.model))
    pixels = np.asarray(Image.open(options.photo).convert("RGB"))
    whole = NetworkDeblurrer(
        network, NetworkOptions(device="cpu", tile=WHOLE), precision=torch.float32
    )
    expected = whole(pixels)
    print("| tile | difference |\n|--:|--:|")
    for tile in TILES:
        result = NetworkDeblurrer(
            network, NetworkOptions(device="cpu", tile=tile), precision=torch.float32
        )(pixels)
        print(f"| {tile} | {difference(result, expected)} |")
    print("\n| naive: overlap of tiles of 512 | pixels computed | difference |\n|--:|--:|--:|")
    for overlap in OVERLAPS:
        result, computed = naively(whole, pixels, 512, overlap)
        print(f"| {overlap} | {computed:.2f} | {difference(result, expected)} |")


if __name__ == "__main__":
    main()
