"""The items of a HEIF or AVIF file: images and metadata (ISO/IEC 23008-12, sections 6 and 9).

New pixels replace one item, the primary image. Metadata, gain maps, depth, alpha, thumbnails,
profiles and rotation are other items and properties, which keep their bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from unblur.file_limits import refuse_excess
from unblur.formats.bmff_boxes import make_box
from unblur.formats.metadata import C2PA_LEFT_OUT

ROTATION, MIRROR, CROP = b"irot", b"imir", b"clap"
COLOR = b"colr"
CODING = frozenset({b"av1C", b"hvcC", b"ispe", b"pixi", b"a1op", b"a1lx", b"lsel"})
"""Properties that describe how the pixels are encoded."""
DERIVED = frozenset({b"grid", b"iden", b"iovl"})
"""Types of items that are derived from other items."""
ALPHA_URNS = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
"""Types of auxiliary images with transparency (ISO/IEC 23008-12, 6.5.8 and B.2.3)."""
UNSPECIFIED = 2
"""Code point of ITU-T H.273 for primaries and transfer functions that a profile defines."""
_NCLX = ">4sHHHB"

HIDDEN = 1
"""Flag of images that are not shown by themselves, in the last byte of the entry's flags."""

ITEM_BRANDS = frozenset({b"tmap"})
"""Brands that need an item of the same type: libavif refuses files without it."""
TRACK_BRANDS = frozenset({b"avis", b"msf1", b"hevc", b"hevx"})
"""Brands that need a track of frames: libavif refuses files without one."""

WIDEST_SHORT_ID = 0xFFFF

MOST_PIXELS_DECODED = 8
"""Largest number of pixels in an image's parts, relative to the image: tiles reach beyond it."""
PIXELS_ALWAYS_DECODED = 16_000_000
MOST_LEVELS = 8
"""Deepest nesting of derived images."""

C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


@dataclass(frozen=True)
class Property:
    """A property of an item."""

    box: bytes
    essential: bool
    """Whether a reader must understand the property to show the item."""

    @property
    def type(self) -> bytes:
        """The box's type."""
        return self.box[4:8]

    @property
    def body(self) -> bytes:
        """The content of the box."""
        return self.box[8:]


@dataclass(frozen=True)
class ColorCode:
    """A colour space in code points of ITU-T H.273 (a colr box of type nclx)."""

    primaries: int
    transfer: int
    matrix: int
    full_range: bool

    @property
    def box(self) -> bytes:
        """The bytes of the box."""
        points = (self.primaries, self.transfer, self.matrix, self.full_range << 7)
        return make_box(COLOR, struct.pack(_NCLX, b"nclx", *points))


@dataclass(frozen=True)
class Item:
    """An item: an encoded image, an image derived from others, or metadata."""

    entry: bytes
    """The item's infe box in the item information."""
    data: bytes | None
    properties: tuple[Property, ...] = ()

    @property
    def type(self) -> bytes:
        """Four characters, such as ``hvc1``, ``grid`` or ``Exif``."""
        start = _type_position(self.entry)
        return self.entry[start : start + 4]

    @property
    def color(self) -> ColorCode | None:
        """The item's colour space, if it has that property."""
        for prop in filter(_is_color_code, self.properties):
            _, primaries, transfer, matrix, flags = struct.unpack_from(_NCLX, prop.body)
            return ColorCode(primaries, transfer, matrix, bool(flags & 0x80))
        return None

    def find(self, kind: bytes) -> bytes | None:
        """Return the body of the item's first property of a type, or ``None``."""
        return next((prop.body for prop in self.properties if prop.type == kind), None)

    def without(self, kinds: Iterable[bytes]) -> Item:
        """Return the item without the properties of some types."""
        kept = tuple(prop for prop in self.properties if prop.type not in kinds)
        return replace(self, properties=kept)


@dataclass(frozen=True)
class Reference:
    """A reference from an item to others, such as from a grid to its tiles (``dimg``)."""

    type: bytes
    source: int
    targets: tuple[int, ...]


@dataclass(frozen=True)
class ItemFile:
    """A file of items, and its other boxes."""

    primary_id: int
    items: Mapping[int, Item]
    references: tuple[Reference, ...] = ()
    meta: tuple[bytes, ...] = ()
    """Boxes in meta that do not concern the items' data."""
    before: tuple[bytes, ...] = ()
    """Boxes before meta."""
    after: tuple[bytes, ...] = ()
    """Boxes after meta except mdat, and other bytes at the end."""
    notes: tuple[str, ...] = ()
    """Notes for the user on parts that were not read."""

    @property
    def primary(self) -> Item:
        """The image that a viewer shows."""
        return self.items[self.primary_id]

    @property
    def coded(self) -> Item:
        """The primary image, or the first encoded part if it is derived."""
        for key in [self.primary_id, *self.sources(self.primary_id)]:
            if self.items[key].type not in DERIVED:
                return self.items[key]
        return self.primary

    @property
    def coded_length(self) -> int:
        """Size in bytes of the primary image's encoded pixels."""
        return sum(map(len, self.coded_data))

    @property
    def coded_data(self) -> Iterator[bytes]:
        """The data of the primary image and its parts."""
        for key in [self.primary_id, *self.sources(self.primary_id)]:
            yield self.items[key].data or b""

    @property
    def alpha_ids(self) -> set[int]:
        """Numbers of the images with the primary image's transparency."""
        return {
            ref.source
            for ref in self.references
            if ref.type == b"auxl"
            and self.primary_id in ref.targets
            and ref.source in self.items
            and (self.items[ref.source].find(b"auxC") or b"")[4:].startswith(ALPHA_URNS)
        }

    @property
    def derived(self) -> Mapping[int, tuple[int, ...]]:
        """The direct sources of each derived item."""
        return {ref.source: ref.targets for ref in self.references if ref.type == b"dimg"}

    def with_primary(self, item: Item) -> ItemFile:
        """Return the file with another image in place of the primary image."""
        return replace(self, items={**self.items, self.primary_id: item})

    def with_primary_id(self, key: int) -> ItemFile:
        """Return the file in which another item is the primary image."""
        size = 2 if key <= WIDEST_SHORT_ID else 4
        box = make_box(b"pitm", bytes([size == 4, 0, 0, 0]) + key.to_bytes(size, "big"))
        meta = tuple(box if other[4:8] == b"pitm" else other for other in self.meta)
        return replace(self, primary_id=key, meta=meta)

    def sources(self, *keys: int) -> list[int]:
        """Return the direct and indirect sources of some items, without the items themselves.

        Each item is visited only once, because there may be millions of paths between items.
        """
        derived = self.derived
        found = dict.fromkeys(keys)  # in order of appearance
        waiting = list(keys)
        while waiting:
            targets = dict.fromkeys(derived.get(waiting.pop(), ()))
            new = [key for key in targets if key in self.items and key not in found]
            waiting += new
            found.update(dict.fromkeys(new))
        return list(found)[len(dict.fromkeys(keys)) :]


def as_stored(file: ItemFile) -> ItemFile:
    """Return a file with only the primary image, not rotated, mirrored or hidden."""
    kept = dict.fromkeys([file.primary_id, *file.sources(file.primary_id)])
    items = {key: file.items[key] for key in kept}
    alone = replace(
        file,
        items=items,
        references=tuple(
            Reference(b"dimg", *link) for link in file.derived.items() if link[0] in items
        ),
        meta=tuple(box for box in file.meta if box[4:8] != b"grpl"),  # groups of items
        before=tuple(with_true_brands(box, items) for box in file.before),
        after=(),
    )
    primary = file.primary.without({ROTATION, MIRROR})
    entry = bytearray(primary.entry)
    entry[11] &= ~HIDDEN
    return alone.with_primary(replace(primary, entry=bytes(entry)))


def with_true_brands(box: bytes, items: Mapping[int, Item]) -> bytes:
    """Return a box; from a ftyp box, remove the brands for tracks and for missing items."""
    length, kind = int.from_bytes(box[:4], "big"), box[4:8]
    if kind != b"ftyp" or length != len(box) or length < 16:
        return box
    missing = TRACK_BRANDS | ITEM_BRANDS - {item.type for item in items.values()}
    major, version, *others = (box[at : at + 4] for at in range(8, len(box), 4))
    others = [brand for brand in others if brand not in missing]
    if major in missing:
        major = next(iter(others), major)
    return make_box(kind, b"".join([major, version, *others]))


def pixels_of(image: Item) -> int:
    """Return an image's number of pixels; 0 if unknown (ISO/IEC 23008-12, 6.5.3)."""
    extent = image.find(b"ispe") or b""
    return int.from_bytes(extent[4:8], "big") * int.from_bytes(extent[8:12], "big")


def refuse_costly(file: ItemFile, decoded: Callable[[Item], int] = pixels_of) -> None:
    """Refuse a primary image whose parts have far more pixels than the image.

    Args:
        file: The file.
        decoded: Returns the number of decoded pixels of one image.

    Raises:
        ExcessError: If the parts have too many pixels, or are nested too deep.
        ValueError: If an image is damaged.
    """
    derived, counts = file.derived, dict[int, int]()
    alike: dict[tuple[bytes, bytes | None, int], int] = {}  # tiles may share their data

    def count(key: int, level: int) -> int:
        refuse_excess(level, MOST_LEVELS, "levels of images that are made of others")
        if key not in counts:
            parts = [part for part in derived.get(key, ()) if part in file.items]
            item = file.items[key]
            kind = (item.type, item.data, pixels_of(item))
            if kind not in alike:
                alike[kind] = decoded(item)
            counts[key] = alike[kind] + sum(count(part, level + 1) for part in parts)
        return counts[key]

    most = MOST_PIXELS_DECODED * pixels_of(file.primary) + PIXELS_ALWAYS_DECODED
    refuse_excess(count(file.primary_id, 0), most, "pixels in the parts of its image")


def splice(original: ItemFile, coded: ItemFile) -> tuple[ItemFile, tuple[str, ...]]:
    """Put the primary image of one file into another.

    The primary image keeps its number, to which other items refer, and the properties about its
    meaning. The properties about its encoding come from the encoded file. Old parts of the image
    are removed. A C2PA manifest, which signs the old pixels, is removed with a note.

    Raises:
        ValueError: If there are too many items.
    """
    dead = _parts(original)
    first_free = max(original.items) + 1
    ids = {key: first_free + number for number, key in enumerate(coded.items)}
    ids[coded.primary_id] = original.primary_id
    items = {key: item for key, item in original.items.items() if key not in dead}
    for key, item in coded.items.items():
        entry = _renumbered(item.entry, ids[key])
        items[ids[key]] = replace(_recolored(item, original.primary), entry=entry)
    items[original.primary_id] = _replaced(original.primary, coded.primary)
    references = [
        ref
        for ref in original.references
        if ref.source not in dead and (ref.type, ref.source) != (b"dimg", original.primary_id)
    ] + [
        Reference(ref.type, ids[ref.source], tuple(ids[target] for target in ref.targets))
        for ref in coded.references
    ]
    before, after = (tuple(filter(_is_kept, part)) for part in (original.before, original.after))
    notes: tuple[str, ...] = ()
    if len(before) + len(after) < len(original.before) + len(original.after):
        notes = (C2PA_LEFT_OUT,)
    result = replace(
        original, items=items, references=tuple(references), before=before, after=after
    )
    return result, notes


def _is_kept(box: bytes) -> bool:
    return not (box[4:8] == b"uuid" and box[8:24] == C2PA_UUID)


def _parts(file: ItemFile) -> set[int]:
    """Return the parts that belong to the primary image alone."""
    parts = set(file.sources(file.primary_id))
    made = parts | {file.primary_id}
    used = {
        target
        for ref in file.references
        if ref.source not in made
        for target in ref.targets
        if target in parts
    }
    return parts - used - set(file.sources(*used))


def _replaced(old: Item, new: Item) -> Item:
    """Return an image with the new pixels, and the old image's name and meaning."""
    at, coded_at = _type_position(old.entry), _type_position(new.entry)
    entry = old.entry[:at] + new.entry[coded_at : coded_at + 4] + old.entry[at + 4 :]
    replaced = (CODING | {prop.type for prop in new.properties}) - {COLOR}
    kept = [
        prop for prop in old.properties if prop.type not in replaced and not _is_color_code(prop)
    ]
    return Item(entry, new.data, (*_recolored(new, old).properties, *kept))


def _recolored(new: Item, old: Item) -> Item:
    """Return an image with the old image's colour space."""
    if not new.color:
        return new
    box = _merged_color(old, new.color).box
    properties = [
        replace(prop, box=box) if _is_color_code(prop) else prop for prop in new.properties
    ]
    return replace(new, properties=tuple(properties))


def _merged_color(old: Item, new: ColorCode) -> ColorCode:
    """Return the old item's colour space with the new item's matrix and range."""
    if old.color:
        return replace(new, primaries=old.color.primaries, transfer=old.color.transfer)
    if old.find(COLOR) is not None:
        return replace(new, primaries=UNSPECIFIED, transfer=UNSPECIFIED)
    return new


def _is_color_code(prop: Property) -> bool:
    return (
        prop.type == COLOR and prop.body[:4] == b"nclx" and len(prop.body) >= struct.calcsize(_NCLX)
    )


def exif_start(data: bytes) -> int:
    """Return the position of the byte order mark in an EXIF item, which states it (A.2.1)."""
    return 4 + int.from_bytes(data[:4], "big")


def _type_position(entry: bytes) -> int:
    """Return the position of the type in an infe box, which has one since version 2."""
    return {2: 16, 3: 18}.get(entry[8], len(entry))


def _renumbered(entry: bytes, key: int) -> bytes:
    size = 4 if entry[8] == 3 else 2
    if key >= 1 << 8 * size:
        raise ValueError("has too many items")
    return entry[:12] + key.to_bytes(size, "big") + entry[12 + size :]
