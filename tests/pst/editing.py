"""A sound file whose copy in memory is changed below its checksums, and what a check finds in it afterwards.

Blocks, pages and the header are sealed again, so that the one rule that a test breaks is the only one.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import excise.pst
from excise.pst.check.report import Finding, Report
from excise.pst.disk import blocks, crypt, pages
from excise.pst.disk.damage import DamageLog
from excise.pst.disk.header import Header
from excise.pst.disk.heaps import HNPageMap, hid_parts
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.table import TableContext
from excise.pst.ndb.read import Node

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
FILES = sorted(SAMPLES.glob("*.pst"))
real = pytest.mark.skipif(not FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")

Change = Callable[[bytearray], object]


class Edited:
    """The bytes of a file, to be changed. ``before`` is what a check finds in the file as it was."""

    def __init__(self, source: str | bytes) -> None:
        self.data = bytearray((SAMPLES / source).read_bytes() if isinstance(source, str) else source)
        self.before = self.check()

    def check(self) -> Report:
        """A check of the bytes as they are now."""
        return excise.pst.check(io.BytesIO(bytes(self.data)))

    def new(self) -> set[tuple[str, str, str]]:
        """(grade, structure, field) of what a check finds now and did not find before."""
        return {
            (each.grade, each.damage.structure, each.damage.field)
            for each in set(self.check().findings) - set(self.before.findings)
        }

    def found(self, structure: str, field: str) -> Finding:
        """The one new finding about ``field`` of ``structure``."""
        known = set(self.before.findings)
        (finding,) = (
            each
            for each in self.check().findings
            if each not in known and (each.damage.structure, each.damage.field) == (structure, field)
        )
        return finding

    def node(self, nid: int, *below: int) -> Node:
        """The node ``nid``, or the subnode that ``below`` leads to."""
        node = excise.pst.open(io.BytesIO(bytes(self.data))).ndb.node(nid, DamageLog())
        for each in below:
            assert node is not None
            node = node.child(each)
        assert node is not None
        return node

    def block(self, bid: int, change: Change) -> None:
        """Change the data of a block, which keeps its size."""
        ndb = excise.pst.open(io.BytesIO(bytes(self.data))).ndb
        entry, raw = ndb.block_entry(bid), bytearray(ndb.block(bid, DamageLog()))
        change(raw)
        assert len(raw) == entry.cb
        stored = bytes(raw) if bid & 2 else crypt.encode(bytes(raw), ndb.header.bCryptMethod, bid)
        sealed = blocks.seal_block(ndb.format, stored, entry.ib, entry.bid)
        self.data[entry.ib : entry.ib + len(sealed)] = sealed

    def leaf(self, node: Node, change: Change, index: int = 0) -> None:
        """Change the data block ``index`` of ``node``."""
        self.block(node.data.leaves[index], change)

    def item(self, node: Node, hid: int, change: Change) -> None:
        """Change the heap item ``hid`` of ``node``, which keeps its size."""
        index, item = hid_parts(hid, node.ndb.format)

        def inside(raw: bytearray) -> None:
            offsets = HNPageMap.unpack(raw, int.from_bytes(raw[:2], "little")).rgibAlloc
            part = raw[offsets[item - 1] : offsets[item]]
            change(part)
            assert len(part) == offsets[item] - offsets[item - 1]
            raw[offsets[item - 1] : offsets[item]] = part

        self.leaf(node, inside, index)

    def value(self, node: Node, prop_id: int, data: bytes) -> None:
        """Put ``data`` into the place of a property of the PC ``node``, inline or of the same size in its heap."""
        context = PropertyContext(node)
        ptype = context.type_of(prop_id)
        assert ptype is not None
        if ptype in (0x02, 0x03, 0x0B):
            self.record(node, prop_id, lambda record: record.__setitem__(slice(4, 8), data.ljust(4, b"\0")))
        else:
            self.item(node, context.hnid(prop_id) or 0, lambda part: part.__setitem__(slice(None), data))

    def record(self, node: Node, prop_id: int, change: Change) -> None:
        """Change the eight bytes of a property's record in the PC ``node``."""
        wanted = prop_id.to_bytes(2, "little")

        def inside(raw: bytearray) -> None:
            record = wanted + (PropertyContext(node).type_of(prop_id) or 0).to_bytes(2, "little")
            record += (PropertyContext(node).hnid(prop_id) or 0).to_bytes(4, "little")
            at = bytes(raw).index(record)
            part = raw[at : at + 8]
            change(part)
            raw[at : at + 8] = part

        self.leaf(node, inside)

    def rename(self, node: Node, prop_id: int, other: int) -> None:
        """Give a property of the PC ``node`` the id ``other``, which should keep the order of the records."""
        self.record(node, prop_id, put(0, other.to_bytes(2, "little")))

    def cell(self, node: Node, row_id: int, prop_id: int, change: Change) -> None:
        """Change the bytes of a cell in the table ``node``, whose rows are in its heap."""
        table = TableContext(node)
        at = dict(table.index)[row_id] * table.row_size
        column = table.columns[prop_id]

        def inside(part: bytearray) -> None:
            cell = part[at + column.ibData : at + column.ibData + column.cbData]
            change(cell)
            part[at + column.ibData : at + column.ibData + column.cbData] = cell

        self.item(node, table.info.hnidRows, inside)

    def flip_cell(self, node: Node, row_id: int, prop_id: int) -> None:
        """Flip the bit that says whether a row has a cell."""
        table = TableContext(node)
        byte, mask = table.bit(table.columns[prop_id])
        at = dict(table.index)[row_id] * table.row_size + byte
        self.item(node, table.info.hnidRows, lambda part: part.__setitem__(at, part[at] ^ mask))

    def subnode(self, node: Node, nid: int, other: int) -> None:
        """Give the subnode ``nid`` of ``node`` the NID ``other``, which should keep the order."""
        fmt = node.ndb.format
        entries = blocks.SLBlock.unpack(fmt, node.ndb.block(node.bid_sub, DamageLog())).rgentries
        at = [each.nid & 0xFFFFFFFF for each in entries].index(nid) * fmt.sl_entry.size + fmt.subnode_header_size
        self.block(node.bid_sub, put(at, other.to_bytes(4, "little")))

    def info(self, node: Node, change: Change) -> None:
        """Change the TCINFO of the table ``node``."""
        self.item(node, TableContext(node).heap.root, change)

    def header(self, **changes: Any) -> None:
        """Change fields of the header or its ROOT."""
        header = Header.unpack(bytes(self.data))
        root = {name: value for name, value in changes.items() if hasattr(header.root, name)}
        rest = {name: value for name, value in changes.items() if name not in root}
        packed = replace(header, root=replace(header.root, **root), **rest).sealed().pack()
        self.data[: len(packed)] = packed

    def parent(self, nid: int, other: int) -> None:
        """Give the node ``nid`` the parent ``other``."""
        header = Header.unpack(bytes(self.data))
        fmt, ib = header.format, header.root.ibNBT
        while (page := pages.BTPage.unpack(fmt, bytes(self.data[ib : ib + fmt.page_size]))).cLevel:
            entries = list(fmt.bt_entry.iter_unpack(page.rgentries[: page.cEnt * fmt.bt_entry.size]))
            ib = [entry[2] for entry in entries if entry[0] <= nid][-1]
        entries = list(fmt.nbt_entry.iter_unpack(page.rgentries[: page.cEnt * fmt.nbt_entry.size]))
        at = [entry[0] & 0xFFFFFFFF for entry in entries].index(nid)
        self.page(ib, put(at * fmt.nbt_entry.size + 24, other.to_bytes(4, "little")))

    def page(self, ib: int, change: Change) -> None:
        """Change the body of the page at ``ib``."""
        fmt = Header.unpack(bytes(self.data)).format
        page = bytes(self.data[ib : ib + fmt.page_size])
        trailer = pages.PageTrailer.unpack(fmt, page)
        body = bytearray(pages.page_body(fmt, page))
        change(body)
        self.data[ib : ib + fmt.page_size] = pages.seal_page(fmt, bytes(body), trailer.ptype, ib, trailer.bid)


def put(at: int, data: bytes) -> Change:
    """A change: ``data`` at ``at``."""
    return lambda raw: raw.__setitem__(slice(at, at + len(data)), data)
