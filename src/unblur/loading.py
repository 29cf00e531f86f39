"""From a weights file to a `Deblurrer`, importing PyTorch no earlier than that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from unblur.deblurrer import Deblurrer


def load_deblurrer(
    weights: Path,
    *,
    device: str,
    tile: int | Literal["auto"],
    strength: float,
    max_memory: int | None,
    threads: int | Literal["auto"] | None = None,
    warn: Callable[[str], None],
) -> Deblurrer:
    """Load a network onto a device, once that has shown that it computes rightly.

    Args:
        weights: The file.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        tile: See `Deblurrer`, as for what follows.
        strength: Share of the change that is made.
        max_memory: Bytes of main memory that the program may take.
        threads: How many threads compute; ``auto`` for one for each core that may be
            used, ``None`` to leave it as it is.
        warn: Told in a sentence what the user should know, now or later.

    Raises:
        WeightsError: If the weights are missing or damaged.
        DeviceError: If a device was asked for and is missing or wrong.
        UsageError: If the tile is too small, or the strength no share.
    """
    # Threads that spin while they wait make a busy machine several times slower.
    # OpenMP reads this when PyTorch is imported, which is why imports are late.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from unblur.deblurrer import Deblurrer
    from unblur.devices import use_threads
    from unblur.self_test import working_device
    from unblur.weights import load_network

    if threads:
        use_threads(None if threads == "auto" else threads)
    network = load_network(weights)
    chosen = working_device(network, device, warn).type
    return Deblurrer(network, chosen, tile, strength=strength, max_memory=max_memory, warn=warn)
