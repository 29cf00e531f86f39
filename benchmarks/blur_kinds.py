"""Judge the kind of blur that `unblur.blur` finds, on photos whose blur is known.

``python -m benchmarks.blur_kinds`` blurs held-out photos, on which nothing was trained or chosen:
by straight and hand-held motion in random directions, and by lenses out of focus. It prints the
kinds found, and the errors of lengths and angles. ``--training`` reads the other photos: the
thresholds were chosen on every tenth of them. ``--training --fit --every 10`` prints the factors
and powers with which `unblur.blur` computes a length from contours' widths. Real pairs are read in
equal parts, blurred and sharp.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.score import (
    ALIKE,
    BLURRED_THEMSELVES,
    SHARED,
    add_noise,
    soft_background,
    to_light,
    to_photo,
)
from training.data import photo_paths, read_pairs, read_pixels
from training.judging.fixed_blur import Array, convolve, motion_kernel, trajectory
from unblur.blur import Blur, Kind, excess_widths, find_blur, find_contours
from unblur.formats.any_format import decode
from unblur.score import measure_sharpness, read_luma

LENGTHS = ((4, 7), (7, 12), (12, 22), (22, 40))
"""Ranges of the motion's length in pixels."""
RADII = (1, 2, 3, 4.5, 6)
"""Radii of the circle of confusion in pixels."""
LARGEST = 704, 1056
"""Rows and columns cut out of the middle of each photo, for speed."""
CLEAR = 0.5
"""Largest width of a path, as a share of its length, with a clear direction."""
CONDITIONS = ("good", "noise", "night", "shallow")


@dataclass(frozen=True)
class Truth:
    """How a photo was blurred."""

    row: str
    """The condition's row in the table."""
    condition: str = "good"
    length: float = 0.0
    angle: float = 0.0
    """Counterclockwise from horizontal, in degrees from 0 to 180."""


def path_truth(path: Array) -> tuple[float, float, float]:
    """Return the extent of a path along and across its longest line, and the line's angle."""
    apart = path[:, None] - path[None]
    lengths = np.hypot(apart[..., 0], apart[..., 1])
    y, x = apart[np.unravel_index(lengths.argmax(), lengths.shape)]
    length = float(lengths.max())
    across = float(np.ptp(path @ np.array([-x, y]))) / length**2
    return length, across, float(np.degrees(np.arctan2(-y, x)) % 180)


def straight_path(length: float, rng: np.random.Generator) -> Array:
    """Draw a straight path at constant speed, (96, 2)."""
    turn, way = rng.uniform(0, np.pi), np.linspace(-length / 2, length / 2, 96)
    return np.stack([way * np.sin(turn), way * np.cos(turn)], 1).astype(np.float32)


def hand_path(lowest: float, longest: float, rng: np.random.Generator) -> Array:
    """Draw the path of a shaking hand with an extent within bounds, in pixels."""
    while True:
        path = trajectory(1.2 * rng.uniform(lowest, longest), rng)
        if lowest <= path_truth(path)[0] <= longest:
            return path


def disc(radius: float) -> Array:
    """Return the kernel of a lens out of focus."""
    half = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1).astype(np.float32)
    return kernel / kernel.sum()


class Camera:
    """Takes one photo under several conditions.

    Args:
        pixels: The photo, (H, W, 3) uint8.
        rng: Source of randomness.
    """

    def __init__(self, pixels: Array, rng: np.random.Generator) -> None:
        self.light = to_light(pixels.astype(np.float32) / 255)
        self.shallow = soft_background(self.light, rng)
        self._rng = rng

    def take(self, condition: str, kernel: Array | None = None) -> bytes:
        """Return the JPEG file of a photo that a kernel blurs."""
        scene = self.shallow if condition == "shallow" else self.light
        scene = scene if kernel is None else convolve(scene, kernel)
        scene = scene / 12 if condition == "night" else scene
        shot, read = {
            "noise": (1e-3, 4e-3),
            "night": (1e-4, 1e-3),
            "heavy noise": (2e-2, 4e-2),
        }.get(condition, (1e-5, 1e-3))
        return to_photo(add_noise(scene, shot, read, self._rng).repeat(3, axis=2))


def cut_middle(path: Path) -> Array:
    """Read a photo, halve it until it has at most 2.5 megapixels, and cut out its middle.

    Only grey is read: it takes a third of the time, and nothing else is measured.
    """
    pixels = read_pixels(path)
    while pixels.shape[0] * pixels.shape[1] > 2_500_000:
        pixels = np.asarray(Image.fromarray(pixels).reduce(2))
    (top, left), size = (
        [max(0, (side - most) // 2) for side, most in zip(pixels.shape, LARGEST, strict=False)],
        LARGEST,
    )
    cut = pixels[top : top + size[0], left : left + size[1]]
    return np.asarray(Image.fromarray(cut).convert("L"))[..., None]


def make_photos(path: Path) -> Iterator[tuple[Truth, bytes]]:
    """Make JPEG files of one photo, with all kinds of blur."""
    rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
    camera = Camera(cut_middle(path), rng)
    for condition in (*CONDITIONS, "heavy noise"):
        yield Truth(f"sharp, {condition}", condition), camera.take(condition)
    for lowest, longest in LENGTHS:
        paths = {
            "straight": straight_path(rng.uniform(lowest, longest), rng),
            "hand-held": hand_path(lowest, longest, rng),
        }
        for name, way in paths.items():
            length, across, angle = path_truth(way)
            clear = across < CLEAR
            row = f"{name} motion, {lowest} to {longest} px" if clear else "curled motion"
            for condition in ("good", str(rng.choice([*CONDITIONS[1:]]))):
                truth = Truth(row, condition, length if clear else 0.0, angle)
                yield truth, camera.take(condition, motion_kernel(way))
    for radius in RADII:
        yield Truth(f"out of focus, {radius:g} px"), camera.take("good", disc(radius))
    for radius in (2, 4.5):
        truth = Truth(f"out of focus, {radius:g} px, noise", "noise")
        yield truth, camera.take("noise", disc(radius))


def print_kinds(found: list[tuple[Truth, Blur]]) -> None:
    """Print how often each kind was found for each kind of blur."""
    rows: dict[str, Counter[Kind]] = defaultdict(Counter)
    for truth, blur in found:
        rows[truth.row][blur.kind] += 1
    print("| photos |", " | ".join(kind.value for kind in Kind), "| number |")
    print("|---" + "|--:" * (len(Kind) + 1) + "|")
    for row, kinds in rows.items():
        shares = " | ".join(f"{kinds[kind] / kinds.total():.0%}" for kind in Kind)
        print(f"| {row} | {shares} | {kinds.total()} |")


def print_lengths(found: list[tuple[Truth, Blur]]) -> None:
    """Print the errors of lengths and angles, for clear motions recognised as such."""
    motions = [(t, b) for t, b in found if t.length and b.kind is Kind.MOTION]
    groups = {"all": motions}
    groups |= {c: [pair for pair in motions if pair[0].condition == c] for c in CONDITIONS}
    groups |= {
        f"{low} to {high} px": [pair for pair in motions if low <= pair[0].length < high]
        for low, high in LENGTHS
    }
    print("\n| clear motions | length within a third | angle within 15° | within 30° | number |")
    print("|---|--:|--:|--:|--:|")
    for name, pairs in groups.items():
        if not pairs:
            continue
        ratio = np.array([(b.length or 0) / t.length for t, b in pairs])
        off = np.array([abs(((b.angle or 0) - t.angle + 90) % 180 - 90) for t, b in pairs])
        right = np.abs(ratio - 1) <= 1 / 3
        shares = " | ".join(f"{x.mean():.0%}" for x in (right, off <= 15, off <= 30))
        print(f"| {name} | {shares} | {len(pairs)} |")


def widths_of(pixels: Array) -> Array:
    """Return the widths of contours from which a motion's length is computed, (4,)."""
    luma = read_luma(pixels)
    return excess_widths(luma, find_contours(measure_sharpness(luma)).sides())


def print_fit(motions: list[tuple[float, Array]]) -> None:
    """Print the factor and the powers of the widths that best give the lengths of motions.

    Logarithms are fitted by least squares, reweighted so that some photos which were blurred
    before do not count (Holland and Welsch, "Robust regression using iteratively reweighted least
    squares", 1977, with Cauchy's weights). The factor is 6 % smaller than fitted: a third more and
    a third less of a length lie around 94 % of it, in logarithms.
    """
    lengths = np.log([length for length, _ in motions])
    widths = np.log([[np.e, *widths] for _, widths in motions])
    weights = np.ones(len(motions))
    for _ in range(30):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(widths * root[:, None], lengths * root, rcond=None)[0]
        weights = 1 / (1 + ((widths @ found - lengths) / 0.25) ** 2)
    print(
        f"{len(motions)} motions: factor {0.94 * np.exp(found[0]):.3f}, powers", found[1:].round(3)
    )


def fit(paths: list[Path]) -> None:
    """Fit the length of motions on photos."""
    motions = []
    for path in paths:
        for truth, data in make_photos(path):
            pixels = decode(data).pixels
            if truth.length and find_blur(pixels).kind is Kind.MOTION:
                motions.append((truth.length, widths_of(pixels)))
        print(path.stem, file=sys.stderr, flush=True)
    print_fit(motions)


def choose_paths(folder: Path, training: bool, every: int) -> list[Path]:
    """List every nth of the held-out photos, or of the others."""
    paths = [
        path
        for path in photo_paths(folder, held_out=not training)
        if not path.stem.startswith(ALIKE) and path.stem not in BLURRED_THEMSELVES
    ]
    return paths[::every]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    parser.add_argument(
        "--training",
        action="store_true",
        help="read the photos on which the thresholds were chosen",
    )
    parser.add_argument("--every", type=int, default=1, help="read every Nth photo only")
    parser.add_argument("--fit", action="store_true", help="only fit the length of motions")
    options = parser.parse_args()
    paths = choose_paths(options.photos, options.training, options.every)
    if options.fit:
        fit(paths)
        return
    found: list[tuple[Truth, Blur]] = []
    for pair in read_pairs(options.pairs, held_out=not options.training):
        found.append((Truth("video frames, sharp"), find_blur(pair.sharp)))
        found.append((Truth("video frames, blurred"), find_blur(pair.blurred)))
    seconds, megapixels = 0.0, 0.0
    for path in paths:
        for truth, data in make_photos(path):
            pixels = decode(data).pixels
            started = time.process_time()
            found.append((truth, find_blur(pixels)))
            seconds += time.process_time() - started
            megapixels += pixels.shape[0] * pixels.shape[1] / 1e6
        print(path.stem, file=sys.stderr, flush=True)
    print(f"{len(paths)} photos, {1000 * seconds / megapixels:.0f} ms per megapixel:\n")
    print_kinds(found)
    print_lengths(found)


if __name__ == "__main__":
    main()
