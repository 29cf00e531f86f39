"""Copy the files to keep from a GPU machine: weights, and compiled kernels for a faster start."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from training.lent.machine import COMPILED

CAN_KEEP_COMPILED = hasattr(torch.compiler, "save_cache_artifacts")  # since PyTorch 2.7
PIECE_BYTES = 15_000_000
"""Size in bytes of the pieces into which larger files are cut; ``cat`` joins them."""


def load_compiled(folder: Path) -> None:
    """Let PyTorch use the kernels of an earlier training in a folder, if there are any."""
    path = folder / COMPILED
    if path.exists() and CAN_KEEP_COMPILED:
        torch.compiler.load_cache_artifacts(path.read_bytes())


def save_compiled(folder: Path) -> None:
    """Save the kernels that PyTorch has compiled in this process, if there are any."""
    artifacts = torch.compiler.save_cache_artifacts() if CAN_KEEP_COMPILED else None
    if artifacts:
        (folder / COMPILED).write_bytes(artifacts[0])


def write(kept: Path, folder: Path, weights: Mapping[str, Path]) -> None:
    """Copy averaged weights and compiled kernels.

    Args:
        kept: Folder for the copies.
        folder: The training's folder, which has the compiled kernels.
        weights: Weights files, by the names of their copies; missing files are left out.
    """
    kept.mkdir(parents=True, exist_ok=True)
    for name, path in weights.items():
        if path.exists():
            copy_in_pieces(path, kept / f"{name}.safetensors")
    save_compiled(folder)
    if (folder / COMPILED).exists():
        copy_in_pieces(folder / COMPILED, kept / COMPILED)


def copy_in_pieces(source: Path, target: Path) -> None:
    """Copy a file; a large file becomes ``TARGET.1``, ``TARGET.2`` and so on."""
    if source.stat().st_size <= PIECE_BYTES:
        shutil.copyfile(source, target)
        return
    with source.open("rb") as file:
        pieces = iter(lambda: file.read(PIECE_BYTES), b"")
        for number, piece in enumerate(pieces, start=1):
            target.with_name(f"{target.name}.{number}").write_bytes(piece)
