"""Read TensorFlow V2 checkpoints as plain data, without TensorFlow.

The PyPI package tensorflow-checkpoint-reader needs protobuf before 3.19, which no current Python
can install.

A checkpoint is ``PREFIX.index`` and ``PREFIX.data-00000-of-00001`` (and more
shards). The index is a sorted table of LevelDB's format,
https://github.com/google/leveldb/blob/main/doc/table_format.md; its values are
protocol buffers of TensorFlow's ``tensor_bundle.proto``: the empty key holds a
``BundleHeaderProto``, every other key a variable's ``BundleEntryProto``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from unblur.errors import WeightsError
from unblur.models.catalog import errors_as_weights_errors

Fields: TypeAlias = dict[int, list[int | bytes]]

FOOTER_BYTES = 48
TABLE_MAGIC = 0xDB4775248B80FB57
BLOCK_TRAILER_BYTES = 5
"""Bytes after each block: its compression, and a checksum."""
LARGEST_INDEX_BYTES = 64 << 20
"""Largest index to read; a network's index is much smaller."""
FLOAT32 = 1
"""``DT_FLOAT`` of TensorFlow's ``types.proto``: the type of all variables of a network."""


@dataclass(frozen=True)
class CheckpointEntry:
    """Type and position of a variable: the used fields of ``BundleEntryProto``."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


class TensorFlowCheckpoint:
    """The variables of a checkpoint, read one at a time.

    Args:
        prefix: Path of the checkpoint without ``.index``.

    Raises:
        WeightsError: If the index is missing or damaged.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self._index = prefix.with_name(prefix.name + ".index")
        with errors_as_weights_errors(self._index):
            if self._index.stat().st_size > LARGEST_INDEX_BYTES:
                raise ValueError("too large for a checkpoint's index")
            data = self._index.read_bytes()
        try:
            items = dict(read_table(data))
            header = read_fields(items.pop(b""))
            self._shards = _number(header, 1)
            if _number(header, 2):
                raise ValueError("big-endian checkpoints are not supported")
            self.entries = {key.decode(): _read_entry(value) for key, value in items.items()}
        except (ValueError, IndexError, KeyError) as error:
            raise WeightsError(f"{self._index}: damaged or not a checkpoint ({error})") from error

    def read(self, name: str) -> NDArray[np.float32]:
        """Read one float32 variable.

        Raises:
            WeightsError: If the variable is missing, damaged, or of another type.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise WeightsError(f"{self._index}: has no variable {name}")
        if entry.dtype != FLOAT32 or entry.size != 4 * int(np.prod(entry.shape, dtype=object)):
            raise WeightsError(f"{self._index}: {name} is not a float32 array of its shape")
        shard = f"{self.prefix.name}.data-{entry.shard:05d}-of-{self._shards:05d}"
        path = self.prefix.with_name(shard)
        with errors_as_weights_errors(path):
            if entry.offset + entry.size > path.stat().st_size:
                raise ValueError(f"ends before {name}: the file was cut off")
            with path.open("rb") as file:
                file.seek(entry.offset)
                data = file.read(entry.size)
            if _masked_crc32c(data) != entry.checksum:
                raise ValueError(f"the checksum of {name} is wrong: the file is damaged")
        try:
            return np.frombuffer(data, "<f4").reshape(entry.shape).astype(np.float32)
        except ValueError as error:  # too many dimensions, or too large ones
            raise WeightsError(f"{self._index}: {name} has an impossible shape") from error


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a LevelDB table, in order.

    Raises:
        ValueError: If the table is damaged or compressed.
        IndexError: If it ends too early.
    """
    if len(data) < FOOTER_BYTES or int.from_bytes(data[-8:], "little") != TABLE_MAGIC:
        raise ValueError("no table's magic number at its end")
    footer = data[-FOOTER_BYTES:]
    position = _read_handle(footer, 0)[2]  # the metaindex, which holds no variables
    unread = len(data)
    for _, handle in _read_block(data, *_read_handle(footer, position)[:2]):
        offset, size, _ = _read_handle(handle, 0)
        unread -= size
        if unread < 0:  # a small file could otherwise keep the reader busy for days
            raise ValueError("its blocks overlap")
        yield from _read_block(data, offset, size)


def _read_block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if offset + size + BLOCK_TRAILER_BYTES > len(data):
        raise ValueError("a block lies outside the file")
    block = data[offset : offset + size]
    compression = data[offset + size]
    stored = int.from_bytes(data[offset + size + 1 : offset + size + BLOCK_TRAILER_BYTES], "little")
    if _masked_crc32c(block + bytes([compression])) != stored:
        raise ValueError("a block's checksum is wrong")
    if compression:  # TensorFlow writes indexes uncompressed: see tensor_bundle.cc
        raise ValueError("compressed blocks are not supported")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _read_varint(block, position)
        unshared, position = _read_varint(block, position)
        length, position = _read_varint(block, position)
        if shared > len(key) or position + unshared + length > end:
            raise ValueError("an entry lies outside its block")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _read_handle(data: bytes, position: int) -> tuple[int, int, int]:
    """Return the offset and size of a block, and the end of its handle."""
    offset, position = _read_varint(data, position)
    return offset, *_read_varint(data, position)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is too long")


def _masked_crc32c(data: bytes) -> int:
    """Return a CRC-32C as LevelDB stores it: rotated right by 15 bits, plus a constant."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_fields(message: bytes) -> Fields:
    """Return the fields of a protocol buffer by number, without a schema.

    https://protobuf.dev/programming-guides/encoding/

    Raises:
        ValueError: If the message is damaged.
        IndexError: If it ends too early.
    """
    fields: Fields = {}
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        value: int | bytes
        if tag & 7 == 0:
            value, position = _read_varint(message, position)
        elif tag & 7 in (1, 2, 5):
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size, position = _read_varint(message, position)
            value = message[position : position + size]
            position += size
            if position > len(message):
                raise ValueError("a field ends after its message")
        else:
            raise ValueError(f"unknown wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(fields: Fields, number: int) -> int:
    """Return a scalar field; 0 if it is missing, because protocol buffers do not store zeros."""
    value = fields.get(number, [0])[-1]
    return value if isinstance(value, int) else int.from_bytes(value, "little")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message was expected")
    return value


def _read_entry(message: bytes) -> CheckpointEntry:
    fields = read_fields(message)
    if 7 in fields:
        raise ValueError("sliced variables are not supported")
    dimensions = read_fields(_message(fields[2][-1])).get(2, []) if 2 in fields else []
    return CheckpointEntry(
        dtype=_number(fields, 1),
        shape=tuple(_number(read_fields(_message(dimension)), 1) for dimension in dimensions),
        shard=_number(fields, 3),
        offset=_number(fields, 4),
        size=_number(fields, 5),
        checksum=_number(fields, 6),
    )
