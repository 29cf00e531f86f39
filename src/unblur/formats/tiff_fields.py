"""Read TIFF fields, and write them into new directories, such as in EXIF blocks."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unblur.formats.tiff_directory import FIELD_CODES, LONG, SIGNATURES, Tag, TiffFile


@dataclass(frozen=True)
class Field:
    """A field to write; its values are in the file's byte order."""

    tag: int
    type: int
    count: int
    values: bytes


def read_fields(file: TiffFile, start: int) -> dict[int, Field]:
    """Return a directory's readable fields by tag.

    Damaged fields are left out. Once all values together exceed the file's size, further fields are
    left out, too.

    Args:
        file: The file.
        start: Offset of the directory; 0 if there is none.
    """
    fields, budget = {}, len(file.data)
    with contextlib.suppress(ValueError):
        for entry in file.directory(start).entries.values() if start else ():
            if entry.size and entry.is_within(file.data):
                budget -= entry.size
                if budget < 0:
                    break
                fields[entry.tag] = Field(entry.tag, entry.type, entry.count, file.raw(entry))
    return fields


def read_linked(file: TiffFile, fields: Mapping[int, Field], tag: int) -> dict[int, Field]:
    """Return the fields of the directory that a field points to; empty if there is none."""
    if tag not in fields:
        return {}
    pointer = fields[tag]
    first = pointer.values[: len(pointer.values) // pointer.count]
    return read_fields(file, int.from_bytes(first, file.byte_order))


def write_numbers(tag: int, order: str, kind: int, *numbers: int) -> Field:
    """Make a field of integers; a rational takes two numbers."""
    code = FIELD_CODES[kind]
    count = len(numbers) // len(code)
    return Field(tag, kind, count, struct.pack(order + code * count, *numbers))


def write_header(order: str, first: int) -> bytes:
    """Write the header of a classic TIFF, with the offset of its first directory."""
    mark = next(mark for mark, known in SIGNATURES.items() if known == order)
    return mark + struct.pack(order + "HI", 42, first)


def write_directory(fields: Sequence[Field], order: str, start: int) -> bytes:
    """Return the last directory of a classic TIFF and its values, padded to an even length.

    Args:
        fields: At least one, in any order.
        order: ``<`` or ``>``.
        start: Even offset of the directory in the file.
    """
    position = start + 2 + 12 * len(fields) + 4
    table, beyond = bytearray(struct.pack(order + "H", len(fields))), bytearray()
    for item in sorted(fields, key=lambda item: item.tag):
        values = item.values.ljust(4, b"\0")
        if len(values) > 4:
            values += bytes(len(values) % 2)  # values must begin at an even offset
            beyond += values
            values = struct.pack(order + "I", position + len(beyond) - len(values))
        table += struct.pack(order + "HHI", item.tag, item.type, item.count) + values
    return bytes(table + bytes(4) + beyond)


def write_block(first: Sequence[Field], linked: Mapping[Tag, Sequence[Field]], order: str) -> bytes:
    """Write a classic TIFF without pixels, such as an EXIF block.

    Args:
        first: Fields of the first directory; needed if no linked fields are given.
        linked: Fields of further directories, by the tags that point to them.
        order: ``<`` or ``>``.
    """
    output, pointers = bytearray(8), []
    for tag, fields in linked.items():
        if fields:
            pointers.append(write_numbers(tag, order, LONG, len(output)))
            output += write_directory(fields, order, len(output))
    output[:8] = write_header(order, len(output))
    return bytes(output + write_directory([*first, *pointers], order, len(output)))
