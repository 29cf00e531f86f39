"""Build an ncnn graph of one scale: the whole encoder-decoder of `unblur.network.srn.SRN`.

On a CPU, each convolution runs by itself (`unblur.network.ncnn_network`). On a GPU, each map would
then be copied to main memory and back, so the whole scale is one graph.

The inputs of the graph are ``pixels``, (2 * C * u², H / u, W / u), and with a ConvLSTM ``state``,
(S, H / stride, W / stride). The outputs are ``change``, (C * u², H / u, W / u), and with a ConvLSTM
``new_state``, of the shape of ``state``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import cast

from torch import Tensor

from unblur.network.ncnn_graph import Layer, input_layer
from unblur.network.srn import SRN, Doubling, ResidualBlocks, SameConv

PIXELS, STATE, CHANGE, NEW_STATE = "pixels", "state", "change", "new_state"
ADD, MULTIPLY = 0, 2
"""Operations of ncnn's layer ``BinaryOp``."""
ALL_CHANNELS = -233
"""Value of ncnn's layer ``Crop`` for all channels."""


class ScaleGraph:
    """The layers of one scale.

    Args:
        network: The network, on the CPU.
    """

    def __init__(self, network: SRN) -> None:
        self.network, self._is_residual = network, network.config.residual
        self.stages: list[str] = []
        """Names of small outputs, in order. Extracting one after another gives a GPU its work in
        parts: some drivers end a program whose work takes more than two seconds at once."""
        self._layers: list[Layer] = []
        self._add_scale()
        self.layers = with_splits(self._layers)
        """In order: each layer comes after the layers whose outputs it uses."""

    def _add_scale(self) -> None:
        network, skips, x = self.network, list[str](), self._input(PIXELS)
        for level, entry in enumerate(network.entries):
            x = self._convolution(f"entry{level}", x, cast(SameConv, entry), not self._is_residual)
            x = self._blocks(f"encoder{level}", x, cast(ResidualBlocks, network.encoders[level]))
            skips.append(x)
        skips.pop()  # the deepest features go on as they are
        x = self._lstm(x)
        x = self._blocks("deepest", x, cast(ResidualBlocks, network.decoders[-1]))
        while skips:
            level = len(skips) - 1
            x = self._doubling(f"exit{level}", x, cast(Doubling, network.exits[level]))
            x = self._binary(f"joined{level}", ADD, x, skips.pop())
            x = self._blocks(f"decoder{level}", x, cast(ResidualBlocks, network.decoders[level]))
        self._convolution(CHANGE, x, network.output, False)

    def _input(self, name: str) -> str:
        self._layers.append(input_layer(name))
        return name

    def _add(
        self,
        kind: str,
        name: str,
        inputs: tuple[str, ...],
        parameters: dict[int, int],
        weights: tuple[Tensor, ...] = (),
    ) -> str:
        self._layers.append(Layer(kind, name, inputs, (name,), parameters, weights))
        return name

    def _convolution(self, name: str, x: str, conv: SameConv, has_relu: bool) -> str:
        weight, bias = conv.weight, cast(Tensor, conv.bias)
        sizes = {0: weight.shape[0], 1: weight.shape[2], 3: conv.stride[0]}
        padding = {4: conv.before, 14: conv.before, 15: conv.after, 16: conv.after}
        rest = {5: 1, 6: weight.numel(), 9: int(has_relu or conv.has_relu)}
        return self._add("Convolution", name, (x,), sizes | padding | rest, (weight, bias))

    def _doubling(self, name: str, x: str, doubling: Doubling) -> str:
        weight, bias = doubling.weight.transpose(0, 1), cast(Tensor, doubling.bias)
        sizes = {0: weight.shape[0], 1: weight.shape[2], 3: 2, 4: 1}
        rest = {5: 1, 6: weight.numel(), 9: int(not self._is_residual)}
        return self._add("Deconvolution", name, (x,), sizes | rest, (weight, bias))

    def _binary(self, name: str, operation: int, one: str, other: str) -> str:
        return self._add("BinaryOp", name, (one, other), {0: operation})

    def _blocks(self, name: str, x: str, blocks: ResidualBlocks) -> str:
        for number, block in enumerate(blocks):
            own = f"{name}_{number}"
            inner = self._convolution(f"{own}a", x, cast(SameConv, block.conv1), False)
            change = self._convolution(f"{own}b", inner, cast(SameConv, block.conv2), False)
            x = self._binary(own, ADD, x, change)
            self._end_stage(x)
        return x

    def _end_stage(self, x: str) -> None:
        """Add one pixel of a map to the outputs in `stages`."""
        crop = {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: ALL_CHANNELS}
        self.stages.append(self._add("Crop", f"{x}_stage", (x,), crop))

    def _lstm(self, x: str) -> str:
        """See `unblur.network.srn.ConvLSTM`."""
        lstm = self.network.lstm
        if lstm is None:
            return x
        width = self.network.config.widths[-1]
        cell, hidden = self._slices("old", self._input(STATE), ("cell", "hidden"), width)
        gates = self._gates(self._add("Concat", "seen", (x, hidden), {}), lstm.gates, width)
        i, j, f, o = self._slices("gates", gates, ("i", "j", "f", "o"), width)
        i, f, o = (self._add("Sigmoid", f"open_{name}", (name,), {}) for name in (i, f, o))
        fresh = self._binary("fresh", MULTIPLY, i, self._add("TanH", "tanh_j", (j,), {}))
        cell = self._binary("new_cell", ADD, self._binary("kept", MULTIPLY, cell, f), fresh)
        bounded = self._add("TanH", "bounded_cell", (cell,), {})
        hidden = self._binary("new_hidden", MULTIPLY, bounded, o)
        self._add("Concat", NEW_STATE, (cell, hidden), {})
        return hidden

    def _gates(self, x: str, conv: SameConv, width: int) -> str:
        """Add the convolution for all gates; the forget gate's bias includes the constant 1."""
        self._convolution("all_gates", x, conv, False)
        layer = self._layers.pop()
        weight, bias = layer.weights
        bias = bias.detach().clone()
        bias[2 * width : 3 * width] += 1
        self._layers.append(replace(layer, weights=(weight, bias)))
        return layer.name

    def _slices(self, name: str, x: str, parts: tuple[str, ...], width: int) -> tuple[str, ...]:
        """Cut a map into parts with the same number of channels."""
        sizes = ",".join([str(width)] * len(parts))
        outputs = tuple(f"{name}_{part}" for part in parts)
        array = {-23300: f"{len(parts)},{sizes}"}
        self._layers.append(Layer("Slice", name, (x,), outputs, array))
        return outputs


def with_splits(layers: list[Layer]) -> list[Layer]:
    """Split each output that N layers use into N copies, because ncnn allows one user per output.

    Args:
        layers: In order: each layer comes after the layers whose outputs it uses.
    """
    needed = Counter(name for layer in layers for name in layer.inputs)
    taken: dict[str, int] = defaultdict(int)

    def own_name(name: str) -> str:
        if needed[name] < 2:
            return name
        taken[name] += 1
        return f"{name}_{taken[name]}"

    result = []
    for layer in layers:
        result.append(replace(layer, inputs=tuple(own_name(name) for name in layer.inputs)))
        for name in layer.outputs:
            if needed[name] > 1:
                copies = tuple(f"{name}_{number}" for number in range(1, needed[name] + 1))
                result.append(Layer("Split", f"{name}_copies", (name,), copies))
    return result
