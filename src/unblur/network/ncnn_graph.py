"""Graphs for ncnn, written as text and numbers without a converter.

ncnn (https://github.com/Tencent/ncnn) reads a network from two files:

- the graph, a text with one layer a line: its type, its name, the number of inputs and outputs,
  their names, and numbered parameters
  (https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure),
- all weights in the order of the layers, as little-endian float32; a 0 before the weights of a
  convolution says that they are stored so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

MAGIC = "7767517"
"""First line of a graph: the version of the format."""
PLAIN_FLOAT32 = bytes(4)


@dataclass(frozen=True)
class Layer:
    """A layer of a graph."""

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[int, int] = field(default_factory=dict)
    """By number: https://github.com/Tencent/ncnn/wiki/operation-param-weight-table."""
    weights: tuple[Tensor, ...] = ()
    """What the layer takes from the file of weights: a convolution's kernels, then its bias."""


def graph_text(layers: list[Layer]) -> str:
    """Return the graph of layers, each after those that it needs."""
    lines = [" ".join(_fields(layer)) for layer in layers]
    outputs = sum(len(layer.outputs) for layer in layers)
    return "\n".join([MAGIC, f"{len(layers)} {outputs}", *lines, ""])


def _fields(layer: Layer) -> list[str]:
    counts = [str(len(layer.inputs)), str(len(layer.outputs))]
    parameters = [f"{number}={value}" for number, value in layer.parameters.items()]
    return [layer.type, layer.name, *counts, *layer.inputs, *layer.outputs, *parameters]


def graph_weights(layers: list[Layer]) -> bytes:
    """Return the weights of layers as ncnn reads them."""
    return b"".join(
        PLAIN_FLOAT32 + b"".join(_float32(weights) for weights in layer.weights)
        for layer in layers
        if layer.weights
    )


def _float32(weights: Tensor) -> bytes:
    return weights.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes()


def input_layer(name: str) -> Layer:
    """Return a layer that stands for an input of the graph."""
    return Layer("Input", name, (), (name,))


def convolution(
    name: str, source: str, weight: Tensor, bias: Tensor, stride: int, has_relu: bool
) -> Layer:
    """Return a convolution of an input that is padded already.

    Args:
        name: Name of the layer and of its output.
        source: Name of its input.
        weight: Kernels, (O, I, k, k).
        bias: (O,).
        stride: Stride in both directions.
        has_relu: Whether negative results become 0.
    """
    sizes = {0: weight.shape[0], 1: weight.shape[2], 3: stride, 5: 1, 6: weight.numel()}
    return Layer(
        "Convolution", name, (source,), (name,), sizes | {9: int(has_relu)}, (weight, bias)
    )


def doubling(name: str, source: str, weight: Tensor, bias: Tensor) -> Layer:
    """Return `unblur.network.srn.Doubling` without the first and the last two rows.

    Args:
        name: Name of the layer and of its output.
        source: Name of its input.
        weight: Kernels, (I, O, 4, 4).
        bias: (O,).
    """
    sizes = {0: weight.shape[1], 1: weight.shape[2], 3: 2, 5: 1, 6: weight.numel()}
    cut = {4: 1, 15: 1, 14: 3, 16: 3}  # left, right, top, bottom
    kernels = weight.transpose(0, 1)
    return Layer("Deconvolution", name, (source,), (name,), sizes | cut, (kernels, bias))
