"""Test a device: compare its results with those of PyTorch on the CPU in float32.

On a CPU with bfloat16, the test also measures which type is faster. ncnn is tested like a device.

Some drivers return black pictures, values that are not numbers, or their input, and report no
error. Others are wrong only for large arrays, or only in the operations that bands use: on Apple's
GPUs all three were seen (https://github.com/pytorch/pytorch/issues/89353, 95188, 104832, 180984).
Some processors compute wrongly in bfloat16 (163347, 169688), or slower than in float32 (183815). So
the test deblurs a picture in bands, and a picture as large as a band of a photo.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.network.deblurrer import NetworkDeblurrer, Networks
from unblur.network.device_errors import Trouble, first_line, is_out_of_memory
from unblur.network.device_kinds import CPU, DeviceKind
from unblur.network.device_network import Network
from unblur.network.devices import OneDevice, choose_precision, precision_name
from unblur.network.engines import EngineName
from unblur.network.memory import LARGEST_TILE_PX, TILE_STEP_PX, automatic_tile
from unblur.options import SMALLEST_TILE_PX, NetworkOptions

STRIP_PX = 640, 64
"""Height and width of the small picture, which is deblurred in several bands."""
PERIOD_PX = 64
"""Least period of the large picture, which is a pattern repeated in rows and columns."""
MOST_CPU_SIDE_PX = max(LARGEST_TILE_PX.values())
"""Longest side of the large picture on a CPU."""
MOST_SIDE_PX = 3072
"""Longest side of the large picture on a device that takes photos in one piece."""
SQUARES_PX, BLUR_PX = (3, 8), 9
"""Height and width of the rectangles in the pictures, and length of their blur."""
LEAST_PSNR_DB: dict[EngineName, float] = {"torch": 40.0, "ncnn": 60.0}
"""Least PSNR of each part of the small picture, by engine. With the embedded weights, bfloat16
reaches 54 dB, and ncnn in float32 86 dB."""
LEAST_LARGE_PSNR_DB = 35.0
"""Least PSNR of each part of the large picture. It is compared with a smaller picture, in which the
network sees less context: even float32 reaches only 46 dB."""
PRECISIONS = ("float32", "bfloat16", "float16")
RUNS, SLOWER = 2, 1.2
"""Number of timed runs, of which the fastest counts; and the least ratio of times that is not noise
of a busy machine."""
TRIES = 5
"""Number of measurements in a row that must find a type slower, because the result is stored for
later runs. On a busy machine, single ratios are wrong: 0.7 was measured as 0.5 to 2.7."""
NOT_NUMBERS, CANNOT_RUN = "not numbers", "it cannot run the network"

Picture: TypeAlias = NDArray[np.uint8]
"""(H, W, 3)."""
Run: TypeAlias = Callable[..., Picture]
"""Deblurs a picture; takes the last two arguments of `_run`."""


@dataclass(frozen=True)
class SelfTestResult:
    """The result of a device's self-test."""

    precision: str
    """PyTorch's name of the type to compute in: one of `PRECISIONS`."""
    problem: str = ""
    """Why the device cannot be used; empty if it can."""
    reason: str = ""
    """Why the device computes in float32, although it has a smaller type; or empty."""
    lasts: bool = True
    """Whether later tests would give the same result. A failed driver may work after a restart."""
    seconds: float = 0.0
    """Duration of the test; 0 without a test."""
    process: str = ""
    """The process that began an unfinished test; see `unblur.network.processes.own_process`."""


def needs_test(kind: DeviceKind, engine: EngineName) -> bool:
    """Return whether runs test a device with an engine.

    PyTorch's float32 on the CPU needs no test: all others are compared with it.
    """
    is_float32 = choose_precision(kind, engine) is torch.float32
    return kind is not CPU or engine != "torch" or not is_float32


def largest_side(network: Network, kind: DeviceKind, engine: EngineName) -> int:
    """Return the side of the large picture in pixels: the side of tiles for the free memory."""
    precision = choose_precision(kind, engine)
    tile = automatic_tile(network.config, precision, kind, engine=engine)
    most = MOST_CPU_SIDE_PX if kind is CPU else MOST_SIDE_PX
    if not kind.is_automatic(torch):  # a program that plays a GPU, and is slow
        most = SMALLEST_TILE_PX
    if kind.engine == "ncnn":  # fewer sizes, because each has a result of its own
        return max(SMALLEST_TILE_PX, 1 << min(most, tile).bit_length() - 1)
    return max(SMALLEST_TILE_PX, min(most, tile) // (2 * TILE_STEP_PX) * 2 * TILE_STEP_PX)


def examine(network: Network, kind: DeviceKind, engine: EngineName = "torch") -> SelfTestResult:
    """Test a device in its usual precision, and if that fails, in float32.

    On the CPU, a smaller type must also be faster than float32.

    Args:
        network: A network on the CPU; it stays there.
        kind: A device that is there.
        engine: The engine that computes on it.

    Raises:
        MemoryError: If the device's memory, or main memory, is too full for the test.
    """
    started, usual = time.perf_counter(), choose_precision(kind, engine)
    if kind is CPU and usual is not torch.float32:
        result = _of_fast_cpu(network, usual)
    else:
        result = _of_other(network, kind, usual, engine)
    return replace(result, seconds=round(time.perf_counter() - started, 3))


def _of_fast_cpu(network: Network, usual: torch.dtype) -> SelfTestResult:
    wrong = find_problem(network, CPU, usual)
    reason = wrong or _slowness(network, usual)
    if reason is None:
        return SelfTestResult(precision_name(usual))
    problem = (find_problem(network, CPU, torch.float32) if wrong else None) or ""
    text = f"with {precision_name(usual)} {reason}"
    return SelfTestResult("float32", problem, text, lasts=_lasts(reason))


def _of_other(
    network: Network, kind: DeviceKind, usual: torch.dtype, engine: EngineName
) -> SelfTestResult:
    problem, name = find_problem(network, kind, usual, engine), precision_name(usual)
    if problem is None:
        return SelfTestResult(name)
    if usual is torch.float32 or find_problem(network, kind, torch.float32, engine):
        return SelfTestResult(name, problem=problem, lasts=_lasts(problem))
    return SelfTestResult("float32", reason=f"with {name} {problem}", lasts=_lasts(problem))


def find_problem(
    network: Network, kind: DeviceKind, precision: torch.dtype, engine: EngineName = "torch"
) -> str | None:
    """Compare the results of a device with those of PyTorch on the CPU in float32.

    Args:
        network: A network on the CPU; it stays there.
        kind: A device that is there.
        precision: Data type of convolutions on the device.
        engine: The engine that computes on it.

    Returns:
        The problem, as the end of a sentence; ``None`` if the results are correct.

    Raises:
        MemoryError: See `examine`.
    """
    networks: Networks = {}  # compiling a network for a GPU may take longer than running it
    right = partial(_run, network, networks, CPU, torch.float32, "torch")
    tested = partial(_run, network, networks, kind, precision, engine)
    period = -(-PERIOD_PX // network.config.multiple) * network.config.multiple
    count = max(3, largest_side(network, kind, engine) // period)
    try:
        return _compare_bands(right, tested, LEAST_PSNR_DB[engine]) or _compare_large(
            right, tested, _blurred_squares(period, period), count
        )
    except PhotoError as error:  # of a network that returns no numbers even in float32
        if NOT_NUMBERS not in str(error):
            raise MemoryError from error
        return f"it returns values that are {NOT_NUMBERS}"
    except Exception as error:  # whatever a driver, an operator or a damaged library raises
        if is_out_of_memory(error):
            raise MemoryError from error
        cause = error.__cause__ or error  # of a lost device
        return f"{CANNOT_RUN} ({type(cause).__name__}: {first_line(cause)})"


def _compare_bands(right: Run, tested: Run, least: float) -> str | None:
    """Compare a small picture, deblurred in bands, with the same picture deblurred whole."""
    strip, (height, width) = _blurred_squares(*STRIP_PX), STRIP_PX
    found, expected = tested(strip, tile=SMALLEST_TILE_PX), right(strip)
    parts = (height // width, width, 1, width, 3)
    expected, found = expected.reshape(parts), found.reshape(parts)
    return _difference(strip.reshape(parts), expected, found, least)


def _compare_large(right: Run, tested: Run, pattern: Picture, count: int) -> str | None:
    """Compare each repetition in a large picture with the centre of a small picture.

    The outermost repetitions are left out, because the network sees the picture's edge there.

    Args:
        right: Deblurs a picture with PyTorch.
        tested: Deblurs a picture on the tested device.
        pattern: The picture to repeat, (side, side, 3).
        count: Repetitions in each direction.
    """
    period, around = len(pattern), slice(1, -1)
    large = np.tile(pattern, (count, count, 1))
    found = _parts(tested(large), period)[around, :, around]
    small = _parts(right(np.tile(pattern, (3, 3, 1))), period)
    expected = small[around, :, around]
    return _difference(pattern[None, :, None], expected, found, LEAST_LARGE_PSNR_DB)


def _parts(picture: Picture, side: int) -> NDArray[np.uint8]:
    """Return the squares of a picture: (rows, side, columns, side, 3)."""
    height, width = picture.shape[:2]
    return picture.reshape(height // side, side, width // side, side, 3)


def _blurred_squares(height: int, width: int) -> Picture:
    """Return coloured rectangles with horizontal motion blur, which wraps around at the edges."""
    rows, columns = SQUARES_PX
    shape = -(-height // rows), -(-width // columns), 3
    squares = np.random.default_rng(0).integers(0, 256, shape)
    sharp = squares.repeat(rows, 0).repeat(columns, 1)[:height, :width]
    shifted = [np.roll(sharp, shift, axis=1) for shift in range(BLUR_PX)]
    blurred: Picture = np.mean(shifted, axis=0).astype(np.uint8)
    return blurred


def _run(
    network: Network,
    networks: Networks,
    kind: DeviceKind,
    precision: torch.dtype,
    engine: EngineName,
    picture: Picture,
    tile: int | Literal["auto"] = "auto",
) -> Picture:
    """Deblur a picture like a photo, but never on another device.

    Raises:
        PhotoError: If values overflowed in any precision, or main memory is full.
        RuntimeError: If the device fails.
        DeviceError: If the device is lost.
    """
    deblur = _deblurrer(network, networks, kind, precision, engine, tile)
    result = deblur(picture)
    if deblur.overflowed:
        raise PhotoError(NOT_NUMBERS)
    return result.astype(np.uint8, copy=False)


def _deblurrer(
    network: Network,
    networks: Networks,
    kind: DeviceKind,
    precision: torch.dtype,
    engine: EngineName,
    tile: int | Literal["auto"],
) -> NetworkDeblurrer:
    options, devices = NetworkOptions(device=kind.name, tile=tile), OneDevice(kind, engine)
    return NetworkDeblurrer(
        network, options, devices=devices, precision=precision, networks=networks,
        fatal=frozenset(Trouble),
    )  # fmt: skip


def _slowness(network: Network, usual: torch.dtype) -> str | None:
    """Return by how much a type is slower than float32 on the CPU; ``None`` if it is not."""
    both = [
        _deblurrer(network, {}, CPU, precision, "torch", MOST_CPU_SIDE_PX)
        for precision in (usual, torch.float32)
    ]
    least = math.inf
    for _ in range(TRIES):
        least = min(least, _time_ratio(*both))
        if least <= SLOWER:
            return None
    return f"it takes {least:.2f} times as long"


def _time_ratio(one: NetworkDeblurrer, other: NetworkDeblurrer) -> float:
    """Return the ratio of the times that two deblurrers take for the same picture."""
    picture, times = _blurred_squares(*STRIP_PX), []
    for _ in range(RUNS):
        for deblur in (one, other):  # in turns, because other programs come and go
            started = time.perf_counter()
            deblur(picture)
            times.append(time.perf_counter() - started)
    return min(times[::2]) / min(times[1::2])


def _difference(
    picture: NDArray[np.uint8],
    expected: NDArray[np.uint8],
    found: NDArray[np.uint8],
    least: float,
) -> str | None:
    """Return the problem of a device's result, as the end of a sentence; or ``None``.

    Args:
        picture: Parts of the picture, (rows, side, columns, side, 3), or one part for all.
        expected: Parts of the CPU's result.
        found: Parts of the device's result.
        least: Least PSNR of each part, in dB.
    """
    errors = np.square(found.astype(np.int32) - expected).mean(axis=(1, 3, 4)) / 255**2
    psnr = -10 * math.log10(max(float(errors.max()), 1e-10))
    if psnr >= least:
        return None
    if not found.any():
        return "it returns a black picture"
    if (found == picture).all():
        return "it returns the picture unchanged"
    return (
        f"a part of its result has a PSNR of {math.floor(psnr)} dB against the CPU's, "
        f"at least {least:.0f} dB are needed"
    )


def _lasts(problem: str) -> bool:
    return not problem.startswith(CANNOT_RUN)
