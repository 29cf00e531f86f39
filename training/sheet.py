"""Draw a contact sheet, to see what numbers do not show.

``python -m training.sheet WEIGHTS SHEET.png`` shows held-out photos and pairs before, after and
sharp. ``python -m training.sheet WEIGHTS SHEET.png PHOTO...`` shows any photos before and after.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from training.data import SHARED, Pixels, read_pixels
from training.judging.inference import deblur
from training.judging.validation import validation_sets
from unblur.models.weights import load_network
from unblur.network.srn import SRN

GAP = 4
"""White pixels between pictures."""


def middle(pixels: Pixels, height: int, width: int) -> Pixels:
    """Cut out the middle of a photo."""
    y, x = (
        max(0, (side - cut) // 2)
        for side, cut in zip(pixels.shape[:2], (height, width), strict=True)
    )
    return pixels[y : y + height, x : x + width]


def rows_of_photos(network: SRN, paths: list[Path]) -> Iterator[list[Pixels]]:
    """Yield photos before and after; each is deblurred whole."""
    for path in paths:
        before = read_pixels(path)
        yield [before, deblur(network, before)]


def rows_of_validation(network: SRN, photos: Path, pairs: Path) -> Iterator[list[Pixels]]:
    """Yield the photos of the validation sets before, after and sharp."""
    for held_out in validation_sets(photos, pairs).values():
        for pair in held_out:
            yield [pair.blurred, deblur(network, pair.blurred), pair.sharp]


def draw(rows: Iterator[list[Pixels]], height: int, width: int) -> Image.Image:
    """Put the middles of pictures side by side, row below row."""
    cut = [[middle(picture, height, width) for picture in row] for row in rows]
    columns = max(len(row) for row in cut)
    size = (columns * (width + GAP) - GAP, len(cut) * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    for y, row in enumerate(cut):
        for x, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (x * (width + GAP), y * (height + GAP)))
    return sheet


def main() -> None:
    """Draw a sheet from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("photos", type=Path, nargs="*")
    parser.add_argument("--size", default="400x300", help="size of each picture, WIDTHxHEIGHT")
    options = parser.parse_args()
    network = load_network(options.weights)
    width, height = map(int, options.size.split("x"))
    if options.photos:
        rows = rows_of_photos(network, options.photos)
    else:
        rows = rows_of_validation(network, SHARED / "photos", SHARED / "pairs")
    draw(rows, height, width).save(options.sheet)


if __name__ == "__main__":
    main()
