"""Export networks to files for other programs."""

from __future__ import annotations

from pathlib import Path

from unblur.errors import UsageError
from unblur.models import darktable
from unblur.models.model_card import read_card
from unblur.models.weights import Weights, load_network
from unblur.storage.files import is_folder
from unblur.storage.targets import problem_of_file

KINDS = {".onnx": "onnx", darktable.ENDING: "dtmodel"}
"""Kinds of files, by the extensions of their names."""


def check_target(file: Path, kind: str | None, overwrite: bool) -> str:
    """Check whether a file can be exported, before the work begins, and return its kind.

    Args:
        file: Path of the file to write.
        kind: ``onnx`` or ``dtmodel``; ``None``: by the extension of the name.
        overwrite: Whether the file may exist.

    Raises:
        UsageError: If the name fits no kind, or the file exists or cannot be written.
    """
    by_name = KINDS.get(file.suffix.lower())
    kind = kind or by_name
    if kind is None:
        raise UsageError(f"{file} ends in neither {' nor '.join(KINDS)}: choose a --format")
    if by_name != kind and (by_name or kind == "dtmodel"):
        raise UsageError(f"{file}: the ending does not fit --format {kind}")
    if kind == "dtmodel":
        darktable.check_id(file.stem)
    if problem := problem_of_file(file, may_replace=overwrite):
        raise UsageError(problem)
    if not is_folder(file.absolute().parent):
        raise UsageError(f"{file}: the folder does not exist")
    return kind


def encode(model: str, weights: Weights, kind: str, precision: str, identifier: str) -> bytes:
    """Return a network as the bytes of a file for other programs.

    Args:
        model: The model's name, or the path of its weights.
        weights: The model's weights.
        kind: ``onnx`` or ``dtmodel``.
        precision: ``fp32`` or ``fp16``.
        identifier: Identifier of a package for darktable.

    Raises:
        WeightsError: If the weights are damaged, or a library is missing.
    """
    from unblur.models.onnx_graph import encode_onnx

    card, network = read_card(model, weights), load_network(weights)
    notes = card.notes(network.config, precision)
    graph = encode_onnx(network, precision == "fp16", notes)
    return darktable.pack(graph, identifier, card) if kind == "dtmodel" else graph
