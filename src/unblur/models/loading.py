"""Load a weights file into a `Deblurrer`; PyTorch is imported only then."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from unblur.options import Engine

if TYPE_CHECKING:
    from unblur.models.weights import Weights
    from unblur.network.deblurrer import Deblurrer
    from unblur.network.srn import SRN


def prepare_torch() -> None:
    """Set variables that make PyTorch faster on CPUs; call this before importing PyTorch.

    Variables that the user has set stay. OpenMP's threads spin only briefly while they wait:
    threads that spin for long make a busy machine several times slower, and threads that sleep at
    once take long to wake. Large tensors lie in huge pages of memory, where Linux allows it: the
    system then prepares them in far fewer steps.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # turns of a loop, in GNU's OpenMP
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # of PyTorch


def load_deblurrer(
    weights: Weights | SRN,
    engine: Engine,
    *,
    is_named: bool | None = None,
    reserved: int = 0,
    warn: Callable[[str], None],
    tell: Callable[[str], None] = lambda text: None,
) -> Deblurrer:
    """Load a network onto a device, after testing that the device computes correctly.

    The test is made once for each version of PyTorch, of ncnn and of the driver.

    Args:
        weights: The network's weights, or the network itself on the CPU.
        engine: Where and how to run the network.
        is_named: Whether the user wants this device and no other: a lost one is not replaced by
            the CPU. By default, whether ``engine`` names one.
        reserved: Bytes of main memory that are needed for something else.
        warn: Called with a sentence that the user should read, now or later.
        tell: Called with a sentence for the curious.

    Raises:
        WeightsError: If the weights are damaged.
        DeviceError: If a device or ncnn was asked for and is missing or computes wrongly.
        UsageError: If the tile is too small, no device has the name, or another library computes
            on it than the one that is asked for.
    """
    prepare_torch()
    from unblur.models.device_caches import SelfTestCache, keep_gpu_list
    from unblur.models.weights import Weights, load_network
    from unblur.network.checked_devices import CheckedDevices
    from unblur.network.deblurrer import Deblurrer
    from unblur.network.device_errors import Trouble
    from unblur.network.devices import require_library, use_threads
    from unblur.network.ncnn_library import load_ncnn

    if engine.threads:
        use_threads(None if engine.threads == "auto" else engine.threads)
    if engine.backend == "ncnn":
        load_ncnn()
    require_library(engine)
    keep_gpu_list()
    network = load_network(weights) if isinstance(weights, Weights) else weights
    devices = CheckedDevices(
        network, engine.device, engine.backend, SelfTestCache(), warn=warn, tell=tell
    )
    if is_named is None:
        is_named = engine.device != "auto"
    fatal = {Trouble.LOST} if is_named else set()
    return Deblurrer(network, engine, devices=devices, fatal=fatal, reserved=reserved, warn=warn)
