"""Read and write ISO base media files of image items: HEIF and AVIF.

See ISO/IEC 14496-12, section 8.11, and ISO/IEC 23008-12, section 9.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from unblur.errors import PhotoError
from unblur.file_limits import limited, refuse_excess
from unblur.formats.bmff_boxes import Box, Cursor, boxes, make_box, open_full_box, read_box
from unblur.formats.bmff_items import (
    WIDEST_SHORT_ID,
    Item,
    ItemFile,
    Property,
    Reference,
    with_true_brands,
)
from unblur.formats.bmff_tracks import is_still
from unblur.formats.refusals import ANIMATED, COMPACT, ONE_FRAME

INDEXING = frozenset({b"iinf", b"iloc", b"iprp", b"iref", b"idat"})
"""Boxes in meta that are written anew from the items."""
LOST = "the file lacks the data of tags or pictures beside the photo"
MOST_LINKS = 100_000
"""Largest number of pieces of data, of properties or of references of all items. A photo of 500
megapixels in tiles of 512x512 has 2,000 tiles, each with about five properties."""


def read(data: bytes) -> ItemFile:
    """Read a file's items.

    Raises:
        PhotoError: If the file is an animation of several frames.
        ValueError: If the file is damaged, cut off, or has no primary image.
    """
    before: list[bytes] = []
    after: list[bytes] = []
    meta = movie = None
    for box in limited(_top_level(data), len(data), "boxes"):
        if box.type == b"mini":
            raise PhotoError(COMPACT)
        if box.type == b"moov":
            movie = box
        elif box.type == b"meta" and meta is None:
            meta = box
        elif box.type != b"mdat":
            (before if meta is None else after).append(data[box.start : box.stop])
    if meta is None:
        raise PhotoError(ANIMATED) if movie else ValueError("has no items")
    file = replace(_read_meta(data, meta), before=tuple(before), after=tuple(after))
    return _without_track(data, movie, file) if movie else file


def _without_track(data: bytes, movie: Box, file: ItemFile) -> ItemFile:
    """Return an animation of one frame as a still photo; raise `PhotoError` for more frames."""
    if not is_still(data, movie, file.primary.data or b""):
        raise PhotoError(ANIMATED)
    before = tuple(with_true_brands(box, file.items) for box in file.before)
    return replace(file, before=before, notes=(*file.notes, ONE_FRAME))


def write(file: ItemFile) -> bytes:
    """Write a file of items with their data right after meta, or raise `ValueError`."""
    offsets: dict[bytes, int] = {}
    length = 0
    for item in file.items.values():
        if item.data is not None and item.data not in offsets:
            offsets[item.data] = length
            length += len(item.data)
    head = b"".join(file.before)
    start = len(head) + len(_make_meta(file, offsets, 0)) + 8
    meta = _make_meta(file, offsets, start)
    return b"".join([head, meta, make_box(b"mdat", b"".join(offsets)), *file.after])


def _top_level(data: bytes) -> Iterator[Box]:
    """Yield a file's boxes; any other bytes at the end count as one box."""
    start = 0
    while start < len(data):
        try:
            box = read_box(data, start, len(data))
        except ValueError:
            if start == 0 or data[start + 4 : start + 8] == b"mdat":
                raise
            box = Box(b"", start, start, len(data))
        yield box
        start = box.stop


@dataclass
class _Index:
    """Content of the boxes in meta, by item number."""

    entries: dict[int, bytes] = field(default_factory=dict)
    data: dict[int, bytes] = field(default_factory=dict)
    properties: dict[int, tuple[Property, ...]] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    """Why an item's data are not in the file."""


def _read_meta(data: bytes, meta: Box) -> ItemFile:
    children = list(boxes(data, meta.body + 4, meta.stop))
    found = {box.type: box for box in children}
    if not found.keys() >= {b"pitm", b"iinf", b"iloc", b"iprp"}:
        raise ValueError("has no primary image")
    index = _Index()
    _read_entries(data, found[b"iinf"], index)
    _read_locations(data, found[b"iloc"], found.get(b"idat"), index)
    _read_properties(data, found[b"iprp"], index)
    items = {
        key: Item(entry, index.data.get(key), index.properties.get(key, ()))
        for key, entry in index.entries.items()
    }
    references = _read_references(data, found[b"iref"]) if b"iref" in found else ()
    cursor, version = open_full_box(data, found[b"pitm"])
    primary_id = cursor.number(4 if version else 2)
    if primary_id not in items or len(items[primary_id].type) != 4:
        raise ValueError("has no primary image")
    others = tuple(data[box.start : box.stop] for box in children if box.type not in INDEXING)
    file = ItemFile(primary_id, items, tuple(references), others)
    return replace(file, notes=_refuse_lost(file, index.lost))


def _refuse_lost(file: ItemFile, lost: Mapping[int, str]) -> tuple[str, ...]:
    """Raise `ValueError` if the photo's data are lost; return a note if other data are lost."""
    images = {file.primary_id, *file.alpha_ids}
    for key in images.union(file.sources(*images)):
        if key in lost:
            raise ValueError(lost[key])
    return (LOST,) * bool(lost)


def _read_entries(data: bytes, box: Box, index: _Index) -> None:
    """Read the item information (iinf)."""
    cursor, version = open_full_box(data, box)
    cursor.number(4 if version else 2)
    for child in boxes(data, cursor.position, box.stop):
        entry, entry_version = open_full_box(data, child)
        key = entry.number(4 if entry_version == 3 else 2)
        index.entries[key] = make_box(child.type, data[child.body : child.stop])


def _read_locations(data: bytes, box: Box, idat: Box | None, index: _Index) -> None:
    """Read the items' data by their locations (iloc), or raise `ValueError`."""
    cursor, version = open_full_box(data, box)
    sizes = cursor.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    number_size = sizes & 15 if version else 0
    if not length_size:
        raise ValueError("has items of no length")
    known: dict[tuple[tuple[int, int], ...], bytes] = {}
    budget, links = len(data), 0
    count = range(cursor.number(2 if version < 2 else 4))
    for _ in limited(count, box.stop - box.start, "items"):
        key = cursor.number(2 if version < 2 else 4)
        method = cursor.number(2) & 15 if version else 0
        file_number = cursor.number(2)
        start, stop = (idat.body, idat.stop) if method == 1 and idat else (0, len(data))
        if method > 1 or file_number or (method == 1 and not idat):
            index.lost[key] = "has items whose data lie elsewhere"
        start += cursor.number(base_size)
        number = cursor.number(2)
        links += number
        refuse_excess(links, MOST_LINKS, "pieces of items")
        widths = (number_size, offset_size, length_size)
        extents = tuple(_read_extent(cursor, widths, start, stop) for _ in range(number))
        if any(last > stop for _, last in extents):
            index.lost[key] = "ends before its items do"
        if key in index.lost:
            continue
        if extents not in known:
            budget -= sum(last - first for first, last in extents)
            if budget < 0:
                raise ValueError("has items that overlap")
            known[extents] = b"".join(data[first:last] for first, last in extents)
        index.data[key] = known[extents]


def _read_extent(
    cursor: Cursor, widths: tuple[int, int, int], start: int, stop: int
) -> tuple[int, int]:
    """Read start and stop of a piece of an item's data; without a length it ends at ``stop``.

    Args:
        cursor: Cursor in the box of locations.
        widths: Sizes in bytes of the piece's number, offset and length.
        start: Position from which the offset counts.
        stop: End of the data; damaged pieces end later.
    """
    _, offset, length = map(cursor.number, widths)
    first = start + offset
    return first, first + length if length else max(first, stop)


def _read_properties(data: bytes, box: Box, index: _Index) -> None:
    """Read the items' properties (iprp)."""
    children = list(boxes(data, box.body, box.stop))
    known = [
        make_box(prop.type, data[prop.body : prop.stop])
        for child in children
        if child.type == b"ipco"
        for prop in boxes(data, child.body, child.stop)
    ]
    links = 0
    for child in (child for child in children if child.type == b"ipma"):
        cursor, version = open_full_box(data, child)
        size = 2 if data[child.body + 3] & 1 else 1
        mask = (1 << 8 * size - 1) - 1
        for _ in limited(range(cursor.number(4)), child.stop - child.start, "items"):
            key = cursor.number(4 if version else 2)
            numbers = [cursor.number(size) for _ in range(cursor.number(1))]
            links += len(numbers)
            refuse_excess(links, MOST_LINKS, "properties of items")
            if any(number & mask > len(known) for number in numbers):
                raise ValueError("has a property that is not there")
            index.properties[key] = tuple(
                Property(known[(number & mask) - 1], number > mask)
                for number in numbers
                if number & mask  # 0 means no property
            )


def _read_references(data: bytes, box: Box) -> Iterator[Reference]:
    """Read the references between items (iref)."""
    cursor, version = open_full_box(data, box)
    size, links = 4 if version else 2, 0
    for child in boxes(data, cursor.position, box.stop):
        inner = Cursor(data, child.body, child.stop)
        source, count = inner.number(size), inner.number(2)
        links += count
        refuse_excess(links, MOST_LINKS, "references between items")
        targets = tuple(inner.number(size) for _ in range(count))
        yield Reference(child.type, source, targets)


def _make_meta(file: ItemFile, offsets: Mapping[bytes, int], start: int) -> bytes:
    """Write meta for items' data that begin at ``start``."""
    parts = [
        *file.meta,
        _make_entries(file.items.values()),
        _make_references(file.references),
        _make_properties(file.items),
        _make_locations(file.items, offsets, start),
    ]
    return make_box(b"meta", bytes(4) + b"".join(parts))


def _make_entries(items: Iterable[Item]) -> bytes:
    entries = [item.entry for item in items]
    return make_box(b"iinf", b"\1\0\0\0" + len(entries).to_bytes(4, "big") + b"".join(entries))


def _make_references(references: Iterable[Reference]) -> bytes:
    keys = [key for ref in references for key in (ref.source, *ref.targets)]
    if not keys:
        return b""
    size = _id_size(keys)
    body = bytearray([size == 4, 0, 0, 0])
    for ref in references:
        count = len(ref.targets).to_bytes(2, "big")
        targets = b"".join(target.to_bytes(size, "big") for target in ref.targets)
        body += make_box(ref.type, ref.source.to_bytes(size, "big") + count + targets)
    return make_box(b"iref", bytes(body))


def _make_properties(items: Mapping[int, Item]) -> bytes:
    known: dict[bytes, int] = {}
    for item in items.values():
        for prop in item.properties:
            known.setdefault(prop.box, len(known) + 1)
    bits = 7 if len(known) < 1 << 7 else 15
    if len(known) >= 1 << bits:
        raise ValueError("has too many properties")
    described = {key: item for key, item in sorted(items.items()) if item.properties}
    size = _id_size(described)
    body = bytearray([size == 4, 0, 0, bits == 15]) + len(described).to_bytes(4, "big")
    for key, item in described.items():
        body += key.to_bytes(size, "big") + bytes([len(item.properties)])
        for prop in item.properties:
            number = prop.essential << bits | known[prop.box]
            body += number.to_bytes((bits + 1) // 8, "big")
    container = make_box(b"ipco", b"".join(known))
    return make_box(b"iprp", container + make_box(b"ipma", bytes(body)))


def _make_locations(items: Mapping[int, Item], offsets: Mapping[bytes, int], start: int) -> bytes:
    located = {key: item.data for key, item in items.items() if item.data is not None}
    size = _id_size(located)
    body = bytearray([size // 2, 0, 0, 0, 0x44, 0]) + len(located).to_bytes(size, "big")
    for key, data in located.items():
        body += key.to_bytes(size, "big") + bytes(4) + b"\0\1"  # in this file, a single extent
        body += (start + offsets[data]).to_bytes(4, "big") + len(data).to_bytes(4, "big")
    return make_box(b"iloc", bytes(body))


def _id_size(keys: Iterable[int]) -> int:
    """Return the size of item numbers in bytes."""
    return 4 if max(keys, default=0) > WIDEST_SHORT_ID else 2
