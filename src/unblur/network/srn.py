"""The scale-recurrent network (SRN) for deblurring.

Tao, Gao, Shen, Wang, Jia: "Scale-recurrent Network for Deep Image Deblurring",
CVPR 2018, https://arxiv.org/abs/1802.01770. Section numbers below are the paper's.
The published models follow the authors' MIT-licensed TensorFlow graph,
https://github.com/jiangsutx/SRN-Deblur (``models/model.py``, ``util/``).

One encoder-decoder runs at a quarter, half and full size. Each run sees the blurred image at that
size, the enlarged result of the previous run and, if the network is recurrent, the enlarged state
of a ConvLSTM at the bottleneck.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.network.bands import LineBuffers
from unblur.network.config import DOUBLING_KERNEL, LSTM_KERNEL, SCALES, SRNConfig

State: TypeAlias = Tensor
"""ConvLSTM cell and hidden maps, concatenated along the channels."""


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME`` does for even sides, perhaps with a ReLU.

    With stride 2, TensorFlow puts the surplus pixel of padding at the bottom and right. PyTorch's
    symmetric padding would shift every level by a pixel.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, has_relu: bool = False
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride)
        self.has_relu = has_relu
        padding = max(0, kernel - stride)
        self.before = padding // 2
        self.after = padding - self.before

    def forward(self, x: Tensor, buffers: LineBuffers) -> Tensor:  # type: ignore[override]
        """Convolve (B, I, H, W) to (B, O, H / stride, W / stride); a band's rows lag behind."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        above, below = self.before, self.after
        if not buffers.is_whole:
            x = buffers.window(self, x, kernel, stride, above, below)
            above = below = 0
            if x.shape[2] < kernel:
                return x.new_empty(x.shape[0], self.out_channels, 0, x.shape[3] // stride)
        if self.before == self.after and above == below:
            y = F.conv2d(x, self.weight, self.bias, stride, (above, self.before))
        else:
            padded = F.pad(x, (self.before, self.after, above, below))
            y = F.conv2d(padded, self.weight, self.bias, stride)
        return F.relu_(y) if self.has_relu else y


class Doubling(nn.ConvTranspose2d):
    """A transposed convolution that doubles height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, DOUBLING_KERNEL, stride=2, padding=1)

    def forward(self, x: Tensor, buffers: LineBuffers) -> Tensor:  # type: ignore[override]
        """Map (B, I, H, W) to (B, O, 2 * H, 2 * W); a band's rows lag behind."""
        if buffers.is_whole:
            return super().forward(x)
        # Each pair of output rows depends on one input row and its two neighbours.
        x = buffers.window(self, x, kernel=3, stride=1, before=1, after=1)
        if x.shape[2] < 3:
            return x.new_empty(x.shape[0], self.out_channels, 0, 2 * x.shape[3])
        return super().forward(x)[:, :, 2:-2]


class ResidualBlock(nn.Module):
    """``x + conv2(relu(conv1(x)))``, with no activation after the sum (section 3.2)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = SameConv(width, width, kernel, has_relu=True)
        self.conv2 = SameConv(width, width, kernel)

    def forward(self, x: Tensor, buffers: LineBuffers) -> Tensor:
        """Map (B, width, H, W) to the same shape; a band's rows lag behind."""
        change: Tensor = self.conv2(self.conv1(x, buffers), buffers)
        return buffers.add_delayed(self, change, x)


class ResidualBlocks(nn.ModuleList):
    """Residual blocks, one after the other."""

    def __init__(self, count: int, width: int, kernel: int) -> None:
        super().__init__(ResidualBlock(width, kernel) for _ in range(count))

    def forward(self, x: Tensor, buffers: LineBuffers) -> Tensor:
        """Map (B, width, H, W) to the same shape; a band's rows lag behind."""
        for block in self:
            x = block(x, buffers)
        return x


class ConvLSTM(nn.Module):
    """A 3x3 convolutional LSTM without peepholes (section 3.1, equation 5).

    The order of the gates is i, j, f, o, and the forget gate has a bias of 1, as in TensorFlow's
    ``BasicConvLSTMCell``, which the authors use.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates = SameConv(2 * width, 4 * width, LSTM_KERNEL)

    def forward(self, x: Tensor, state: State, buffers: LineBuffers) -> tuple[Tensor, State]:
        """Update the state.

        Args:
            x: Features, (B, width, H, W).
            state: Cell and hidden maps, (B, 2 * width, H, W); zeros at first.
            buffers: Rows that the band above left.

        Returns:
            The new hidden map, (B, width, H, W), and the new state; a band's
            rows lag behind.
        """
        cell, hidden = state.chunk(2, dim=1)
        gates = self.gates(torch.cat([x, hidden.to(x)], dim=1), buffers)
        i, j, f, o = gates.chunk(4, dim=1)
        cell = buffers.delay(self, cell, gates.shape[2])
        cell = cell * torch.sigmoid(f + 1) + torch.sigmoid(i) * torch.tanh(j)
        hidden = torch.tanh(cell) * torch.sigmoid(o)
        return hidden, torch.cat([cell, hidden], dim=1)


class SRN(nn.Module):
    """Three runs of one encoder-decoder, from the coarsest scale to the finest."""

    def __init__(self, config: SRNConfig) -> None:
        super().__init__()
        self.config = config
        folded = config.channels * config.unshuffle**2
        widths, kernel = config.widths, config.kernel
        inputs = [2 * folded, *widths[:-1]]
        sizes = list(zip(config.blocks_by_level, widths, strict=True))

        self.entries = nn.ModuleList(
            SameConv(i, w, kernel, stride=1 if level == 0 else 2)
            for level, (i, w) in enumerate(zip(inputs, widths, strict=True))
        )
        self.encoders = nn.ModuleList(ResidualBlocks(count, w, kernel) for count, w in sizes)
        self.lstm = ConvLSTM(widths[-1]) if config.recurrent else None
        self.decoders = nn.ModuleList(ResidualBlocks(count, w, kernel) for count, w in sizes)
        self.exits = nn.ModuleList(
            Doubling(wide, narrow) for narrow, wide in itertools.pairwise(widths)
        )
        self.output = SameConv(config.width, folded, kernel)

    def transposed(self) -> SRN:
        """Return the network for transposed images.

        Its result for a transposed image is the transposed result of this network, except for
        rounding: sums are computed in another order. Nearly all weights are views of this network's
        weights.
        """
        weights = {name: w.mT if w.ndim == 4 else w for name, w in self.state_dict().items()}
        for name, folded in (("entries.0.weight", 1), ("output.weight", 0), ("output.bias", 0)):
            weights[name] = _with_swapped_places(weights[name], folded, self.config.unshuffle)
        with torch.device("meta"):
            network = SRN(self.config)
        network.load_state_dict(weights, assign=True)
        return network.eval().requires_grad_(False)

    def _between_levels(self, x: Tensor) -> Tensor:
        # With a ReLU here, all activations of a network that predicts a residual become
        # zero within 150 training steps.
        return x if self.config.residual else F.relu_(x)

    def forward(self, blurred: Tensor) -> list[Tensor]:
        """Deblur whole images in one pass over the three scales.

        Args:
            blurred: (B, channels, H, W), values in [0, 1]; H and W are
                multiples of ``config.multiple``.

        Returns:
            The result of each scale, coarsest first. The last result has the input's shape. Values
            are not clamped.
        """
        return self.run_scales(blurred)[0]

    def run_scales(self, blurred: Tensor) -> tuple[list[Tensor], State | None]:
        """Deblur whole images as `forward` does, and return the state of the finest scale, too.

        Args:
            blurred: See `forward`.

        Returns:
            What `forward` returns, and the state that `run_scale` returned last.
        """
        previous, state = None, None
        results = []
        for scale in SCALES:
            image = shrink(blurred, scale, self.config)
            if previous is None:
                previous = image
            else:
                previous = enlarge(previous, self.config)
                state = None if state is None else enlarge(state, self.config)
            previous, state = self.run_scale(image, previous, state)
            results.append(previous)
        return results, state

    def run_scale(
        self,
        blurred: Tensor,
        previous: Tensor,
        state: State | None,
        buffers: LineBuffers | None = None,
    ) -> tuple[Tensor, State | None]:
        """Run the encoder-decoder once, at one scale, on an image or on a band of its rows.

        Args:
            blurred: The blurred image at this scale, (B, channels, H, W);
                H and W are multiples of ``config.stride``.
            previous: The coarser result enlarged to this scale, of the same
                shape; at the coarsest scale ``blurred`` itself.
            state: The coarser state, enlarged; ``None`` at the coarsest scale.
            buffers: For a band: the rows that the band above has kept, and the rows to keep for the
                next band. Default: the image is whole.

        Returns:
            The result, (B, channels, H, W), and the new state, (B, ``state_channels``, H / stride,
            W / stride), or ``None`` if the network is not recurrent. For a band, only the finished
            rows.
        """
        buffers = buffers or LineBuffers()
        x = torch.cat([blurred, previous], dim=1).to(self._convolution_type(blurred.device))
        x = F.pixel_unshuffle(x, self.config.unshuffle)  # (B, 2cu², H/u, W/u)

        skips: list[Tensor] = []
        for entry, encoder in zip(self.entries, self.encoders, strict=True):
            x = encoder(self._between_levels(entry(x, buffers)), buffers)
            skips.append(x)
        skips.pop()  # the deepest features go on as they are

        if self.lstm is not None:
            if state is None:
                state = x.new_zeros(x.shape[0], self.config.state_channels, *x.shape[2:])
            else:
                state = buffers.delay("state", state, x.shape[2])
            x, state = self.lstm(x, state, buffers)  # (B, widest, H/stride, W/stride)

        x = self.decoders[-1](x, buffers)
        for level in reversed(range(1, self.config.levels - 1)):
            x = self._decode(level, x, skips.pop(), buffers)

        skip, pieces = skips.pop(), []
        for piece, inner in buffers.pieces(x):
            y = self.output(self._decode(0, piece, skip, inner), inner)
            y = F.pixel_shuffle(y, self.config.unshuffle)  # (B, c, H, W)
            if self.config.residual:
                y = inner.add_delayed("blurred", y.to(blurred), blurred)
            pieces.append(y)
            skip, blurred = skip[:, :, :0], blurred[:, :, :0]  # all taken by the first
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2), state

    def _convolution_type(self, device: torch.device) -> torch.dtype:
        """Return the data type of convolutions; images may have another type."""
        if torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return self.output.weight.dtype

    def _decode(self, level: int, x: Tensor, skip: Tensor, buffers: LineBuffers) -> Tensor:
        """Decode the features of a deeper level, (B, 2 * width, h, w), to (B, width, 2h, 2w)."""
        x = self._between_levels(self.exits[level](x, buffers))
        x = buffers.add_delayed(f"skip {level}", x, skip)
        decoded: Tensor = self.decoders[level](x, buffers)
        return decoded


def _with_swapped_places(weight: Tensor, dim: int, side: int) -> Tensor:
    """Transpose the squares of pixels that `F.pixel_unshuffle` has folded into a dimension."""
    places = torch.unflatten(weight, dim, (-1, side, side))
    return places.transpose(dim + 1, dim + 2).flatten(dim, dim + 2)


def shrink(image: Tensor, factor: int, config: SRNConfig) -> Tensor:
    """Reduce (B, C, H, W) to (B, C, H / factor, W / factor).

    ``subsample`` takes every ``factor``-th pixel, as TensorFlow 1's ``resize_images`` does, which
    has no half-pixel shift. ``area`` averages.
    """
    if factor == 1:
        return image
    if config.resample == "subsample":
        return image[..., ::factor, ::factor]
    return F.avg_pool2d(image, factor)


def enlarge(image: Tensor, config: SRNConfig) -> Tensor:
    """Enlarge (B, C, H, W) to (B, C, 2H, 2W) by linear interpolation.

    ``subsample`` has no half-pixel shift, as in TensorFlow 1: even positions keep their pixel, odd
    positions are the mean of their neighbours, and the last pixel is repeated.
    """
    if config.resample == "area":
        return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
    for dim in (2, 3):
        size = image.shape[dim]
        following = torch.cat([image, image.narrow(dim, size - 1, 1)], dim).narrow(dim, 1, size)
        image = torch.stack([image, (image + following) / 2], dim + 1).flatten(dim, dim + 1)
    return image
