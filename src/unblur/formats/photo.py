"""Define a photo in memory, and the table of formats.

Names and signatures of formats are needed before a photo is read. So this module imports neither
the formats' modules nor their libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unblur.formats.tiff_directory import is_camera_raw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADER_BYTES = 64
"""Number of bytes at the start of a file that show the format of its result."""


@dataclass(frozen=True)
class Format:
    """A row of `FORMATS`: a format's names, its signatures, and its module."""

    name: str
    suffixes: tuple[str, ...]
    """Usual extensions of file names, the preferred one first."""
    module: str
    """Name of the module with the format's `codec.Codec`, which is imported to read a photo."""
    signatures: tuple[tuple[int, bytes], ...] = ()
    """Position and bytes of signatures in the header; one signature is enough."""
    brands: frozenset[bytes] = frozenset()
    """Brands of ISO base media files."""
    written_as: Format | None = None
    """Format of the result, for formats that cannot be written."""
    recognise: Callable[[bytes], bool] | None = None
    """Distinguishes this format from ``written_as`` if both have the same signature."""
    option: str = ""
    """Name for ``--format``; empty: photos are not converted to this format."""
    common_name: str = ""
    """Name for users, if it differs from ``name``."""
    browsers_show: bool = True

    @property
    def result(self) -> Format:
        """The format of the result."""
        return self.written_as or self


_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RAW_MARKS = (b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJIFILMCCD-RAW", b"\0MRM", b"FOVb")
_RAW_SUFFIXES = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2")
_HEIF_BRANDS = b"heic heix heim heis hevc hevx mif1 mif2 msf1"

JPEG = Format(
    "JPEG",
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "unblur.formats.jpeg",
    signatures=((0, b"\xff\xd8\xff"),),
    option="jpeg",
)
PNG = Format(
    "PNG", (".png",), "unblur.formats.png", signatures=((0, b"\x89PNG\r\n\x1a\n"),), option="png"
)
WEBP = Format("WebP", (".webp",), "unblur.formats.webp", signatures=((8, b"WEBP"),), option="webp")
AVIF = Format("AVIF", (".avif",), "unblur.formats.avif", brands=frozenset({b"avif", b"avis"}))
HEIF = Format(
    "HEIF",
    (".heic", ".heif", ".hif"),
    "unblur.formats.heif",
    brands=frozenset(_HEIF_BRANDS.split()),
    common_name="HEIC",
    browsers_show=False,
)
TIFF = Format(
    "TIFF",
    (".tif", ".tiff"),
    "unblur.formats.tiff",
    signatures=tuple((0, mark) for mark in _TIFF_MARKS),
    option="tiff",
    browsers_show=False,
)
RAW = Format(
    "camera RAW",
    _RAW_SUFFIXES,
    "unblur.formats.raw",
    signatures=(*((0, mark) for mark in _RAW_MARKS), (6, b"HEAPCCDR"), (4, b"ftypcrx ")),
    written_as=TIFF,
    recognise=is_camera_raw,
    browsers_show=False,
)

FORMATS = (JPEG, PNG, WEBP, AVIF, HEIF, TIFF, RAW)
"""The table of formats. AVIF comes before HEIF, because AVIF files may have HEIF's brands, too."""

CONVERSIONS = {form.option: form for form in FORMATS if form.option}
"""Formats to which photos can be converted, by their names for ``--format``."""


def identify(header: bytes) -> Format | None:
    """Return the format of a file by its first bytes; ``None`` for unsupported formats.

    Args:
        header: The file, or its first `HEADER_BYTES`. These may show TIFF for a camera RAW file,
            whose result is a TIFF.
    """
    form = next((form for form in FORMATS if _has_signature(form, header)), None)
    if form is None and header[4:8] == b"ftyp":
        length = min(int.from_bytes(header[:4], "big"), len(header), HEADER_BYTES)
        brands = {header[at : at + 4] for at in (8, *range(16, length, 4))}
        form = next((form for form in FORMATS if form.brands & brands), None)
    alike = (other for other in FORMATS if form and other.written_as is form and other.recognise)
    return next((other for other in alike if other.recognise and other.recognise(header)), form)


def _has_signature(form: Format, header: bytes) -> bool:
    return any(header.startswith(mark, position) for position, mark in form.signatures)


def format_by_name(name: str) -> Format | None:
    """Return the format with a name, or ``None``."""
    return next((form for form in FORMATS if form.name == name), None)


def format_by_suffix(suffix: str) -> Format | None:
    """Return the format of a suffix such as ``.jpg``, in any case; or ``None``."""
    return next((form for form in FORMATS if suffix.lower() in form.suffixes), None)


@dataclass(frozen=True)
class Encoded:
    """An encoded file, and notes about it for the user."""

    data: bytes
    notes: tuple[str, ...] = ()
    index: Any = None
    """The parsed structure of ``data``, like `Photo.index`; ``None``: unknown."""
    stale: tuple[str, ...] = ()
    """Names of other pictures in the file that could not be encoded, and show the old photo."""


@dataclass(frozen=True)
class Companion:
    """A picture in a photo's file that is deblurred like the photo, such as its gain map."""

    photo: Photo
    """The picture as a separate file."""
    place: Any
    """Position of the picture in the photo's file."""
    pixels: NDArray[Any] | None = None
    """The new pixels; ``None``: the picture is not changed."""


@dataclass(frozen=True)
class Photo:
    """A decoded photo, and its file, into which new pixels are written."""

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    """(H, W, 3), or (H, W, 1) for grey, as stored: not rotated upright, not colour-managed."""
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None
    """(H, W), opacity or another channel besides the colours; never changed. ``None`` without
    one."""
    format: Format
    container: bytes
    """The original file, whose metadata the result keeps."""
    coding: dict[str, Any]
    """Options for a library to encode pixels like the original's."""
    notes: tuple[str, ...] = ()
    """Notes about the decoding for the user."""
    alpha_is_opacity: bool = True
    """Whether ``alpha`` is opacity, and not a mask that an editor saved."""
    index: Any = None
    """The parsed structure of the container, which `decode` stores to parse it only once."""
    companions: tuple[Companion, ...] = ()
    """Other pictures in the container that belong to the photo."""

    @property
    def opacity(self) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
        """(H, W), or ``None`` if the photo is opaque."""
        return self.alpha if self.alpha_is_opacity else None
