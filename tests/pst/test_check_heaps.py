"""What a check says of heaps, BTrees and tables: each rule broken in a copy of a sound file."""

from __future__ import annotations

import io

import pytest

import excise.pst
from excise.pst.disk import blocks
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.heaps import BTHHeader, HNPageMap, TCInfo
from excise.pst.ltp.heap import Heap
from excise.pst.ltp.table import TableContext
from pst.builder import PT_LONG, PT_OBJECT, NodeSpec, context, mailbox, message, nid_of
from pst.editing import Edited, put, real

CONTENTS, MESSAGE = 0x804E, 0x200024


def page_map(raw: bytearray) -> tuple[int, HNPageMap]:
    at = int.from_bytes(raw[:2], "little")
    return at, HNPageMap.unpack(raw, at)


@real
def test_a_page_map_that_counts_free_items_wrong() -> None:
    edited = Edited("Empty.pst")
    edited.leaf(edited.node(0x21), lambda raw: put(page_map(raw)[0] + 2, b"\x01\0")(raw))
    assert edited.new() == {("warning", "HNPAGEMAP", "cFree")}


@real
def test_bytes_between_the_last_item_and_the_page_map() -> None:
    edited = Edited("Empty.pst")

    def shorter(raw: bytearray) -> None:
        at, found = page_map(raw)
        last = len(found.rgibAlloc) - 1
        put(at + 4 + 2 * last, (found.rgibAlloc[last] - 2).to_bytes(2, "little"))(raw)

    edited.leaf(edited.node(0x21), shorter)
    assert ("warning", "HNPAGEMAP", "ibHnpm") in edited.new()


@real
def test_a_page_map_that_is_not_at_the_end_of_its_block() -> None:
    edited = Edited("Empty.pst")

    def fewer(raw: bytearray) -> None:
        at, found = page_map(raw)
        raw[at:] = HNPageMap(found.cFree, found.rgibAlloc[:-1]).pack() + bytes(2)

    edited.leaf(edited.node(0x21), fewer)
    found = {each.damage.found for each in edited.check().findings if each.damage.field == "ibHnpm"}
    assert "2 bytes behind it" in found


@real
def test_a_page_map_at_an_odd_place() -> None:
    """One byte of the last item is cut off, and the page map moved down to it."""
    edited = Edited("Empty.pst")

    def odd(raw: bytearray) -> None:
        at, found = page_map(raw)
        end = found.rgibAlloc[-1] - 1
        assert end % 2, "this sample's last item must end at an even place"
        raw[end:] = HNPageMap(found.cFree, (*found.rgibAlloc[:-1], end)).pack().ljust(len(raw) - end, b"\0")
        put(0, end.to_bytes(2, "little"))(raw)
        assert at != end

    edited.leaf(edited.node(0x21), odd)
    found = {each.damage.found for each in edited.check().findings if each.damage.field == "ibHnpm"}
    assert any(each.startswith("0 bytes between") for each in found)


@real
def test_a_first_item_behind_the_header() -> None:
    edited = Edited("Empty.pst")

    def later(raw: bytearray) -> None:
        at, found = page_map(raw)
        put(at + 4, (found.rgibAlloc[0] + 1).to_bytes(2, "little"))(raw)

    edited.leaf(edited.node(0x60D), later)
    assert ("warning", "HNPAGEMAP", "rgibAlloc") in edited.new()


@real
def test_properties_out_of_order() -> None:
    edited = Edited("Empty.pst")
    node = edited.node(0x8022)
    heap = Heap(node, 0xBC)
    root = BTHHeader.unpack(heap.item(heap.root)).hidRoot
    edited.item(node, root, lambda part: part.__setitem__(slice(0, 16), part[8:16] + part[:8]))
    assert edited.new() == {("warning", "BTH", "key")}
    assert edited.found("BTH", "key").damage.found == "keys out of order or twice"


def test_an_index_record_with_another_key_than_the_first_below() -> None:
    spec = message(UNICODE, "many")
    many = context(UNICODE, {(0x2000 + i, PT_LONG): i for i in range(600)})
    builder = mailbox(messages={nid_of(0): spec})
    builder.nodes[0x2001] = NodeSpec(many.data)
    edited = Edited(builder.build())
    node = edited.node(0x2001)
    heap = Heap(node, 0xBC)
    header = BTHHeader.unpack(heap.item(heap.root))
    assert header.bIdxLevels == 1
    edited.item(node, header.hidRoot, put(6, b"\xff\x20"))
    assert edited.new() == {("warning", "BTH", "key")}
    assert "the first below" in edited.found("BTH", "key").damage.expected


@real
def test_the_ends_of_cells_do_not_leave_the_right_room_for_the_bits() -> None:
    edited = Edited("Empty.pst")
    node = edited.node(0x60D)
    size = TableContext(node).row_size
    edited.info(node, put(8, (size + 1).to_bytes(2, "little")))
    assert edited.new() == {("warning", "TCINFO", "rgib")}


@real
def test_columns_out_of_order() -> None:
    edited = Edited("Empty.pst")
    edited.info(edited.node(0x60D), lambda part: part.__setitem__(slice(22, 38), part[30:38] + part[22:30]))
    assert edited.new() == {("warning", "TCINFO", "rgTCOLDESC")}


@real
@pytest.mark.parametrize(
    ("at", "value", "field"),
    [(7, b"\x01", "iBit"), (4, b"\x08\0", "ibData"), (4, b"\x15\0", "cbData"), (6, b"\x02", "cbData")],
)
def test_a_column_that_does_not_keep_the_rules(at: int, value: bytes, field: str) -> None:
    edited = Edited("Empty.pst")
    edited.info(edited.node(0x60D), put(22 + at, value))
    assert ("warning", "TCOLDESC", field) in edited.new()


@real
@pytest.mark.parametrize(("tag", "name"), [(0x67F20003, "PidTagLtpRowId"), (0x67F30003, "PidTagLtpRowVer")])
def test_the_columns_of_row_id_and_version(tag: int, name: str) -> None:
    edited = Edited("Empty.pst")
    node = edited.node(0x60D)
    columns = [each.tag for each in TableContext(node).info.rgTCOLDESC]
    at = 22 + 8 * columns.index(tag)
    edited.info(node, put(at, (tag + 1).to_bytes(4, "little")))
    assert ("warning", "TCINFO", name) in edited.new()
    edited = Edited("Empty.pst")
    edited.info(node, put(at + 7, b"\x06"))
    assert ("warning", "TCOLDESC", name) in edited.new()


@real
def test_a_row_of_the_matrix_that_no_record_lists() -> None:
    """As a careless deletion leaves it: the row with its text is there, and nothing tells of it."""
    edited = Edited("Empty.pst")
    node = edited.node(0x12D)
    table = TableContext(node)
    header = BTHHeader.unpack(table.heap.item(table.info.hidRowIndex))
    assert len(table.index) > 1
    records = table.heap.item(header.hidRoot)
    other = bytes(records[:8])
    edited.item(node, header.hidRoot, put(8, other))
    assert edited.found("TCINFO", "hidRowIndex").grade == "warning"


@real
def test_a_row_matrix_that_ends_within_a_row() -> None:
    edited = Edited("200_recipients.pst")
    node = edited.node(MESSAGE, 0x692)
    table = TableContext(node)
    info = table.info
    matrix = edited.node(MESSAGE, 0x692, info.hnidRows)
    assert len(matrix.data.leaves) == 2
    # A row of one byte more: no block ends with a row any longer.
    edited.info(node, put(8, (info.rgib[3] + 1).to_bytes(2, "little")))
    assert ("warning", "TCINFO", "hnidRows") in edited.new()
    assert TCInfo.unpack(TableContext(edited.node(MESSAGE, 0x692)).heap.item(table.heap.root)).rgib[3] == 82


@real
def test_a_row_without_a_version_and_two_with_the_same() -> None:
    edited = Edited("Empty.pst")
    node = edited.node(0x12D)
    table = TableContext(node)
    size, bits = table.row_size, table.info.rgib[2]
    edited.item(node, table.info.hnidRows, lambda part: part.__setitem__(bits, part[bits] & ~0x40))
    assert edited.new() == {("warning", "TCROW", "rgbCEB")}
    edited = Edited("Empty.pst")
    edited.item(node, table.info.hnidRows, lambda part: part.__setitem__(slice(size + 4, size + 8), part[4:8]))
    assert edited.new() == {("warning", "TCROW", "PidTagLtpRowVer")}


@real
def test_a_row_version_that_is_not_below_the_counter() -> None:
    edited = Edited("Empty.pst")
    edited.header(dwUnique=1)
    assert edited.new() == {("warning", "HEADER", "dwUnique")}


def test_a_subnode_tree_that_holds_itself_ends() -> None:
    """An attachment whose embedded message has the message's own subnodes: a check walks them once."""
    spec = message(UNICODE, "ouroboros", "b", {0x25: NodeSpec()})
    builder = mailbox(messages={nid_of(0): spec})
    loop = builder.next_bid(True)
    inner = context(UNICODE, {(0x3705, PT_LONG): 5, (0x3701, PT_OBJECT): b"\x04\x00\x20\x00\x64\x00\x00\x00"})
    data_bid, message_bid = builder.tree(inner.data), builder.tree(spec.data)
    sub = builder.block(blocks.SLBlock((blocks.SLEntry(0x200004, message_bid, loop),)).pack(UNICODE), True)
    builder.block(blocks.SLBlock((blocks.SLEntry(0x25, data_bid, sub),)).pack(UNICODE), True, loop)
    builder.subtree = lambda subnodes, plain=builder.subtree: loop if 0x25 in subnodes else plain(subnodes)
    assert excise.pst.check(io.BytesIO(builder.build())).damaged
