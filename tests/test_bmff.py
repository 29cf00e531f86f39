from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.errors import PhotoError
from unblur.formats import bmff
from unblur.formats.bmff_boxes import boxes, make_box
from unblur.formats.bmff_items import (
    C2PA_UUID,
    Item,
    ItemFile,
    Property,
    Reference,
    as_stored,
    splice,
)

FTYP = make_box(b"ftyp", b"heic\0\0\0\0mif1heic")
ROTATED = Property(make_box(b"irot", b"\3"), essential=True)


def make_item(key, kind, data=None, *properties):
    """An item with its entry."""
    entry = b"\2\0\0\0" + key.to_bytes(2, "big") + b"\0\0" + kind + b"name\0"
    return Item(make_box(b"infe", entry), data, properties)


def make_size(width, height):
    """An ispe property."""
    body = bytes(4) + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return Property(make_box(b"ispe", body), essential=False)


def make_file(after=()):
    """A grid of two tiles, rotated, with metadata and a thumbnail."""
    items = {
        1: make_item(1, b"hvc1", b"tile one", make_size(8, 8)),
        2: make_item(2, b"hvc1", b"tile two", make_size(8, 8)),
        3: make_item(3, b"grid", b"a grid", make_size(16, 8), ROTATED),
        4: make_item(4, b"Exif", b"metadata"),
        5: make_item(5, b"hvc1", b"small", make_size(2, 1)),
    }
    references = (
        Reference(b"dimg", 3, (1, 2)),
        Reference(b"cdsc", 4, (3,)),
        Reference(b"thmb", 5, (3,)),
    )
    meta = (make_box(b"hdlr", bytes(25)), make_box(b"pitm", bytes(4) + b"\0\3"))
    return ItemFile(3, items, references, meta, (FTYP,), after)


def make_coded():
    """The file that a library writes for new pixels."""
    items = {1: make_item(1, b"hvc1", b"new pixels", make_size(16, 8))}
    return ItemFile(1, items, (), (make_box(b"pitm", bytes(4) + b"\0\1"),), (FTYP,))


def test_a_file_is_read_as_it_was_written():
    file = make_file(after=(make_box(b"free", b"kept"), b"a trailer that is no box"))
    assert bmff.read(bmff.write(file)) == file


def test_many_properties_are_written():
    items = {key: make_item(key, b"hvc1", b"%d" % key, make_size(key, 1)) for key in range(1, 200)}
    file = replace(make_file(), items=items)
    assert bmff.read(bmff.write(file)) == file


def test_items_of_large_numbers_are_written():
    entry = make_box(b"infe", b"\3\0\0\0" + (70_000).to_bytes(4, "big") + b"\0\0mime\0")
    items = {**make_file().items, 70_000: Item(entry, b"far", (make_size(1, 1),))}
    file = replace(make_file(), items=items, references=(Reference(b"cdsc", 70_000, (3,)),))
    assert bmff.read(bmff.write(file)) == file


def test_new_pixels_replace_a_grid_and_its_tiles():
    file, _ = splice(make_file(), make_coded())
    assert file.items.keys() == {3, 4, 5}
    assert (file.primary.type, file.primary.data) == (b"hvc1", b"new pixels")
    assert file.references == make_file().references[1:]


def test_rotation_stays_and_comes_after_what_tells_the_coding():
    file, _ = splice(make_file(), make_coded())
    assert file.primary.properties == (make_size(16, 8), ROTATED)


def test_a_tile_that_something_else_needs_stays():
    original = make_file()
    shared = replace(original, references=(*original.references, Reference(b"dimg", 5, (2,))))
    assert splice(shared, make_coded())[0].items.keys() == {2, 3, 4, 5}


def test_the_tiles_of_a_new_grid_get_numbers_of_their_own():
    file, _ = splice(make_file(), make_file())
    (tiles,) = [ref for ref in file.references if ref.type == b"dimg"]
    assert tiles.source == 3
    assert [file.items[key].data for key in tiles.targets] == [b"tile one", b"tile two"]
    assert not set(tiles.targets) & {3, 4, 5}


def test_a_c2pa_manifest_is_left_out_and_told():
    manifest = make_box(b"uuid", C2PA_UUID + b"signed")
    other = make_box(b"uuid", bytes(16) + b"kept")
    file, notes = splice(make_file(after=(manifest, other)), make_coded())
    assert file.after == (other,)
    assert "C2PA" in notes[0]


def test_the_stored_image_is_alone_and_not_rotated():
    file = as_stored(make_file())
    assert file.items.keys() == {1, 2, 3}
    assert file.primary.properties == (make_size(16, 8),)


def test_items_made_of_each_other_end():
    references = (Reference(b"dimg", 3, (1,)), Reference(b"dimg", 1, (3, 1)))
    file = replace(make_file(), references=references)
    assert file.sources(3) == [1]
    assert bmff.read(bmff.write(splice(file, make_coded())[0])).primary.data == b"new pixels"


def test_a_sequence_is_refused():
    with pytest.raises(PhotoError, match="animations"):
        bmff.read(bmff.write(make_file(after=(make_box(b"moov", b""),))))


def with_length(length):
    """A file whose only item, of 8 bytes, states a given length."""
    data = bytearray(
        bmff.write(replace(make_file(), items={3: make_item(3, b"hvc1", b"8 bytes!")}))
    )
    length_at = len(data) - 8 - 8 - 4  # before mdat's header and the data
    assert data[length_at : length_at + 4] == b"\0\0\0\x08"
    return bytes(data[:length_at] + length.to_bytes(4, "big") + data[length_at + 4 :])


def test_an_item_beyond_the_file_is_refused():
    with pytest.raises(ValueError, match="before its items"):
        bmff.read(with_length(9))


def test_an_item_of_no_length_goes_on_to_the_end():
    assert bmff.read(with_length(0)).primary.data == b"8 bytes!"


def test_items_that_repeat_the_file_are_refused():
    """Otherwise a small file would become a large one."""
    data = bytearray(bmff.write(make_file()))
    for item in range(1, 6):
        at = data.index(b"iloc") + 12 + 16 * (item - 1)
        data[at + 8 : at + 16] = item.to_bytes(4, "big") + (len(data) - 9).to_bytes(4, "big")
    with pytest.raises(ValueError, match="overlap"):
        bmff.read(bytes(data))


@given(st.binary(max_size=100))
def test_any_bytes_are_boxes_or_refused(data):
    try:
        found = list(boxes(data, 0, len(data)))
    except ValueError:
        return
    assert b"".join(data[box.start : box.stop] for box in found) == data


SAMPLE = bmff.write(make_file())


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=4))
def test_a_changed_file_is_written_again_or_refused(changes):
    data = bytearray(SAMPLE)
    for position, value in changes:
        data[position] = value
    try:
        file = bmff.read(bytes(data))
        result = bmff.write(splice(file, make_coded())[0])
    except (ValueError, PhotoError):
        return
    assert bmff.read(result).primary.data == b"new pixels"
