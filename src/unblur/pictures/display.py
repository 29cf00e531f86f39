"""Draw a photo as viewers show it: upright, in sRGB, with 8 bits, on a white background.

The network processes pixels as they are stored. Reports, comparisons and pictures in the terminal
show pixels as they are drawn here.
"""

from __future__ import annotations

import contextlib
import functools
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from unblur.formats.convert import metadata_of, upright
from unblur.formats.photo import Photo
from unblur.formats.pixels import reduced, to_8_bit_image

PAPER = (255, 255, 255)
"""Colour behind a transparent photo."""


@dataclass(frozen=True)
class Area:
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Upright:
    """An upright photo; its arrays are rotated views of the photo's arrays, not copies."""

    pixels: NDArray[Any]
    """(H, W, 1 or 3), uint8 or uint16."""
    alpha: NDArray[Any] | None
    """(H, W), or ``None`` if the photo is opaque."""
    profile: bytes
    """ICC profile of the pixels; empty for sRGB."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def fitted(self, width: int, height: int) -> Image.Image:
        """Draw the whole photo in RGB, reduced to fit into a width and height in pixels."""
        scale = min(1.0, width / self.size[0], height / self.size[1])
        size = max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale))
        factor = max(1, int(0.5 / scale))  # leaves at least two pixels for a finer filter
        image, alpha = reduced(self.pixels, factor), None
        if self.alpha is not None:
            alpha = reduced(self.alpha[..., None], factor).resize(size)
        return self._finished(image.resize(size, Image.Resampling.LANCZOS), alpha)

    def part(self, area: Area) -> Image.Image:
        """Draw a part of the photo in RGB at full resolution."""
        rows = slice(area.top, area.top + area.height)
        columns = slice(area.left, area.left + area.width)
        alpha = None
        if self.alpha is not None:
            alpha = to_8_bit_image(self.alpha[rows, columns, None])
        return self._finished(to_8_bit_image(self.pixels[rows, columns]), alpha)

    def _finished(self, image: Image.Image, alpha: Image.Image | None) -> Image.Image:
        image = _to_srgb(image, self.profile)
        if alpha is None:
            return image
        return Image.composite(image, Image.new("RGB", image.size, PAPER), alpha)


def make_views(photo: Photo, pixels: NDArray[Any]) -> tuple[Upright, Upright]:
    """Return the upright photo, and its upright result.

    Args:
        photo: The photo.
        pixels: Pixels of its result, of the same shape and type.
    """
    metadata = metadata_of(photo)
    alpha = None if photo.opacity is None else upright(photo, metadata, photo.opacity)
    before, after = (
        Upright(upright(photo, metadata, array), alpha, metadata.icc)
        for array in (photo.pixels, pixels)
    )
    return before, after


def blended_part(before: Upright, after: Upright, area: Area, strength: float) -> Image.Image:
    """Draw a part of a photo at full resolution, with the change of a ``--strength``.

    Samples are blended as stored, before their colours are converted.

    Args:
        before: The photo.
        after: Its result of strength 1.
        area: The part.
        strength: Share of the change, from 0 to 1.
    """
    part = np.s_[area.top : area.top + area.height, area.left : area.left + area.width]
    old = before.pixels[part].astype(np.float32)
    mixed = np.rint(old + np.float32(strength) * (after.pixels[part] - old))
    alpha = None if before.alpha is None else before.alpha[part]
    view = Upright(mixed.astype(before.pixels.dtype), alpha, before.profile)
    return view.part(Area(0, 0, area.width, area.height))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert colours to sRGB; colours stay unchanged if the profile does not fit or is damaged."""
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, _srgb(), outputMode="RGB")
            assert converted is not None
            return converted
    return image.convert("RGB")


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
