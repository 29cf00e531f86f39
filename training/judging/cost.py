"""Measure the cost of a network: multiply-adds per pixel, and seconds per megapixel."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from unblur.network.deblurrer import NetworkDeblurrer
from unblur.network.srn import SRN
from unblur.options import NetworkOptions

SIDE = 1024
"""Side in pixels of the timed photo, about a megapixel."""


def kmac_per_pixel(network: SRN) -> float:
    """Return the thousands of multiply-adds of convolutions per pixel of a photo."""
    side = 8 * network.config.multiple
    photo = torch.zeros(1, network.config.channels, side, side, device=network.output.weight.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(photo)
    return counter.get_total_flops() / 2 / side**2 / 1000  # a multiply-add counts as two


def seconds_per_megapixel(network: SRN, device: str, runs: int = 3) -> float:
    """Return the seconds that unblur takes for a megapixel on a device, in the fastest run."""
    deblurrer = NetworkDeblurrer(network, NetworkOptions(device=device))
    photo = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        deblurrer(photo)
        times.append(time.perf_counter() - begun)
    return min(times) / (SIDE**2 / 1e6)
