"""Read and write weights files: safetensors with configuration and checksum in the header.

https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unblur.errors import DeviceError, WeightsError
from unblur.models.catalog import MODELS, errors_as_weights_errors, find_weights, repair_hint
from unblur.network.config import SRNConfig

if TYPE_CHECKING:
    import torch

    from unblur.network.srn import SRN

CONFIG_KEY = "unblur.config"
"""Header entry that holds the `SRNConfig` as JSON."""
CHECKSUM_KEY = "unblur.sha256"
"""Header entry with the sha256 of the rest of the file; see `_checksum`."""
SOURCE_KEY, SOURCE_CHECKSUM_KEY = "unblur.source", "unblur.source-sha256"
"""Header entries: name and sha256 of the file from which the weights were imported."""

LARGEST_FILE_BYTES = 1 << 30
"""Largest file to read, in bytes; networks are much smaller."""
LENGTH_BYTES = 8
"""Number of bytes at the start of a file that contain the length of its header."""
LARGEST_HEADER_BYTES = 16 << 20
PROCESSOR_FILE = "/proc/cpuinfo"
"""File in which Linux describes the processor; see proc(5)."""
NOTES = "__metadata__"
"""Part of the header for entries of the program that wrote the file."""


@dataclass(frozen=True)
class Weights:
    """The content of a weights file, which is read and hashed once per run."""

    path: Path
    data: bytes = field(repr=False)
    sha256: str
    """Hash of the whole file, in hexadecimal digits: part of the history's key."""
    is_verified: bool
    """Whether the hash is the hash that this version of the program expects."""


def open_model(model: str) -> Weights:
    """Read the weights of a model, given by its name or by the path of its file.

    Embedded weights are compared with the hash in `unblur.models.catalog`. Other files
    contain a checksum, which `load_network` compares.

    Raises:
        WeightsError: If there is no such model or file, the file cannot be read, or embedded
            weights do not belong to this version.
    """
    path, known = find_weights(model), MODELS.get(model)
    with errors_as_weights_errors(path):
        data = read_weights(path)
    found, is_embedded = hashlib.sha256(data).hexdigest(), bool(known and known.is_embedded)
    if known and is_embedded and found != known.sha256:
        raise WeightsError(
            f"{path}: damaged, or not of this version: its sha256 is {found}, "
            f"not {known.sha256}; {repair_hint(model)}"
        )
    return Weights(path, data, found, is_verified=is_embedded)


def load_network(weights: Path | Weights) -> SRN:
    """Build the network of a weights file, in float32.

    Args:
        weights: A safetensors file written by `save_network`, or its content.

    Raises:
        WeightsError: If the file is missing, damaged, or does not fit its own header.
        DeviceError: If PyTorch cannot work here.
    """
    _require_processor()
    path = weights if isinstance(weights, Path) else weights.path
    with errors_as_weights_errors(path, advises=True):
        if isinstance(weights, Path):
            return decode_network(read_weights(weights)).float()
        return decode_network(weights.data, weights.is_verified).float()


def _require_processor() -> None:
    """Raise `DeviceError` if PyTorch cannot read the processor's features."""
    if sys.platform == "linux" and not os.access(PROCESSOR_FILE, os.R_OK):
        raise DeviceError(
            f"{PROCESSOR_FILE} cannot be read, and PyTorch needs it: mount /proc in the chroot or "
            "container, or let the systemd unit have ProcSubset=all"
        )


def read_weights(path: Path) -> bytes:
    """Read a weights file whole.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is too large.
    """
    if path.stat().st_size > LARGEST_FILE_BYTES:
        raise ValueError("too large for a weights file")
    return path.read_bytes()


def read_notes(path: Path) -> dict[str, str]:
    """Return the header entries of a weights file, without reading the weights.

    Raises:
        WeightsError: If it is missing or damaged.
    """
    with errors_as_weights_errors(path, advises=True), path.open("rb") as file:
        header = _parse_header(file.read(LARGEST_HEADER_BYTES + LENGTH_BYTES))
    return {key: str(value) for key, value in header[NOTES].items()}


def decode_network(data: bytes, is_verified: bool = False) -> SRN:
    """Build a network from the bytes of a weights file, in the stored type.

    Args:
        data: The content of the file.
        is_verified: Whether the file is known to be undamaged, so that its checksum need not be
            compared.

    Returns:
        The network, with its weights in the stored type.

    Raises:
        ValueError: If the weights are damaged or do not fit the network.
    """
    header = _parse_header(data)
    notes = header[NOTES]
    if CONFIG_KEY not in notes:
        raise ValueError(f"not a weights file of unblur: no {CONFIG_KEY!r} in its header")
    # Files of other programs may have no checksum.
    if not is_verified and notes.get(CHECKSUM_KEY) not in (None, _checksum(header, data)):
        raise ValueError("damaged: its checksum is wrong")
    try:
        config = SRNConfig.from_dict(json.loads(notes[CONFIG_KEY]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"its header describes no network: {error}") from error
    return build_network(config, decode_tensors(data))


def decode_tensors(data: bytes) -> dict[str, torch.Tensor]:
    """Return the arrays of a safetensors file by name.

    Raises:
        ValueError: If they are damaged.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        return safetensors.torch.load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that PyTorch does not have
        raise ValueError(f"cannot be read as safetensors ({error})") from error


def build_network(config: SRNConfig, tensors: dict[str, torch.Tensor]) -> SRN:
    """Build a network from its weights, without copying them.

    Raises:
        ValueError: If weights do not fit or are not finite; names the first problem.
    """
    import torch

    from unblur.network.srn import SRN

    with torch.device("meta"):
        network = SRN(config)
    wanted = network.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            raise ValueError(f"{name} is missing")
        if name not in wanted:
            raise ValueError(f"{name!r} does not belong to this network")
        if wanted[name].shape != tensors[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(tensors[name].shape)}, "
                f"the network needs {tuple(wanted[name].shape)}"
            )
        if tensors[name].dtype not in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            raise ValueError(f"{name} holds {tensors[name].dtype}, not floating-point numbers")
        if not tensors[name].isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def save_network(network: SRN, path: Path, dtype: torch.dtype | None = None) -> None:
    """Write a network's weights and configuration.

    Args:
        network: The network to write.
        path: The file to write.
        dtype: Type to store weights in, such as ``torch.float16``; by default unchanged.
    """
    path.write_bytes(encode_network(network, dtype))


def encode_network(
    network: SRN, dtype: torch.dtype | None = None, notes: dict[str, str] | None = None
) -> bytes:
    """Return a network as the bytes of a weights file.

    Args:
        network: The network.
        dtype: Type to store weights in; by default unchanged.
        notes: Further entries of the header.
    """
    import safetensors.torch

    tensors = {n: t.to(dtype or t.dtype).contiguous() for n, t in network.state_dict().items()}
    notes = (notes or {}) | {CONFIG_KEY: json.dumps(network.config.to_dict())}
    data = safetensors.torch.save(tensors, notes)
    notes[CHECKSUM_KEY] = _checksum(_parse_header(data), data)
    return safetensors.torch.save(tensors, notes)


def _checksum(header: dict[str, Any], data: bytes) -> str:
    """Return the sha256 of the arrays and of the header, without the entry of the checksum.

    The header is serialised again, so the order of its entries and white space do not matter.
    """
    notes = {key: value for key, value in header[NOTES].items() if key != CHECKSUM_KEY}
    digest = hashlib.sha256(json.dumps(header | {NOTES: notes}, sort_keys=True).encode())
    digest.update(memoryview(data)[LENGTH_BYTES + _header_length(data) :])
    return digest.hexdigest()


def _header_length(data: bytes) -> int:
    return int.from_bytes(data[:LENGTH_BYTES], "little")


def _parse_header(data: bytes) -> dict[str, Any]:
    length = _header_length(data)
    if len(data) < LENGTH_BYTES or length > min(LARGEST_HEADER_BYTES, len(data) - LENGTH_BYTES):
        raise ValueError("cannot be read as safetensors: its header is cut off")
    try:
        header = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])
        header = dict(header) | {NOTES: dict(header.get(NOTES, {}))}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = f"its header is damaged ({error})"
        raise ValueError(f"cannot be read as safetensors: {reason}") from error
    return header
