from __future__ import annotations

import struct

import google_crc32c
import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st

from unblur.errors import WeightsError
from unblur.models.published import load_published, variable_names
from unblur.models.tensorflow_checkpoint import (
    TABLE_MAGIC,
    TensorFlowCheckpoint,
    read_fields,
    read_table,
)
from unblur.network.config import SRNConfig


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def masked(data):
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def make_block(items):
    body = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in items)
    body += struct.pack("<II", 0, 1)
    return body + b"\0" + struct.pack("<I", masked(body + b"\0"))


def make_table(items):
    data, meta = make_block(items), make_block([])
    handle = varint(0) + varint(len(data) - 5)
    index = make_block([(b"\xff", handle)])
    footer = varint(len(data)) + varint(len(meta) - 5)
    footer += varint(len(data) + len(meta)) + varint(len(index) - 5)
    return data + meta + index + footer.ljust(40, b"\0") + struct.pack("<Q", TABLE_MAGIC)


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def make_entry(array, offset):
    shape = b"".join(field(2, field(1, side)) for side in array.shape)
    data = array.tobytes()
    checksum = varint(6 << 3 | 5) + struct.pack("<I", masked(data))
    return field(1, 1) + field(2, shape) + field(4, offset) + field(5, len(data)) + checksum


HEADER = field(1, 1)
"""One shard, little-endian."""


def make_checkpoint(arrays, header=HEADER):
    """The bytes of an index and of its one shard."""
    items, data = [(b"", header)], bytearray()
    for name, array in sorted(arrays.items()):
        items.append((name.encode(), make_entry(array, len(data))))
        data += array.tobytes()
    return make_table(items), bytes(data)


@pytest.fixture
def write_checkpoint(tmp_path):
    """Write a checkpoint of named arrays and return its prefix."""

    def write(arrays, header=HEADER):
        index, data = make_checkpoint(arrays, header)
        (tmp_path / "model-1.index").write_bytes(index)
        (tmp_path / "model-1.data-00000-of-00001").write_bytes(data)
        return tmp_path / "model-1"

    return write


ARRAYS = {
    "a/weights": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a/biases": np.ones(4, np.float32),
}


def test_variables_are_read_as_they_were_written(write_checkpoint):
    checkpoint = TensorFlowCheckpoint(write_checkpoint(ARRAYS))
    assert set(checkpoint.entries) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert np.array_equal(checkpoint.read(name), array)


def test_a_missing_variable_is_named(write_checkpoint):
    with pytest.raises(WeightsError, match="no variable b/weights"):
        TensorFlowCheckpoint(write_checkpoint(ARRAYS)).read("b/weights")


def test_a_damaged_value_is_found_by_its_checksum(write_checkpoint):
    prefix = write_checkpoint(ARRAYS)
    shard = prefix.with_name("model-1.data-00000-of-00001")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(WeightsError, match="checksum of a/weights"):
        TensorFlowCheckpoint(prefix).read("a/weights")


def test_a_shard_that_was_cut_off_is_said_to_be(write_checkpoint):
    prefix = write_checkpoint(ARRAYS)
    shard = prefix.with_name("model-1.data-00000-of-00001")
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="cut off"):
        TensorFlowCheckpoint(prefix).read("a/weights")


def test_a_damaged_index_is_refused(write_checkpoint):
    prefix = write_checkpoint(ARRAYS)
    index = prefix.with_name("model-1.index")
    data = bytearray(index.read_bytes())
    data[10] ^= 1
    index.write_bytes(data)
    with pytest.raises(WeightsError, match="checksum"):
        TensorFlowCheckpoint(prefix)


def test_big_endian_checkpoints_are_refused(write_checkpoint):
    with pytest.raises(WeightsError, match="big-endian"):
        TensorFlowCheckpoint(write_checkpoint(ARRAYS, field(1, 1) + field(2, 1)))


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.index"):
        TensorFlowCheckpoint(tmp_path / "none")


def test_an_impossible_shape_is_refused(write_checkpoint):
    prefix = write_checkpoint(ARRAYS)
    sides = b"".join(field(2, field(1, side)) for side in (0, 1 << 40, 1 << 40))
    entry = field(1, 1) + field(2, sides) + varint(6 << 3 | 5) + struct.pack("<I", masked(b""))
    prefix.with_name("model-1.index").write_bytes(make_table([(b"", HEADER), (b"a", entry)]))
    with pytest.raises(WeightsError, match="a has an impossible shape"):
        TensorFlowCheckpoint(prefix).read("a")


def test_a_small_index_cannot_keep_the_reader_busy():
    data, meta = make_block([(b"", HEADER)]), make_block([])
    handle = varint(0) + varint(len(data) - 5)
    index = make_block([(bytes([number]), handle) for number in range(100)])
    footer = varint(len(data)) + varint(len(meta) - 5)
    footer += varint(len(data) + len(meta)) + varint(len(index) - 5)
    table = data + meta + index + footer.ljust(40, b"\0") + struct.pack("<Q", TABLE_MAGIC)
    with pytest.raises(ValueError, match="overlap"):
        list(read_table(table + b""))


def test_a_checkpoint_of_another_network_is_refused(write_checkpoint):
    with pytest.raises(WeightsError, match="published SRN network: .*biases is missing"):
        load_published(write_checkpoint(ARRAYS))


def test_a_network_that_is_none_of_the_published_is_told_by_its_shape(write_checkpoint):
    arrays = {"g_net/dec1_0/biases": np.zeros(7, np.float32)}
    with pytest.raises(WeightsError, match=r"biases has shape \(7,\), without LSTM"):
        load_published(write_checkpoint(arrays))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_are_refused(data):
    try:
        list(read_table(data))
    except (ValueError, IndexError):
        return
    assert len(data) >= 48


@given(st.integers(0, 250), st.integers(0, 255))
def test_a_table_with_a_changed_byte_is_read_or_refused(position, value):
    data = bytearray(make_table([(b"", field(1, 1)), (b"a", field(4, 300))]))
    data[position % len(data)] = value
    try:
        items = dict(read_table(bytes(data)))
    except (ValueError, IndexError):
        return
    assert items[b"a"] == field(4, 300)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_are_refused(data):
    try:
        fields = read_fields(data)
    except (ValueError, IndexError):
        return
    assert bool(fields) == bool(data)


@pytest.mark.shared
def test_the_names_of_variables_are_the_original_ones():
    lines = (SHARED / "srn-golden" / "variables.txt").read_text().split("\n")
    wanted = {line.split()[0].rsplit("/", 1)[0] for line in lines if line.startswith("g_net/")}
    assert set(variable_names(SRNConfig(channels=1, recurrent=True)).values()) == wanted
