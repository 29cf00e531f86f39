"""Recognise and read the networks that researchers published as TensorFlow checkpoints.

https://github.com/jiangsutx/SRN-Deblur (MIT); the variables are named in its
``models/model.py``. https://github.com/rimchang/RSBlur trains the same graph on other photos.
"""

from __future__ import annotations

from pathlib import Path

import torch

from unblur.errors import WeightsError
from unblur.models.catalog import MODELS, errors_as_weights_errors
from unblur.models.tensorflow_checkpoint import TensorFlowCheckpoint
from unblur.models.weights import build_network
from unblur.network.config import SRNConfig
from unblur.network.srn import SRN

CONFIGS = {name: MODELS[name].config for name in ("srn-color", "srn-gray", "srn-lstm")}
"""The three architectures, by the names of the networks that the authors of SRN published."""
SCOPE = "g_net/"
"""Scope of the network's variables; variables outside belong to the optimiser."""


def variable_names(config: SRNConfig) -> dict[str, str]:
    """Map the name of each layer of `SRN` to the scope of its variables in a checkpoint."""
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

    Args:
        prefix: Path of the checkpoint without ``.index``.

    Raises:
        WeightsError: If the checkpoint is damaged or of another network; the message names the
            first difference.
    """
    checkpoint = TensorFlowCheckpoint(prefix)
    config = CONFIGS[recognise_graph(checkpoint)]
    layers = variable_names(config)
    _refuse_surplus(checkpoint, set(layers.values()))
    weights = {}
    for layer, scope in layers.items():
        kernel = checkpoint.read(f"{scope}/weights")  # (kh, kw, in, out); transposed: out, in
        if kernel.ndim != 4:
            raise WeightsError(f"{prefix}: {scope}/weights has shape {kernel.shape}")
        weights[f"{layer}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        weights[f"{layer}.bias"] = torch.from_numpy(checkpoint.read(f"{scope}/biases"))
    with errors_as_weights_errors(prefix):
        return build_network(config, weights)


def recognise(checkpoint: TensorFlowCheckpoint, origin: str) -> str:
    """Return the name of a checkpoint's network.

    Args:
        checkpoint: The checkpoint.
        origin: Path of the checkpoint at its source. Networks of one architecture differ only in
            their weights, so the authors' folder names tell them apart.

    Raises:
        WeightsError: If the checkpoint has none of the published architectures.
    """
    graph = recognise_graph(checkpoint)
    for model in MODELS.values():
        if model.page and model.config == MODELS[graph].config and model.file in origin:
            return model.name
    return graph


def recognise_graph(checkpoint: TensorFlowCheckpoint) -> str:
    """Return the name of a checkpoint's architecture in `CONFIGS`, or raise `WeightsError`."""
    entry = checkpoint.entries.get(f"{SCOPE}dec1_0/biases")
    channels = entry.shape[0] if entry and entry.shape else 0
    recurrent = f"{SCOPE}convLSTM/LSTM_conv/weights" in checkpoint.entries
    for name, config in CONFIGS.items():
        if (config.channels, config.recurrent) == (channels, recurrent):
            return name
    shape = f"has shape {entry.shape}" if entry else "is missing"
    raise WeightsError(
        f"{checkpoint.prefix}: not a checkpoint of a published SRN network: "
        f"{SCOPE}dec1_0/biases {shape}, with{'' if recurrent else 'out'} LSTM"
    )


def _refuse_surplus(checkpoint: TensorFlowCheckpoint, scopes: set[str]) -> None:
    """Refuse layers that the network does not have; other variables belong to the optimiser."""
    for name in sorted(checkpoint.entries):
        scope, _, kind = name.rpartition("/")
        if name.startswith(SCOPE) and kind in ("weights", "biases") and scope not in scopes:
            raise WeightsError(f"{checkpoint.prefix}: {name!r} does not belong to this network")
