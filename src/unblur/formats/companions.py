"""Pictures that belong to a photo and are deblurred with it, such as a gain map.

A gain map says where a photo is brighter on a screen of high dynamic range than its pixels tell.
It was made of the blurred photo: kept as it was, it would light a lamp's streak that is gone.
benchmarks/README.md compares ways to change it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from unblur.formats.panorama import deblurred
from unblur.formats.photo import Photo


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
