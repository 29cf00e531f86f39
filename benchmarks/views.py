"""Time views of a photo.

``python -m benchmarks.views PHOTO --device cuda`` enlarges the photo to 12
megapixels and prints the seconds that its pixels take with 1, 2, 4 and 8 views;
reading and writing files is left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

from unblur.models.catalog import DEFAULT_MODEL, find_weights
from unblur.models.weights import load_network
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.options import NetworkOptions

ROUNDS = 3
"""Rounds of each; only the last counts, since the first ones prepare kernels."""


def main() -> None:
    """Print a row for each number of views."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    network = load_network(find_weights(DEFAULT_MODEL))
    with Image.open(options.photo) as photo:
        pixels = np.asarray(photo.convert("RGB").resize((4000, 3000)))
    for views in (1, 2, 4, 8):
        deblurrer = NetworkDeblurrer(network, NetworkOptions(device=options.device, views=views))
        for _ in range(ROUNDS):
            start = time.perf_counter()
            deblurrer(pixels)  # pixels in main memory, so that a GPU has finished
            seconds = time.perf_counter() - start
        print(f"| {views} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
