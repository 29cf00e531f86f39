"""Files' bytes to photos, and photos with new pixels back to bytes.

Pillow codes pixels only. All other bytes are carried over by the module of
each container, because every library loses some when it writes a whole file.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from unblur import jpeg, png
from unblur.errors import PhotoError
from unblur.photo import HEADER_BYTES, JPEG, PNG, Format, Photo, describe_refused, identify

DEFAULT_MAX_PIXELS = 500_000_000
STRIP_BYTES = 16 << 20

# Limits are judged here, from the header: Pillow's own would refuse a 200-megapixel camera.
Image.MAX_IMAGE_PIXELS = None
# A photo's XMP may be larger than Pillow's guard against zip bombs, 1 MiB, allows.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 64 << 20

_SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
"""Luma samples per chroma sample, across and down. Pillow cannot write others, such as 4:4:0;
those become 4:4:4, never coarser than they were."""


def decode(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Photo:
    """Decode a photo from a file's bytes.

    Args:
        data: The whole file.
        max_pixels: Larger photos are refused before memory is taken for them.

    Raises:
        PhotoError: If it is no photo, damaged, or of a kind that cannot be processed.
    """
    form = identify(data[:HEADER_BYTES])
    if form is None:
        raise PhotoError(describe_refused(data[:HEADER_BYTES]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which is kept as it is
            with Image.open(io.BytesIO(data), formats=_pillow_names(form)) as image:
                _refuse_large(image, max_pixels)
                return (_decode_jpeg if form is JPEG else _decode_png)(data, image)
    except PhotoError:
        raise
    except Exception as error:  # Pillow raises anything for damaged files
        raise PhotoError(f"damaged or cut off {form.name} file ({error})") from error


def encode(photo: Photo, pixels: NDArray[Any]) -> jpeg.Spliced:
    """Code new pixels as the photo's were, inside its own container.

    Args:
        photo: The original.
        pixels: Of the same shape and type as the photo's.

    Returns:
        The bytes of the file, and notes on metadata that could not be kept.
    """
    buffer = io.BytesIO()
    to_image(pixels, photo.alpha).save(buffer, photo.format.name, **photo.coding)
    splice = jpeg.splice if photo.format is JPEG else png.splice
    return splice(photo.container, buffer.getvalue())


def to_image(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> Image.Image:
    """Make a Pillow image of (H, W, 1 or 3) pixels and (H, W) alpha."""
    grey = pixels.shape[2] == 1
    if alpha is not None:
        pixels = np.concatenate([pixels, alpha[..., None]], axis=2)
    elif grey:
        pixels = pixels[..., 0]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _pillow_names(form: Format) -> list[str]:
    return ["JPEG", "MPO"] if form is JPEG else [form.name]


def _refuse_large(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise PhotoError(
            f"{image.width}x{image.height} is {pixels / 1e6:.0f} megapixels, "
            f"more than the limit of {max_pixels / 1e6:.0f}"
        )


def _decode_jpeg(data: bytes, image: Image.Image) -> Photo:
    if image.mode not in ("L", "RGB"):
        raise PhotoError(f"{image.mode} colour cannot be processed; grey and RGB can")
    coding: dict[str, Any] = {"qtables": getattr(image, "quantization", None)}
    layers = getattr(image, "layer", [])  # (id, across, down, table) of each component
    if len(layers) == 3:
        (_, across, down, _), (_, chroma_across, chroma_down, _), _ = layers
        ratio = (across / chroma_across, down / chroma_down)
        coding["subsampling"] = _SUBSAMPLING.get(ratio, "4:4:4")
        coding["keep_rgb"] = jpeg.is_rgb_coded(data)
    if image.info.get("progressive"):
        coding["progressive"] = True
    return Photo(_to_array(image), None, JPEG, data, coding)


def _decode_png(data: bytes, image: Image.Image) -> Photo:
    header = png.read_header(data)
    if png.is_animated(data):
        raise PhotoError("animations cannot be processed")
    if header.bit_depth == 16:
        raise PhotoError("16-bit PNG files cannot be processed yet; 8-bit ones can")
    if image.mode == "1":
        raise PhotoError("1-bit images are not photos")
    notes = []
    mode = image.mode
    if header.color_type == png.PALETTE:
        mode = "RGBA" if "transparency" in image.info else "RGB"
        notes.append("the palette became truecolour")
    elif "transparency" in image.info:
        if header.bit_depth < 8:
            raise PhotoError(f"{header.bit_depth}-bit grey with transparency cannot be processed")
        mode = "LA" if image.mode == "L" else "RGBA"
        notes.append("the transparent colour became an alpha channel")
    pixels = _to_array(image if mode == image.mode else image.convert(mode))
    alpha = None
    if mode in ("LA", "RGBA"):
        pixels, alpha = pixels[..., :-1], np.ascontiguousarray(pixels[..., -1])
    return Photo(np.ascontiguousarray(pixels), alpha, PNG, data, {}, tuple(notes))


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Copy an image to (H, W, C), in strips: at once would take thrice the memory."""
    image.load()
    channels = len(image.getbands())
    array = np.empty((image.height, image.width, channels), np.uint8)
    step = max(1, STRIP_BYTES // (image.width * channels))
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        array[top:bottom] = strip.reshape(bottom - top, image.width, channels)
    return array
