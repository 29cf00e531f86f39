"""Compare measures that tell blurred photos from sharp ones, without the sharp scene.

``python -m benchmarks.score`` blurs held-out photos, on which nothing was trained or chosen, under
seven conditions. For each measure it prints how well it separates the blurred from the sharp
photos, and its cost. ``--training`` reads the other photos, on which the measure and its constants
were chosen.

Lengths of blur are in thousandths of the photo's diagonal, as `blur_score` is.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data import FIRST_HELD_OUT, named_photos, photo_paths, read_pairs, read_pixels
from training.judging.fixed_blur import Array, convolve, motion_kernel, trajectory
from unblur.formats.any_format import decode, decode_reduced
from unblur.models.catalog import DEFAULT_MODEL, find_weights
from unblur.models.weights import load_network
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.options import BLURRY_LEVEL, NetworkOptions
from unblur.score import blur_score

SHARED = Path(__file__).parents[2] / "shared"
GAMMA = 2.2
SHARP, LENGTHS = 0, (1, 2, 4, 8, 16)
VISIBLE = LENGTHS[1:]
"""Lengths of blur that a measure should find; a thousandth of the diagonal is hardly visible."""
BLURRED_THEMSELVES = ("mate_storm",)
"""Photos whose whole scene rushes past: not examples of sharp photos."""
ALIKE = "gopro_"
"""Frames of one video."""
LEVELS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
"""Scores that a user may choose as the level."""

Key = tuple[str, int]
"""A condition and a length."""


def to_light(image: Array) -> Array:
    """Undo the camera's response."""
    return image**GAMMA


def to_photo(light: Array, quality: int = 92) -> bytes:
    """Return the JPEG file that a camera would write."""
    encoded = np.clip(light, 0, 1) ** (1 / GAMMA)
    buffer = io.BytesIO()
    Image.fromarray(np.round(encoded * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def add_noise(light: Array, shot: float, read: float, rng: np.random.Generator) -> Array:
    """Add noise whose variance is ``shot`` times the light and ``read`` squared."""
    spread = np.sqrt(np.maximum(light, 0) * shot + read**2)
    return light + rng.standard_normal(light.shape, np.float32) * spread.astype(np.float32)


def resized(light: Array, scale: float) -> Array:
    """Enlarge or shrink a photo."""
    size = round(light.shape[1] * scale), round(light.shape[0] * scale)
    encoded = np.clip(light, 0, 1) ** (1 / GAMMA)
    image = Image.fromarray(np.round(encoded * 255).astype(np.uint8))
    resampling = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS
    return to_light(np.asarray(image.resize(size, resampling), np.float32) / 255)


def soft_background(light: Array, rng: np.random.Generator) -> Array:
    """Leave a fifth of the photo in focus, and blur the rest with a disc of 25 pixels."""
    height, width = light.shape[:2]
    y, x = np.mgrid[:height, :width]
    middle = rng.uniform(0.35, 0.65, 2)
    distance = np.hypot(y / height - middle[0], x / width - middle[1])
    subject = np.clip((0.28 - distance) / 0.08, 0, 1).astype(np.float32)[..., None]
    y, x = np.mgrid[-14:15, -14:15]
    disc = np.clip(12.5 - np.hypot(y, x), 0, 1).astype(np.float32)
    soft = convolve(light, disc / disc.sum())
    return soft + subject * (light - soft)


def make_photos(path: Path) -> Iterator[tuple[Key, bytes]]:
    """Make JPEG files of one photo, for each condition and length."""
    rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
    light = to_light(read_pixels(path).astype(np.float32) / 255)
    shallow = soft_background(light, rng)
    diagonal = float(np.hypot(*light.shape[:2]))
    for length in (SHARP, *LENGTHS):
        scene, portrait = light, shallow
        if length:
            kernel = motion_kernel(trajectory(length * diagonal / 1000, rng))
            scene, portrait = convolve(light, kernel), convolve(shallow, kernel)
        good = add_noise(scene, 1e-5, 1e-3, rng)
        yield ("good", length), to_photo(good)
        yield ("JPEG 40", length), to_photo(good, 40)
        yield ("noise", length), to_photo(add_noise(scene, 1e-3, 4e-3, rng))
        yield ("night", length), to_photo(add_noise(scene / 12, 1e-4, 1e-3, rng))
        yield ("shallow", length), to_photo(add_noise(portrait, 1e-5, 1e-3, rng))
        for name, scale in (("half size", 0.5), ("double size", 2)):
            yield (name, length), to_photo(add_noise(resized(scene, scale), 1e-5, 1e-3, rng))


CONDITIONS = ("good", "JPEG 40", "noise", "night", "shallow", "half size", "double size")

# Measures take luma (H, W) float32 from 0 to 255, and are larger the more blurred it is.


def laplacian_variance(luma: Array) -> float:
    """Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000."""
    return -float(np.log(laplacian(luma).var() + 1e-6))


def sharpest_laplacian_variance(luma: Array) -> float:
    """The 95th percentile of the same measure over tiles."""
    return -float(np.log(np.percentile(tiled(laplacian(luma), 64).var(axis=(1, 3)), 95) + 1e-6))


def tenengrad(luma: Array) -> float:
    """Krotkov, "Focusing", 1987: mean energy of Sobel's gradients."""
    across, down = sobel(luma), sobel(luma.T).T
    return -float(np.log((across**2 + down**2).mean() + 1e-6))


def spectral_slope(luma: Array) -> float:
    """Field, "Relations between the statistics of natural images", 1987: of log power."""
    side = min(512, *luma.shape)
    window = np.hanning(side)[:, None] * np.hanning(side)
    y, x = ((length - side) // 2 for length in luma.shape)
    cut = luma[y : y + side, x : x + side]
    power = np.abs(np.fft.rfft2((cut - cut.mean()) * window)) ** 2
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    ring = np.round(np.hypot(down, across) * side).astype(int).ravel()
    mean = np.bincount(ring, power.ravel()) / np.bincount(ring)
    rings = np.arange(8, side // 2)
    return -float(np.polyfit(np.log(rings), np.log(mean[rings] + 1e-9), 1)[0])


def edge_width(luma: Array) -> float:
    """Marziliano et al., "Perceptual blur and ringing metrics", 2004: the mean, in pixels."""
    return max(float(widths.mean()) for widths, _ in (edges(luma), edges(luma.T)))


def cpbd(luma: Array) -> float:
    """Narvekar and Karam, "A no-reference image blur metric based on CPBD", 2011."""
    seen = []
    for widths, contrasts in (edges(luma), edges(luma.T)):
        just_noticed = np.where(contrasts <= 50, 5, 3)
        blur_noticed = 1 - np.exp(-((widths / just_noticed) ** 3.6))
        seen.append(1 - float((blur_noticed <= 0.63).mean()))
    return max(seen)


def reblur(luma: Array) -> float:
    """Crété et al., "The blur effect", 2007: what a second blur still changes."""
    effects = []
    for image in (luma, luma.T):
        sums = np.cumsum(np.pad(image, ((0, 0), (5, 6)), mode="edge"), axis=1, dtype=np.float64)
        smooth = (sums[:, 10:-1] - np.pad(sums, ((0, 0), (1, 0)))[:, :-12]) / 11
        before, after = np.abs(np.diff(image)), np.abs(np.diff(smooth))
        lost = np.maximum(0, before - after)
        effects.append(1 - float(lost.sum() / max(before.sum(), 1e-6)))
    return max(effects)


def phase_coherence(luma: Array) -> float:
    """Hassen et al., "Image sharpness assessment based on local phase coherence" (LPC-SI), 2013.

    On the middle 1024 pixels at most: it takes 24 Fourier transforms.
    """
    height, width = (min(1024, length) for length in luma.shape)
    y, x = (luma.shape[0] - height) // 2, (luma.shape[1] - width) // 2
    cut = luma[y : y + height, x : x + width]
    spectrum = np.fft.fft2(cut - cut.mean())
    down, across = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
    radius, angle = np.hypot(down, across), np.arctan2(-down, across)
    radius[0, 0] = 1
    coherent = np.zeros(cut.shape)
    total = np.zeros(cut.shape)
    for turn in np.arange(8) * np.pi / 8:
        apart = np.abs(np.angle(np.exp(1j * (angle - turn))))
        wedge = spectrum * np.exp(-(apart**2) / (2 * (np.pi / 12) ** 2))
        wedge[0, 0] = 0
        fine, middle, coarse = (
            np.fft.ifft2(wedge * np.exp(-(np.log(radius * 4 * s) ** 2) / (2 * np.log(0.33) ** 2)))
            for s in (1, 1.5, 2)
        )
        phase = np.angle(fine) - 3 * np.angle(middle) + 2 * np.angle(coarse)
        coherent += np.abs(fine) * np.maximum(0, np.cos(phase))
        total += np.abs(fine)
    ranked = np.sort((coherent / (total + 2)).ravel())[::-1]
    weights = np.exp(-np.linspace(0, 1, ranked.size) / 1e-4)
    return -float((weights * ranked).sum() / weights.sum())


def own(luma: Array) -> float:
    """Return this project's measure."""
    return blur_score(np.round(luma)[..., None].astype(np.uint8))


def make_deblurrer() -> NetworkDeblurrer:
    """Load the default network."""
    return NetworkDeblurrer(load_network(find_weights(DEFAULT_MODEL)), NetworkOptions(device="cpu"))


def make_network_change() -> Callable[[Array], float]:
    """Return a measure: the change that the default network makes in the middle 512 pixels."""
    deblurrer = make_deblurrer()

    def network_change(luma: Array) -> float:
        y, x = (max(0, length - 512) // 2 for length in luma.shape)
        cut = np.round(luma[y : y + 512, x : x + 512, None]).astype(np.uint8).repeat(3, axis=2)
        return float(np.abs(deblurrer(cut).astype(np.float32) - cut).mean())

    return network_change


def laplacian(luma: Array) -> Array:
    """Filter with the four-neighbour Laplacian."""
    around = luma[1:-1, :-2] + luma[1:-1, 2:] + luma[:-2, 1:-1] + luma[2:, 1:-1]
    return around - 4 * luma[1:-1, 1:-1]


def sobel(luma: Array) -> Array:
    """Filter with Sobel's horizontal derivative."""
    across = luma[:, 2:] - luma[:, :-2]
    return across[:-2] + 2 * across[1:-1] + across[2:]


def tiled(values: Array, side: int) -> Array:
    """Cut into (rows, side, columns, side)."""
    rows, columns = (length // side for length in values.shape)
    return values[: rows * side, : columns * side].reshape(rows, side, columns, side)


def edges(luma: Array) -> tuple[Array, Array]:
    """Find strong vertical edges; return their widths and contrasts between local extrema."""
    slope = np.pad(sobel(luma), 1)
    size = np.abs(slope)
    is_peak = np.zeros(size.shape, bool)
    is_peak[:, 1:-1] = (size[:, 1:-1] >= size[:, :-2]) & (size[:, 1:-1] > size[:, 2:])
    rows, columns = np.nonzero(is_peak & (size > 2 * np.sqrt((slope**2).mean())))
    sign = np.sign(slope[rows, columns])
    ends = []
    for step in (-1, 1):
        at = columns.copy()
        for _ in range(40):
            further = np.clip(at + step, 0, luma.shape[1] - 1)
            goes_on = (luma[rows, further] - luma[rows, at]) * sign * step > 0
            if not goes_on.any():
                break
            at = np.where(goes_on, further, at)
        ends.append(at)
    return (ends[1] - ends[0]).astype(np.float32), np.abs(luma[rows, ends[1]] - luma[rows, ends[0]])


MEASURES: dict[str, Callable[[Array], float]] = {
    "variance of the Laplacian": laplacian_variance,
    "the same, sharpest tiles": sharpest_laplacian_variance,
    "Tenengrad": tenengrad,
    "spectral slope": spectral_slope,
    "local phase coherence": phase_coherence,
    "edge width": edge_width,
    "CPBD": cpbd,
    "re-blur": reblur,
    "`blur_score`": own,
}


def roc_area(sharp: list[float], blurred: list[float]) -> float:
    """Return the share of pairs in which the blurred photo scores higher; ties count half."""
    difference = np.subtract.outer(blurred, sharp)
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


class Table:
    """Values of all measures for all photos, and their times."""

    def __init__(self, measures: dict[str, Callable[[Array], float]]) -> None:
        self.measures = measures
        self.values: dict[str, dict[Key, list[float]]] = {
            name: defaultdict(list) for name in measures
        }
        self.seconds: dict[str, float] = defaultdict(float)
        self.megapixels = 0.0

    def add(self, key: Key, luma: Array) -> None:
        """Measure a photo."""
        self.megapixels += luma.size / 1e6
        for name, measure in self.measures.items():
            started = time.process_time()
            self.values[name][key].append(measure(luma))
            self.seconds[name] += time.process_time() - started

    def take(self, name: str, conditions: tuple[str, ...], lengths: tuple[int, ...]) -> list[float]:
        """Return a measure's values under conditions, at lengths."""
        values = self.values[name]
        return [value for c in conditions for length in lengths for value in values[c, length]]

    def area(self, name: str, conditions: tuple[str, ...], lengths: tuple[int, ...]) -> float:
        """Return the area under a measure's ROC curve."""
        sharp = self.take(name, conditions, (SHARP,))
        return roc_area(sharp, self.take(name, conditions, lengths))

    def print_areas(self) -> None:
        """Print how well each measure separates blurred from sharp photos, and its cost."""
        print("| measure |", " | ".join(f"{n}‰" for n in LENGTHS), end=" | ")
        print(" | ".join(CONDITIONS), "| real | all | ms per megapixel |")
        print("|---" + "|--:" * (len(LENGTHS) + len(CONDITIONS) + 3) + "|")
        for name in self.measures:
            areas = [self.area(name, CONDITIONS, (length,)) for length in LENGTHS]
            areas += [self.area(name, (condition,), VISIBLE) for condition in CONDITIONS]
            areas += [self.area(name, ("real",), (1,)), self.area(name, CONDITIONS, VISIBLE)]
            cost = 1000 * self.seconds[name] / self.megapixels
            print(f"| {name} |", " | ".join(f"{a:.2f}" for a in areas), f"| {cost:.0f} |")

    def print_rates(self, name: str, level: float) -> None:
        """Print the numbers of sharp and blurred photos that reach a level."""
        print(f"\n| {name} at {level:.2f} | sharp |", " | ".join(f"{n}‰" for n in LENGTHS), "|")
        print("|---" + "|--:" * (len(LENGTHS) + 1) + "|")
        for label, conditions in (*((c, (c,)) for c in CONDITIONS), ("all", CONDITIONS)):
            rates = [
                np.mean(np.array(self.take(name, conditions, (length,))) >= level)
                for length in (SHARP, *LENGTHS)
            ]
            print(f"| {label} |", " | ".join(f"{rate:.0%}" for rate in rates), "|")

    def print_levels(self, name: str) -> None:
        """Print the numbers of photos that reach the levels that a user may choose."""
        print(
            "\n| level | sharp |", " | ".join(f"{n}‰" for n in LENGTHS), "| real, sharp | blurred |"
        )
        print("|--:" * (len(LENGTHS) + 4) + "|")
        for level in LEVELS:
            kinds = [(CONDITIONS, n) for n in (SHARP, *LENGTHS)]
            kinds += [(("real",), SHARP), (("real",), 1)]
            rates = [np.mean(np.array(self.take(name, c, (n,))) >= level) for c, n in kinds]
            print(f"| {level} |", " | ".join(f"{rate:.0%}" for rate in rates), "|")


def print_cost(path: Path, rounds: int = 3) -> None:
    """Time scoring and deblurring of one photo in turn, at three sizes."""
    deblurrer = make_deblurrer()
    light = to_light(read_pixels(path).astype(np.float32) / 255)
    print("| photo | score | deblur | share |\n|---|--:|--:|--:|")
    for scale in (0.5, 1, 2):
        data = to_photo(resized(light, scale))
        pixels = decode(data).pixels
        seconds: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            started = time.process_time()
            blur_score(decode_reduced(data)[0].pixels)
            scored = time.process_time()
            deblurrer(pixels)
            seconds["score"].append(scored - started)
            seconds["deblur"].append(time.process_time() - scored)
        score, deblur = (statistics.median(seconds[name]) for name in ("score", "deblur"))
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        print(f"| {size} | {1000 * score:.0f} ms | {deblur:.1f} s | {score / deblur:.1%} |")


def luma_of(pixels: NDArray[np.uint8]) -> Array:
    """Return Pillow's luma of RGB pixels."""
    return np.asarray(Image.fromarray(pixels).convert("L"), np.float32)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--pairs", type=Path, default=SHARED / "pairs")
    parser.add_argument(
        "--training", action="store_true", help="read the photos on which the measure was chosen"
    )
    parser.add_argument("--every", type=int, default=1, help="read every Nth photo only")
    parser.add_argument("--own", action="store_true", help="only this project's measure")
    parser.add_argument("--network", action="store_true", help="also measure the network's change")
    parser.add_argument(
        "--cost", action="store_true", help="only time the measure beside deblurring"
    )
    options = parser.parse_args()
    if options.cost:
        print_cost(named_photos(options.photos, FIRST_HELD_OUT)[0])
        return
    measures = {"`blur_score`": own} if options.own else dict(MEASURES)
    if options.network:
        measures["what the network changes"] = make_network_change()
    table = Table(measures)
    for pair in read_pairs(options.pairs, held_out=not options.training):
        table.add(("real", SHARP), luma_of(pair.sharp))
        table.add(("real", 1), luma_of(pair.blurred))
    photos = (
        photo_paths(options.photos, held_out=False)
        if options.training
        else named_photos(options.photos, FIRST_HELD_OUT)
    )
    paths = [
        path
        for path in photos
        if not path.stem.startswith(ALIKE) and path.stem not in BLURRED_THEMSELVES
    ]
    for path in paths[:: options.every]:
        for key, photo in make_photos(path):
            reduced, _ = decode_reduced(photo)
            table.add(key, reduced.pixels[..., 0].astype(np.float32))
        print(path.stem, file=sys.stderr, flush=True)
    print(f"{len(paths[:: options.every])} photos, ROC area:\n")
    table.print_areas()
    table.print_rates("`blur_score`", BLURRY_LEVEL)
    table.print_levels("`blur_score`")


if __name__ == "__main__":
    main()
