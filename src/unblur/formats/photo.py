"""A photo in memory, and the table of formats.

Names and signatures of formats are needed before any photo is read. So this module imports
neither the formats' own modules nor the libraries that they need.
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
"""Number of bytes at the start of a file that determine the format of its result."""


@dataclass(frozen=True)
class Format:
    """A row of `FORMATS`: how a format is named and recognised, and the module that handles it."""

    name: str
    suffixes: tuple[str, ...]
    """Usual extensions of file names, the preferred one first."""
    module: str
    """Name of the module with its `codec.Codec`; it is imported only when a photo is read."""
    signatures: tuple[tuple[int, bytes], ...] = ()
    """Position and bytes of signatures in the header; one of them is enough."""
    brands: frozenset[bytes] = frozenset()
    """Brands of ISO base media files."""
    written_as: Format | None = None
    """Format of the result, for formats that cannot be written."""
    recognise: Callable[[bytes], bool] | None = None
    """Distinguishes this format from ``written_as`` if both have the same signature."""
    option: str = ""
    """Name for ``--format``; empty: no photo is converted to it."""
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
"""Formats to which any photo can be converted, by the names that users know."""


def identify(header: bytes) -> Format | None:
    """Return the format of a file by its first bytes, or ``None`` if it is not supported.

    Args:
        header: The file, or its first `HEADER_BYTES`. From these, a camera RAW file
            may look like the TIFF that it becomes.
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
    """Return the format of a name, or ``None`` if there is none."""
    return next((form for form in FORMATS if form.name == name), None)


def format_by_suffix(suffix: str) -> Format | None:
    """Return the format whose files usually have a suffix such as ``.jpg``, in either case."""
    return next((form for form in FORMATS if suffix.lower() in form.suffixes), None)


@dataclass(frozen=True)
class Encoded:
    """An encoded file, and notes on it for the user."""

    data: bytes
    notes: tuple[str, ...] = ()
    index: Any = None
    """The index of ``data``, as `Photo` has one of its container; ``None``: unknown."""
    stale: tuple[str, ...] = ()
    """Names of other pictures in the file that could not be coded, and show the old photo."""


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
    """A decoded photo, and the file around it, into which new pixels are written."""

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    """(H, W, 3), or (H, W, 1) for grey, as stored: not rotated upright, not colour-managed."""
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None
    """(H, W) opacity, or another channel besides the colours; never changed."""
    format: Format
    container: bytes
    """The original file, whose metadata the result keeps."""
    coding: dict[str, Any]
    """Options with which a library encodes pixels like the original's."""
    notes: tuple[str, ...] = ()
    """Notes on the decoding for the user."""
    alpha_is_opacity: bool = True
    """Whether that channel is opacity, and not a mask that an editor saved."""
    index: Any = None
    """The structure of the container, as `decode` parsed it, so that it is parsed only once."""
    companions: tuple[Companion, ...] = ()
    """Other pictures in the container that belong to the photo."""

    @property
    def opacity(self) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
        """(H, W), or ``None`` if the photo is opaque."""
        return self.alpha if self.alpha_is_opacity else None
