"""Classify the errors of a device: memory full, operation refused, or device lost."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum

import torch

from unblur.network import device_kinds
from unblur.network.device_kinds import DeviceKind


class Trouble(Enum):
    """A kind of device failure."""

    FULL = "its memory is full"
    REFUSAL = "it refused one operation, and still works"
    LOST = "it cannot be used any more in this process"


def trouble_of(kind: DeviceKind, error: BaseException) -> Trouble | None:
    """Return the kind of device failure that an error reports; ``None`` for other errors.

    After an illegal memory access or a crash of the driver, every later call fails. After an
    unsupported operation, the device works as before. If the message can mean either, the device
    computes a sum as a test.
    """
    if is_out_of_memory(error):
        return Trouble.FULL
    if _has_words(error, kind.refusal_words):
        return Trouble.REFUSAL if _still_works(kind) else Trouble.LOST
    is_of_driver = isinstance(error, getattr(torch, "AcceleratorError", ()))  # from 2.8 on
    return Trouble.LOST if is_of_driver or _has_words(error, kind.lost_words) else None


@dataclass(frozen=True)
class Setback:
    """Why a device could not deblur a photo."""

    problem: str
    """A few words for the user."""
    trouble: Trouble


def setback_of(kind: DeviceKind, error: Exception) -> Setback | None:
    """Return why a device could not deblur a photo; ``None`` if the device is not at fault."""
    trouble = trouble_of(kind, error)
    if trouble is None:
        return None
    return Setback("out of memory" if trouble is Trouble.FULL else first_line(error), trouble)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of any device, or main memory, ran out."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):  # of a memory map
        return error.errno == errno.ENOMEM
    return any(_has_words(error, kind.memory_words) for kind in device_kinds.KINDS)


def first_line(error: BaseException) -> str:
    """Return the first line of an error, or its type if it has no text."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _has_words(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in words)


def _still_works(kind: DeviceKind) -> bool:
    """Return whether a device can compute a sum; a device without free memory counts as working."""
    try:
        return float(torch.ones(2, device=kind.device).sum()) == 2
    except Exception as error:  # whatever a driver raises that is not there any more
        return is_out_of_memory(error)
