"""Load a weights file into a `Deblurrer`; PyTorch is imported only then."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from unblur.network.deblurrer import Deblurrer
    from unblur.network.srn import SRN


def limit_openmp_spinning() -> None:
    """Limit how long PyTorch's threads spin while they wait; call it before PyTorch is imported.

    Long spinning makes a busy machine several times slower. Without spinning, waking the
    threads takes a tenth of the time on an idle machine.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")  # turns of a loop, in GNU's OpenMP


def load_deblurrer(
    network: Path | SRN,
    *,
    device: str,
    tile: int | Literal["auto"],
    strength: float,
    views: int,
    max_memory: int | None,
    reserved: int = 0,
    threads: int | Literal["auto"] | None = None,
    warn: Callable[[str], None],
) -> Deblurrer:
    """Load a network onto a device, once that has shown that it computes rightly.

    Args:
        network: The file of its weights, or the network itself on the CPU.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        tile: See `Deblurrer`, as for what follows.
        strength: Share of the change that is made.
        views: How many views of a photo the result is the mean of.
        max_memory: Bytes of main memory that the program may take; by default what is free.
        reserved: Of these, what is needed for something else.
        threads: How many threads compute; ``auto`` for one for each core that may be
            used, ``None`` to leave it as it is.
        warn: Told in a sentence what the user should know, now or later.

    Raises:
        WeightsError: If the weights are missing or damaged.
        DeviceError: If a device was asked for and is missing or wrong.
        UsageError: If the tile is too small, the strength no share, or there are not so many views.
    """
    limit_openmp_spinning()
    from unblur.models.weights import load_network
    from unblur.network.deblurrer import Deblurrer
    from unblur.network.devices import use_threads
    from unblur.network.self_test import working_device

    if threads:
        use_threads(None if threads == "auto" else threads)
    if isinstance(network, Path):
        network = load_network(network)
    chosen = working_device(network, device, warn).type
    return Deblurrer(
        network,
        chosen,
        tile,
        strength=strength,
        views=views,
        max_memory=max_memory,
        reserved=reserved,
        warn=warn,
    )
