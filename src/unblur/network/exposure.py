"""Show the network dark photos, and photos of low contrast, with usual tones.

The network learned from photos with usual exposure, and leaves most of the blur in darker ones, and
in pale ones, such as of fog or with a flat profile. So it sees a dark photo brighter and a pale one
with more contrast, and its result is changed back. Stored samples are nearly a power of the light,
so a multiple is what a longer exposure would have stored, and the blur in it is the same.
``weights/README.md`` has measurements.

Photos from 0.3 times the usual brightness on stay as they are, if their darkest parts are black:
the network has seen such dark places in bright photos, so brightening gains little, and noisy
photos lose up to 0.2 dB by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BRIGHT = 0.3
"""Share of white. A photo whose brightest parts reach it is not dark."""
GREY = 0.15
"""Share of white. A photo whose darkest parts are below it is not pale."""
FLAT = 0.015
"""Share of white. A photo whose brightest and darkest parts differ by less has only noise."""
PALE = 0.3
"""Share of white. A photo whose brightest and darkest parts differ by as much is not pale."""
SEEN = 0.5
"""Difference of the brightest and the darkest parts of a pale photo for the network, where white is
1. The rest is for the sharp photo, which may have darker and brighter parts: blurred black letters
are grey."""
BRIGHTEST, DARKEST = 0.999, 0.001
"""Quantiles of the samples that count as the brightest and the darkest parts: hot pixels, stars and
dead pixels are fewer."""
MOST_BEYOND = 1.0
"""How far a sample may be above 1 or below 0 for the network: a lamp in the dark limits the
factor."""
MOST_TIMES = 16.0
"""Largest factor. In darker photos, 8 bits have hardly more than a dozen values."""

_COUNTED = 1 << 17
"""Number of samples to look at, for speed."""


@dataclass(frozen=True)
class Tones:
    """The samples that become black, 0, and white, 1, for the network."""

    black: float
    white: float

    @property
    def span(self) -> float:
        """The difference of the two."""
        return self.white - self.black


def tones_of(image: NDArray[np.uint8] | NDArray[np.uint16]) -> Tones:
    """Return the samples that become black and white for the network.

    Args:
        image: (H, W, C), uint8 or uint16.

    Returns:
        0 and the largest sample of the type; in dark and in pale photos, others between them.
    """
    largest = float(np.iinfo(image.dtype).max)
    step = max(1, math.isqrt(image.size // _COUNTED))
    samples = image[::step, ::step].ravel()
    places = [int(share * (samples.size - 1)) for share in (DARKEST, BRIGHTEST)]
    darkest, brightest = map(float, np.partition(samples, places)[places])
    least_span = largest / MOST_TIMES
    is_pale = darkest >= GREY * largest and FLAT * largest <= brightest - darkest < PALE * largest
    if is_pale:
        middle = (darkest + brightest) / 2
        farthest = max(float(image.max()) - middle, middle - float(image.min()))
        span = max((brightest - darkest) / SEEN, farthest / (0.5 + MOST_BEYOND), least_span)
        black = min(max(0.0, middle - span / 2), largest - span)
        return Tones(black, black + span)
    if brightest < BRIGHT * largest:
        return Tones(0, max(brightest, float(image.max()) / (1 + MOST_BEYOND), least_span))
    return Tones(0, largest)
