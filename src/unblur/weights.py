"""Weights files: safetensors with the network's configuration in the header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.errors import WeightsError
from unblur.srn import SRN, SRNConfig

if TYPE_CHECKING:
    import torch

CONFIG_KEY = "unblur.config"
"""Header entry of a weights file that holds the `SRNConfig` as JSON."""


def load_network(path: Path) -> SRN:
    """Build the network that a weights file describes, with its weights in fp32.

    Args:
        path: A safetensors file written by `save_network`.

    Raises:
        WeightsError: If the file is missing, damaged, or does not fit the
            network that its own header describes.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error})") from error
    if CONFIG_KEY not in header:
        raise WeightsError(f"{path}: not a weights file of unblur: no {CONFIG_KEY!r} in its header")
    try:
        config = SRNConfig.from_dict(json.loads(header[CONFIG_KEY]))
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: its header describes no network: {error}") from error
    with torch.device("meta"):
        network = SRN(config)
    _check_fit(path, network.state_dict(), tensors)
    network.load_state_dict({n: t.float() for n, t in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _check_fit(path: Path, wanted: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise WeightsError(f"{path}: {name} is missing")
        if name not in wanted:
            raise WeightsError(f"{path}: {name} does not belong to this network")
        if wanted[name].shape != found[name].shape:
            raise WeightsError(
                f"{path}: {name} has shape {tuple(found[name].shape)}, "
                f"the network needs {tuple(wanted[name].shape)}"
            )
        if not found[name].isfinite().all():
            raise WeightsError(f"{path}: {name} holds values that are not finite")


def save_network(network: SRN, path: Path, dtype: torch.dtype | None = None) -> None:
    """Write a network's weights and configuration.

    Args:
        network: What to write.
        path: The file to write.
        dtype: Store as this type, ``torch.float16`` halves the size; as they
            are by default.
    """
    from safetensors.torch import save_file

    tensors = {n: t.to(dtype or t.dtype).contiguous() for n, t in network.state_dict().items()}
    save_file(tensors, path, {CONFIG_KEY: json.dumps(network.config.to_dict())})
