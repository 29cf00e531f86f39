"""Masks: grey pictures that say where, and how much, a photo is deblurred.

Where a mask is white, the photo is deblurred; where it is black, the photo stays as it is; grey
blends both.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unblur.errors import PhotoError
from unblur.formats import any_format
from unblur.formats.convert import metadata_of, upright
from unblur.formats.exif_thumbnail import Turn
from unblur.formats.photo import Companion, Photo
from unblur.formats.pixels import (
    STRIP_BYTES,
    code_pixels,
    in_native_order,
    open_image,
    rounded,
    to_array,
)
from unblur.formats.png_chunks import SIGNATURE
from unblur.options import DEFAULT_MAX_PIXELS

GREY_TOLERANCE = 8
"""Largest difference of red, green and blue in a grey picture, of 255: lossy formats add errors."""
TURNED_TOLERANCE = 0.02
"""Largest relative difference of two aspect ratios that count as equal."""

BIT_DEPTH_PLACE, ONE_BIT_GREY = slice(24, 26), b"\x01\x00"
"""Position of the bit depth and colour type in a PNG file, and their values for black and white."""


@dataclass(frozen=True)
class Mask:
    """A mask, upright: it is drawn over the photo as viewers show it."""

    weights: NDArray[np.uint8]
    """(H, W), of any size: 0 keeps the photo, 255 takes the result."""

    @property
    def is_black(self) -> bool:
        """Whether the mask keeps the whole photo as it is."""
        return not self.weights.any()

    def fitted(self, width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Scale the mask to an upright photo.

        Returns:
            The mask with smooth edges and with hard edges, (height, width), for `_weights`.

        Raises:
            PhotoError: If the mask is rotated by 90 degrees.
        """
        self._refuse_turned(width, height)
        image = Image.fromarray(self.weights)
        smooth, hard = (
            np.asarray(image.resize((width, height), how))
            for how in (Image.Resampling.BILINEAR, Image.Resampling.BOX)
        )
        return smooth, hard

    def _refuse_turned(self, width: int, height: int) -> None:
        rows, columns = self.weights.shape
        ratio, turned = columns / rows, height / width
        is_alike = abs(ratio / turned - 1) < TURNED_TOLERANCE
        if is_alike and (width > height) != (columns > rows) and width != height:
            raise PhotoError(
                f"the mask is {columns}x{rows}, but the photo {width}x{height} as people see it: "
                "rotate the mask by 90 degrees"
            )


def decode_mask(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Mask:
    """Decode a mask from a file of any format that photos may have.

    Args:
        data: The whole file.
        max_pixels: Larger masks are refused.

    Raises:
        PhotoError: If the file cannot be decoded, is animated, or is not an opaque grey picture.
    """
    photo = any_format.decode(_in_eight_bits(data, max_pixels), max_pixels)
    turn = turn_of(photo)
    if photo.opacity is not None and photo.opacity.min() < np.iinfo(photo.opacity.dtype).max:
        raise PhotoError("is transparent: a mask needs an opaque picture in grey")
    return make_mask(turn(photo.pixels))


def _in_eight_bits(data: bytes, max_pixels: int) -> bytes:
    """Convert a PNG file with one bit per pixel to eight bits; return other files unchanged.

    Photos are not stored like this, but some programs store black-and-white masks like this.
    """
    if not data.startswith(SIGNATURE) or data[BIT_DEPTH_PLACE] != ONE_BIT_GREY:
        return data
    with contextlib.suppress(Exception):  # the decoder will report a damaged file
        image = open_image(data, ["PNG"], max_pixels)
        exif = image.info.get("exif", b"")
        return code_pixels(to_array(image.convert("L")), None, "PNG", exif=exif)
    return data


def make_mask(pixels: NDArray[Any]) -> Mask:
    """Make a mask from upright pixels.

    Args:
        pixels: (H, W), (H, W, 1) or (H, W, 3), bool, uint8 or uint16.

    Raises:
        PhotoError: If the array has another shape or type, no pixels, or colours.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    pixels = in_native_order(pixels)
    if pixels.dtype not in (np.bool_, np.uint8, np.uint16):
        raise PhotoError(f"a mask needs the type bool, uint8 or uint16, not {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        raise PhotoError(f"a mask needs the shape (H, W), not {pixels.shape}")
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint16:
        pixels = rounded(pixels)
    darkest, lightest = pixels.min(axis=2), pixels.max(axis=2)
    if (lightest - darkest).max() > GREY_TOLERANCE:
        raise PhotoError("has colours: a mask needs a picture in grey, white where to deblur")
    return Mask(np.ascontiguousarray(darkest))


def masked(photo: Photo, pixels: NDArray[Any], mask: Mask) -> tuple[Photo, NDArray[Any]]:
    """Blend a deblurred photo and its companions with their old pixels.

    Args:
        photo: The photo, whose companions have new pixels.
        pixels: The photo's new pixels, (H, W, C) as stored.
        mask: Where to take the new pixels.

    Returns:
        The photo and the pixels; see `blended`.

    Raises:
        PhotoError: If the mask does not fit the photo.
    """
    turn = turn_of(photo)
    pixels = blended(photo.pixels, pixels, mask, turn)
    companions = (_masked_companion(other, mask, turn) for other in photo.companions)
    return replace(photo, companions=tuple(companions)), pixels


def _masked_companion(companion: Companion, mask: Mask, turn: Turn) -> Companion:
    """Blend a companion; if its orientation differs from the photo's, keep its old pixels."""
    if companion.pixels is None:
        return companion
    try:
        pixels = blended(companion.photo.pixels, companion.pixels, mask, turn)
    except PhotoError:
        return replace(companion, pixels=None)
    return replace(companion, pixels=pixels)


def blended(
    before: NDArray[Any], after: NDArray[Any], mask: Mask, turn: Turn = lambda array: array
) -> NDArray[Any]:
    """Blend two versions of a photo, in integers, so that black keeps every sample.

    Args:
        before: The old version, (H, W, C), uint8 or uint16, as stored.
        after: The new version, of the same shape and type.
        mask: Black takes ``before``, white takes ``after``.
        turn: Rotates the photo upright.

    Returns:
        A new array, as stored.

    Raises:
        PhotoError: If the mask does not fit.
    """
    result: NDArray[Any] = after.copy()
    old, new = turn(before), turn(result)  # views, so that writes go to the result as stored
    height, width, channels = old.shape
    smooth, hard = mask.fitted(width, height)
    step = max(1, STRIP_BYTES // (width * channels * np.int32().itemsize))
    for top in range(0, height, step):
        rows = slice(top, top + step)
        change = new[rows].astype(np.int32) - old[rows]
        change *= _weights(smooth[rows], hard[rows])[..., None]
        new[rows] = old[rows] + (2 * change + 255) // 510
    return result


def _weights(smooth: NDArray[np.uint8], hard: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the weights of a scaled mask: edges are smooth, but only on their lighter side.

    So a black pixel of the mask keeps all pixels of the photo that it covers. The smooth mask alone
    would be grey on both sides of an edge.
    """
    weights: NDArray[np.int16] = np.clip(2 * smooth.astype(np.int16) - hard, 0, hard)
    return weights


def turn_of(photo: Photo) -> Turn:
    """Return a function that rotates arrays of a photo's height and width upright."""
    return functools.partial(upright, photo, metadata_of(photo))
