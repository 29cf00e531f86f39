"""White that stays white: a limit on changes inside areas that are clipped in the blurred photo.

A blurred pixel is the mean of the light along the path of the motion, clipped at white. Where
it is clipped, and its neighbours are, too, the photo tells nothing of what lies there: a lamp
or a lit sign that is brighter than white, or something darker that its streak covers. A
network that learned from squared errors answers with the mean of both, which is grey. Such a
grey in the middle of a lamp is false whichever of the two is true. So a slightly darker result
returns to the blurred photo, and a much darker one stays: there the network has found a dark
letter on a sign, or the place that a streak came from.

``weights/README.md`` has what this changes, and ``training/history.md`` how the thresholds
were found.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLIPPED = 250 / 255
"""Samples from this share of white on are clipped; the noise of JPEG makes some a little darker."""
DARK, LIGHT = 176 / 255, 216 / 255
"""Up to the first share of white a result stays as it is; from the second on, the blurred photo
is taken; between them, a mean."""
CHANNELS = 2
"""How many colour channels have to be clipped. One alone, such as the red of a sunset, leaves
two that show detail."""


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
