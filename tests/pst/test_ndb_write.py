"""The NDB writer's files, read back with the reader and held against the checker."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.core.errors import DamagedInput
from excise.pst.check.database import check_database
from excise.pst.check.report import Report
from excise.pst.disk import maps
from excise.pst.disk.damage import DamageLog
from excise.pst.disk.header import INVALID_AMAP, Header
from excise.pst.ndb.read import NodeDatabase
from excise.pst.ndb.source import StreamSource
from excise.pst.ndb.write import LEAF, NO_TREE, NodeWriter, SubnodeEntry, Tree

NID = 0x200024


def read_back(stream: IO[bytes]) -> NodeDatabase:
    """The database in ``stream``, without a finding of the reader or the checker, notes included."""
    ndb = NodeDatabase(StreamSource(stream), DamageLog())
    report = Report("new", "Unicode")
    check_database(ndb, report)
    assert report.findings == []
    assert ndb.log.entries == ()
    assert (ndb.source.size - maps.IB_FIRST_AMAP) % maps.REGION == 0
    return ndb


def data_of(ndb: NodeDatabase, nid: int) -> bytes:
    node = ndb.node(nid)
    assert node is not None
    return node.data.read() if node.bid_data else b""


sizes = st.one_of(st.integers(0, 300), st.integers(LEAF - 70, LEAF + 70), st.integers(0, 60_000))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(sizes, st.lists(st.tuples(sizes, sizes), max_size=4)), min_size=1, max_size=25),
    st.sampled_from([0, 1]),
)
def test_trees_come_back_as_they_were_given(nodes: list[tuple[int, list[tuple[int, int]]]], crypt_method: int) -> None:
    stream = io.BytesIO()
    writer = NodeWriter(stream, crypt_method=crypt_method)
    wanted = {}
    for size, subnodes in nodes:
        entries: list[SubnodeEntry] = []
        parts = {}
        for outer, inner in subnodes:
            deep = writer.subnode_tree([SubnodeEntry(0x3F, writer.bytes_tree(b"i" * inner), NO_TREE)])
            assert deep.size == inner
            nid = writer.next_nid(0x1F)
            entries.insert(0, SubnodeEntry(nid, writer.bytes_tree(b"o" * outer), deep))
            parts[nid] = (outer, inner)
        tree = writer.bytes_tree(bytes(range(256)) * (size // 256) + b"e" * (size % 256))
        assert tree.size == size
        nid = writer.next_nid(4)
        writer.node(nid, tree, writer.subnode_tree(entries), parent=0x8022)
        wanted[nid] = (size, parts)
    writer.close()
    ndb = read_back(stream)
    assert set(ndb.nodes.nids) == set(wanted)
    for nid, (size, parts) in wanted.items():
        assert data_of(ndb, nid) == bytes(range(256)) * (size // 256) + b"e" * (size % 256)
        node = ndb.node(nid)
        assert node is not None
        assert set(node.subnodes) == set(parts)
        for sub, (outer, inner) in parts.items():
            child = node.child(sub)
            assert child is not None
            assert child.data.read() == b"o" * outer
            below = child.child(0x3F)
            assert below is not None
            assert below.data.read() == b"i" * inner


@pytest.mark.parametrize("leaves", [1, 2, 1021, 1022, 2042, 2043])
def test_a_data_tree_of_any_number_of_leaves(leaves: int) -> None:
    stream = io.BytesIO()
    writer = NodeWriter(stream)
    blocks = [bytes([at % 251]) * LEAF for at in range(leaves - 1)] + [b"last"]
    tree = writer.data_tree(iter(blocks))
    assert tree.size == (leaves - 1) * LEAF + 4
    writer.node(NID, tree)
    writer.close()
    assert data_of(read_back(stream), NID) == b"".join(blocks)


@pytest.mark.parametrize("count", [340, 341, 1000])
def test_more_subnodes_than_one_block_holds(count: int) -> None:
    stream = io.BytesIO()
    writer = NodeWriter(stream)
    entries = [SubnodeEntry(writer.next_nid(5), writer.bytes_tree(b"%d" % at), NO_TREE) for at in range(count)]
    writer.node(NID, writer.bytes_tree(b"m"), writer.subnode_tree(entries[::-1]))
    writer.close()
    node = read_back(stream).node(NID)
    assert node is not None
    assert list(node.subnodes) == [each.nid for each in entries]
    last = node.child(entries[-1].nid)
    assert last is not None
    assert last.data.read() == b"%d" % (count - 1)


def test_the_free_map_pages_of_a_large_file(tmp_path: Path) -> None:
    with open(tmp_path / "large.pst", "w+b") as stream:
        writer = NodeWriter(stream)
        block = bytes(range(256)) * 31 + bytes(LEAF - 31 * 256)
        for at in range(4):
            writer.node(NID + 32 * at, writer.data_tree(block for _ in range(1021)))
        writer.close()
        ndb = read_back(stream)
        regions = maps.region_count(ndb.source.size)
        assert regions > 128
        fmap = maps.unpack_map(ndb.format, ndb.source.read(maps.amap_offset(128) + 2 * maps.PAGE, maps.PAGE))
        amap = maps.unpack_map(ndb.format, ndb.source.read(maps.amap_offset(regions - 1), maps.PAGE))
        assert fmap[regions - 1 - 128] == maps.longest_free(amap)
        assert data_of(ndb, NID) == block * 1021


def test_many_nodes_make_deep_trees() -> None:
    stream = io.BytesIO()
    writer = NodeWriter(stream)
    shared = writer.bytes_tree(b"shared")
    for at in range(6500, 0, -1):
        writer.node(NID + 32 * at, writer.share(shared) if at % 2 else writer.bytes_tree(b"%d" % at))
    writer.close()
    ndb = read_back(stream)
    assert data_of(ndb, NID + 32 * 6500) == b"6500"
    assert data_of(ndb, NID + 32) == b"shared"
    assert ndb.block_entry(shared.bid).cRef == 3251


def test_a_tree_that_nothing_uses_gets_no_entry() -> None:
    stream = io.BytesIO()
    writer = NodeWriter(stream)
    kept, lost = writer.bytes_tree(b"k" * 20_000), writer.bytes_tree(b"l" * 20_000)
    writer.subnode_tree([SubnodeEntry(0x8005, kept, lost)])
    with pytest.raises(ValueError, match="a leaf of 3 bytes"):
        writer.data_tree([b"abc", b"d"])
    writer.node(NID, kept)
    writer.close()
    ndb = NodeDatabase(StreamSource(stream), DamageLog())
    assert data_of(ndb, NID) == b"k" * 20_000
    report = Report("new", "Unicode")
    check_database(ndb, report)
    assert report.clean
    assert {each.damage.structure for each in report.findings} == {"AMAPPAGE"}
    assert ndb.blocks.find(lost.bid) is None


def test_the_counters_stay_above_what_is_used() -> None:
    stream = io.BytesIO()
    writer = NodeWriter(stream)
    assert writer.next_nid(4) == NID
    assert writer.next_nid(2) == 0x8022
    writer.reserve_nid(0x80A2)
    assert writer.next_nid(2) == 0x80C2
    assert [writer.next_unique() for _ in range(3)] == [1, 2, 3]
    writer.node(0x21, NO_TREE)
    writer.close()
    header = read_back(stream).header
    assert header.dwUnique > 3
    assert header.rgnid[2] == header.rgnid[0xD] == header.rgnid[0xE] == header.rgnid[0xF] == 0x406
    assert header.rgnid[3] == 0x4000


def test_an_unfinished_file_is_not_taken_for_a_whole_one() -> None:
    stream = io.BytesIO(b"old" * 100_000)
    writer = NodeWriter(stream)
    writer.node(NID, writer.bytes_tree(b"x" * 600_000))
    assert Header.unpack(stream.getvalue()).root.fAMapValid == INVALID_AMAP
    with pytest.raises(DamagedInput):
        NodeDatabase(StreamSource(stream), DamageLog())


def test_what_cannot_be_written_is_refused() -> None:
    writer = NodeWriter(io.BytesIO())
    assert writer.data_tree([]) == writer.bytes_tree(b"") == writer.subnode_tree([]) == Tree(0, 0)
    with pytest.raises(ValueError, match="8177"):
        writer.data_tree([bytes(LEAF + 1)])
    with pytest.raises(ValueError, match="a subnode twice"):
        writer.subnode_tree([SubnodeEntry(0x8005, NO_TREE, NO_TREE)] * 2)
    writer.node(NID, NO_TREE)
    writer.node(NID, NO_TREE)
    with pytest.raises(ValueError, match="a node twice"):
        writer.close()
    with pytest.raises(ValueError, match="bCryptMethod"):
        NodeWriter(io.BytesIO(), crypt_method=0x10)
