"""Graphs for ncnn, written as text and numbers without a converter.

ncnn (https://github.com/Tencent/ncnn) reads a network from two files:

- the graph, a text with one layer a line: its type, its name, the number of inputs and outputs,
  their names, and numbered parameters
  (https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure),
- all weights in the order of the layers, as little-endian float32; a 0 before the weights of a
  convolution says that they are stored so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

MAGIC = "7767517"
"""First line of a graph: the version of the format."""
PLAIN_FLOAT32 = bytes(4)
KERNEL = 1
"""Number of the parameter of a convolution that is the side of its kernel."""


@dataclass(frozen=True)
class Layer:
    """A layer of a graph."""

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[int, int | str] = field(default_factory=dict)
    """By number: https://github.com/Tencent/ncnn/wiki/operation-param-weight-table.
    An array is a text, and has a number of its own."""
    weights: tuple[Tensor, ...] = ()
    """The layer's tensors in the file of weights: for a convolution, its kernels, then its bias."""


def graph_text(layers: list[Layer]) -> str:
    """Return the graph as text. Each layer must come after the layers whose outputs it uses."""
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
    sizes = {0: weight.shape[0], KERNEL: weight.shape[2], 3: stride, 5: 1, 6: weight.numel()}
    return Layer(
        "Convolution", name, (source,), (name,), sizes | {9: int(has_relu)}, (weight, bias)
    )


def doubling_kernels(weight: Tensor) -> Tensor:
    """Return the kernels of a convolution that replaces a `unblur.network.srn.Doubling`.

    Each output pixel of the doubling depends on 2 x 2 input pixels. They are a corner of a 3 x 3
    neighbourhood; the parity of the output's row and column decides which corner. So the
    convolution has four times the output channels: for even and odd rows, times even and odd
    columns.

    Args:
        weight: Kernels of the doubling, (I, O, 4, 4).

    Returns:
        Kernels (4 * O, I, 3, 3).
    """
    inputs, outputs = weight.shape[:2]
    kernels = weight.new_zeros(2, 2, outputs, inputs, 3, 3)
    for row, rows, from_rows in _TAPS:
        for column, columns, from_columns in _TAPS:
            taps = weight[:, :, from_rows][..., from_columns].transpose(0, 1)
            kernels[row, column, :, :, rows, columns] = taps
    return kernels.flatten(0, 2)


_TAPS = ((0, slice(0, 2), [3, 1]), (1, slice(1, 3), [2, 0]))
"""For even and odd output rows: the parity, rows of the 3 x 3 kernel, rows of the 4 x 4 kernel."""
