"""Text and shapes: drawn once with Pillow, kept on the training's device, pasted in batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.drawn import draw_caption, draw_many, draw_overlay
from training.synthesis.draws import uniform, whole


@dataclass(frozen=True)
class Bank:
    """Layers of text and shapes, each (N, size, size, 4) uint8: premultiplied RGB, and alpha."""

    overlays: Tensor
    """Shapes and text that are part of a scene."""
    captions: Tensor
    """Text that is printed on a photo."""


def draw_bank(overlays: int, captions: int, size: int, device: torch.device, seed: int = 0) -> Bank:
    """Draw layers.

    Args:
        overlays: Number of layers with shapes and text.
        captions: Number of layers with text only.
        size: Side of the layers in pixels: at least that of the crops they are pasted on.
        device: Where the layers are kept.
        seed: Seed of the drawings.
    """
    drawn = [
        draw_many(draw, count, size, seed + n)
        for n, (draw, count) in enumerate([(draw_overlay, overlays), (draw_caption, captions)])
    ]
    return Bank(*(torch.from_numpy(layers).to(device) for layers in drawn))


def draw_layers(layers: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Take pieces of layers at random, with their colours exchanged at random.

    Args:
        layers: (N, side, side, 4) uint8; see `Bank`.
        count: Number of pieces.
        size: Side of the pieces in pixels.
        generator: Source of randomness.

    Returns:
        Premultiplied RGBA (count, 4, size, size) float32 in [0, 1].
    """
    device = layers.device
    chosen = whole(0, len(layers), (count, 1, 1), generator)
    corners = whole(0, layers.shape[1] - size + 1, (2, count, 1), generator)
    y, x = corners + torch.arange(size, device=device)
    pieces = layers[chosen, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2).float() / 255
    order = torch.rand(count, 3, generator=generator, device=device).argsort(1)
    channels = torch.cat([order, torch.full_like(order[:, :1], 3)], 1)
    return pieces.gather(1, channels[..., None, None].expand_as(pieces))


def paste(images: Tensor, layers: Tensor) -> Tensor:
    """Put layers (B, 4, H, W) over images (B, 3, H, W), both in [0, 1].

    After Porter and Duff, "Compositing Digital Images", SIGGRAPH 1984: "over".
    """
    return layers[:, :3] + (1 - layers[:, 3:]) * images


def draw_colours(count: int, generator: torch.Generator) -> Tensor:
    """Draw colours (count, 3, 1, 1) in [0, 1]: black, white, a grey, or any colour.

    The shares are those of `training.drawn`.
    """
    any_colour = uniform(0, 1, (count, 3), generator)
    grey = any_colour[:, :1].expand(-1, 3)
    kind = uniform(0, 1, (count, 1), generator)
    colours = torch.where(kind < 0.2, grey.round(), torch.where(kind < 0.5, grey, any_colour))
    return colours[..., None, None]
