"""Deblur the companions of a photo: pictures that belong to it, such as a gain map.

A gain map says where a photo is brighter on an HDR screen than its pixels. It was made from the
blurred photo: if it did not change, it would light a lamp's streak that is gone.
benchmarks/README.md compares ways to change it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from unblur.formats.panorama import deblurred
from unblur.formats.photo import Companion, Photo

MOST_COMPANIONS = 4
"""Most companions in one photo; further ones are not changed."""


def decode_companions(
    places: Iterable[Any],
    alone: Callable[[Any], bytes],
    decode: Callable[[bytes, int], Photo],
    most_pixels: int,
) -> tuple[Companion, ...]:
    """Decode the companions of a photo that can be decoded.

    Args:
        places: Where they are in the photo's file.
        alone: Returns the one in a place as a file of its own.
        decode: The format's own function.
        most_pixels: Those of the photo; larger companions are left out.
    """
    companions = []
    for place in islice(places, MOST_COMPANIONS):
        with contextlib.suppress(Exception):  # libraries raise anything; the photo itself is whole
            companions.append(Companion(decode(alone(place), most_pixels), place))
    return tuple(companions)


def with_new_companions(photo: Photo, deblur: Callable[[Any], NDArray[Any]]) -> Photo:
    """Return a photo whose companions have new pixels.

    Args:
        photo: The photo, whose own pixels stay.
        deblur: Takes and returns pixels, (H, W, 1 or 3), uint8 or uint16.
    """
    companions = (
        replace(companion, pixels=deblurred(replace(photo, pixels=companion.photo.pixels), deblur))
        for companion in photo.companions
    )
    return replace(photo, companions=tuple(companions))
