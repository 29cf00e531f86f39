"""Compare GPUs with Vulkan to the same or other GPUs with PyTorch: time, and difference to float32.

``python -m benchmarks.vulkan`` uses all devices of this machine in turn, without reading or writing
files. ``--devices vulkan cpu --megapixels 0.05 --rounds 1`` is a rehearsal with a program that
plays a GPU (Debian: ``apt install libvulkan1 mesa-vulkan-drivers``).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unblur.models.weights import load_network, open_model
from unblur.network.deblurrer import NetworkDeblurrer
from unblur.network.device_kinds import CPU
from unblur.network.devices import OneDevice, available_devices, choose_device, choose_precision
from unblur.network.photo_rows import Pixels
from unblur.options import NetworkOptions

ROOT = Path(__file__).parents[1]


def read_photo(path: Path, megapixels: float) -> Pixels:
    """Return a photo with about this number of megapixels, (H, W, 3)."""
    photo = Image.open(path).convert("RGB")
    factor = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
    size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
    return np.asarray(photo.resize(size))


def deblurrers(names: list[str], model: str) -> Iterator[tuple[str, NetworkDeblurrer]]:
    """Yield each device in its usual precision and in float32, with a name."""
    network = load_network(open_model(model))
    for name in names:
        kind = choose_device(name)
        hardware = kind.hardware(torch)
        for precision in dict.fromkeys((choose_precision(kind), torch.float32)):
            options = NetworkOptions(device=name, tile="auto")
            devices = OneDevice(kind, kind.engine)
            label = f"{name} {str(precision).removeprefix('torch.')} ({hardware})"
            yield label, NetworkDeblurrer(network, options, devices=devices, precision=precision)


def seconds_of(deblur: NetworkDeblurrer, pixels: Pixels) -> float:
    """Return the seconds per photo."""
    started = time.perf_counter()
    deblur(pixels)
    return time.perf_counter() - started


def main() -> None:
    """Print one line per device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", nargs="+", default=[k.name for k in available_devices()])
    parser.add_argument("--model", default=NetworkOptions.model)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "street.jpg")
    options = parser.parse_args()
    pixels = read_photo(options.photo, options.megapixels)
    network = load_network(open_model(options.model))
    exact = NetworkDeblurrer(
        network,
        NetworkOptions(device="cpu"),
        devices=OneDevice(CPU, "torch"),
        precision=torch.float32,
    )(pixels)
    tried = dict(deblurrers(options.devices, options.model))
    results = {label: deblur(pixels) for label, deblur in tried.items()}  # warms up, too
    rounds = [
        {label: seconds_of(deblur, pixels) for label, deblur in tried.items()}
        for _ in range(options.rounds)
    ]
    for label, deblur in tried.items():
        errors = results[label].astype(np.int32) - exact
        psnr = -10 * np.log10(max(float((errors**2).mean()) / 255**2, 1e-12))
        seconds = statistics.median(values[label] for values in rounds)
        used = f"computed on {deblur.used['device']}, tile {deblur.used['tile']}"
        print(f"{label}: {seconds:.3f} s, {psnr:.1f} dB, at most {abs(errors).max()}; {used}")


if __name__ == "__main__":
    main()
