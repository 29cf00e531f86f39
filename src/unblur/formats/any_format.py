"""Decode files of any format to photos, and encode photos with new pixels.

Libraries encode only pixels. The format's module copies all other bytes, because every library
loses some of them when it writes a whole file.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.formats.codec import Reduced, codec_of
from unblur.formats.convert import NO_QUALITY, convert, make_redraw, metadata_of, upright
from unblur.formats.embedded_pictures import GAIN_MAP, KEEP, Redraw, describe
from unblur.formats.metadata import Metadata
from unblur.formats.photo import Encoded, Format, Photo, identify
from unblur.formats.pixels import refuse_thin
from unblur.formats.refusals import BEGINNING_BYTES, describe_refused
from unblur.options import DEFAULT_MAX_PIXELS
from unblur.user_text import one_line

DAMAGED = "damaged tags or pictures beside the photo were kept as they are"


def coded_pixels(data: bytes, index: object = None) -> Iterator[bytes | memoryview]:
    """Yield the encoded pixels of a file in pieces.

    Tags, profiles, thumbnails and other pictures in the file are left out.

    Args:
        data: The whole file.
        index: Index of the `Photo` or the `Encoded` with these bytes, if there is one.

    Raises:
        PhotoError: If the file is not a photo, is damaged, or is of an unsupported kind.
    """
    form = _identify(data)
    with _decoder_errors_as_photo_errors(form):
        yield from codec_of(form).coded_pixels(data, index)


def decode(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Photo:
    """Decode a photo from a file's bytes.

    Args:
        data: The whole file.
        max_pixels: Larger photos are refused before memory is taken for them.

    Raises:
        PhotoError: If it is no photo, damaged, or of a kind that cannot be processed.
    """
    form = _identify(data)
    with _decoder_errors_as_photo_errors(form):
        photo = codec_of(form).decode(data, max_pixels)
    height, width = photo.pixels.shape[:2]
    refuse_thin(width, height, max_pixels)
    return photo


def decode_reduced(
    data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[Reduced, Photo | None]:
    """Decode a photo at the resolution that `unblur.score` needs, if its format supports this.

    Args:
        data: The whole file.
        max_pixels: Larger photos are refused before memory is taken for them.

    Returns:
        The photo for measuring, and the photo itself if it had to be decoded as a whole.

    Raises:
        PhotoError: If it is no photo, damaged, or of a kind that cannot be processed.
    """
    form = _identify(data)
    if decode_reduced := codec_of(form).decode_reduced:
        with _decoder_errors_as_photo_errors(form):
            return decode_reduced(data, max_pixels), None
    photo = decode(data, max_pixels)
    return Reduced(upright(photo, metadata_of(photo), photo.pixels), 1), photo


def _identify(data: bytes) -> Format:
    form = identify(data)
    if form is None:
        raise PhotoError(describe_refused(data[:BEGINNING_BYTES]))
    return form


@contextlib.contextmanager
def _decoder_errors_as_photo_errors(form: Format) -> Iterator[None]:
    """Raise any error of a library as a `PhotoError` about a damaged file."""
    try:
        yield
    except (PhotoError, MemoryError):
        raise
    except Exception as error:  # libraries raise anything for damaged files
        raise PhotoError(f"damaged or cut off {form.name} file ({one_line(error)})") from error


def encode(
    photo: Photo,
    pixels: NDArray[Any],
    refresh_thumbnail: bool = True,
    *,
    form: Format | None = None,
    quality: int | None = None,
    strip_metadata: bool = False,
) -> Encoded:
    """Encode new pixels like the photo's, in its own container, unless options say otherwise.

    Args:
        photo: The original.
        pixels: New pixels, of the same shape and type as the photo's.
        refresh_thumbnail: Whether to redraw thumbnails and previews inside the file.
        form: Format to write instead of the photo's own, one of `CONVERSIONS`.
        quality: 1 to 100, instead of the photo's own; a note says if the format has no quality.
        strip_metadata: Whether to leave out all metadata that are not needed to show the photo.

    Returns:
        The bytes of the file, and notes on metadata that could not be kept.

    Raises:
        PhotoError: If another format cannot hold the photo.
    """
    form = form or photo.format.result
    codec = codec_of(form)
    if form is not photo.format.result or (strip_metadata and not codec.stripped):
        return convert(photo, pixels, form, quality, strip_metadata, refresh_thumbnail)
    photo, notes = _with_quality(photo, quality)
    encoded = codec_of(photo.format).encode(photo, pixels)
    encoded = replace(encoded, notes=encoded.notes + notes)
    if strip_metadata and codec.stripped:
        return Encoded(codec.stripped(encoded.data), encoded.notes)
    return _with_new_pictures(photo, pixels, encoded, refresh_thumbnail)


def _with_new_pictures(
    photo: Photo, pixels: NDArray[Any], encoded: Encoded, refresh: bool
) -> Encoded:
    """Redraw the small pictures in a result; a note names pictures that were not redrawn."""
    codec = codec_of(photo.format)
    data, stale = encoded.data, [*encoded.stale]
    notes = encoded.notes
    redraw = _make_redraw(photo, pixels) if refresh else KEEP
    try:
        redrawn = codec.redraw(data, redraw, encoded.index)
    except Exception:  # a container that is damaged beside the pixels
        notes += (DAMAGED,)
    else:
        data = redrawn.data
        stale += redrawn.stale
    with contextlib.suppress(Exception):
        pixels_of_others = [other.pixels for other in photo.companions]
        are_new = pixels_of_others and all(other is not None for other in pixels_of_others)
        old = codec.kept_pictures(photo.container, photo.index)
        stale += [name for name in old if not (are_new and name == GAIN_MAP)]
    return replace(encoded, data=data, notes=notes + describe(stale))


def _make_redraw(photo: Photo, pixels: NDArray[Any]) -> Redraw:
    """Return functions that redraw pictures; they read metadata only if there is a picture."""

    @functools.cache
    def metadata() -> Metadata:
        return codec_of(photo.format).metadata(photo.container, photo.index)

    return make_redraw(pixels, lambda array: upright(photo, metadata(), array))


def _with_quality(photo: Photo, quality: int | None) -> tuple[Photo, tuple[str, ...]]:
    """Return the photo with another quality, and a note if its format has no quality."""
    if quality is None:
        return photo, ()
    if not photo.coding.keys() & {"qtables", "quality"}:
        return photo, (NO_QUALITY.format(photo.format.result.name),)
    coding = {name: value for name, value in photo.coding.items() if name != "qtables"}
    return replace(photo, coding=coding | {"quality": quality}), ()
