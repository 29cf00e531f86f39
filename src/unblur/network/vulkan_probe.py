"""List GPUs with Vulkan in another process, because a driver may end the process or block it.

The list is stored, so that this takes time only once a day, or when drivers change.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from unblur.config import (
    common_config_folder,
    common_data_folder,
    system_config_folders,
    system_data_folders,
)
from unblur.network import processes
from unblur.network.ncnn_library import ncnn_version
from unblur.network.vulkan_gpus import VulkanGpu, load_drivers

ANSWER_SECONDS = 20.0
"""Time limit for the other process; drivers that wake many GPUs take some seconds."""
VALID_SECONDS = 24 * 3600.0
"""Age after which a stored list is made again. On Windows and macOS, only the age shows that a
driver may have changed."""
CHILD = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from unblur.network.vulkan_gpus import print_gpus; print_gpus()"
)
"""Python program of the other process."""
LOADED = "loaded"
"""Value of `GpuListing.loaded_by` after a process has loaded the drivers and survived."""
DEVICE_FILES = "dri/*", "nvidia*"
"""Patterns of the files of GPUs in ``/dev``."""


@dataclass(frozen=True)
class GpuListing:
    """The GPUs of this machine, or why they cannot be listed."""

    gpus: tuple[VulkanGpu, ...] = ()
    """The fastest type first."""
    problem: str = ""
    """Why GPUs could not be listed; empty if they were."""
    loaded_by: str = ""
    """The process that loads the drivers for the first time, `LOADED`, or empty."""


class Store(Protocol):
    """Keeps the list of GPUs from one run to the next, as a JSON object."""

    def read(self) -> dict[str, Any]:
        """Return the stored values; empty if there are none."""

    def write(self, values: dict[str, Any]) -> None:
        """Store values, if that is possible."""

    def delete(self) -> None:
        """Delete the stored values."""


class InMainMemory:
    """A `Store` for this process only, until `keep_in` names a better one."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """See `Store.read`."""
        return self._values

    def write(self, values: dict[str, Any]) -> None:
        """See `Store.write`."""
        self._values = values

    def delete(self) -> None:
        """See `Store.delete`."""
        self._values = {}


_store: Store = InMainMemory()


def keep_in(store: Store) -> None:
    """Keep the list of GPUs in a store, for later runs."""
    global _store
    _store = store


def list_gpus() -> GpuListing:
    """Return the GPUs that this machine has now, from the store if nothing has changed."""
    state = _state()
    known, age = _stored(state)
    if known and 0 <= age < VALID_SECONDS:
        return known
    listing = replace(_ask(), loaded_by=known.loaded_by if known else "")
    _remember(state, listing)
    return listing


def load_here(listing: GpuListing) -> GpuListing:
    """Load the drivers of listed GPUs in this process.

    Some drivers end a program only together with its other libraries. So the first attempt is
    recorded.
    """
    if listing.loaded_by and listing.loaded_by != LOADED:
        if not processes.is_running(listing.loaded_by):
            return GpuListing(problem="a driver ended the program that loaded it")
    elif listing.loaded_by == LOADED:
        return GpuListing(load_drivers())
    state = _state()
    _remember(state, replace(listing, loaded_by=processes.own_process()))
    gpus = load_drivers()
    _remember(state, replace(listing, loaded_by=LOADED))
    return GpuListing(gpus)


def forget() -> None:
    """Delete the stored list."""
    _store.delete()


def _ask() -> GpuListing:
    """List the GPUs in another process; if none can be started, in this one."""
    if not Path(sys.executable or "").stem.lower().startswith(("python", "pypy")):
        return GpuListing(load_drivers())  # inside another program, which cannot be started so
    command = [sys.executable, "-I", "-c", CHILD, *sys.path]
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL, creationflags=flags,
        )  # fmt: skip
    except OSError:
        return GpuListing(load_drivers())
    try:
        output, _ = child.communicate(timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # inside the system's kernel
            child.communicate(timeout=1)
        return GpuListing(problem=f"a driver did not answer within {ANSWER_SECONDS:.0f} seconds")
    return _read_answer(output, child.returncode)


def _read_answer(output: bytes, code: int) -> GpuListing:
    try:
        return _listing({"gpus": json.loads(output.splitlines()[-1])})
    except (ValueError, TypeError, IndexError):
        return GpuListing(problem=f"a driver ended the program that listed GPUs (exit code {code})")


def _listing(values: dict[str, Any]) -> GpuListing:
    """Return a list from JSON; raise `TypeError` if it is damaged."""
    texts = {name: str(values.get(name, "")) for name in ("problem", "loaded_by")}
    return GpuListing(tuple(VulkanGpu(**gpu) for gpu in values["gpus"]), **texts)


def _stored(state: str) -> tuple[GpuListing | None, float]:
    """Return the list stored for a state of the machine, and its age in seconds."""
    values = _store.read()
    try:
        if values["state"] == state:
            return _listing(values), time.time() - values["time"]
    except (TypeError, KeyError):  # empty or damaged
        pass
    return None, 0


def _remember(state: str, listing: GpuListing) -> None:
    _store.write({"state": state, "time": time.time()} | asdict(listing))


def _state() -> str:
    """Return a text that changes with drivers or GPUs: from settings, and from files on Linux.

    Drivers are named by files in folders that Vulkan's loader defines:
    https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md
    """
    folders = [
        *(common_config_folder(), *system_config_folders(), Path("/etc")),
        *(common_data_folder(), *system_data_folders()),
    ]
    drivers = [file for folder in folders for file in _files_in(folder, "vulkan/icd.d/*.json")]
    devices = [file for pattern in DEVICE_FILES for file in _files_in(Path("/dev"), pattern)]
    parts = [ncnn_version(), platform.version(), *map(_stamp, drivers), *devices]
    parts += [f"{name}={text}" for name, text in sorted(os.environ.items()) if "VULKAN" in name
              or name.startswith("VK_")]  # fmt: skip
    return "; ".join(parts)


def _files_in(folder: Path, pattern: str) -> list[str]:
    """Return the files that match a pattern; none in folders that cannot be read.

    ``Path.glob`` would raise an error, such as for the home folder of another user.
    """
    return sorted(glob.glob(str(Path(glob.escape(str(folder)), pattern))))  # noqa: PTH207 (see above)


def _stamp(file: str) -> str:
    try:
        return f"{file} {Path(file).stat().st_mtime_ns}"
    except OSError:
        return file
