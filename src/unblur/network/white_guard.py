"""Keep white areas white: limit the change inside areas that are clipped in the blurred photo.

A blurred pixel is the mean of the light along the path of the motion, clipped at white. Where a
pixel and its neighbours are clipped, the photo does not record the light. The light may come from a
lamp or a lit sign that is brighter than white, or from something darker that the lamp's streak
covers. A network that learned from squared errors returns the mean of both cases, which is grey. In
the middle of a lamp, grey is wrong in both cases. So the blurred photo replaces a slightly darker
result. A much darker result stays, because the network has found a dark letter on a sign, or the
place where a streak began.

``weights/README.md`` has measurements of this guard. ``training/history.md`` describes how the
thresholds were found.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLIPPED = 250 / 255
"""Least value of a clipped sample, as a share of white: JPEG noise darkens white a little."""
DARK, LIGHT = 176 / 255, 216 / 255
"""Shares of white. Results up to ``DARK`` stay, the blurred photo replaces results from ``LIGHT``
on, and values between become a weighted mean of both."""
CHANNELS = 2
"""Least number of clipped colour channels. If only one channel is clipped, such as the red of a
sunset, the other two show detail."""


def keep_white(values: Tensor, blurred: Tensor, first: int, largest: int) -> Tensor:
    """Return rows of a result with the grey removed from clipped areas.

    All channels of a pixel move towards the blurred photo by the same share, so that no pixel is
    tinted. Pixels outside clipped areas keep their values, bit for bit.

    Args:
        values: Rows of the result, (h, W, C), float32 from 0 to ``largest``; C is 1 or 3.
        blurred: The same rows of the blurred photo, (H, W, C), whole numbers, with one more row
            above and one below if the photo has them.
        first: Index in ``blurred`` of the first row of ``values``: 0 or 1.
        largest: The sample that stands for white.

    Returns:
        A tensor like ``values``, or ``values`` itself if there is nothing to do.
    """
    rows = slice(first, first + len(values))
    clipped = _eroded(blurred >= round(CLIPPED * largest))[rows]
    inside = clipped.sum(2, keepdim=True) >= min(CHANNELS, clipped.shape[2])
    # A GPU would have to wait for the answer.
    if inside.device.type == "cpu" and not inside.any():
        return values
    darkest = values.where(clipped, largest).amin(2, keepdim=True)
    share = ((darkest / largest - DARK) / (LIGHT - DARK)).clamp_(0, 1).mul_(inside)
    return torch.lerp(values, blurred[rows].to(values.dtype), share)


def _eroded(clipped: Tensor) -> Tensor:
    """Return a mask, (H, W, C), of the samples that are clipped like their eight neighbours."""
    tall = clipped.clone()
    tall[1:] &= clipped[:-1]
    tall[:-1] &= clipped[1:]
    wide = tall.clone()
    wide[:, 1:] &= tall[:, :-1]
    wide[:, :-1] &= tall[:, 1:]
    return wide
