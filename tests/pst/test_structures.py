"""Every structure that is written, in both directions: of values, and of any bytes.

``unpack(pack(value))`` is the value, and ``pack(unpack(data))`` is what was read of ``data``; what is no structure is
refused by the error that ``unpack`` names, never by another one.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from excise.pst.disk import blocks, heaps, maps, pages
from excise.pst.disk.crypt import crc, signature
from excise.pst.disk.damage import DamageLog
from excise.pst.disk.formats import ANSI, UNICODE, UNICODE_4K, Format
from excise.pst.ltp.build_heap import Built, HeapBuilder
from excise.pst.ltp.build_table import ROW_ID_TAG, ROW_VERSION_TAG, Schema, build_table
from excise.pst.ltp.heap import BTreeOnHeap, Heap
from excise.pst.ltp.table import TableContext
from excise.pst.ltp.values import fixed_size
from excise.pst.ndb.read import NodeDatabase
from excise.pst.ndb.source import StreamSource
from excise.pst.ndb.write import LEAF, NO_TREE, NodeWriter, SubnodeEntry
from pst.test_ltp_build import node_of

FORMATS = st.sampled_from([ANSI, UNICODE, UNICODE_4K])
BYTE, WORD, DWORD = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
FREE = st.lists(st.tuples(st.integers(0, 0xFFFFF), st.integers(0, 0xFFF)), max_size=119)
quick = settings(deadline=None, max_examples=60)


def bids(fmt: Format) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << 8 * fmt.bid_size) - 1)


# Disk


@quick
@given(st.data(), FORMATS, st.sampled_from([1, 2]))
def test_xblock_and_xxblock(data: st.DataObject, fmt: Format, level: int) -> None:
    rgbid = data.draw(st.lists(bids(fmt), max_size=60)) * data.draw(st.sampled_from([1, 17]))
    block = blocks.XBlock(level, data.draw(DWORD), tuple(rgbid[: blocks.XBlock.max_entries(fmt)]))
    raw = block.pack(fmt)
    assert len(raw) <= fmt.max_block_data
    assert blocks.XBlock.unpack(fmt, raw) == block
    assert blocks.block_kind(raw) == (blocks.BTYPE_X, level)
    # Bytes behind the entries mean nothing; an entry that is cut off is not there.
    assert blocks.XBlock.unpack(fmt, raw + b"more") == block
    if block.rgbid:
        assert blocks.XBlock.unpack(fmt, raw[:-1]).rgbid == block.rgbid[:-1]


@quick
@given(st.data(), FORMATS)
def test_slblock_and_siblock(data: st.DataObject, fmt: Format) -> None:
    nid = bids(fmt)
    leaf = blocks.SLBlock(tuple(data.draw(st.lists(st.builds(blocks.SLEntry, nid, nid, nid), max_size=40))))
    index = blocks.SIBlock(tuple(data.draw(st.lists(st.builds(blocks.SIEntry, nid, nid), max_size=40))))
    for block, level in ((leaf, 0), (index, 1)):
        raw = block.pack(fmt)
        assert type(block).unpack(fmt, raw) == block
        assert blocks.block_kind(raw) == (blocks.BTYPE_S, level)
        if block.rgentries:
            assert type(block).unpack(fmt, raw[:-1]).rgentries == block.rgentries[:-1]


@quick
@given(st.data(), FORMATS, st.binary(min_size=1, max_size=9000), st.integers(0, 1 << 33))
def test_a_sealed_block(data: st.DataObject, fmt: Format, content: bytes, ib: int) -> None:
    bid, content = data.draw(bids(fmt)), content[: fmt.max_block_data]
    raw = blocks.seal_block(fmt, content, ib, bid)
    assert len(raw) == fmt.block_size(len(content)) and len(raw) % fmt.block_unit == 0
    trailer = blocks.BlockTrailer.unpack(fmt, raw, len(raw) - fmt.block_trailer_size)
    assert trailer.pack(fmt) == raw[-fmt.block_trailer_size :]
    assert (trailer.cb, trailer.bid, trailer.dwCRC) == (len(content), bid, crc(content))
    assert trailer.wSig == signature(ib, bid)
    assert raw[: len(content)] == content and not raw[len(content) : -fmt.block_trailer_size].strip(b"\0")


@quick
@given(st.data(), FORMATS)
def test_tree_pages(data: st.DataObject, fmt: Format) -> None:
    bid, big = bids(fmt), st.integers(0, (1 << 8 * fmt.bid_size) - 1)
    kinds: list[tuple[Any, struct.Struct]] = [
        (st.builds(pages.BTEntry, bid, bid, big), fmt.bt_entry),
        (st.builds(pages.BBTEntry, bid, big, WORD, WORD), fmt.bbt_entry),
        (st.builds(pages.NBTEntry, DWORD, bid, bid, DWORD), fmt.nbt_entry),
    ]
    entries, entry = data.draw(st.sampled_from(kinds))
    values = data.draw(st.lists(entries, max_size=min(12, fmt.entries_size // entry.size)))
    level, ib = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 1 << 31))
    page = pages.BTPage.of(fmt, values, level, entry)
    sealed = pages.seal_page(fmt, page.pack(fmt), pages.PTYPE_BBT, ib, data.draw(bid))
    assert len(sealed) == fmt.page_size
    read = pages.BTPage.unpack(fmt, sealed)
    assert (read.cEnt, read.cEntMax, read.cbEnt, read.cLevel) == (
        len(values), fmt.entries_size // entry.size, entry.size, level)  # fmt: skip
    assert read.pack(fmt) == pages.page_body(fmt, sealed)
    for number, value in enumerate(values):
        raw = read.rgentries[number * entry.size : (number + 1) * entry.size]
        assert type(value).unpack(fmt, raw) == value and value.pack(fmt) == raw


@quick
@given(st.sampled_from([ANSI, UNICODE]), st.binary(min_size=maps.MAP_BITS, max_size=maps.MAP_BITS))
@example(UNICODE, bytes(maps.MAP_BITS))
@example(UNICODE, b"\xff" * maps.MAP_BITS)
def test_an_allocation_map(fmt: Format, bits: bytes) -> None:
    body = maps.pack_map(fmt, bits)
    page = pages.seal_page(fmt, body, pages.PTYPE_AMAP, maps.IB_FIRST_AMAP, maps.IB_FIRST_AMAP)
    assert maps.unpack_map(fmt, page) == bits
    slots = "".join(f"{byte:08b}" for byte in bits)
    assert maps.free_slots(bits) == slots.count("0")
    assert maps.longest_free(bits) == min(255, max(map(len, slots.split("1"))))


@quick
@given(st.lists(st.tuples(st.integers(8, maps.SLOTS - 1), st.integers(1, 130)), max_size=40), st.integers(0, 40_000))
def test_the_slots_of_a_map_are_those_of_its_region(pieces: list[tuple[int, int]], region: int) -> None:
    number, expected = maps.slot_mask(0, 8), set(range(8))
    for first, count in pieces:
        count = min(count, maps.SLOTS - first)
        ib = maps.amap_offset(region) + first * maps.SLOT
        assert maps.slot_run(ib, count * maps.SLOT) == (region, first, count)
        assert maps.slot_run(ib, (count - 1) * maps.SLOT + 1) == (region, first, count)
        assert maps.region_of(ib) == maps.region_of(ib + count * maps.SLOT - 1) == region
        number |= maps.slot_mask(first, count)
        expected |= set(range(first, first + count))
    bits = number.to_bytes(maps.MAP_BITS, "big")
    assert {slot for slot in range(maps.SLOTS) if bits[slot // 8] & 0x80 >> slot % 8} == expected
    assert maps.free_slots(bits) == maps.SLOTS - len(expected)


@quick
@given(st.sampled_from([ANSI, UNICODE]), BYTE, DWORD, FREE)
def test_the_list_of_free_maps(fmt: Format, flags: int, current: int, entries: list[tuple[int, int]]) -> None:
    page = maps.DListPage(flags, current, tuple(entries))
    read = maps.DListPage.unpack(fmt, pages.seal_page(fmt, page.pack(fmt), pages.PTYPE_DLIST, maps.IB_DLIST, 5))
    assert (read.bFlags, read.ulCurrentPage, read.entries) == (flags, current, tuple(entries))
    assert not read.rgPadding.strip(b"\0") and read.pack(fmt) == page.pack(fmt)


# Heaps: the structures, then what is built of them


@quick
@given(
    WORD, BYTE, DWORD, st.binary(min_size=4, max_size=4), st.lists(st.integers(0, 8000), min_size=1, max_size=60), WORD
)
def test_heap_headers(ib: int, client: int, root: int, fill: bytes, ends: list[int], free: int) -> None:
    header = heaps.HNHdr(ib, client, root, fill)
    assert heaps.HNHdr.unpack(header.pack()) == header
    page_map = heaps.HNPageMap(free, tuple(sorted(ends)))
    assert heaps.HNPageMap.unpack(bytes(12) + page_map.pack(), 12) == page_map
    bth = heaps.BTHHeader(client, ib & 0xFF, free & 0xFF, root)
    assert heaps.BTHHeader.unpack(bth.pack()) == bth


@quick
@given(
    st.tuples(WORD, WORD, WORD, WORD),
    DWORD,
    DWORD,
    st.lists(st.builds(heaps.TColDesc, DWORD, WORD, BYTE, BYTE), max_size=255),
)
def test_table_headers(ends: tuple[int, int, int, int], index: int, rows: int, columns: list[heaps.TColDesc]) -> None:
    info = heaps.TCInfo(ends, index, rows, tuple(columns))
    assert heaps.TCInfo.unpack(info.pack()) == info
    for column in columns:
        assert heaps.TColDesc.unpack(column.pack()) == column


@quick
@given(
    st.builds(
        heaps.WideTCInfo,
        *(st.tuples(WORD, WORD, WORD, WORD), DWORD, DWORD, DWORD, WORD, DWORD, st.binary(min_size=12, max_size=12)),
    )
)
def test_wide_table_headers(info: heaps.WideTCInfo) -> None:
    assert heaps.WideTCInfo.unpack(info.pack()) == info


@quick
@given(st.lists(st.builds(heaps.NameId, DWORD, WORD, WORD), max_size=20), st.binary(max_size=7))
def test_names(names: list[heaps.NameId], rest: bytes) -> None:
    assert heaps.NameId.unpack_all(b"".join(name.pack() for name in names) + rest) == names


READERS: list[tuple[Callable[[bytes], Any], tuple[type[Exception], ...]]] = [
    (heaps.HNHdr.unpack, (struct.error,)),
    (lambda data: heaps.HNPageMap.unpack(data, 0), (ValueError,)),
    (heaps.BTHHeader.unpack, (struct.error,)),
    (heaps.TCInfo.unpack, (ValueError,)),
    (heaps.WideTCInfo.unpack, (ValueError,)),
    *((lambda data, fmt=fmt: _Of(fmt, blocks.XBlock.unpack(fmt, data)), (ValueError,)) for fmt in (ANSI, UNICODE)),
    *((lambda data, fmt=fmt: _Of(fmt, blocks.SLBlock.unpack(fmt, data)), (ValueError,)) for fmt in (ANSI, UNICODE)),
    *((lambda data, fmt=fmt: _Of(fmt, blocks.SIBlock.unpack(fmt, data)), (ValueError,)) for fmt in (ANSI, UNICODE)),
]  # fmt: skip


class _Of:
    """A structure that packs for a format."""

    def __init__(self, fmt: Format, block: blocks.XBlock | blocks.SLBlock | blocks.SIBlock) -> None:
        self._fmt, self._block = fmt, block

    def pack(self) -> bytes:
        return self._block.pack(self._fmt)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(READERS), st.binary(max_size=120))
def test_any_bytes_are_read_or_refused(
    reader: tuple[Callable[[bytes], Any], tuple[type[Exception], ...]], data: bytes
) -> None:
    unpack, errors = reader
    try:
        value = unpack(data)
    except errors:
        return
    if value is not None:
        packed = value.pack()
        again = unpack(packed)
        # What was read is written, and read again as the same; a count that lied is not.
        assert again.pack() == packed
        if not isinstance(value, _Of):
            assert again == value


# Trees and tables, built and read


@quick
@given(st.data(), st.sampled_from([(2, 6), (4, 4), (16, 4), (4, 2), (8, 1), (2, 100)]))
def test_a_tree_on_a_heap(data: st.DataObject, sizes: tuple[int, int]) -> None:
    key, entry = sizes
    count = data.draw(st.sampled_from([0, 1, 2, 100, 448, 3000]) | st.integers(0, 60))
    step = max(1, min(((1 << 8 * key) - 1) // max(1, count), 1 << 20))
    records = [(at * step).to_bytes(key, "big") + bytes([at & 0xFF]) * entry for at in range(count)]

    def build(sink: NodeWriter) -> Built:
        heap = HeapBuilder(sink, heaps.CLIENT_BTH)
        root = heap.add(bytes(8))
        heap.replace(root, heap.tree(key, entry, records).header.pack())
        return heap.finish(root)

    node = node_of(build)
    heap = Heap(node, heaps.CLIENT_BTH)
    tree = BTreeOnHeap(heap, heap.root, key, entry)
    assert b"".join(tree.leaves()) == b"".join(records)
    assert not node.log.entries


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[int], list[dict[int, bytes]]]:
    kinds = st.sampled_from([0x02, 0x03, 0x05, 0x0B, 0x14, 0x1F, 0x40, 0x48, 0x102, 0x101F])
    tags = draw(st.dictionaries(st.integers(1, 0x66FF), kinds, max_size=30))
    columns = [prop_id << 16 | kind for prop_id, kind in tags.items()]
    rows = []
    for row_id in draw(st.lists(DWORD, max_size=25, unique=True)):
        row = {ROW_ID_TAG: row_id.to_bytes(4, "little"), ROW_VERSION_TAG: draw(st.binary(min_size=4, max_size=4))}
        for tag in columns:
            if draw(st.booleans()):
                size = fixed_size(tag & 0xFFFF)
                data = (
                    st.binary(min_size=size, max_size=size) if size else st.binary(max_size=40) | st.just(b"x" * 4000)
                )
                row[tag] = draw(data)
        rows.append(row)
    return columns, rows


@settings(deadline=None, max_examples=40)
@given(tables())
def test_a_table(table: tuple[list[int], list[dict[int, bytes]]]) -> None:
    columns, rows = table
    node = node_of(lambda sink: build_table(sink, Schema.of_tags(columns), rows))
    read = TableContext(node)
    found = [
        {prop_id << 16 | (row.type_of(prop_id) or 0): row.raw(prop_id) for prop_id in row.ids()} for row in read.rows()
    ]
    assert found == sorted(rows, key=lambda row: int.from_bytes(row[ROW_ID_TAG], "little"))
    assert not node.log.entries


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([0, 1, 339, 340, 341, 680, 1021]) | st.integers(0, 60), st.integers(0, 2**20), st.booleans())
def test_any_number_of_subnodes(count: int, start: int, deep: bool) -> None:
    stream = io.BytesIO()
    writer = NodeWriter(stream)
    below = writer.subnode_tree([SubnodeEntry(0x3F, writer.bytes_tree(b"deep"), NO_TREE)]) if deep else NO_TREE
    entries = [
        SubnodeEntry((start + 7 * at) << 5 | 5, writer.bytes_tree(b"%d" % at), writer.share(below) if deep else NO_TREE)
        for at in range(count)
    ]
    writer.node(0x200024, writer.bytes_tree(b"m"), writer.subnode_tree(entries))
    writer.close()
    node = NodeDatabase(StreamSource(stream), DamageLog()).node(0x200024)
    assert node is not None
    assert list(node.subnodes) == [each.nid for each in entries]
    for at, each in list(enumerate(entries))[:: max(1, count // 20)]:
        child = node.child(each.nid)
        assert child is not None
        assert child.data.read() == b"%d" % at
        inner = child.child(0x3F)
        assert (inner.data.read() if inner is not None else b"") == (b"deep" if deep else b"")


@settings(deadline=None, max_examples=12)
@given(st.sampled_from([0, 1, 2, 3, 1020, 1021, 1022, 1100, 2042, 2043]) | st.integers(0, 40), st.integers(1, LEAF))
def test_any_number_of_leaves(whole: int, rest: int) -> None:
    stream = io.BytesIO()
    writer = NodeWriter(stream)
    content = [bytes([at % 251]) * LEAF for at in range(whole)] + [b"e" * rest]
    writer.node(0x200024, writer.data_tree(iter(content)))
    writer.close()
    node = NodeDatabase(StreamSource(stream), DamageLog()).node(0x200024)
    assert node is not None
    assert node.data.size == whole * LEAF + rest
    assert [node.data.block(at) for at in range(whole + 1)] == content
