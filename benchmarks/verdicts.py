"""Judge the verdict lines of `unblur.pictures.verdict`, on photos whose blur is known.

``python -m benchmarks.verdicts`` blurs held-out photos, on which nothing was trained or chosen,
adds the noise and the processing of a phone, and deblurs them. It prints how often each kind is
found, from the photo alone and with the change made by deblurring. ``--training`` reads the other
photos; the rules were chosen on every sixteenth of them. Each photo takes about 16 core-seconds.
"""

from __future__ import annotations

import argparse
import io
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.blur_kinds import (
    CLEAR,
    disc,
    hand_path,
    path_truth,
    straight_path,
)
from benchmarks.score import ALIKE, BLURRED_THEMSELVES, SHARED, add_noise, to_light
from training.data import Pixels, photo_paths, read_pixels
from training.judging.fixed_blur import Array, convolve, encode, motion_kernel, to_uint8
from unblur.blur import Blur, Kind, find_blur
from unblur.models.catalog import DEFAULT_MODEL, find_weights
from unblur.models.weights import load_network
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.options import NetworkOptions
from unblur.pictures.change import measure_change
from unblur.pictures.verdict import Verdict, judge_change

LARGEST = 512, 768
"""Rows and columns cut out of the middle of each photo, for speed."""
FEWEST_PIXELS = 600_000
"""Least number of pixels of a photo, since photos are also used at half their size."""
STRAIGHT = ((2, 4), (4, 6), (6, 12), (12, 25))
HAND = ((2, 4), (6, 12), (6, 12), (12, 25), (12, 25))
"""Ranges of the motion's length in pixels."""
RADII = (1, 2, 3, 4.5)
"""Radii of the circle of confusion in pixels."""
KINDS = ("sharp", "mostly sharp", "moved", "looks out of focus", "blurred a little", "unclear")
"""Columns of the table: how verdict lines start; the last stands for other lines."""


@dataclass(frozen=True)
class Truth:
    """How a photo was blurred."""

    row: str
    """The condition's row in the table."""
    length: float = 0.0
    """Largest extent of the motion's path in pixels; 0 for other blur."""


@dataclass(frozen=True)
class Finding:
    """Result for one photo."""

    truth: Truth
    before: Blur
    """Result from the photo alone."""
    verdict: Verdict


class Phone:
    """Takes photos of one scene.

    Args:
        pixels: The scene, (H, W, 3) uint8.
        rng: Source of randomness.
    """

    def __init__(self, pixels: Pixels, rng: np.random.Generator) -> None:
        self._light = to_light(pixels.astype(np.float32) / 255)
        self._rng = rng

    def take(self, kernel: Array | None = None) -> Pixels:
        """Return a photo that a kernel blurs: with noise, often sharpened, coded as JPEG."""
        scene = self._light if kernel is None else convolve(self._light, kernel)
        shot, read = 10 ** self._rng.uniform(-5, -3), 10 ** self._rng.uniform(-3.3, -2.5)
        noisy = add_noise(scene, shot, read, self._rng)
        image = Image.fromarray(to_uint8(encode(noisy, 2.2)))
        if self._rng.random() < 0.5:
            amount = int(self._rng.integers(20, 80))
            image = image.filter(ImageFilter.UnsharpMask(1, amount, 2))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(self._rng.integers(85, 96)))
        return np.asarray(Image.open(file))


def cut_middle(pixels: Pixels) -> Pixels:
    """Cut out the middle of a photo."""
    (top, left), (height, width) = (
        [max(0, (side - most) // 2) for side, most in zip(pixels.shape, LARGEST, strict=False)],
        LARGEST,
    )
    return pixels[top : top + height, left : left + width]


def make_photos(path: Path) -> Iterator[tuple[Truth, Pixels]]:
    """Take photos of one scene, with all kinds of blur."""
    rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
    pixels = read_pixels(path)
    phone = Phone(cut_middle(pixels), rng)
    yield Truth("sharp, as it is"), cut_middle(pixels)
    yield Truth("sharp, by a phone"), phone.take()
    half = cut_middle(read_pixels(path, 2))
    yield Truth("sharp, half size"), Phone(half, rng).take()
    for bounds in STRAIGHT:
        way = straight_path(rng.uniform(*bounds), rng)
        yield _motion_truth("straight", bounds, way), phone.take(motion_kernel(way))
    for bounds in HAND:
        way = hand_path(*bounds, rng)
        yield _motion_truth("hand-held", bounds, way), phone.take(motion_kernel(way))
    for radius in RADII:
        yield Truth(f"out of focus, {radius:g} px"), phone.take(disc(radius))


def _motion_truth(name: str, bounds: tuple[int, int], way: Array) -> Truth:
    length, across, _ = path_truth(way)
    row = f"{name} motion, {bounds[0]} to {bounds[1]} px"
    return Truth(f"{row}, crooked" if across >= CLEAR else row, length)


def choose_paths(folder: Path, training: bool, every: int) -> list[Path]:
    """List every nth of the larger held-out photos, or of the larger others."""
    paths = [
        path
        for path in photo_paths(folder, held_out=not training)
        if not path.stem.startswith(ALIKE) and path.stem not in BLURRED_THEMSELVES
    ]
    return [path for path in paths if _pixel_count(path) >= FEWEST_PIXELS][::every]


def _pixel_count(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def find(truth: Truth, pixels: Pixels, deblur: Callable[[Pixels], Pixels]) -> Finding:
    """Judge one photo."""
    before = find_blur(pixels)
    share = measure_change(pixels, deblur(pixels)).share
    return Finding(truth, before, judge_change(before, share, pixels.shape))


def kind_of(verdict: Verdict) -> str:
    """Return the column of the table."""
    line = str(verdict)
    return next((kind for kind in KINDS if line.startswith(kind)), KINDS[-1])


def print_kinds(found: list[Finding]) -> None:
    """Print how often each kind is found, and in brackets how often from the photos alone."""
    rows: dict[str, list[Finding]] = defaultdict(list)
    for finding in found:
        rows[finding.truth.row].append(finding)
    print("| photos |", " | ".join(KINDS), "| number |")
    print("|---" + "|--:" * (len(KINDS) + 1) + "|")
    for row, findings in sorted(rows.items()):
        after = Counter(kind_of(f.verdict) for f in findings)
        before = Counter(kind_of(Verdict(f.before, 0)) for f in findings)
        cells = " | ".join(f"{after[kind]} ({before[kind]})" for kind in KINDS)
        print(f"| {row} | {cells} | {len(findings)} |")


def print_lengths(found: list[Finding]) -> None:
    """Print the errors of the lengths of motions, with and without a direction."""
    print("\n| motions | length within a third | within half and double | number |")
    print("|---|--:|--:|--:|")
    for low, high in ((2, 4), (4, 6), (6, 12), (12, 25)):
        for name, has_angle in (("with", True), ("without", False)):
            ratio = np.array(
                [
                    (f.verdict.blur.length or 0) / f.truth.length
                    for f in found
                    if low <= f.truth.length < high
                    and f.verdict.blur.kind is Kind.MOTION
                    and (f.verdict.blur.angle is not None) is has_angle
                ]
            )
            if len(ratio):
                third, double = np.abs(ratio - 1) <= 1 / 3, np.abs(np.log2(ratio)) <= 1
                shares = f"{third.mean():.0%} | {double.mean():.0%} | {len(ratio)}"
                print(f"| {low} to {high} px, {name} a direction | {shares} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument(
        "--training", action="store_true", help="read the photos on which the rules were chosen"
    )
    parser.add_argument("--every", type=int, default=1, help="read every Nth photo only")
    parser.add_argument("--model", type=Path, default=None, help="weights of another network")
    options = parser.parse_args()
    weights = find_weights(DEFAULT_MODEL) if options.model is None else options.model
    deblur = NetworkDeblurrer(load_network(weights), NetworkOptions(device="cpu"))
    found = []
    for path in choose_paths(options.photos, options.training, options.every):
        found += [find(truth, pixels, deblur) for truth, pixels in make_photos(path)]
        print(path.stem, file=sys.stderr, flush=True)
    print_kinds(found)
    print_lengths(found)


if __name__ == "__main__":
    main()
