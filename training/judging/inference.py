"""Deblur many photos at once, on the network's device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.data import Pixels
from unblur.network.contrast_guard import keep_contrast
from unblur.network.devices import choose_precision, kind_of
from unblur.network.exposure import Tones, tones_of
from unblur.network.srn import SRN
from unblur.network.views import ALL_VIEWS, Mean, View
from unblur.network.white_guard import keep_white

Deblur: TypeAlias = Callable[[Sequence[Pixels]], list[Pixels]]
"""Takes blurred photos, HWC uint8 of any sizes; returns deblurred photos in the same order."""

PIXELS_AT_ONCE = 16 * 256**2
"""Largest number of pixels that go through the network together, in photos of one size."""


def unchanged(photos: Sequence[Pixels]) -> list[Pixels]:
    """Return the photos themselves, so that the judgement is of the blurred photos."""
    return list(photos)


def deblur(
    network: SRN, pixels: Pixels, views: int = 1, precision: torch.dtype | None = None
) -> Pixels:
    """Deblur one photo, HWC uint8; see `deblur_all`."""
    return deblur_all(network, [pixels], views, precision)[0]


def deblur_all(
    network: SRN,
    photos: Sequence[Pixels],
    views: int = 1,
    precision: torch.dtype | None = None,
    is_guarded: bool = True,
) -> list[Pixels]:
    """Deblur photos whole; photos of one size are deblurred together.

    Args:
        network: The network, on any device.
        photos: HWC uint8 of any sizes.
        views: Number of views of each photo to average, as `unblur --views`.
        precision: Data type of convolutions. Default: the device's fastest type.
        is_guarded: Whether to give dark and pale photos usual tones, and guard white areas and fine
            patterns, as unblur does.

    Returns:
        The results, in the photos' order.
    """
    results: list[Pixels | None] = [None] * len(photos)
    for batch in same_sized(photos):
        chosen = [photos[index] for index in batch]
        mean = Mean(views)
        for view in ALL_VIEWS[:views]:
            mean.add(_seen(network, chosen, view, precision, is_guarded))
        for index, result in zip(batch, mean.rounded(), strict=True):
            if is_guarded:
                keep_contrast(
                    result, torch.from_numpy(photos[index].copy()), tones_of(photos[index]).span
                )
            results[index] = result.numpy()
    return [result for result in results if result is not None]


def same_sized(photos: Sequence[Pixels]) -> Iterator[list[int]]:
    """Yield the indices of photos of one size that go through the network together."""
    by_size = defaultdict(list)
    for index, photo in enumerate(photos):
        by_size[photo.shape].append(index)
    for (height, width, _), indices in by_size.items():
        count = max(1, PIXELS_AT_ONCE // (height * width))
        for start in range(0, len(indices), count):
            yield indices[start : start + count]


def stacked(photos: Sequence[Pixels], device: torch.device) -> Tensor:
    """Return photos of one size as a tensor (N, 3, H, W) uint8."""
    return torch.from_numpy(np.stack(photos)).to(device).permute(0, 3, 1, 2).contiguous()


def _seen(
    network: SRN,
    photos: list[Pixels],
    view: View,
    precision: torch.dtype | None,
    is_guarded: bool,
) -> Tensor:
    """Return a network's results for one view of photos, rotated back, (N, H, W, 3) uint8."""
    height, _ = view.size(*photos[0].shape[:2])
    turned = [view.rows(torch.from_numpy(photo.copy()), 0, height).numpy() for photo in photos]
    stack = stacked(turned, _device(network))
    tones = [tones_of(photo) if is_guarded else Tones(0, 255) for photo in photos]
    made = _run(network, stack, tones, precision).permute(0, 2, 3, 1)
    blurred = stack.permute(0, 2, 3, 1)
    results = torch.empty(len(photos), *photos[0].shape, dtype=torch.uint8)
    for result, seen, before in zip(results, made, blurred, strict=True):
        guarded = keep_white(seen, before, 0, 255) if is_guarded else seen
        view.write(result, 0, guarded.round().byte().cpu())
    return results


def _device(network: SRN) -> torch.device:
    return network.output.weight.device


@torch.inference_mode()
def _run(
    network: SRN, photos: Tensor, tones: Sequence[Tones], precision: torch.dtype | None
) -> Tensor:
    """Run a network on photos (N, 3, H, W) uint8; return float32 from 0 to 255.

    Each photo has its `Tones`, the samples that become 0 and 1 for the network.
    """
    device = photos.device
    black, span = (
        torch.tensor(values, dtype=torch.float32, device=device)[:, None, None, None]
        for values in ([one.black for one in tones], [one.span for one in tones])
    )
    precision = precision or choose_precision(kind_of(device))
    multiple = network.config.multiple
    height, width = photos.shape[2:]
    padding = (0, -width % multiple, 0, -height % multiple)
    padded = F.pad((photos.float() - black) / span, padding, mode="replicate")
    padded = padded.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, precision, precision != torch.float32):
        result = network(padded)[-1].float()[..., :height, :width]
    return (result * span + black).clamp(0, 255)
