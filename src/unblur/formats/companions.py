"""Deblur companions, pictures that belong to a photo, such as a gain map.

A gain map brightens parts of a photo on an HDR screen. It was made from the blurred photo:
unchanged, it would brighten a lamp's streak that the result no longer has. benchmarks/README.md
compares ways to change it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from numpy.typing import NDArray

from unblur.errors import DeviceError
from unblur.formats.embedded_pictures import GAIN_MAP
from unblur.formats.panorama import deblurred
from unblur.formats.photo import Companion, Photo

File = TypeVar("File")
"""A photo's file, as its format's module holds it."""

MOST_COMPANIONS = 4
"""Largest number of companions in a photo; if there are more, none is changed."""


def decode_companions(
    places: Iterable[Any],
    alone: Callable[[Any], bytes],
    decode: Callable[[bytes, int], Photo],
    most_pixels: int,
) -> tuple[Companion, ...]:
    """Decode the companions of a photo, or none if one of them cannot be decoded.

    If only some were changed, they would no longer agree, and no note would name the unchanged
    companion.

    Args:
        places: Places of the companions in the photo's file.
        alone: Returns the companion in a place as a file of its own.
        decode: The format's own function.
        most_pixels: Number of pixels of the photo; larger companions are not decoded.
    """
    some = tuple(islice(places, MOST_COMPANIONS + 1))
    if len(some) > MOST_COMPANIONS:
        return ()
    try:
        return tuple(Companion(decode(alone(place), most_pixels), place) for place in some)
    except Exception:  # libraries raise anything; the photo itself is whole
        return ()


def with_new_companions(
    photo: Photo, is_round: bool, deblur: Callable[[Any], NDArray[Any]]
) -> Photo:
    """Return a photo with deblurred companions, as far as they can be deblurred.

    Args:
        photo: The photo; its own pixels are not changed.
        is_round: The answer of `unblur.formats.panorama.is_round` for the photo.
        deblur: Takes and returns pixels, (H, W, 1 or 3), uint8 or uint16.

    Raises:
        DeviceError: If the device is lost.
    """

    def new(companion: Companion) -> Companion:
        try:
            pixels = deblurred(companion.photo.pixels, is_round, deblur)
        except DeviceError:
            raise
        except Exception:  # no reason to lose the photo
            return companion
        return replace(companion, pixels=pixels)

    return replace(photo, companions=tuple(map(new, photo.companions)))


def put_companions(
    file: File, companions: Iterable[Companion], put: Callable[[File, Companion], File | None]
) -> tuple[File, tuple[str, ...]]:
    """Put the new pixels of companions into a photo's file.

    Args:
        file: The file.
        companions: The companions; without new pixels, a companion is not changed.
        put: Returns the file with the new pixels of a companion; ``None`` if there is no room.

    Returns:
        The file, and the names of unchanged companions that could not be encoded.
    """
    stale = []
    for companion in companions:
        if companion.pixels is None:
            continue
        new = None
        with contextlib.suppress(Exception):  # libraries raise anything; the photo itself is whole
            new = put(file, companion)
        stale += [GAIN_MAP] * (new is None)
        file = file if new is None else new
    return file, tuple(stale)
