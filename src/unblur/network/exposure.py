"""Show the network dark photos as if they were exposed longer.

The network learned from photos with usual exposure, and leaves most of the blur in darker ones. So
it sees a dark photo with all samples multiplied by one factor, and its result is divided by the
same factor. Stored samples are nearly a power of the light, so the multiple is what a longer
exposure would have stored, and the blur in it is the same. ``weights/README.md`` has measurements.

Photos from 0.3 times the usual brightness on stay as they are: the network has seen such dark
places in bright photos, so brightening gains little, and noisy photos lose up to 0.2 dB by it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BRIGHT = 0.3
"""Share of white. A photo whose brightest parts reach it is not dark."""
BRIGHTEST = 0.999
"""Quantile of the samples that counts as the brightest parts: hot pixels and stars are fewer."""
MOST_OVER = 2.0
"""Largest sample for the network, where 1 is white: a lamp in the dark limits the factor."""
MOST_TIMES = 16.0
"""Largest factor. In darker photos, 8 bits have hardly more than a dozen values."""

_COUNTED = 1 << 17
"""Number of samples to look at, for speed."""


def white_of(image: NDArray[np.uint8] | NDArray[np.uint16]) -> float:
    """Return the sample that becomes white, 1, for the network.

    Args:
        image: (H, W, C), uint8 or uint16.

    Returns:
        The largest sample of the type, or a smaller one if the whole photo is dark.
    """
    largest = float(np.iinfo(image.dtype).max)
    step = max(1, math.isqrt(image.size // _COUNTED))
    samples = image[::step, ::step].ravel()
    place = int(BRIGHTEST * (samples.size - 1))
    brightest = float(np.partition(samples, place)[place])
    if brightest >= BRIGHT * largest:
        return largest
    return max(brightest, float(image.max()) / MOST_OVER, largest / MOST_TIMES)
