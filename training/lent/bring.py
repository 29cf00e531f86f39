"""Choose the files of a training that the machine sends home, within its limits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from training.lent.machine import COMPILED, Machine

MOST_FILES, MOST_BYTES, MOST_BYTES_OF_A_FILE = 8, 60_000_000, 16_000_000
"""Limits for all that comes home with one command."""
MOST_PIECES = 2
"""Most pieces of compiled kernels that come home, beside reports and weights."""
LOG, TABLES = "log.txt", "tables.txt"
"""Names at home of the training's log and of all tables together."""


def bring_home(machine: Machine, out: Path) -> list[str]:
    """Copy the most important files to the folder that is sent home; return their names.

    It is called again and again, because a command that is stopped at its time limit sends what is
    there. Files that did not change are not copied again.
    """
    out.mkdir(parents=True, exist_ok=True)
    chosen: dict[str, Path] = {}
    room = MOST_BYTES
    for name, path in _by_importance(machine):
        size = path.stat().st_size
        if len(chosen) < MOST_FILES and size <= min(room, MOST_BYTES_OF_A_FILE):
            chosen[name] = path
            room -= size
    for old in set(_names_in(out)) - set(chosen):
        (out / old).unlink()
    for name, path in chosen.items():
        _copy_if_changed(path, out / name)
    return list(chosen)


def _by_importance(machine: Machine) -> Iterator[tuple[str, Path]]:
    """Yield names at home and files: reports, weights to keep and of two minutes, kernels, rest."""
    if machine.log.exists():
        yield LOG, machine.log
    if tables := sorted(machine.tables.glob("*.txt")):
        joined = machine.work / TABLES
        joined.write_text("\n".join(f"{path.stem}\n{path.read_text()}" for path in tables))
        yield TABLES, joined
    kept = sorted(path for path in machine.home.glob("*") if path.is_file())
    weights = [path for path in kept if path.suffix == ".safetensors"]
    minutes = list(machine.checkpoints().values())
    kernels = [path for path in kept if path.name.startswith(COMPILED)]
    # Pieces of the kernels are of no use without the others.
    files = [
        *weights,
        *minutes[:2],
        *(kernels if len(kernels) <= MOST_PIECES else []),
        *minutes[2:],
    ]
    yield from ((path.name, path) for path in files)


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


def _copy_if_changed(path: Path, copy: Path) -> None:
    before = path.stat()
    if copy.exists():
        after = copy.stat()
        if (after.st_size, after.st_mtime) == (before.st_size, before.st_mtime):
            return
    shutil.copy2(path, copy)
