"""Decompression bombs and the like: files of any size that ask for far more work than their pixels
need.

Each is a small photo whose container repeats something: fill bytes, segments,
items, directories. Most are valid, or nearly so.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace

from conftest import encode_image, make_jpeg, make_pixels
from PIL import Image

from unblur.formats import bmff
from unblur.formats.bmff_boxes import make_box
from unblur.formats.bmff_items import Item, ItemFile, Property, Reference
from unblur.formats.jpeg_markers import without_metadata
from unblur.formats.metadata import make_orientation
from unblur.formats.png_chunks import make_chunk

JPEG_PHOTO = make_jpeg()
PICTURE = Image.fromarray(make_pixels(48, 64))
PNG_PHOTO = encode_image(PICTURE, "PNG")
WEBP_PHOTO = encode_image(PICTURE, "WEBP", exif=make_orientation(6))


def jpeg_segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def repeated(piece: bytes, size: int) -> bytes:
    """A piece repeated as often as it fits into a size, at least once."""
    return piece * max(1, size // len(piece))


def before_segments(block: bytes) -> bytes:
    return JPEG_PHOTO[:2] + block + JPEG_PHOTO[2:]


def between_segments(block: bytes) -> bytes:
    at = JPEG_PHOTO.index(b"\xff\xdb")
    return JPEG_PHOTO[:at] + block + JPEG_PHOTO[at:]


def in_the_scan(block: bytes) -> bytes:
    return JPEG_PHOTO[:-40] + block + JPEG_PHOTO[-40:]


def before_the_end(block: bytes) -> bytes:
    return JPEG_PHOTO[:-2] + block + JPEG_PHOTO[-2:]


def instead_of_the_end(block: bytes) -> bytes:
    return JPEG_PHOTO[:-2] + block


def behind_the_image(block: bytes) -> bytes:
    return JPEG_PHOTO + block


def as_thumbnail(block: bytes) -> bytes:
    """A photo with an EXIF block of at most 64 KiB, whose JPEG thumbnail is of repeated pieces."""
    return before_segments(jpeg_segment(0xE1, b"Exif\0\0" + make_thumbnail(block[:65_000])))


def make_thumbnail(block: bytes) -> bytes:
    picture = b"\xff\xd8" + block
    entries = [(259, 3, 1, 6), (513, 4, 1, 56), (514, 4, 1, len(picture))]
    fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    second = struct.pack("<H", 3) + fields + bytes(4)
    return b"II*\0\x08\0\0\0" + struct.pack("<HI", 0, 14) + second + picture


JPEG_PLACES = (
    before_segments,
    between_segments,
    in_the_scan,
    before_the_end,
    instead_of_the_end,
    behind_the_image,
    as_thumbnail,
)
ADOBE = jpeg_segment(0xEE, b"Adobe" + bytes(7))
JPEG_BLOCKS = {
    "0xFF": b"\xff",
    "0xFF and one 0": b"",
    "starts of images": b"\xff\xd8",
    "restart markers": b"\xff\xd0",
    "Adobe segments": ADOBE,
    "empty comments": jpeg_segment(0xFE, b""),
    "empty EXIF": jpeg_segment(0xE1, b"Exif\0\0"),
    "C2PA boxes": jpeg_segment(0xEB, b"JP\0\1\0\0\0\1\0\0\1\0jumb" + b"c2pa" * 5),
    "scans": b"",
}


def make_jpeg_blocks(size: int) -> dict[str, bytes]:
    blocks = {name: repeated(piece, size) for name, piece in JPEG_BLOCKS.items() if piece}
    blocks["0xFF and one 0"] = repeated(b"\xff" * 10_000 + b"\0", size)
    return blocks


def make_jpegs(size: int) -> dict[str, bytes]:
    return {
        f"JPEG, {name} {place.__name__.replace('_', ' ')}": place(block)
        for name, block in make_jpeg_blocks(size).items()
        for place in JPEG_PLACES
    } | {
        "JPEG of thumbnails": make_jpeg_of_thumbnails(size),
        "JPEG of scans": make_jpeg_of_scans(size),
        "JPEG of second images": make_jpeg_of_indexes(size),
    }


def make_jpeg_of_thumbnails(size: int) -> bytes:
    picture = encode_image(PICTURE.resize((8, 6)), "JPEG", quality=20)
    segment = jpeg_segment(0xE1, b"Exif\0\0" + make_thumbnail(picture[2:]))
    return before_segments(repeated(segment, size))


def make_jpeg_of_scans(size: int, side: int = 2000) -> bytes:
    """A progressive frame that is refined again and again, each time by nothing."""
    photo = encode_image(Image.new("L", (side, side)), "JPEG", progressive=True)
    at = photo.rindex(b"\xff\xda")
    scan = jpeg_segment(0xDA, b"\1\1\0\1\x3f\0") + b"\0"
    return photo[:at] + repeated(scan, size) + photo[at:]


def make_jpeg_of_indexes(size: int) -> bytes:
    """Multi-picture indexes that each list a thousand images."""
    entries = bytes(16 * 1000)
    fields = struct.pack("<HHII", 0xB002, 7, len(entries), 26)
    index = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + fields + bytes(4) + entries
    return before_segments(repeated(jpeg_segment(0xE2, b"MPF\0" + index), size))


def with_chunks(chunks: bytes, photo: bytes = PNG_PHOTO) -> bytes:
    return photo[:33] + chunks + photo[33:]


def compressed_zeros(size: int) -> bytes:
    """Deflated zeros of about this many bytes; inflated, they are a thousand times as many."""
    deflate = zlib.compressobj(9)
    begin, block = (
        deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return begin + repeated(block, size)


def make_pngs(size: int) -> dict[str, bytes]:
    zeros = compressed_zeros(min(size, 64_000))
    profile = make_chunk(b"iCCP", b"name\0\0" + zeros)
    text = make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros)
    idat = PNG_PHOTO.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", PNG_PHOTO, idat)
    pixels = zlib.decompress(PNG_PHOTO[idat + 8 : idat + 8 + length])
    head, tail = PNG_PHOTO[:33], PNG_PHOTO[-12:]
    deep = head[:8] + make_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0))
    single = b"".join(make_chunk(b"IDAT", bytes([byte])) for byte in zlib.compress(pixels, 0))
    endless = make_chunk(b"IDAT", compressed_zeros(size))
    empty = repeated(make_chunk(b"IDAT", b""), size)
    exif = make_chunk(b"eXIf", make_exif_of_overlapping_values(size))
    return {
        "PNG of empty texts": with_chunks(repeated(make_chunk(b"tEXt", b"a\0"), size)),
        "PNG of empty pixels": PNG_PHOTO[:idat] + empty + PNG_PHOTO[idat:],
        "PNG of single bytes": head + single + tail,
        "PNG of palettes": with_chunks(repeated(make_chunk(b"PLTE", bytes(3)), size)),
        "PNG of transparencies": with_chunks(repeated(make_chunk(b"tRNS", bytes(6)), size)),
        "PNG of profiles": with_chunks(repeated(profile, size)),
        "PNG of XMP": with_chunks(repeated(text, size)),
        "PNG with EXIF of overlapping values": with_chunks(exif),
        "PNG with too many pixels": head + endless + tail,
        "PNG of 16 bits with too many pixels": deep + endless + tail,
        "PNG followed by zeros": PNG_PHOTO + bytes(size),
    }


def make_webp_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def make_webps(size: int) -> dict[str, bytes]:
    def with_chunks(chunks: bytes) -> bytes:
        body = WEBP_PHOTO[8:] + chunks
        return b"RIFF" + struct.pack("<I", len(body)) + body

    exif = make_exif_of_overlapping_values(size)
    return {
        "WebP of empty chunks": with_chunks(repeated(make_webp_chunk(b"none", b""), size)),
        "WebP of pictures": with_chunks(repeated(WEBP_PHOTO[WEBP_PHOTO.index(b"VP8 ") :], size)),
        "WebP of profiles": with_chunks(repeated(make_webp_chunk(b"ICCP", b"ab"), size)),
        "WebP with EXIF of overlapping values": with_chunks(make_webp_chunk(b"EXIF", exif)),
        "WebP followed by zeros": WEBP_PHOTO + bytes(size),
    }


def make_exif_of_overlapping_values(size: int) -> bytes:
    """A TIFF of one directory; the value of each field is the whole directory."""
    entries = min(size // 12, 60_000)
    length = 8 + 2 + 12 * entries + 4
    fields = [struct.pack("<HHII", 1000 + tag, 1, length, 0) for tag in range(entries)]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + b"".join(fields) + bytes(4)


def make_tiff(fields: list[tuple[int, int, int, int]], rest: bytes = b"", following: int = 0):
    """A little-endian TIFF: its first directory, then other bytes."""
    entries = b"".join(struct.pack("<HHII", *field) for field in sorted(fields))
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(fields))
        + entries
        + struct.pack("<I", following)
        + rest
    )


def page_fields(width: int, height: int, *more: tuple[int, int, int, int]):
    """Fields of a grey 8-bit page, without the place of its pixels."""
    kinds = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (277, 1)]
    return [(tag, 4, 1, value) for tag, value in kinds] + list(more)


def end_of(fields: int) -> int:
    """Offset of the end of a first directory with this number of fields."""
    return 8 + 2 + 12 * fields + 4


def make_tiffs(size: int) -> dict[str, bytes]:
    one_strip = [(273, 4, 1, 0), (278, 4, 1, 8), (279, 4, 1, 64)]
    page = page_fields(8, 8, *one_strip)
    start = end_of(len(page))
    # Pages of no field, each of which leads to the next.
    pages = b"".join(struct.pack("<HI", 0, start + 6 * (number + 1)) for number in range(size // 6))
    named = end_of(len(page) + 1)
    # Pages whose field of a page's kind takes the whole file.
    kinds = b"".join(
        struct.pack("<HHHIII", 1, 254, 3, size // 3, 8, start + 18 * (number + 1))
        for number in range(size // 18)
    ) + bytes(6)
    # Pointers to directories that lie over each other.
    pointers = struct.pack(
        f"<{size // 8}I", *range(named + size // 2, named + size // 2 + size // 8)
    )
    overlapping = struct.pack("<H", min(size // 30, 65_000)) * (size // 4)
    rows = size // 8
    strip_end = end_of(len(page_fields(1, rows)) + 3)
    strips = [(273, 4, rows, strip_end), (278, 4, 1, 1), (279, 1, rows, strip_end + 4 * rows)]
    return {
        "TIFF of empty pages": make_tiff(page, pages + bytes(6), start),
        "TIFF of pages of many kinds": make_tiff(page, kinds, start),
        "TIFF of overlapping directories": make_tiff(
            [*page, (330, 4, size // 8, named)], pointers + overlapping + bytes(size // 8)
        ),
        "TIFF of strips": make_tiff(page_fields(1, rows, *strips), bytes(4 * rows) + b"\1" * rows),
        "TIFF of overlapping values": make_tiff_of_values(size),
        "TIFF of tables": make_tiff_of_tables(size),
        "TIFF of tall tiles": make_tiff_of_tall_tiles(size),
        "TIFF in a circle": make_tiff(page, b"", 8),
    }


def make_tiff_of_values(size: int) -> bytes:
    one_strip = [(273, 4, 1, 0), (278, 4, 1, 8), (279, 4, 1, 64)]
    entries = min(size // 12, 60_000)
    length = end_of(entries + 9)
    copies = [(1000 + tag, 1, length, 0) for tag in range(entries)]
    return make_tiff(page_fields(8, 8, *one_strip, *copies))


def make_tiff_of_tables(size: int) -> bytes:
    """Strips of JPEG that share large tables."""
    tables = b"\xff\xd8" + repeated(jpeg_segment(0xDB, b"\0" + b"\1" * 64), size // 2) + b"\xff\xd9"
    strip = encode_image(Image.new("L", (8, 8)), "JPEG", quality=1)
    strip = without_metadata(strip)
    number = max(1, size // 400)
    fields = {256: (4, 1, 8), 257: (4, 1, 8 * number), 258: (3, 1, 8), 259: (3, 1, 7)}
    fields |= {262: (3, 1, 1), 277: (3, 1, 1), 278: (4, 1, 8)}
    start = end_of(len(fields) + 3)
    offsets = struct.pack("<I", start) * number
    counts = struct.pack("<I", len(strip)) * number
    places = start + len(strip) + len(tables)
    fields |= {273: (4, number, places), 279: (4, number, places + 4 * number)}
    fields |= {347: (7, len(tables), start + len(strip))}
    return make_tiff(
        [(tag, *rest) for tag, rest in fields.items()], strip + tables + offsets + counts
    )


def make_tiff_of_tall_tiles(size: int) -> bytes:
    """A photo of one row in tiles that are far taller."""
    number = max(1, size // 8)
    tile = zlib.compress(bytes(16 * 16_384 * 64), 9)
    fields = {256: (4, 1, 16 * number), 257: (4, 1, 1), 258: (3, 1, 8), 259: (3, 1, 8)}
    fields |= {262: (3, 1, 1), 277: (3, 1, 1), 322: (4, 1, 16), 323: (4, 1, 16_384 * 64)}
    start = end_of(len(fields) + 2)
    fields |= {324: (4, number, start), 325: (4, number, start + 4 * number)}
    tile_at = start + 8 * number
    places = struct.pack("<I", tile_at) * number + struct.pack("<I", len(tile)) * number
    return make_tiff([(tag, *rest) for tag, rest in fields.items()], places + tile)


def make_item(key: int, kind: bytes, data: bytes | None, *properties: Property) -> Item:
    entry = make_box(b"infe", b"\2\0\0\0" + struct.pack(">HH", key, 0) + kind + b"\0")
    return Item(entry, data, properties)


def make_items(size: int, photo: bytes) -> dict[str, bytes]:
    """AVIF or HEIF files with a photo and many other items."""
    file = bmff.read(photo)
    primary, first = file.primary_id, max(file.items) + 1
    keys = list(range(first, first + min(size // 50, 60_000)))
    others = {key: make_item(key, b"mime", b"x") for key in keys}
    many = replace(file, items=file.items | others)
    grid = replace(file.primary, entry=make_item(primary, b"grid", None).entry)
    chain = [Reference(b"dimg", *pair) for pair in zip([primary, *keys], zip(keys), strict=False)]
    often = min(size // 6, 65_000)
    web = [
        Reference(b"dimg", keys[0], (keys[1],) * often),
        Reference(b"dimg", keys[1], (keys[2],) * often),
        Reference(b"dimg", primary, (keys[0],)),
    ]
    free = (make_box(b"free", b""),) * (size // 8)
    found = {
        "of items": many,
        "of items made of each other": replace(many, references=tuple(chain)),
        "of a wide web of items": replace(many, references=tuple(web)),
        "of items around the image": replace(
            many, references=tuple(Reference(b"cdsc", key, (primary,)) for key in keys)
        ),
        "of transparencies": with_transparencies(file, keys),
        "of boxes": replace(file, after=free),
        "of boxes before": replace(file, before=(*file.before, *free)),
        "of boxes in meta": replace(file, meta=(*file.meta, *free)),
        "of groups": replace(file, meta=(*file.meta, make_box(b"grpl", bytes(size)))),
        "of the image's parts": replace(
            many.with_primary(grid),
            references=(Reference(b"dimg", primary, tuple(keys)), *chain[1:]),
        ),
        "with EXIF of overlapping values": with_exif(file, make_exif_of_overlapping_values(size)),
    }
    files = {name: bmff.write(each) for name, each in found.items()}
    return files | {"of properties": with_many_properties(bmff.write(file), size)}


def with_transparencies(file: ItemFile, keys: list[int]) -> ItemFile:
    """A file with this number of images, each of which claims to be the photo's opacity."""
    urn = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"
    alpha = Property(make_box(b"auxC", bytes(4) + urn), essential=False)
    images = {key: make_item(key, file.primary.type, b"x", alpha) for key in keys}
    references = tuple(Reference(b"auxl", key, (file.primary_id,)) for key in keys)
    return replace(file, items=file.items | images, references=references)


def with_exif(file: ItemFile, exif: bytes) -> ItemFile:
    key = max(file.items) + 1
    reference = Reference(b"cdsc", key, (file.primary_id,))
    item = make_item(key, b"Exif", bytes(4) + exif)
    return replace(file, items=file.items | {key: item}, references=(*file.references, reference))


def with_many_properties(data: bytes, size: int) -> bytes:
    """A file that repeats the photo's properties for items that do not exist."""
    times = max(1, size // 258)
    lists = b"".join(struct.pack(">HB", 1000 + n % 60_000, 255) + b"\1" * 255 for n in range(times))
    box = make_box(b"ipma", bytes(4) + struct.pack(">I", times) + lists)
    longer = bytearray(data)
    for kind in (b"meta", b"iprp"):
        at = data.index(kind) - 4
        (length,) = struct.unpack_from(">I", data, at)
        struct.pack_into(">I", longer, at, length + len(box))
    end = data.index(b"iprp") - 4 + length
    return bytes(longer[:end] + box + longer[end:])  # pixels are no longer where iloc says


def make_heic() -> bytes:
    import pillow_heif

    file = pillow_heif.from_bytes("RGB", (64, 64), make_pixels(64, 64).tobytes())
    buffer = io.BytesIO()
    file.save(buffer, enc_params={"preset": "ultrafast"})
    return buffer.getvalue()


def make_bombs(container: str, size: int) -> dict[str, bytes]:
    """Files of a container by the part they repeat, each of about this size in bytes."""
    if container == "JPEG":
        return make_jpegs(size)
    if container == "PNG":
        return make_pngs(size)
    if container == "WebP":
        return make_webps(size)
    if container == "TIFF":
        return make_tiffs(size)
    photo = make_heic() if container == "HEIF" else encode_image(PICTURE, "AVIF", speed=10)
    return {f"{container} {name}": data for name, data in make_items(size, photo).items()}
