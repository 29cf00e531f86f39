"""Measure what tiles cost and what they change, for several overlaps.

``python -m benchmarks.tiles PHOTO`` compares, in float32, the photo deblurred
in tiles with the photo deblurred in one piece: scale by scale as the tool does
it, and the naive way, with all three scales inside each tile.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unblur import deblurrer as engine
from unblur.deblurrer import Deblurrer
from unblur.models import find_weights
from unblur.tiles import Floats, Joiner, plan_spans
from unblur.weights import load_network

OVERLAPS = (32, 64, 96, 128, 160)


def in_tiles(deblurrer: Deblurrer, pixels: NDArray[np.uint8], overlap: int) -> NDArray[np.uint8]:
    """Deblur scale by scale."""
    engine.OVERLAP_PX = overlap
    return deblurrer(pixels)


def naively(deblurrer: Deblurrer, pixels: NDArray[np.uint8], overlap: int) -> NDArray[np.uint8]:
    """Cut first, and run all scales inside each tile."""
    multiple = deblurrer.config.multiple
    padding = [(0, -side % multiple) for side in pixels.shape[:2]]
    padded = np.pad(pixels, [*padding, (0, 0)], mode="edge")
    rows, columns = (plan_spans(n, deblurrer.tile, overlap, multiple) for n in padded.shape[:2])
    result = np.empty_like(padded)

    def write(top: int, left: int, values: Floats) -> None:
        place = result[top : top + values.shape[1], left : left + values.shape[2]]
        place[...] = np.rint(values).transpose(1, 2, 0)

    joiner = Joiner(rows, columns, 3, write)
    for row, y in enumerate(rows):
        for column, x in enumerate(columns):
            tile = np.ascontiguousarray(padded[y.start : y.stop, x.start : x.stop])
            joiner.add(row, column, deblurrer(tile).transpose(2, 0, 1).astype(np.float32))
    return result[: pixels.shape[0], : pixels.shape[1]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", default="srn-compact")
    parser.add_argument("--tile", type=int, default=384)
    options = parser.parse_args()
    network = load_network(find_weights(options.model))
    pixels = np.asarray(Image.open(options.photo).convert("RGB"))
    whole = Deblurrer(network, "cpu", 1 << 16, torch.float32)(pixels).astype(float)
    tiled = Deblurrer(network, "cpu", options.tile, torch.float32)
    print("| overlap | pixels computed | scale by scale | naive |")
    print("|--:|--:|--:|--:|")
    for overlap in OVERLAPS:
        cells = []
        for way in (in_tiles, naively):
            difference = way(tiled, pixels, overlap) - whole
            psnr = 10 * np.log10(255**2 / max(np.square(difference).mean(), 1e-9))
            cells.append(f"{psnr:.1f} dB, at most {np.abs(difference).max():.0f}")
        spans = [plan_spans(n + -n % 32, options.tile, overlap, 32) for n in pixels.shape[:2]]
        cost = np.prod([sum(s.length for s in axis) / axis[-1].stop for axis in spans])
        print(f"| {overlap} | {cost:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
