"""EXIF, XMP and colour profiles, taken from one format's container and put into another's.

The blocks themselves stay byte for byte; only what surrounds them differs. Where
they lie is told by Exif 2.32 (4.7.2), the XMP specification (part 3) and ICC.1
(annex B) for JPEG, the W3C PNG specification (third edition, section 11.3),
RFC 9649 (section 2.7) for WebP, and ISO/IEC 23008-12 (annex A) for HEIF and AVIF.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from unblur.formats import bmff, jpeg, png, webp
from unblur.formats.bmff_items import COLOR, ItemFile
from unblur.formats.photo import JPEG, PNG, TIFF, WEBP, Format
from unblur.formats.tiff_directory import SHORT, Tag, TiffFile, read_tiff
from unblur.formats.tiff_fields import Field, read_fields, read_linked, write_block, write_numbers
from unblur.formats.tiff_pages import read_page

JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
JPEG_ICC = b"ICC_PROFILE\0"
JPEG_ICC_ROOM = jpeg.LONGEST_SEGMENT - len(JPEG_ICC) - 2
"""Bytes of a profile in a segment: its number, and how many there are, take one byte each."""
LONGEST_JPEG_ICC = 0xFF * JPEG_ICC_ROOM
JPEG_IPTC = b"Photoshop 3.0\0"

PNG_XMP = b"XML:com.adobe.xmp\0"
PNG_COLOR = frozenset({b"cICP", b"gAMA", b"cHRM"})
PNG_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
LONGEST_INFLATED = 64 << 20
"""Of a profile or a text: far more than any real one, far less than a bomb."""

EXIF_IN_FIRST = frozenset(
    {
        Tag.IMAGE_DESCRIPTION,
        Tag.MAKE,
        Tag.MODEL,
        Tag.ORIENTATION,
        Tag.X_RESOLUTION,
        Tag.Y_RESOLUTION,
        Tag.RESOLUTION_UNIT,
        Tag.SOFTWARE,
        Tag.DATE_TIME,
        Tag.ARTIST,
        Tag.HOST_COMPUTER,
        Tag.COPYRIGHT,
    }
)
"""Fields of a TIFF page that are as true in an EXIF block (Exif 2.32, 4.6.4)."""
TIFF_LEFT_OUT = {Tag.IPTC: "IPTC", Tag.PHOTOSHOP: "Photoshop's data", Tag.SUB_IFDS: "sub-images"}
FURTHER_PAGES = "further pages"
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")

BT709_OR_UNSPECIFIED = frozenset({1, 2})
"""Colour primaries (ITU-T H.273) that photos without a profile are taken to have."""


@dataclass(frozen=True)
class Metadata:
    """What every format can hold, and the names of what only the original can."""

    exif: bytes = b""
    """From the byte order mark on."""
    xmp: bytes = b""
    icc: bytes = b""
    left_out: tuple[str, ...] = ()

    def stripped(self) -> Metadata:
        """Return only what a viewer needs to show the photo as it was."""
        orientation = read_orientation(self.exif)
        exif = b"" if orientation == 1 else make_orientation(orientation)
        pages = tuple(name for name in self.left_out if name == FURTHER_PAGES)
        return Metadata(exif, icc=self.icc, left_out=pages)

    def upright(self) -> Metadata:
        """Return what is true once the pixels have been turned upright."""
        return replace(self, exif=with_orientation(self.exif, 1), xmp=upright_xmp(self.xmp))


def extract(form: Format, data: bytes) -> Metadata:
    """Take the metadata from a file.

    Raises:
        ValueError: If the file is damaged.
    """
    if form is JPEG:
        return _extract_jpeg(data)
    if form is PNG:
        return _extract_png(data)
    if form is WEBP:
        return _extract_webp(data)
    if form is TIFF:
        return _extract_tiff(read_tiff(data))
    return _extract_items(bmff.read(data))


def insert(form: Format, data: bytes, metadata: Metadata) -> bytes:
    """Put metadata into a file that has none; what is `too_large` for it is left out.

    Args:
        form: JPEG, PNG or WebP.
        data: The file.
        metadata: What to put into it.

    Raises:
        ValueError: If the file is damaged.
    """
    insert_into = {JPEG: _insert_jpeg, PNG: _insert_png, WEBP: _insert_webp}[form]
    return insert_into(data, metadata)


def too_large(form: Format, metadata: Metadata) -> list[str]:
    """Name the blocks that do not fit into a format; JPEG divides none but profiles."""
    blocks = [("EXIF", jpeg.EXIF + metadata.exif), ("XMP", JPEG_XMP + metadata.xmp)]
    if form is not JPEG:
        return []
    return [
        f"{name} of more than 64 KiB" for name, block in blocks if len(block) > jpeg.LONGEST_SEGMENT
    ] + ["a profile of more than 16 MiB"] * (len(metadata.icc) > LONGEST_JPEG_ICC)


def read_orientation(exif: bytes) -> int:
    """Return how an EXIF block says that the photo is to be turned; 1, upright, if it does not."""
    place = _find_orientation(exif)
    if place is None:
        return 1
    order, position = place
    (value,) = struct.unpack_from(order + "H", exif, position)
    return int(value) if 1 <= value <= 8 else 1


def with_orientation(exif: bytes, orientation: int) -> bytes:
    """Return an EXIF block that says another orientation, if it says one at all."""
    place = _find_orientation(exif)
    if place is None:
        return exif
    order, position = place
    return exif[:position] + struct.pack(order + "H", orientation) + exif[position + 2 :]


def upright_xmp(xmp: bytes) -> bytes:
    """Return an XMP packet that does not say that the photo is to be turned."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def make_orientation(orientation: int) -> bytes:
    """Make an EXIF block that says nothing but the orientation."""
    field = write_numbers(Tag.ORIENTATION, ">", SHORT, orientation)
    return write_block([field], {}, ">")


def _find_orientation(exif: bytes) -> tuple[str, int] | None:
    """Return the byte order of an EXIF block, and where the orientation's number lies."""
    try:
        file = read_tiff(exif)
        entry = file.directory(file.first).entries.get(Tag.ORIENTATION)
    except ValueError:  # damaged, or no EXIF at all
        return None
    return (file.order, entry.start) if entry and (entry.type, entry.count) == (SHORT, 1) else None


def _extract_jpeg(data: bytes) -> Metadata:
    exif = xmp = b""
    profile: dict[int, bytes] = {}
    left_out: dict[str, None] = {}  # in order of appearance
    end = jpeg.image_end(data)
    for segment in jpeg.segments(data):
        if not segment.is_metadata or segment.marker in (jpeg.APP0, jpeg.APP14):
            continue
        payload = segment.payload(data)
        if segment.marker == jpeg.APP1 and payload.startswith(jpeg.EXIF) and not exif:
            exif = payload[len(jpeg.EXIF) :]
        elif segment.marker == jpeg.APP1 and payload.startswith(JPEG_XMP) and not xmp:
            xmp = payload[len(JPEG_XMP) :]
        elif segment.marker == jpeg.APP2 and payload.startswith(JPEG_ICC):
            number = payload[len(JPEG_ICC) : len(JPEG_ICC) + 1]
            profile.setdefault(int.from_bytes(number, "big"), payload[len(JPEG_ICC) + 2 :])
        else:
            left_out[_describe_segment(segment.marker, payload)] = None
    if data[end:].strip(b"\0"):
        left_out["data after the image"] = None
    icc = b"".join(profile[number] for number in sorted(profile))
    return Metadata(exif, xmp, icc, tuple(left_out))


def _describe_segment(marker: int, payload: bytes) -> str:
    if marker == jpeg.COM:
        return "comments"
    for start, name in (
        (JPEG_IPTC, "IPTC"),
        (JPEG_EXTENDED_XMP, "extended XMP"),
        (jpeg.MPF, "further images"),
    ):
        if payload.startswith(start):
            return name
    return f"APP{marker - jpeg.APP0} segments"


def _insert_jpeg(data: bytes, metadata: Metadata) -> bytes:
    """Put segments behind JFIF's, which has to be the first (JFIF 1.02)."""
    start = 2
    for segment in jpeg.segments(data):
        if segment.marker == jpeg.APP0:
            start = segment.stop
    return data[:start] + b"".join(_make_segments(metadata)) + data[start:]


def _make_segments(metadata: Metadata) -> Iterator[bytes]:
    """Yield JPEG segments of metadata, but for blocks that are too large for one."""
    for header, block in ((jpeg.EXIF, metadata.exif), (JPEG_XMP, metadata.xmp)):
        if block and len(header + block) <= jpeg.LONGEST_SEGMENT:
            yield jpeg.make_segment(jpeg.APP1, header + block)
    icc, room = metadata.icc, JPEG_ICC_ROOM
    if len(icc) > LONGEST_JPEG_ICC:
        return
    parts = [icc[start : start + room] for start in range(0, len(icc), room)]
    for number, part in enumerate(parts, 1):
        yield jpeg.make_segment(jpeg.APP2, JPEG_ICC + bytes([number, len(parts)]) + part)


def _extract_png(data: bytes) -> Metadata:
    """Take what the first chunk of each kind tells: to inflate every one could take for ever."""
    found: dict[str, bytes] = {}
    left_out: dict[str, None] = {}
    types = set()
    for chunk in png.chunks(data):
        types.add(chunk.type)
        kind = _png_block_kind(chunk)
        if kind and kind not in found:
            try:
                found[kind] = _read_png_block(chunk)
            except ValueError:
                found[kind] = b""
                left_out["damaged metadata"] = None
        elif chunk.type in PNG_TEXTS and not kind:
            left_out["texts"] = None
    if types & PNG_COLOR and not types & {b"iCCP", b"sRGB"}:
        left_out["its colour space"] = None
    return Metadata(**found, left_out=tuple(left_out))


def _png_block_kind(chunk: png.Chunk) -> str:
    """Return what `Metadata` calls the block in a chunk; empty if it holds none."""
    if chunk.type == b"iTXt" and chunk.data.startswith(PNG_XMP):
        return "xmp"
    return {b"eXIf": "exif", b"iCCP": "icc"}.get(chunk.type, "")


def _read_png_block(chunk: png.Chunk) -> bytes:
    """Return the block in a chunk.

    Raises:
        ValueError: If it is damaged.
    """
    if chunk.type == b"eXIf":
        return _from_byte_order(chunk.data)
    if chunk.type == b"iCCP":
        return _inflate(chunk.data.partition(b"\0")[2][1:])
    return _read_international_text(chunk.data)


def _from_byte_order(exif: bytes) -> bytes:
    """Return an EXIF block without the header that some writers repeat from JPEG."""
    return exif.removeprefix(jpeg.EXIF)


def _read_international_text(data: bytes) -> bytes:
    """Return the text of an iTXt chunk (11.3.3.4).

    Raises:
        ValueError: If it is damaged.
    """
    _, _, rest = data.partition(b"\0")
    is_compressed = rest[:1] == b"\1"
    parts = rest[2:].split(b"\0", 2)  # language, translated keyword, text
    if len(parts) < 3:
        raise ValueError("has a damaged text")
    return _inflate(parts[2]) if is_compressed else parts[2]


def _inflate(data: bytes) -> bytes:
    """Decompress a profile or a text.

    Raises:
        ValueError: If it is damaged, cut off or absurdly large.
    """
    decompressor = zlib.decompressobj()
    try:
        inflated = decompressor.decompress(data, LONGEST_INFLATED)
    except zlib.error as error:
        raise ValueError("has a damaged profile or text") from error
    if not decompressor.eof:
        raise ValueError("has a profile or text that is cut off or too large")
    return inflated


def _insert_png(data: bytes, metadata: Metadata) -> bytes:
    """Put chunks behind IHDR: a profile has to come before palette and pixels."""
    start = next(len(png.SIGNATURE + chunk.raw) for chunk in png.chunks(data))
    inserted = b""
    if metadata.icc:
        profile = b"ICC profile\0\0" + zlib.compress(metadata.icc)
        inserted += png.make_chunk(b"iCCP", profile)
    if metadata.exif:
        inserted += png.make_chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        inserted += png.make_chunk(b"iTXt", PNG_XMP + bytes(4) + metadata.xmp)
    return data[:start] + inserted + data[start:]


def _extract_webp(data: bytes) -> Metadata:
    found: dict[bytes, bytes] = {}
    for chunk in webp.chunks(data):
        found.setdefault(chunk.type, chunk.data)
    exif = _from_byte_order(found.get(b"EXIF", b""))
    known = {*webp.PICTURE, *webp.METADATA_FLAGS}
    left_out = ("chunks that only WebP has",) if found.keys() - known else ()
    return Metadata(exif, found.get(b"XMP ", b""), found.get(b"ICCP", b""), left_out)


def _insert_webp(data: bytes, metadata: Metadata) -> bytes:
    """Put chunks around the picture, and announce them in VP8X (RFC 9649, 2.7)."""
    blocks = {b"ICCP": metadata.icc, b"EXIF": metadata.exif, b"XMP ": metadata.xmp}
    return webp.with_metadata(data, {kind: block for kind, block in blocks.items() if block})


def _extract_items(file: ItemFile) -> Metadata:
    exif = xmp = b""
    pictures = {file.primary_id, *file.alpha_ids}
    others = file.items.keys() - pictures.union(file.sources(*pictures))
    left_out: dict[str, None] = {}
    for item in (file.items[key] for key in sorted(others)):
        block = item.data or b""
        if item.type == b"Exif" and not exif:
            # The offset of the byte order mark comes first (A.2.1).
            exif = block[4 + int.from_bytes(block[:4], "big") :]
        elif item.type == b"mime" and b"\0application/rdf+xml\0" in item.entry and not xmp:
            xmp = block
        else:
            left_out["further images and their metadata"] = None
    icc, color = b"", file.primary.color
    for prop in file.primary.properties:
        if prop.type == COLOR and prop.body[:4] in (b"prof", b"rICC"):
            icc = prop.body[4:]
    if not icc and color and color.primaries not in BT709_OR_UNSPECIFIED:
        left_out["its colour space"] = None
    return Metadata(exif, xmp, icc, tuple(left_out))


def _extract_tiff(file: TiffFile) -> Metadata:
    page = read_page(file)
    fields = read_fields(file, page.directory.start)
    exif, has_notes = _make_exif(file, fields)
    left_out = [name for tag, name in TIFF_LEFT_OUT.items() if tag in fields]
    left_out += ["maker notes"] * has_notes + [FURTHER_PAGES] * (page.pages > 1)
    xmp, icc = (fields[tag].values if tag in fields else b"" for tag in (Tag.XMP, Tag.ICC_PROFILE))
    return Metadata(exif, xmp, icc, tuple(left_out))


def _make_exif(file: TiffFile, fields: dict[int, Field]) -> tuple[bytes, bool]:
    """Make an EXIF block of a page's fields, and tell whether there were maker notes.

    Those stay behind: their offsets are true only where they are.
    """
    first = [field for tag, field in fields.items() if tag in EXIF_IN_FIRST]
    linked, has_notes = {}, False
    for tag in (Tag.EXIF_IFD, Tag.GPS_IFD):
        inner = read_linked(file, fields, tag)
        has_notes |= inner.pop(Tag.MAKER_NOTE, None) is not None
        inner.pop(Tag.INTEROPERABILITY_IFD, None)
        linked[tag] = list(inner.values())
    if not first and not any(linked.values()):
        return b"", has_notes
    return write_block(first, linked, file.order), has_notes
