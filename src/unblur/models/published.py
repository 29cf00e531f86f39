"""The three networks that the authors of SRN published, and how to read their weights.

https://github.com/jiangsutx/SRN-Deblur (MIT); the variables are named in its
``models/model.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from unblur.errors import WeightsError
from unblur.models.catalog import MODELS
from unblur.models.tensorflow_checkpoint import TensorFlowCheckpoint
from unblur.models.weights import build_network
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN

CONFIGS = {name: MODELS[name].config for name in ("srn-color", "srn-gray", "srn-lstm")}
"""Configurations of the published models by name."""

SCOPE = "g_net/"
"""Variables outside this scope are the optimiser's."""


def variable_names(config: SRNConfig) -> dict[str, str]:
    """Map the name of each of `SRN`'s layers to its variables' scope in a checkpoint."""
    names = {"output": "dec1_0"}
    for level, blocks in enumerate(config.blocks_by_level):
        names[f"entries.{level}"] = f"enc{level + 1}_1"
        for block in range(blocks):
            for conv in ("conv1", "conv2"):
                # Decoder blocks count down towards the exit: dec3_3, dec3_2, dec3_1.
                decoder = f"dec{level + 1}_{blocks - block}"
                names[f"encoders.{level}.{block}.{conv}"] = f"enc{level + 1}_{block + 2}/{conv}"
                names[f"decoders.{level}.{block}.{conv}"] = f"{decoder}/{conv}"
    for level, blocks in enumerate(config.blocks_by_level[:-1]):
        names[f"exits.{level}"] = f"dec{level + 1}_{blocks + 1}"
    if config.recurrent:
        names["lstm.gates"] = "convLSTM/LSTM_conv"
    return {layer: SCOPE + name for layer, name in names.items()}


def load_published(prefix: Path) -> SRN:
    """Build a published network from the authors' TensorFlow checkpoint.

    Which of the three it is, is told by its variables.

    Args:
        prefix: Path of the checkpoint without ``.index``.

    Raises:
        WeightsError: With the first difference, if the checkpoint is damaged or
            of another network.
    """
    checkpoint = TensorFlowCheckpoint(prefix)
    config = CONFIGS[recognise(checkpoint)]
    layers = variable_names(config)
    _refuse_surplus(checkpoint, set(layers.values()))
    weights = {}
    for layer, scope in layers.items():
        kernel = checkpoint.read(f"{scope}/weights")  # (kh, kw, in, out); transposed: out, in
        if kernel.ndim != 4:
            raise WeightsError(
                f"{prefix}: {scope}/weights has shape {kernel.shape}, not four sides"
            )
        weights[f"{layer}.weight"] = torch.from_numpy(
            np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        )
        weights[f"{layer}.bias"] = torch.from_numpy(checkpoint.read(f"{scope}/biases"))
    try:
        return build_network(config, weights)
    except ValueError as error:
        raise WeightsError(f"{prefix}: {error}") from error


def recognise(checkpoint: TensorFlowCheckpoint) -> str:
    """Return the name of the published network that a checkpoint is of.

    Raises:
        WeightsError: If it is of none.
    """
    entry = checkpoint.entries.get(f"{SCOPE}dec1_0/biases")
    channels = entry.shape[0] if entry and entry.shape else 0
    recurrent = f"{SCOPE}convLSTM/LSTM_conv/weights" in checkpoint.entries
    for name, config in CONFIGS.items():
        if (config.channels, config.recurrent) == (channels, recurrent):
            return name
    reason = (
        f"it has no {SCOPE}dec1_0/biases"
        if entry is None
        else f"{SCOPE}dec1_0/biases has shape {entry.shape}, with{'' if recurrent else 'out'} LSTM"
    )
    raise WeightsError(
        f"{checkpoint.prefix}: not a checkpoint of a published SRN network: {reason}"
    )


def _refuse_surplus(checkpoint: TensorFlowCheckpoint, scopes: set[str]) -> None:
    """Refuse layers that the network does not have; what else there is, is the optimiser's."""
    for name in sorted(checkpoint.entries):
        scope, _, kind = name.rpartition("/")
        if name.startswith(SCOPE) and kind in ("weights", "biases") and scope not in scopes:
            raise WeightsError(f"{checkpoint.prefix}: {name!r} does not belong to this network")
