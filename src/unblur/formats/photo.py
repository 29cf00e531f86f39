"""A photo in memory, and how formats are told apart by content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unblur.formats.tiff_directory import is_camera_raw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADER_BYTES = 64
"""How much of a file's beginning tells what its result will be; see `identify`."""


@dataclass(frozen=True)
class Format:
    """A file format that can be read and written."""

    name: str
    suffixes: tuple[str, ...]
    """Usual endings of file names, the preferred one first."""
    written_as: Format | None = None
    """What a result becomes when it cannot stay what the original is."""

    @property
    def result(self) -> Format:
        """The format of the result."""
        return self.written_as or self


JPEG = Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"))
PNG = Format("PNG", (".png",))
WEBP = Format("WebP", (".webp",))
AVIF = Format("AVIF", (".avif",))
HEIF = Format("HEIF", (".heic", ".heif", ".hif"))
TIFF = Format("TIFF", (".tif", ".tiff"))
RAW = Format("camera RAW", (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2"), TIFF)

FORMATS = (JPEG, PNG, WEBP, AVIF, HEIF, TIFF, RAW)
PROCESSED = "JPEG, PNG, WebP, AVIF, HEIC, TIFF and camera RAW"
PHOTO_SUFFIXES = frozenset(suffix for form in FORMATS for suffix in form.suffixes)

CONVERSIONS = {"jpeg": JPEG, "png": PNG, "webp": WEBP, "tiff": TIFF}
"""Formats that any photo can be written in, by the names that users know."""

SIGNATURES: tuple[tuple[int, bytes, Format], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (8, b"WEBP", WEBP),
    (0, b"II*\0", TIFF),
    (0, b"MM\0*", TIFF),
    (0, b"II+\0", TIFF),
    (0, b"MM\0+", TIFF),
    (0, b"IIU\0", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIRS", RAW),
    (0, b"MMOR", RAW),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"\0MRM", RAW),
    (0, b"FOVb", RAW),
    (6, b"HEAPCCDR", RAW),
    (4, b"ftypcrx ", RAW),
)
"""Position and first bytes of the formats that are processed."""

BRANDS = (
    (AVIF, {b"avif", b"avis"}),
    (HEIF, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}),
)
"""Brands of ISO base media files; AVIF files may bear those of HEIF too."""


REFUSED_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "GIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"ftypqt", "QuickTime video"),
    (4, b"ftyp", "MP4 video"),
    (0, b"BM", "BMP"),
    (0, b"%PDF", "PDF"),
)
"""Position, bytes and name of what is recognised only to be refused by name."""


def identify(header: bytes) -> Format | None:
    """Return the format that a file's bytes tell, or ``None`` if it is not processed.

    Args:
        header: The file, or its first `HEADER_BYTES`. Those may tell TIFF for a
            camera RAW file that is built like one; its result is a TIFF either way.
    """
    for position, signature, form in SIGNATURES:
        if header.startswith(signature, position):
            return RAW if form is TIFF and is_camera_raw(header) else form
    if header[4:8] == b"ftyp":
        length = min(int.from_bytes(header[:4], "big"), len(header), HEADER_BYTES)
        found = {header[at : at + 4] for at in (8, *range(16, length, 4))}
        for form, brands in BRANDS:
            if found & brands:
                return form
    return None


def describe_refused(header: bytes) -> str:
    """Say why a file that `identify` does not know cannot be processed."""
    if not header:
        return "the file is empty"
    for position, signature, name in REFUSED_SIGNATURES:
        if header[position:].startswith(signature):
            return f"{name} files cannot be processed; {PROCESSED} can"
    return f"not a photo; supported are {PROCESSED}"


@dataclass(frozen=True)
class Encoded:
    """A finished file, and what the user should know of it."""

    data: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Photo:
    """A decoded photo, with all that is needed to write it back around new pixels."""

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    """(H, W, 3), or (H, W, 1) for grey, as stored: not turned upright, not colour-managed."""
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None
    """(H, W) opacity, or another channel besides the colours; never changed."""
    format: Format
    container: bytes
    """The original file, whose metadata the result keeps."""
    coding: dict[str, Any]
    """Options that make Pillow code pixels as the original's are."""
    notes: tuple[str, ...] = ()
    """What the user should know of the decoding."""
    alpha_is_opacity: bool = True
    """Whether that channel is opacity, and no mask that somebody saved."""

    @property
    def opacity(self) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
        """(H, W), or ``None`` if all of the photo is to be seen."""
        return self.alpha if self.alpha_is_opacity else None
