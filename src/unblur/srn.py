"""The scale-recurrent network (SRN) for deblurring, and nothing else.

Tao, Gao, Shen, Wang, Jia: "Scale-recurrent Network for Deep Image Deblurring",
CVPR 2018, https://arxiv.org/abs/1802.01770. Section numbers below are the paper's.
The published models follow the authors' MIT-licensed TensorFlow graph,
https://github.com/jiangsutx/SRN-Deblur (``models/model.py``, ``util/``).

One encoder-decoder is run at a quarter, half and full size. Each run sees the
blurred image at that size, the previous result enlarged, and (if recurrent) the
hidden state of a ConvLSTM at the bottleneck, enlarged.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.srn_config import LEVELS, SCALES, SRNConfig

State: TypeAlias = Tensor
"""ConvLSTM cell and hidden maps, concatenated along the channels."""


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME`` does for even sides.

    With stride 2 the surplus pixel of padding goes to the bottom and right;
    PyTorch's symmetric padding would shift every level by a pixel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding)
        before = (kernel - stride) // 2
        self.surplus = (before, kernel - stride - before) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, I, H, W) to (B, O, H / stride, W / stride)."""
        return super().forward(F.pad(x, self.surplus) if self.surplus else x)


class ResidualBlock(nn.Module):
    """``x + conv2(relu(conv1(x)))``, with no activation after the sum (section 3.2)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = SameConv(width, width, kernel)
        self.conv2 = SameConv(width, width, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        change: Tensor = self.conv2(F.relu_(self.conv1(x)))
        return change.add_(x)


class ConvLSTM(nn.Module):
    """A 3x3 convolutional LSTM without peepholes (section 3.1, equation 5).

    Gates are ordered i, j, f, o and the forget gate is biased by 1, as in
    TensorFlow's ``BasicConvLSTMCell`` that the authors use.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates = SameConv(2 * width, 4 * width, 3)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Update the state.

        Args:
            x: Features, (B, width, H, W).
            state: Cell and hidden maps, (B, 2 * width, H, W); zeros at first.

        Returns:
            The new hidden map, (B, width, H, W), and the new state.
        """
        cell, hidden = state.chunk(2, dim=1)
        i, j, f, o = self.gates(torch.cat([x, hidden], dim=1)).chunk(4, dim=1)
        cell = cell * torch.sigmoid(f + 1) + torch.sigmoid(i) * torch.tanh(j)
        hidden = torch.tanh(cell) * torch.sigmoid(o)
        return hidden, torch.cat([cell, hidden], dim=1)


class SRN(nn.Module):
    """Three runs of one encoder-decoder, from the coarsest scale to the finest."""

    def __init__(self, config: SRNConfig) -> None:
        super().__init__()
        self.config = config
        folded = config.channels * config.unshuffle**2
        widths = [config.width * 2**level for level in range(LEVELS)]
        inputs = [2 * folded, *widths[:-1]]

        self.entries = nn.ModuleList(
            SameConv(i, w, config.kernel, stride=1 if level == 0 else 2)
            for level, (i, w) in enumerate(zip(inputs, widths, strict=True))
        )
        self.encoders = nn.ModuleList(self._residual_blocks(w) for w in widths)
        self.lstm = ConvLSTM(widths[-1]) if config.recurrent else None
        self.decoders = nn.ModuleList(self._residual_blocks(w) for w in widths)
        self.exits = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1)
            for narrow, wide in itertools.pairwise(widths)
        )
        self.output = SameConv(config.width, folded, config.kernel)

    def _residual_blocks(self, width: int) -> nn.Sequential:
        return nn.Sequential(
            *(ResidualBlock(width, self.config.kernel) for _ in range(self.config.blocks))
        )

    def _between_levels(self, x: Tensor) -> Tensor:
        # A network that predicts a residual finds silence its cheapest first
        # improvement: with a ReLU here, every activation dies within 150 steps.
        return x if self.config.residual else F.relu_(x)

    def forward(self, blurred: Tensor) -> list[Tensor]:
        """Deblur whole images in one pass over the three scales.

        Args:
            blurred: (B, channels, H, W), values in [0, 1]; H and W are
                multiples of ``config.multiple``.

        Returns:
            The result of each scale, coarsest first; the last has the input's
            shape. Values are not clamped.
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
        return results

    def run_scale(
        self, blurred: Tensor, previous: Tensor, state: State | None
    ) -> tuple[Tensor, State | None]:
        """Run the encoder-decoder once, at one scale.

        Args:
            blurred: The blurred image at this scale, (B, channels, H, W);
                H and W are multiples of ``config.stride``.
            previous: The coarser result enlarged to this scale, of the same
                shape; at the coarsest scale ``blurred`` itself.
            state: The coarser state, enlarged; ``None`` at the coarsest scale.

        Returns:
            The result, (B, channels, H, W), and the new state,
            (B, ``state_channels``, H / stride, W / stride), or ``None`` if the
            network is not recurrent.
        """
        x = torch.cat([blurred, previous], dim=1)
        x = F.pixel_unshuffle(x, self.config.unshuffle)  # (B, 2cu², H/u, W/u)

        skips: list[Tensor] = []
        for entry, encoder in zip(self.entries, self.encoders, strict=True):
            x = self._between_levels(entry(x))
            x = encoder(x)
            skips.append(x)
        skips.pop()  # the deepest features go on as they are

        if self.lstm is not None:
            if state is None:
                state = x.new_zeros(x.shape[0], self.config.state_channels, *x.shape[2:])
            x, state = self.lstm(x, state)  # (B, 4w, H/stride, W/stride)

        x = self.decoders[-1](x)
        for level in reversed(range(LEVELS - 1)):
            x = self._between_levels(self.exits[level](x)).add_(skips.pop())
            x = self.decoders[level](x)

        x = F.pixel_shuffle(self.output(x), self.config.unshuffle)  # (B, c, H, W)
        return (blurred + x if self.config.residual else x), state


def shrink(image: Tensor, factor: int, config: SRNConfig) -> Tensor:
    """Reduce (B, C, H, W) to (B, C, H / factor, W / factor).

    ``subsample`` is what TensorFlow 1's ``resize_images`` does: it takes every
    ``factor``-th pixel, since it has no half-pixel shift. ``area`` averages.
    """
    if factor == 1:
        return image
    if config.resample == "subsample":
        return image[..., ::factor, ::factor]
    return F.avg_pool2d(image, factor)


def enlarge(image: Tensor, config: SRNConfig) -> Tensor:
    """Double (B, C, H, W) to (B, C, 2H, 2W), linearly.

    ``subsample`` has no half-pixel shift, as TensorFlow 1: even positions keep
    their pixel, odd ones average their neighbours, the last one is repeated.
    """
    if config.resample == "area":
        return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
    for dim in (2, 3):
        size = image.shape[dim]
        following = torch.cat([image, image.narrow(dim, size - 1, 1)], dim).narrow(dim, 1, size)
        image = torch.stack([image, (image + following) / 2], dim + 1).flatten(dim, dim + 1)
    return image
