"""White that stays white: a limit on changes inside areas that are clipped in the blurred photo.

A blurred pixel is the mean of the light along the path of the motion, clipped at white. Where
it and its neighbours are clipped, the photo does not show the light there. It may be a lamp or a
lit sign that is brighter than white, or something darker that the lamp's streak covers. A network
that learned from squared errors returns the mean of both, which is grey. In the middle of a lamp,
grey is wrong in both cases. So the blurred photo replaces a slightly darker result. A much darker
result stays: there the network has found a dark letter on a sign, or the place where a streak
began.

``weights/README.md`` has measurements of this guard. ``training/history.md`` describes how the
thresholds were found.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLIPPED = 250 / 255
"""Least value of a clipped sample, as a share of white: JPEG noise darkens some a little."""
DARK, LIGHT = 176 / 255, 216 / 255
"""Shares of white. A result up to the first one stays; from the second one on, the blurred photo
replaces it; between them, a mean of both is taken."""
CHANNELS = 2
"""Least number of clipped colour channels. If only one is clipped, such as the red of a sunset, the
other two show detail."""


def keep_white(values: Tensor, blurred: Tensor, first: int, largest: int) -> Tensor:
    """Return rows of a result with the grey removed from clipped areas.

    All channels of a pixel move towards the blurred photo by the same share, so that none is
    tinted. Pixels that do not lie inside a clipped area keep their values, bit for bit.

    Args:
        values: Rows of the result, (h, W, C), float32 from 0 to ``largest``; C is 1 or 3.
        blurred: The same rows of the blurred photo, (H, W, C), whole numbers, and one more
            above and one below where the photo has them.
        first: Which row of ``blurred`` is the first of ``values``: 0 or 1.
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
    """Return which samples (H, W, C) are clipped together with their eight neighbours."""
    tall = clipped.clone()
    tall[1:] &= clipped[:-1]
    tall[:-1] &= clipped[1:]
    wide = tall.clone()
    wide[:, 1:] &= tall[:, :-1]
    wide[:, :-1] &= tall[:, 1:]
    return wide
