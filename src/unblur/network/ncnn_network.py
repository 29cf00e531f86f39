"""The network with the convolutions of ncnn, which need less time than PyTorch's on most CPUs.

ncnn computes a convolution of 3x3 pixels with fewer multiplications than its definition has
(Lavin, Gray: "Fast Algorithms for Convolutional Neural Networks", CVPR 2016). All else is
`unblur.network.srn` and its exact bands, on the same memory: a feature map is a tensor
(B, C / pack, H, W * pack), in which ``pack`` channels of a pixel are neighbours, as in ncnn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import ncnn
import torch
from torch import Tensor, nn

from unblur.main_memory import return_freed_memory
from unblur.network.bands import LineBuffers
from unblur.network.engines import FAST_KERNEL
from unblur.network.ncnn_graph import (
    KERNEL,
    Layer,
    convolution,
    doubling_kernels,
    input_layer,
)
from unblur.network.ncnn_tensors import as_mat, as_tensor, compute_in_float32, load_graph
from unblur.network.srn import SRN, ConvLSTM, Doubling, SameConv, State

PACKS = 16, 8, 4, 1
"""Numbers of neighbouring channels; ncnn takes the largest that the CPU likes and that divides
the number of channels."""
PACKED = 1
"""Tells ncnn to return a map as it is in memory."""


class Convolutions:
    """All convolutions of a network in one graph of ncnn; each can run by itself.

    Args:
        layers: The convolutions, each with an input of its own.
    """

    def __init__(self, layers: list[Layer]) -> None:
        self._allocator = ncnn.PoolAllocator()
        self._allocator.set_size_compare_ratio(0)  # reuse blocks that are much larger, too
        self._net = ncnn.Net()
        compute_in_float32(self._net.opt)
        # It is slower for 32 channels, and it rounds more.
        self._net.opt.use_winograd63_convolution = False
        # For a product of matrices, each pixel is copied once for each of a kernel's places.
        largest = max(int(layer.parameters[KERNEL]) for layer in layers)
        self._net.opt.use_sgemm_convolution = largest <= FAST_KERNEL
        everything = [part for layer in layers for part in (input_layer(layer.inputs[0]), layer)]
        load_graph(self._net, everything)

    def run(self, layer: Layer, x: Tensor, pack: int, is_packed: bool) -> Tensor:
        """Run a convolution.

        Args:
            layer: One of the layers.
            x: Its input, (C / pack, H, W * pack), float32; the memory of rows and of the
                channels of a pixel has no gaps.
            pack: Channels that are neighbours in the input.
            is_packed: Whether to return a map packed as ncnn likes it best.

        Returns:
            (C' / pack', H', W' * pack').
        """
        extractor = self._net.create_extractor()
        extractor.set_blob_allocator(self._allocator)
        extractor.set_workspace_allocator(self._allocator)
        extractor.input(layer.inputs[0], as_mat(x, pack))
        failed, found = extractor.extract(layer.outputs[0], PACKED if is_packed else 0)
        if failed:
            raise MemoryError  # nothing else can fail in a graph of convolutions
        return as_tensor(found, self._allocator)

    def free_spare_memory(self) -> None:
        """Free the memory that was kept for the next convolution."""
        self._allocator.clear()


def unpacked(x: Tensor, pack: int) -> Tensor:
    """Return a packed map (B, C / pack, H, W * pack) as (B, C, H, W)."""
    batch, packs, height, width = x.shape
    channels_last = x.reshape(batch, packs, height, width // pack, pack)
    return channels_last.movedim(4, 2).flatten(1, 2)


def packed(x: Tensor, pack: int) -> Tensor:
    """Return a map (B, C, H, W) as (B, C / pack, H, W * pack)."""
    batch, channels, height, width = x.shape
    packs = x.reshape(batch, channels // pack, pack, height, width)
    return packs.movedim(2, 4).flatten(3)


class PackedLayer(nn.Module):
    """Takes the place of a convolution of PyTorch.

    Args:
        layer: The convolution in the graph.
        convolutions: The graph.
        is_packed: Whether to return packed maps.
    """

    def __init__(self, layer: Layer, convolutions: Convolutions, is_packed: bool) -> None:
        super().__init__()
        self.layer, self.convolutions, self.is_packed = layer, convolutions, is_packed
        self.weight = torch.empty(0)  # `SRN` asks for the type that it computes in

    def run(self, window: Tensor, least_rows: int, pack: int, buffers: LineBuffers) -> Tensor:
        """Run the convolution on a window of rows, (B, C / pack, H, W * pack).

        Returns:
            The result; without rows if the window has fewer than ``least_rows``.
        """
        if buffers.is_last and not buffers.is_whole:
            # Each map of this band has another size, so ncnn would keep more and more memory.
            self.convolutions.free_spare_memory()
        is_empty = window.shape[2] < least_rows
        if is_empty:  # ncnn has no matrices without rows
            window = window.new_zeros(*window.shape[:2], least_rows, window.shape[3])
        maps = [self.convolutions.run(self.layer, x, pack, self.is_packed) for x in window]
        result = maps[0][None] if len(maps) == 1 else torch.stack(maps)
        return result[:, :, :0] if is_empty else result


class PackedConv(PackedLayer):
    """Takes the place of a `SameConv`."""

    def __init__(
        self, original: SameConv, layer: Layer, convolutions: Convolutions, is_packed: bool
    ) -> None:
        super().__init__(layer, convolutions, is_packed)
        self.kernel, self.stride = original.kernel_size[0], original.stride[0]
        self.before, self.after = original.before, original.after
        self.inputs = original.in_channels

    def forward(self, x: Tensor, buffers: LineBuffers) -> Tensor:
        """See `SameConv.forward`; maps are packed."""
        pack = self.inputs // x.shape[1]
        columns = self.before * pack, self.after * pack
        x = buffers.window(self, x, self.kernel, self.stride, self.before, self.after, columns)
        return self.run(x, self.kernel, pack, buffers)


class PackedDoubling(PackedLayer):
    """Takes the place of a `Doubling`."""

    def __init__(self, original: Doubling, layer: Layer, convolutions: Convolutions) -> None:
        super().__init__(layer, convolutions, is_packed=True)
        self.inputs, self.outputs = original.in_channels, original.out_channels

    def forward(self, x: Tensor, buffers: LineBuffers) -> Tensor:
        """See `Doubling.forward`; maps are packed."""
        pack = self.inputs // x.shape[1]
        x = buffers.window(self, x, 3, 1, 1, 1, columns=(pack, pack))
        return _interleaved(self.run(x, 3, pack, buffers), self.outputs)


def _interleaved(x: Tensor, outputs: int) -> Tensor:
    """Bring four maps to the even and odd rows and columns of one.

    Args:
        x: The maps, packed, (B, 4 * C / pack, H, W * pack).
        outputs: C.

    Returns:
        (B, C / pack, 2 * H, 2 * W * pack).
    """
    found = 4 * outputs // x.shape[1]
    pack = next(size for size in PACKS if size <= found and outputs % size == 0)
    if pack != found:  # packs belong to several of the maps
        x = packed(unpacked(x, found), pack)
    batch, packs, height, width = x.shape
    maps = x.reshape(batch, 2, 2, packs // 4, height, width // pack, pack)
    return maps.permute(0, 3, 4, 1, 5, 2, 6).reshape(batch, packs // 4, 2 * height, 2 * width)


class UnpackedLSTM(nn.Module):
    """Takes the place of a `ConvLSTM`: its gates are parts of one map, which packs may cross."""

    def __init__(self, original: ConvLSTM, width: int) -> None:
        super().__init__()
        self.lstm, self.width = original, width

    def forward(self, x: Tensor, state: State, buffers: LineBuffers) -> tuple[Tensor, State]:
        """See `ConvLSTM.forward`; features and hidden maps are packed, the state is not."""
        pack = self.width // x.shape[1]
        hidden, state = self.lstm(unpacked(x, pack), state, buffers)
        return packed(hidden, pack), state


class NcnnNetwork:
    """An `SRN` on the CPU with the convolutions of ncnn.

    Args:
        network: The network, on the CPU.
    """

    def __init__(self, network: SRN) -> None:
        self.config, self._original = network.config, network
        with torch.device("meta"):
            self._srn = SRN(network.config)
        self._srn.load_state_dict(network.state_dict(), assign=True)
        self._srn.eval().requires_grad_(False)
        self._convolutions = _replace_layers(self._srn)

    def to(self, device: torch.device, dtype: torch.dtype) -> NcnnNetwork:
        """Return the network itself: it computes on the CPU, in float32."""
        return self

    def transposed(self) -> NcnnNetwork:
        """See `SRN.transposed`."""
        return NcnnNetwork(self._original.transposed())

    def run_scale(
        self, blurred: Tensor, previous: Tensor, state: State | None, buffers: LineBuffers
    ) -> tuple[Tensor, State | None]:
        """See `SRN.run_scale`."""
        config = self.config
        if config.recurrent and state is None:  # of the size of maps that are not packed
            height, width = (side // config.stride for side in blurred.shape[2:])
            state = blurred.new_zeros(len(blurred), config.state_channels, height, width)
        if buffers.is_last and not buffers.is_whole:
            # This band also completes the rows that lag behind, in maps of other sizes.
            return_freed_memory()
        try:
            return self._srn.run_scale(blurred, previous, state, replace(buffers, is_planar=True))
        finally:  # bands of another size cannot reuse it
            self._convolutions.free_spare_memory()


def _replace_layers(network: SRN) -> Convolutions:
    """Let ncnn run all convolutions of a network, and return them."""
    found = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, SameConv | Doubling)
    }
    layers = {name: _layer(name, module) for name, module in found.items()}
    convolutions = Convolutions([*layers.values()])
    for name, module in found.items():
        parent, _, own = name.rpartition(".")
        if isinstance(module, Doubling):
            packed_layer: PackedLayer = PackedDoubling(module, layers[name], convolutions)
        else:
            is_packed = name not in ("output", "lstm.gates")
            packed_layer = PackedConv(module, layers[name], convolutions, is_packed)
        setattr(network.get_submodule(parent), own, packed_layer)
    if network.lstm is not None:
        setattr(network, "lstm", UnpackedLSTM(network.lstm, network.config.widths[-1]))  # noqa: B010
    return convolutions


def _layer(name: str, module: SameConv | Doubling) -> Layer:
    """Return a convolution with an input of its own."""
    source, bias = f"{name}.input", cast(Tensor, module.bias)
    if isinstance(module, Doubling):
        kernels = doubling_kernels(module.weight)
        return convolution(name, source, kernels, bias.repeat(4), stride=1, has_relu=False)
    return convolution(name, source, module.weight, bias, module.stride[0], module.has_relu)
