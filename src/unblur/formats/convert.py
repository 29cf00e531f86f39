"""Convert a photo to another format.

A note names metadata that the new format cannot contain. Pixels are rotated upright, because many
viewers ignore the orientation in formats other than JPEG. Photos that would look different are
refused: JPEG has no transparency, and the transparency of HEIF and AVIF is not decoded. 16-bit
photos are rounded for formats of 8 bits.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.formats import exif_thumbnail, jpeg_thumbnail
from unblur.formats.codec import Target, codec_of
from unblur.formats.drawing import draw_like
from unblur.formats.embedded_pictures import KEEP, Redraw, describe, in_exif
from unblur.formats.exif_thumbnail import Turn, changes_pixels, is_quarter_turn
from unblur.formats.metadata import Metadata, read_orientation
from unblur.formats.photo import Encoded, Format, Photo
from unblur.formats.pixels import rounded, turned

NO_QUALITY = "the quality does not apply to this {} file"

Draw: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8] | None]
"""Draws a photo like an old picture; returns ``None`` if the picture shows something else."""
MOST_PICTURES = 64
"""Largest number of pictures in a file to draw; a hostile file could contain a million."""


def convert(
    photo: Photo,
    pixels: NDArray[Any],
    form: Format,
    quality: int | None,
    strip_metadata: bool,
    refresh_thumbnail: bool,
) -> Encoded:
    """Encode pixels in another format, with the photo's metadata.

    Args:
        photo: The original.
        pixels: New pixels, of the same shape and type as the photo's.
        form: One of `CONVERSIONS`.
        quality: 1 to 100, or ``None`` for a high quality.
        strip_metadata: Whether to keep only the profile.
        refresh_thumbnail: Whether to redraw the thumbnail and the previews in the EXIF block.

    Raises:
        PhotoError: If the format cannot hold the photo.
        ValueError: If the original is damaged.
    """
    source, target = codec_of(photo.format), codec_of(form).target
    assert target is not None
    _refuse_unfit(photo, form, target)
    notes = [*source.check_conversion(photo)]
    metadata = source.metadata(photo.container, photo.index)
    turn = functools.partial(upright, photo, metadata)
    exif = in_exif(metadata.exif, make_redraw(pixels, turn) if refresh_thumbnail else KEEP)
    metadata = _turned_metadata(replace(metadata, exif=exif.data), pixels, turn)
    turned_photo, rounding = _fitted(photo, pixels, target, turn)
    notes += rounding
    if quality is not None and not target.has_quality:
        notes.append(NO_QUALITY.format(form.name))
    if strip_metadata:
        metadata = metadata.stripped()
    else:
        notes += describe(exif.stale)
    metadata = metadata.fitting(pixels.shape[2] if target.has_grey else 3)
    left_out = [*metadata.left_out, *target.too_large(metadata)]
    if photo.alpha is not None and turned_photo.alpha is None:
        left_out.append("an extra channel")
    if left_out:
        notes.append(f"left out of the {form.name} file: {', '.join(left_out)}")
    return Encoded(target.write(turned_photo, metadata, quality), tuple(notes))


def _fitted(
    photo: Photo, pixels: NDArray[Any], target: Target, turn: Turn
) -> tuple[Photo, tuple[str, ...]]:
    """Return a photo with upright new pixels and alpha, as a format can hold them; and notes."""
    alpha = photo.alpha if target.has_extra_channel else photo.opacity
    pixels = np.ascontiguousarray(turn(pixels))
    alpha = None if alpha is None else np.ascontiguousarray(turn(alpha))
    if pixels.dtype != np.uint16 or not target.is_8_bit:
        return replace(photo, pixels=pixels, alpha=alpha), ()
    alpha = None if alpha is None else rounded(alpha)
    notes = ("rounded to 8 bits",)
    return replace(photo, pixels=rounded(pixels), alpha=alpha), notes


def metadata_of(photo: Photo) -> Metadata:
    """Return a photo's metadata; empty if its container is damaged outside the pixels."""
    with contextlib.suppress(ValueError):
        return codec_of(photo.format).metadata(photo.container, photo.index)
    return Metadata()


def upright(photo: Photo, metadata: Metadata, array: NDArray[Any]) -> NDArray[Any]:
    """Rotate an array of a photo's height and width upright, without a copy."""
    turn = codec_of(photo.format).upright
    if turn:
        return turn(photo.container, photo.index, array)
    return turned(array, read_orientation(metadata.exif))


def make_redraw(pixels: NDArray[Any], turn: Turn) -> Redraw:
    """Return functions that redraw pictures of a photo, which may be as stored or upright.

    Args:
        pixels: (H, W, 1 or 3), the photo as stored.
        turn: Rotates arrays upright; called only if there is a picture.
    """

    def draw(old: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        if next(left, None) is None:
            return None
        drawn = draw_like(old, pixels)
        if drawn is None and changes_pixels(turn):
            drawn = draw_like(old, turn(pixels))
        return drawn

    def draw_bgr(old: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        drawn = draw(old[..., ::-1])
        return None if drawn is None else np.ascontiguousarray(drawn[..., ::-1])

    def redraw_jpeg(data: bytes, draw: Draw = draw) -> bytes | None:
        return None if next(left, None) is None else jpeg_thumbnail.redrawn(data, draw, most)

    left = iter(range(MOST_PICTURES))
    most = max(pixels.shape[0] * pixels.shape[1], jpeg_thumbnail.MAX_PIXELS)
    return Redraw(draw, redraw_jpeg, functools.partial(redraw_jpeg, draw=draw_bgr))


def _turned_metadata(metadata: Metadata, pixels: NDArray[Any], turn: Turn) -> Metadata:
    """Return the metadata of a photo, (H, W, C) as stored, after it was rotated upright."""
    height, width = turn(pixels).shape[:2]
    exif = exif_thumbnail.turned_upright(metadata.exif, pixels, turn)
    metadata = replace(metadata, exif=exif).upright(is_quarter_turn(turn))
    return metadata.with_size(width, height)


def _refuse_unfit(photo: Photo, form: Format, target: Target) -> None:
    height, width = photo.pixels.shape[:2]
    limit = target.longest_side or max(height, width)
    if max(height, width) > limit:
        raise PhotoError(
            f"{width}x{height} is too large for {form.name}: {limit} pixels a side at most"
        )
    if not target.has_opacity and photo.opacity is not None:
        raise PhotoError(f"{form.name} has no transparency, which the photo has; PNG and WebP have")
