"""Everything that can go wrong for a user, each with its exit code.

UnblurError                 1   one photo could not be deblurred
├─ PhotoError               1   the file is no photo that can be processed
│  └─ ExcessError           1   the file has far more parts than a photo
├─ UsageError               2   the request contradicts itself
├─ WeightsError             4   the weights are missing or damaged
└─ DeviceError              5   the requested device is not there, or computes wrongly
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the program; a stable part of its interface."""

    OK = 0
    """Everything that was asked for is done; skipped photos count as done."""
    FAILED = 1
    """At least one photo failed; the others are done."""
    USAGE = 2
    """The command line is wrong; nothing was done."""
    NOTHING_TO_DO = 3
    """There was no photo to process."""
    WEIGHTS = 4
    """The weights are missing or damaged."""
    DEVICE = 5
    """The requested device is not available, or computes wrongly."""
    HUNG_UP = 129
    """Stopped because its terminal was closed (128 + SIGHUP)."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C (128 + SIGINT)."""
    TERMINATED = 143
    """Stopped by SIGTERM (128 + SIGTERM)."""


class UnblurError(Exception):
    """Base of all errors whose message is meant for the user."""

    exit_code = ExitCode.FAILED


class PhotoError(UnblurError):
    """A file that is no photo, or not one that can be processed."""


class ExcessError(PhotoError, ValueError):
    """A file that asks for far more work than its pixels are worth.

    It is a `ValueError`, too: whoever reads only metadata takes it for damage.
    """


class UsageError(UnblurError):
    """A request that contradicts itself."""

    exit_code = ExitCode.USAGE


class WeightsError(UnblurError):
    """Weights that are missing, damaged, or of another network."""

    exit_code = ExitCode.WEIGHTS


class DeviceError(UnblurError):
    """A device that was asked for and is not there, or computes wrongly."""

    exit_code = ExitCode.DEVICE
