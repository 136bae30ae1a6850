"""What a check says of the header, the trees and the allocation maps: each rule broken in a copy of a sound file."""

from __future__ import annotations

import io
from functools import cache

import pytest

from excise.pst.disk import blocks, maps, pages
from excise.pst.disk.damage import DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import Header
from excise.pst.ndb.write import NodeWriter
from pst.builder import NodeSpec, mailbox
from pst.editing import Edited, put, real

FIRST = maps.IB_FIRST_AMAP


@real
@pytest.mark.parametrize(
    ("changes", "structure", "field"),
    [
        ({"ibAMapLast": FIRST + maps.REGION}, "ROOT", "ibAMapLast"),
        ({"cbPMapFree": 512}, "ROOT", "cbPMapFree"),
        ({"cbAMapFree": 64}, "ROOT", "cbAMapFree"),
        ({"dwAlign": 1}, "HEADER", "dwAlign"),
        ({"fAMapValid": 0}, "HEADER", "fAMapValid"),
        ({"ibFileEof": 271_296}, "HEADER", "ibFileEof"),
        ({"bSentinel": 0}, "HEADER", "bSentinel"),
        ({"rgnid": (0,) * 32}, "HEADER", "rgnid[2]"),
    ],
)
def test_a_field_of_the_header(changes: dict[str, object], structure: str, field: str) -> None:
    edited = Edited("sample1.pst")
    edited.header(**changes)
    assert ("warning", structure, field) in edited.new()


@real
def test_a_page_that_has_the_bid_of_the_next() -> None:
    edited = Edited("sample1.pst")
    edited.header(bidNextP=Header.unpack(bytes(edited.data)).root.bidNBT)
    assert ("warning", "NBT BTPAGE", "bid") in edited.new()


@real
def test_a_key_of_the_tree_that_is_not_the_first_below() -> None:
    edited = Edited("sample1.pst")
    ib = Header.unpack(bytes(edited.data)).root.ibNBT
    page = pages.BTPage.unpack(UNICODE, bytes(edited.data[ib : ib + 512]))
    assert page.cLevel == 1
    edited.page(ib, put(0, (0x20).to_bytes(8, "little")))
    assert edited.new() == {("warning", "NBT BTPAGE", "btkey")}


@real
def test_a_free_slot_that_is_marked_used_and_the_reverse() -> None:
    edited = Edited("sample1.pst")
    bits = int.from_bytes(edited.data[FIRST : FIRST + maps.MAP_BITS], "big")
    edited.page(FIRST, lambda body: body.__setitem__(slice(None), (bits | 1).to_bytes(maps.MAP_BITS, "big")))
    assert ("note", "AMAPPAGE", "rgbAMapBits") in edited.new()
    edited.page(FIRST, put(0, b"\x7f"))
    assert ("error", "AMAPPAGE", "rgbAMapBits") in edited.new()


@real
@pytest.mark.parametrize("ib", [FIRST, FIRST + maps.PAGE])
@pytest.mark.parametrize(
    ("at", "field"), [(496, "ptype"), (497, "ptypeRepeat"), (498, "wSig"), (500, "dwCRC"), (504, "bid")]
)
def test_the_trailer_of_a_map_page(ib: int, at: int, field: str) -> None:
    edited = Edited("sample1.pst")
    edited.data[ib + at] ^= 0x40
    assert edited.new() == {("warning", "PAGETRAILER", field)}


@real
def test_a_page_map_with_a_free_page_that_the_header_does_not_count() -> None:
    edited = Edited("sample1.pst")
    edited.page(FIRST + maps.PAGE, put(100, b"\x7f"))
    assert edited.new() == {("warning", "ROOT", "cbPMapFree")}


@real
@pytest.mark.parametrize(
    ("at", "data", "field"),
    [
        (8, (3959 << 20 | 3).to_bytes(4, "little"), "dwFreeSlots"),
        (8, (3960 << 20 | 300).to_bytes(4, "little"), "dwPageNum"),
        (1, b"\xff", "cEntDList"),
        (2, b"\x01", "rgPadding"),
        (400, b"\x01", "rgPadding"),
    ],
)
def test_the_list_of_free_maps(at: int, data: bytes, field: str) -> None:
    edited = Edited("outlook2019.pst")
    edited.page(maps.IB_DLIST, put(at, data))
    assert ("warning", "DLISTPAGE", field) in edited.new()


@real
def test_the_trailer_of_the_list_of_free_maps() -> None:
    edited = Edited("outlook2019.pst")
    edited.data[maps.IB_DLIST + 500] ^= 1
    assert edited.new() == {("warning", "PAGETRAILER", "dwCRC")}


@cache
def large() -> bytes:
    """A file with an FMap: more than 128 regions. Only its node database is whole."""
    stream = io.BytesIO()
    writer = NodeWriter(stream)
    writer.node(0x2001, writer.bytes_tree(bytes(8176) * 4300))
    writer.close()
    return stream.getvalue()


def test_a_byte_of_the_map_of_free_maps() -> None:
    edited = Edited(large())
    ib = maps.amap_offset(128) + 2 * maps.PAGE
    assert edited.data[ib] in range(1, 256)
    edited.page(ib, put(0, bytes([edited.data[ib] ^ 0x55])))
    assert edited.new() == {("warning", "FMAP", "rgbFM")}
    edited.page(ib, put(0, b"\xff"))
    assert not edited.new()


def test_an_index_of_subnodes_with_another_nid_than_the_first_below() -> None:
    builder = mailbox()
    builder.nodes[0x2001] = NodeSpec([b"x"], {nid << 5 | 0x1F: NodeSpec([b"y"]) for nid in range(0x500, 0x700)})
    edited = Edited(builder.build())
    node = edited.node(0x2001)
    index = blocks.SIBlock.unpack(UNICODE, node.ndb.block(node.bid_sub, DamageLog())).rgentries
    assert len(index) == 2
    edited.block(node.bid_sub, put(8 + 16, (index[1].nid - 0x20).to_bytes(8, "little")))
    assert edited.new() == {("warning", "SIENTRY", "nid")}


@real
def test_a_block_tree_with_a_wrong_total() -> None:
    edited = Edited("200_recipients.pst")
    ndb = edited.node(0x21).ndb
    bids = [entry.bid for entry in ndb.blocks.entries() if entry.bid & 2]
    bid = next(each for each in bids if blocks.block_kind(ndb.block(each, DamageLog())) == (blocks.BTYPE_X, 1))
    total = blocks.XBlock.unpack(UNICODE, ndb.block(bid, DamageLog())).lcbTotal
    edited.block(bid, put(4, (total + 1).to_bytes(4, "little")))
    assert ("error", "XBLOCK", "lcbTotal") in edited.new()


@real
def test_subnodes_out_of_order() -> None:
    edited = Edited("sample1.pst")
    node = edited.node(0x200024)
    size, start = UNICODE.sl_entry.size, UNICODE.subnode_header_size

    def swapped(raw: bytearray) -> None:
        one, other = raw[start : start + size], raw[start + size : start + 2 * size]
        raw[start : start + 2 * size] = other + one

    edited.block(node.bid_sub, swapped)
    assert edited.new() == {("error", "SLBLOCK", "nid")}


@real
@pytest.mark.parametrize("change", [1, -1])
def test_a_count_of_references(change: int) -> None:
    edited = Edited("sample1.pst")
    ib = Header.unpack(bytes(edited.data)).root.ibBBT
    page = pages.BTPage.unpack(UNICODE, bytes(edited.data[ib : ib + 512]))
    if page.cLevel:
        ib = pages.BTEntry.unpack(UNICODE, page.rgentries).ib
    count = int.from_bytes(edited.data[ib + 18 : ib + 20], "little")
    edited.page(ib, put(18, (count + change).to_bytes(2, "little")))
    assert edited.new() == {("warning", "BBTENTRY", "cRef")}
