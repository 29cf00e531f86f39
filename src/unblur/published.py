"""The three networks that the authors of SRN published, and how to read their weights.

https://github.com/jiangsutx/SRN-Deblur (MIT); the variables are named in its
``models/model.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from unblur.errors import WeightsError
from unblur.srn import LEVELS, SRN, SRNConfig
from unblur.tensorflow_checkpoint import TensorFlowCheckpoint

CONFIGS = {
    "srn-color": SRNConfig(channels=3),
    "srn-gray": SRNConfig(channels=1),
    "srn-lstm": SRNConfig(channels=1, recurrent=True),
}
"""Configurations of the published models by name."""

SCOPE = "g_net/"
"""Variables outside this scope are the optimiser's."""


def variable_names(config: SRNConfig) -> dict[str, str]:
    """Map the name of each of `SRN`'s layers to its variables' scope in a checkpoint."""
    names = {"output": "dec1_0"}
    for level in range(LEVELS):
        names[f"entries.{level}"] = f"enc{level + 1}_1"
        for block in range(config.blocks):
            for conv in ("conv1", "conv2"):
                # Decoder blocks count down towards the exit: dec3_3, dec3_2, dec3_1.
                decoder = f"dec{level + 1}_{config.blocks - block}"
                names[f"encoders.{level}.{block}.{conv}"] = f"enc{level + 1}_{block + 2}/{conv}"
                names[f"decoders.{level}.{block}.{conv}"] = f"{decoder}/{conv}"
    for level in range(LEVELS - 1):
        names[f"exits.{level}"] = f"dec{level + 1}_{config.blocks + 1}"
    if config.recurrent:
        names["lstm.gates"] = "convLSTM/LSTM_conv"
    return {layer: SCOPE + name for layer, name in names.items()}


def load_published(prefix: Path) -> SRN:
    """Build a published network from the authors' TensorFlow checkpoint.

    Which of the three it is, is told by its variables.

    Args:
        prefix: Path of the checkpoint without ``.index``.

    Raises:
        WeightsError: If the checkpoint is damaged or of another network.
    """
    checkpoint = TensorFlowCheckpoint(prefix)
    config = _recognise(checkpoint)
    with torch.device("meta"):
        network = SRN(config)
    weights = {}
    for layer, scope in variable_names(config).items():
        kernel = checkpoint.read(f"{scope}/weights")  # (kh, kw, in, out); transposed: out, in
        weights[f"{layer}.weight"] = torch.from_numpy(
            np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        )
        weights[f"{layer}.bias"] = torch.from_numpy(checkpoint.read(f"{scope}/biases"))
    for name, parameter in network.named_parameters():
        if weights[name].shape != parameter.shape:
            raise WeightsError(
                f"{prefix}: {name} has shape {tuple(weights[name].shape)}, "
                f"the network needs {tuple(parameter.shape)}"
            )
        if not weights[name].isfinite().all():
            raise WeightsError(f"{prefix}: {name} holds values that are not finite")
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def _recognise(checkpoint: TensorFlowCheckpoint) -> SRNConfig:
    entry = checkpoint.entries.get(f"{SCOPE}dec1_0/biases")
    channels = entry.shape[0] if entry and entry.shape else 0
    recurrent = f"{SCOPE}convLSTM/LSTM_conv/weights" in checkpoint.entries
    for config in CONFIGS.values():
        if (config.channels, config.recurrent) == (channels, recurrent):
            return config
    raise WeightsError(f"{checkpoint.prefix}: not a checkpoint of a published SRN network")
