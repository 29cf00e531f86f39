"""A test whether a device computes what the CPU computes.

Some drivers return black pictures, values that are not numbers, or their input, and
report no error. One tiny picture shows it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unblur.errors import DeviceError
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.devices import choose_device, choose_precision
from unblur.network.srn import SRN

SIDE_PX = 64
"""Side of the test picture; a CPU needs about a tenth of a second for it."""
SQUARES_PX, BLUR_PX = 8, 9
LEAST_PSNR_DB = 40.0
"""A device with a lower PSNR counts as wrong; bfloat16 on a CPU was measured at 70 dB."""
ONE_LEVEL = 1 / 255


def working_device(network: SRN, name: str, warn: Callable[[str], None]) -> DeviceKind:
    """Return the device with a name, after testing that it computes what the CPU does.

    Args:
        network: A network on the CPU; it stays there.
        name: ``auto``, or the name of a kind of device.
        warn: Called with the reason if ``auto`` does not take an available device.

    Raises:
        DeviceError: If the named device is missing or wrong; there is no silent fallback.
    """
    kind = choose_device(name)
    problem = None if kind is CPU else self_test(network, kind)
    if problem is None:
        return kind
    if name != "auto":
        raise DeviceError(
            f"device {name} failed its self-test: {problem}; use --device cpu, "
            f"and see unblur doctor"
        )
    warn(f"{kind.name} failed its self-test: {problem}; going on with the CPU")
    return CPU


def self_test(network: SRN, kind: DeviceKind) -> str | None:
    """Compare the result of a device, in its usual precision, with that of the CPU in float32.

    Args:
        network: A network on the CPU; it stays there.
        kind: A device that PyTorch sees.

    Returns:
        The problem in words, or ``None``.
    """
    picture = _blurred_squares(network)
    expected = _run(network, picture, torch.float32)
    try:
        moved = copy.deepcopy(network).to(kind.device)
        found = _run(moved, picture.to(kind.device), choose_precision(kind)).float().cpu()
    except RuntimeError as error:  # whatever a driver or a missing operator raises
        first_line = (str(error).splitlines() or [""])[0]
        return f"it cannot run the network ({type(error).__name__}: {first_line})"
    return _difference(picture, expected, found)


def _blurred_squares(network: SRN) -> Tensor:
    """Return coloured squares with motion blur, (planes, C, H, W) in [0, 1], channels-last."""
    channels, multiple = network.config.channels, network.config.multiple
    side = -(-SIDE_PX // multiple) * multiple
    count = side // SQUARES_PX + 2
    colors = torch.rand(3, count, count, generator=torch.Generator().manual_seed(0))
    squares = colors.repeat_interleave(SQUARES_PX, 1).repeat_interleave(SQUARES_PX, 2)
    blurred = nn.functional.avg_pool2d(squares, (1, BLUR_PX), stride=1)[:, :side, :side]
    batch = blurred.reshape(3 // channels, channels, side, side)
    return batch.contiguous(memory_format=torch.channels_last)


def _run(network: SRN, picture: Tensor, precision: torch.dtype) -> Tensor:
    with (
        torch.inference_mode(),
        torch.autocast(picture.device.type, precision, precision != torch.float32),
    ):
        result: Tensor = network(picture)[-1]
    return result


def _difference(picture: Tensor, expected: Tensor, found: Tensor) -> str | None:
    """Return the problem of a device's result in words, or ``None``."""
    if not bool(found.isfinite().all()):
        return "it returns values that are not numbers"
    psnr = float(-10 * (found - expected).square().mean().log10())
    if psnr >= LEAST_PSNR_DB:
        return None
    if float(found.abs().max()) < ONE_LEVEL:
        return "it returns a black picture"
    if float((found - picture).abs().max()) < ONE_LEVEL:
        return "it returns the picture unchanged"
    return (
        f"its result has a PSNR of {psnr:.0f} dB against the CPU's, "
        f"at least {LEAST_PSNR_DB:.0f} dB are needed"
    )
