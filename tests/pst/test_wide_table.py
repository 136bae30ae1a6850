"""Wide tables: read, and written again without some of their rows."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import excise.pst
from excise.pst.disk.damage import Damaged, DamageLog
from excise.pst.ltp.wide_table import WideTable, is_wide
from excise.pst.ndb.read import Node, NodeDatabase
from excise.pst.ndb.source import StreamSource
from excise.pst.ndb.write import NodeWriter
from excise.pst.ndb.write_types import SubnodeEntry
from pst.editing import SAMPLES, Edited, put, real
from pst.test_ltp_build import node_of
from pst.wide import build_wide, wide_rows

Rows = Mapping[int, Mapping[int, bytes]]

ROWS = st.dictionaries(
    st.integers(1, 0xFFFFFFFF),
    st.fixed_dictionaries(
        {0x0E070003: st.binary(min_size=4, max_size=4)},
        optional={
            0x0E060040: st.binary(min_size=8, max_size=8),
            0x0E080003: st.binary(min_size=4, max_size=4),
            0x0037001F: st.binary(max_size=60),
            0x0042001F: st.binary(max_size=9) | st.just(b"x" * 3580),
            0x0057000B: st.sampled_from([b"\0", b"\1"]),
        },
    ),
    max_size=40,
)


def rebuilt(node: Node, without: set[int]) -> Node:
    """The table in ``node`` without some rows, written into another file and read back."""

    def write(sink: NodeWriter):
        for nid in node.subnodes:
            sink.reserve_nid(nid)

        def keep(child: Node) -> SubnodeEntry:
            return SubnodeEntry(child.nid, sink.bytes_tree(child.data.read()), sink.subnode_tree([]))

        return WideTable(node).rebuild(sink, keep, without)

    return node_of(write)


def expected(rows: Rows) -> dict[int, dict[int, bytes]]:
    """What reading ``rows`` gives, by property id."""
    return {
        row_id: {0x67F2: row_id.to_bytes(4, "little")} | {tag >> 16: data for tag, data in cells.items()}
        for row_id, cells in rows.items()
    }


def assert_without(rows: Rows, without: set[int]) -> None:
    node = node_of(lambda sink: build_wide(sink, rows))
    assert is_wide(node)
    assert wide_rows(node) == expected(rows)
    table = WideTable(node)
    assert table.row_ids == sorted(rows)
    assert table.numbers(0x0E07) == {
        row_id: int.from_bytes(cells[0x0E070003], "little", signed=True) for row_id, cells in rows.items()
    }
    left = {row_id: cells for row_id, cells in rows.items() if row_id not in without}
    after = rebuilt(node, without)
    assert wide_rows(after) == expected(left)
    assert WideTable(after).row_ids == sorted(left)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.data())
def test_a_table_is_written_again_without_some_rows(rows: Rows, data: st.DataObject) -> None:
    assert_without(rows, set(data.draw(st.lists(st.sampled_from(sorted(rows)) if rows else st.nothing()))))


@pytest.mark.parametrize("count", [1, 100, 1500])
def test_a_large_table_too(count: int) -> None:
    rows = {
        0x200024 + 32 * n: {0x0E070003: n.to_bytes(4, "little"), 0x0037001F: b"%d" % n * (n % 300)}
        for n in range(count)
    }
    assert_without(rows, set(list(rows)[::3]))


def test_nothing_of_a_removed_row_is_left() -> None:
    rows = {n: {0x0E070003: bytes(4), 0x0037001F: b"secret%d" % n} for n in range(1, 30)}
    node = node_of(lambda sink: build_wide(sink, rows))
    after = rebuilt(node, {7})
    content = b"".join(child.data.read() for nid in after.subnodes if (child := after.child(nid)) is not None)
    assert b"secret8" in content and b"secret7" not in content


@real
@pytest.mark.parametrize("name", ["dist-list.pst", "passworded.pst"])
def test_outlooks_own_comes_out_as_it_was(name: str) -> None:
    with excise.pst.open(SAMPLES / name) as pst:
        node = pst.ndb.node(0x730)
        assert node is not None
        rows = wide_rows(node)
        assert sorted(rows) == [0x200024, 0x200044, 0x200064]
        for without in (set(), {0x200044}, set(rows)):
            after = rebuilt(node, without)
            assert wide_rows(after) == {each: cells for each, cells in rows.items() if each not in without}
            assert len(after.data.read()) <= len(node.data.read())
        # A heap that did not change is written as Outlook wrote it.
        same = rebuilt(node, set())
        assert {nid: same.child(nid).data.read() for nid in same.subnodes if nid != 0x8021}.items() >= {  # type: ignore[union-attr]
            nid: node.child(nid).data.read()  # type: ignore[union-attr]
            for nid in node.subnodes
            if nid != 0x8021
        }.items()


@real
@pytest.mark.parametrize("at", [at for at in range(28) if not 18 <= at < 22])  # hidIndex is deprecated and kept
def test_a_header_that_is_not_understood_is_refused(at: int) -> None:
    edited = Edited("dist-list.pst")
    edited.item(edited.node(0x730), 0x40, lambda raw: put(at, bytes([raw[at] ^ 0x11]))(raw))
    changed = NodeDatabase(StreamSource(io.BytesIO(bytes(edited.data))), DamageLog()).node(0x730)
    assert changed is not None
    with pytest.raises(Damaged):
        rebuilt(changed, set())
