"""Heaps that are built, read back with the reader."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.pst.disk.damage import DamageLog
from excise.pst.disk.ids import NID_MESSAGE_STORE
from excise.pst.ltp.build_heap import Built
from excise.pst.ltp.build_properties import Property, build_properties
from excise.pst.ltp.build_table import ROW_ID_TAG, ROW_VERSION_TAG, Column, Schema, build_table
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.table import TableContext
from excise.pst.ltp.values import ObjectRef, decode_value, encode_value
from excise.pst.ndb.read import Node, NodeDatabase
from excise.pst.ndb.source import StreamSource
from excise.pst.ndb.write import NodeWriter


def node_of(build: Callable[[NodeWriter], Built]) -> Node:
    """What ``build`` writes as a node of a new file, read back."""
    stream = io.BytesIO()
    writer = NodeWriter(stream)
    built = build(writer)
    writer.node(NID_MESSAGE_STORE, built.data, writer.subnode_tree(built.subnodes))
    writer.close()
    node = NodeDatabase(StreamSource(stream), DamageLog()).node(NID_MESSAGE_STORE)
    assert node is not None
    return node


def assert_same(properties: list[Property]) -> None:
    node = node_of(lambda sink: build_properties(sink, properties))
    read = PropertyContext(node)
    assert [(i, read.type_of(i), read.raw(i)) for i in read.ids()] == sorted(
        (each.prop_id, each.prop_type, each.data) for each in properties
    )
    assert not node.log.entries


SIZES = st.one_of(st.integers(0, 40), st.sampled_from([3579, 3580, 3581, 8176, 8177, 20000]), st.integers(0, 3580))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.integers(1, 0xFFFF), SIZES, max_size=60), st.booleans())
def test_properties_read_back(sizes: dict[int, int], number: bool) -> None:
    properties = [Property(i, 0x102, bytes([i & 0xFF]) * size) for i, size in sizes.items() if i != 1]
    assert_same([*properties, *([Property(1, 3, b"\x01\x02\x03\xff")] if number else [])])


@pytest.mark.parametrize("size", [1, 2, 7, 250, 3000])
def test_heap_of_many_blocks_and_levels_reads_back(size: int) -> None:
    assert_same([Property(i, 0x102, bytes([i & 0xFF]) * size) for i in range(1, 5000)])


@pytest.mark.parametrize("last", range(1, 1100))
def test_every_fill_of_a_block_reads_back(last: int) -> None:
    assert_same([Property(i, 0x102, b"x" * size) for i, size in enumerate([3500, 3580, last, 3580], 1)])


@pytest.mark.parametrize("count", [1, 3, 446, 447, 448, 5000])
@pytest.mark.parametrize("size", [4, 4000])
def test_a_size_that_counts_all_leaves_of_the_node(count: int, size: int) -> None:
    properties = [Property(0x1000 + i, 0x102, b"x" * (size if i % 50 == 0 else 5)) for i in range(count)]
    properties.append(Property(0x1000 + count // 2 + 0x4000, 3, bytes(4)))
    wanted = properties[-1].prop_id
    node = node_of(lambda sink: build_properties(sink, properties, size_id=wanted, beside=1000))
    total = node.data.size + sum(child.data.size for nid in node.subnodes if (child := node.child(nid)))
    assert PropertyContext(node).integer(wanted) == total + 1000


def test_wrong_properties_are_refused() -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        build_properties(NodeWriter(io.BytesIO()), [Property(1, 3, b"12")])
    with pytest.raises(ValueError, match="twice"):
        build_properties(NodeWriter(io.BytesIO()), [Property(1, 3, b"1234")] * 2)


TAGS = [0x0037001F, 0x0E060040, 0x0E07000B, 0x0E080002, 0x00710102, 0x30130048, 0x36020003]


def rows_of(count: int, size: int) -> list[dict[int, bytes]]:
    return [
        {ROW_ID_TAG: (count - i).to_bytes(4, "little"), ROW_VERSION_TAG: b"\1\0\0\0", 0x0037001F: b"",
         0x0E060040: i.to_bytes(8, "little"), 0x00710102: bytes([i & 0xFF]) * size, 0x30130048: bytes(range(16))}
        | ({0x0E07000B: b"\1", 0x0E080002: b"\2\3"} if i % 3 else {})
        for i in range(count)
    ]  # fmt: skip


def read_rows(node) -> list[dict[int, bytes]]:
    table = TableContext(node)
    return [{i << 16 | row.type_of(i): row.raw(i) for i in row.ids()} for row in table.rows()]


@pytest.mark.parametrize("size", [1, 30, 3580, 3581, 9000])
@pytest.mark.parametrize("count", [0, 1, 2, 80, 500])
def test_table_reads_back(count: int, size: int) -> None:
    rows = rows_of(count, size)
    node = node_of(lambda sink: build_table(sink, Schema.of_tags(TAGS), iter(rows)))
    assert read_rows(node) == rows[::-1]
    assert not node.log.entries


def test_large_table_has_rows_in_blocks_of_a_subnode() -> None:
    rows = rows_of(5000, 20)
    node = node_of(lambda sink: build_table(sink, Schema.of_tags(TAGS), rows))
    assert len(node.subnodes) == 1
    assert read_rows(node) == rows[::-1]


def test_cell_may_be_a_shared_tree() -> None:
    trees = []

    def build(sink: NodeWriter) -> Built:
        trees.append(sink.bytes_tree(b"ab" * 5000))
        row = {ROW_ID_TAG: bytes(4), ROW_VERSION_TAG: bytes(4), 0x0037001F: trees[0]}
        return build_table(sink, Schema.of_tags(TAGS), [row])

    node = node_of(build)
    assert [each.bidData for each in node.subnodes.values()] == [trees[0].bid]
    assert read_rows(node)[0][0x0037001F] == b"ab" * 5000


def test_wrong_rows_are_refused() -> None:
    schema = Schema.of_tags(TAGS)
    row = rows_of(1, 1)[0]
    for bad in [[{}], [row, row], [row | {0x12340003: bytes(4)}], [row | {0x36020003: b"1"}]]:
        with pytest.raises(ValueError, match=r"row|column"):
            build_table(NodeWriter(io.BytesIO()), schema, bad)
    with pytest.raises(ValueError, match="needs"):
        Schema.exact([Column(ROW_ID_TAG, 0, 4, 0)])


VALUES = [
    (0x02, -5), (0x03, -7), (0x04, 1.5), (0x05, 2.5), (0x06, -9), (0x07, 3.25), (0x0A, 0x80040000), (0x0B, True),
    (0x0D, ObjectRef(0x25, 9)), (0x14, -(1 << 60)), (0x1E, "é"), (0x1F, "日本"), (0x102, b"ab"),
    (0x40, datetime(2026, 1, 2, 3, 4, 5, 678, UTC)), (0x40, (1 << 64) - 1), (0x48, UUID(int=5)),
    (0x1003, (1, -2)), (0x100B, (True, False)), (0x101F, ("a", "", "bc")), (0x1102, (b"", b"x")),
    (0x1048, (UUID(int=7),)),
]  # fmt: skip


@pytest.mark.parametrize(("ptype", "value"), VALUES)
def test_values_decode_to_what_was_encoded(ptype: int, value) -> None:
    assert decode_value(ptype, encode_value(ptype, value), "cp1252") == value


@pytest.mark.parametrize(("ptype", "value"), [each for each in VALUES if isinstance(each[1], tuple)])
def test_multiple_values_may_be_a_list(ptype: int, value) -> None:
    assert encode_value(ptype, list(value)) == encode_value(ptype, value)


@pytest.mark.parametrize(
    ("ptype", "value"),
    [
        (2, 40000),
        (3, "x"),
        (0x1E, "日"),
        (0x40, -1),
        (0x1003, 1),
        (0x1F, b""),
        (0x101F, "ab"),
        (0x1102, b"ab"),
        (0x1F, ["a"]),
    ],
)
def test_what_is_no_value_of_a_type_is_refused(ptype: int, value) -> None:
    with pytest.raises(ValueError, match="no "):
        encode_value(ptype, value)
