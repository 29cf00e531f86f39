"""HEIF (HEIC): decode a still photo, and put new pixels into the original's container.

ISO/IEC 14496-15, section 8.3.3.1, describes the codec's configuration. Photos of 8, 10 and 12 bits
keep their depth, and grids keep their tiles. Rotation is not applied, so it stays valid. A crop
(clap) is applied, because libheif encodes odd sizes with a crop. Alpha is a separate image, which
is kept and not decoded.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unblur.errors import PhotoError
from unblur.extras import load_extra
from unblur.formats import bmff, bmff_metadata
from unblur.formats.bmff_gain_maps import find_companions, with_new_gain_maps
from unblur.formats.bmff_items import CROP, ItemFile, as_stored, refuse_costly, splice
from unblur.formats.photo import HEIF, Encoded, Photo
from unblur.formats.pixels import refuse_large, rounded, widened
from unblur.formats.quality import AS_ORIGINAL, with_quality
from unblur.main_memory import require_memory

if TYPE_CHECKING:
    from types import ModuleType

PRESET = "fast"
"""x265's preset; it takes half the time of libheif's default at the same size and error."""
MATRICES = frozenset({1, 5, 6, 9})
"""Matrix coefficients of ITU-T H.273 that libheif can write; others become BT.601."""
_CHROMA = {1: "420", 2: "422", 3: "444"}


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode a still photo, and record how it is encoded, except for its quality."""
    library = _load_library()
    file = bmff.read(data)
    coding = _read_coding(file)
    refuse_costly(file)
    stored = bmff.write(as_stored(file))
    image = library.open_heif(stored, convert_hdr_to_8bit=False)[0]
    refuse_large(image.size[0], image.size[1], max_pixels)
    require_memory(2 * 3 * image.size[0] * image.size[1])
    pixels = np.array(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype == np.uint16:  # the library uses the higher bits
        depth = coding["bit_depth"]
        pixels = widened(pixels >> np.uint16(16 - depth), depth)
    coding["quality"] = AS_ORIGINAL
    gain_maps = find_companions(file, decode, pixels.shape[0] * pixels.shape[1])
    return Photo(pixels, None, HEIF, data, coding, file.notes, index=file, companions=gain_maps)


def encode(photo: Photo, pixels: NDArray[Any]) -> Encoded:
    """Encode new pixels like the original's, in its container."""
    original: ItemFile = photo.index
    coding = with_quality(photo, original.coded_length, _code)
    original, stale = with_new_gain_maps(original, photo.companions, encode)
    original = original.with_primary(original.primary.without({CROP}))
    file, notes = splice(original, bmff.read(_code(pixels, **coding)))
    return Encoded(bmff.write(file), notes, stale=stale)


def _load_library() -> ModuleType:
    return load_extra("pillow_heif", "heif", "HEIC and HEIF photos")


def _read_coding(file: ItemFile) -> dict[str, Any]:
    """Return the options for pillow-heif to encode in the same way, or raise `PhotoError`."""
    item = file.coded
    config = item.find(b"hvcC") or b""
    if item.type != b"hvc1" or len(config) < 19:
        kind = item.type.decode("ascii", "replace")
        raise PhotoError(f"HEIF files coded as {kind} cannot be processed; HEVC ones can")
    depth = 8 + (config[17] & 7)
    if depth not in (8, 10, 12):
        raise PhotoError(f"{depth}-bit HEIF files cannot be processed")
    coding: dict[str, Any] = {"bit_depth": depth, "tile_size": 0}
    if chroma := _CHROMA.get(config[16] & 3):
        coding["chroma"] = chroma
    if file.primary.type == b"grid" and (extent := item.find(b"ispe")):
        coding["tile_size"] = int.from_bytes(extent[4:8], "big")
    if color := file.primary.color:
        coding["full_range_flag"] = int(color.full_range)
        if color.matrix in MATRICES:
            coding["matrix_coefficients"] = color.matrix
    return coding


def _code(pixels: NDArray[Any], **options: int | str) -> bytes:
    """Encode pixels as a file without metadata."""
    grey = pixels.shape[2] == 1
    mode = "L" if grey else "RGB"
    if pixels.dtype == np.uint16:
        mode += ";16"
        depth = int(options["bit_depth"])
        pixels = rounded(pixels, depth) << np.uint16(16 - depth)
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).data.cast("B")
    file = _load_library().from_bytes(mode, (width, height), data)
    buffer = io.BytesIO()
    file.save(buffer, enc_params={"preset": PRESET}, **options)
    return buffer.getvalue()


CODEC = bmff_metadata.make_codec(decode, encode)
