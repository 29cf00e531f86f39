"""Import libraries that compute in threads of OpenMP, so that these threads wait well."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from unblur.forks import count_forks

T = TypeVar("T")
_forks = count_forks()
"""The number when this module was imported; it is higher in a copy of the process."""

VARIABLES = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "10000",  # turns of a loop, in GNU's OpenMP
    "THP_MEM_ALLOC_ENABLE": "1",  # of PyTorch
}
"""Variables that PyTorch and libraries of OpenMP read only while they are loaded."""


@contextlib.contextmanager
def openmp_variables() -> Iterator[None]:
    """Set `VARIABLES` while a library is imported; variables that the user has set are kept.

    OpenMP's threads then spin only briefly while they wait: threads that spin for long make a busy
    machine several times slower, and threads that sleep at once wake slowly. Where Linux allows it,
    PyTorch's large tensors use huge pages, which the system prepares in far fewer steps.

    Afterwards the environment is as before: it belongs to the program that uses this package.
    """
    added = [name for name in VARIABLES if name not in os.environ]
    os.environ.update({name: VARIABLES[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def import_torch() -> None:
    """Import PyTorch, if it is not imported yet; see `openmp_variables`."""
    if "torch" not in sys.modules:
        with openmp_variables():
            import torch

            torch.empty(1)  # reads THP_MEM_ALLOC_ENABLE


def computed(compute: Callable[[], T]) -> T:
    """Return what a function computes with OpenMP, also in a process made by ``fork``.

    GNU's OpenMP keeps threads for each thread that computes. A fork copies the thread that called
    it but not those threads, and would wait for them for ever. A new thread gets its own.
    """
    if count_forks() == _forks:
        return compute()
    with ThreadPoolExecutor(1) as new_thread:
        return new_thread.submit(compute).result()
