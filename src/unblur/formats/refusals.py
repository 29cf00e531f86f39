"""Explain why a file in an unsupported format cannot be processed."""

from __future__ import annotations

from unblur.formats import photo

BEGINNING_BYTES = 1024
"""Number of bytes at the start of a file that are needed to explain a refusal."""

_FORMATS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "GIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"8BPS", "Photoshop (PSD)"),
    (0, b"gimp xcf", "GIMP (XCF)"),
    (0, b"v/1\x01", "OpenEXR"),
    (4, b"ftypqt", "QuickTime video"),
    (4, b"ftyp", "MP4 video"),
    (0, b"BM", "BMP"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\3\4", "ZIP"),
)
"""Position, signature bytes and name of formats that are refused by name."""

ANIMATED = "animations cannot be processed"
ONE_FRAME = "the animation of one frame became a still photo"
"""A note on a file that is processed."""
COMPACT = "the compact form of AVIF and HEIF (mif3) cannot be processed; save it as ordinary AVIF"
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (8, b"mif3", COMPACT),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the photo; run: git lfs pull"),
    (0, b"/annex/objects/", "a git-annex pointer, not the photo; run: git annex get"),
    (0, b"\0\5\x16\7", "extra data that macOS keeps beside a photo (AppleDouble), not the photo"),
)
"""Position, signature bytes and explanation of other kinds of files."""

_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body")


def describe_refused(data: bytes) -> str:
    """Return why a file that `unblur.formats.photo.identify` does not know cannot be processed.

    Args:
        data: The file, or its first `BEGINNING_BYTES`.
    """
    if not data:
        return "the file is empty"
    for position, signature, reason in _OTHERS:
        if data.startswith(signature, position):
            return reason
    for position, signature, name in _FORMATS:
        if data.startswith(signature, position):
            return f"{name} files cannot be processed; {_processed()} can"
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES) or (text.startswith((b"<!--", b"<?xml")) and b"<html" in text):
        return "a web page (HTML), not a photo; download the photo itself again"
    if len(data) >= BEGINNING_BYTES and not data[:BEGINNING_BYTES].strip(b"\0"):
        return "begins with nothing but zeros, so it was not written whole; copy it again"
    return f"not a photo; supported are {_processed()}"


def _processed() -> str:
    *names, last = (form.common_name or form.name for form in photo.FORMATS)
    return f"{', '.join(names)} and {last}"
