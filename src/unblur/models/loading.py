"""Load weights into a `NetworkDeblurrer`, and import PyTorch only then."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from unblur.options import NetworkOptions

if TYPE_CHECKING:
    from unblur.models.weights import Weights
    from unblur.network.deblurrer import NetworkDeblurrer
    from unblur.network.srn import SRN


def prepare_torch() -> None:
    """Set variables that make PyTorch faster on CPUs; call this before importing PyTorch.

    Variables that the user has set are kept. OpenMP's threads spin only briefly while they wait:
    threads that spin for long make a busy machine several times slower, and threads that sleep at
    once wake slowly. Where Linux allows it, large tensors use huge pages, which the system prepares
    in far fewer steps.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # turns of a loop, in GNU's OpenMP
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # of PyTorch


def load_deblurrer(
    weights: Weights | SRN,
    options: NetworkOptions,
    *,
    is_named: bool | None = None,
    reserved: int = 0,
    warn: Callable[[str], None],
    tell: Callable[[str], None] = lambda text: None,
) -> NetworkDeblurrer:
    """Load a network onto a device, after testing that the device computes correctly.

    The test runs once for each version of PyTorch, of ncnn and of the driver.

    Args:
        weights: The network's weights, or the network itself on the CPU.
        options: Where and how to run the network.
        is_named: Whether the user wants this device and no other, so that the CPU does not replace
            a lost device. Default: whether ``options`` names a device.
        reserved: Bytes of main memory to leave free for other uses.
        warn: Called with a sentence for the user, now or during later photos.
        tell: Called with a sentence for ``--verbose``.

    Raises:
        WeightsError: If the weights are damaged.
        DeviceError: If the named device, or ncnn by name, is missing or computes wrongly.
        UsageError: If no device can have the name, or the named library cannot use the device.
    """
    prepare_torch()
    from unblur.models.device_caches import SelfTestCache, keep_gpu_list
    from unblur.models.weights import Weights, load_network
    from unblur.network.checked_devices import CheckedDevices
    from unblur.network.deblurrer import NetworkDeblurrer
    from unblur.network.device_errors import Trouble
    from unblur.network.devices import require_engine, use_threads
    from unblur.network.ncnn_library import load_ncnn

    if options.threads:
        use_threads(None if options.threads == "auto" else options.threads)
    if options.engine == "ncnn":
        load_ncnn()
    require_engine(options)
    keep_gpu_list()
    network = load_network(weights) if isinstance(weights, Weights) else weights
    devices = CheckedDevices(
        network, options.device, options.engine, SelfTestCache(), warn=warn, tell=tell
    )
    if is_named is None:
        is_named = options.device != "auto"
    fatal = {Trouble.LOST} if is_named else set()
    return NetworkDeblurrer(
        network, options, devices=devices, fatal=fatal, reserved=reserved, warn=warn
    )
