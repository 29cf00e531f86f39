"""Divide the training data into folders small enough for sending to a GPU machine.

Copied into one folder on the machine, the parts make up the folder for ``--data``. The first part
contains all real pairs and all held-out photos. `training.lent.prepare` writes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from training.data import photo_paths


def files_to_send(data: Path) -> list[Path]:
    """List photos and pairs: first the files that are needed first, then the rest, shuffled."""
    pairs = sorted(path for path in (data / "pairs").rglob("*") if path.is_file())
    held_out = photo_paths(data / "photos", held_out=True)
    photos = photo_paths(data / "photos", held_out=False)
    # Neighbours in the alphabet come from one source; each part is to hold all sources.
    return [*pairs, *held_out, *sorted(photos, key=lambda path: crc32(path.name.encode()))]


def divide(files: Iterable[Path], most_bytes: float) -> list[list[Path]]:
    """Divide files, in order, into parts of at most a number of bytes.

    A larger file becomes a part of its own.
    """
    parts: list[list[Path]] = []
    room = 0.0
    for path in files:
        size = path.stat().st_size
        if not parts or size > room:
            parts.append([])
            room = most_bytes
        parts[-1].append(path)
        room -= size
    return parts


def write_parts(data: Path, folder: Path, most_bytes: float) -> list[Path]:
    """Copy the data into new folders ``folder/1``, ``folder/2`` and so on.

    Returns:
        The folders, in the order for sending them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    written = []
    for number, files in enumerate(divide(files_to_send(data), most_bytes), start=1):
        part = folder / str(number)
        for path in files:
            copy = part / path.relative_to(data)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        written.append(part)
    return written
