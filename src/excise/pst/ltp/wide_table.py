"""The wide tables (bClientSig 0xAC) that Outlook 2003 and 2007 wrote for searches, as far as a removal needs them.

[MS-PST] 2.3.1.2 has the signature as reserved. This is what the samples' two show, down to the last byte, and every
table is held against it before it is touched: the root item has the ends of the cells, row index and row matrix as
a TCINFO has them; the columns, 16 bytes each, are a subnode; and each column of variable size has a heap of its own
(bClientSig 0xA5) in a subnode, to whose items its cells refer. What fits none of this is Damaged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cached_property

from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.heaps import (
    CLIENT_WIDE_TC,
    CLIENT_WIDE_VALUES,
    WideColDesc,
    WideTCInfo,
    is_hid,
    rows_per_block,
)
from excise.pst.ltp.build_heap import Built, HeapBuilder
from excise.pst.ltp.build_table import RECORD, write_matrix
from excise.pst.ltp.heap import BTreeOnHeap, Heap
from excise.pst.ltp.rebuild import Keep, require_sound
from excise.pst.ltp.values import PT_LONG
from excise.pst.ndb.read import Node
from excise.pst.ndb.write_types import NO_TREE, Sink, SubnodeEntry

_CLIENT_AT = 3


def is_wide(node: Node) -> bool:
    """True where the data of ``node`` is a heap with the signature of a wide table."""
    return bool(node.bid_data) and node.data.block(0)[_CLIENT_AT : _CLIENT_AT + 1] == bytes([CLIENT_WIDE_TC])


class WideTable:
    """The wide table in ``node``. Damaged where anything of it is not as it must be."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._heap = Heap(node, CLIENT_WIDE_TC)
        try:
            self._info = info = WideTCInfo.unpack(self._heap.item(self._heap.root))
            self._columns = WideColDesc.unpack_all(self._heap.subnode(info.hnidColumns).data.read())
        except ValueError as error:
            raise Damaged(self._damage("header", "a wide table", str(error))) from error
        if len(self._columns) != info.cCols or not self._fits():
            raise Damaged(self._damage("rgib", "columns that lie in the row, one beside the other", str(info.rgib)))
        index = BTreeOnHeap(self._heap, info.hidRowIndex, 4, 4)
        self._index = [record for leaf in index.leaves() for record in RECORD.iter_unpack(leaf)]
        require_sound(node)

    @property
    def row_ids(self) -> list[int]:
        """The ids of the rows, by id."""
        return [row_id for row_id, _ in self._index]

    def numbers(self, prop_id: int) -> dict[int, int | None]:
        """The value of an Integer32 column in each row by its id; None where the cell is absent, or the column."""
        column = next((each for each in self._columns if each.tag == prop_id << 16 | PT_LONG), None)
        found: dict[int, int | None] = {}
        for row_id, row in self._rows:
            there = column is not None and self._has(row, column)
            cell = row[column.ibData : column.ibData + 4] if column is not None and there else None
            found[row_id] = None if cell is None else int.from_bytes(cell, "little", signed=True)
        return found

    def rebuild(self, sink: Sink, keep: Keep, without: Collection[int]) -> Built:
        """Write the table without the rows ``without``; all others stay as they are, in their order."""
        rows = [bytearray(row) for row_id, row in self._rows if row_id not in without]
        subnodes = [keep(self._heap.subnode(self._info.hnidColumns))]
        for column in self._columns:
            if column.nidValues:
                subnodes.append(self._without_values(sink, column, rows))
        try:
            built = self._write(sink, rows)
        except ValueError as error:
            raise Damaged(self._damage("content", "what can be written again", str(error))) from error
        require_sound(self.node)
        return Built(built.data, (*built.subnodes, *subnodes))

    def _write(self, sink: Sink, rows: list[bytearray]) -> Built:
        heap = HeapBuilder(sink, CLIENT_WIDE_TC)
        index, root = heap.add(bytes(8)), heap.add(self._info.pack())
        size = self._info.rgib[3]
        hnid, subnodes = write_matrix(sink, heap, size, bytearray(b"".join(rows)))
        records = sorted((int.from_bytes(row[:4], "little"), number) for number, row in enumerate(rows))
        heap.replace(index, heap.tree(4, 4, [RECORD.pack(*each) for each in records]).header.pack())
        heap.replace(root, replace(self._info, hidRowIndex=index, hnidRows=hnid).pack())
        built = heap.finish(root)
        return Built(built.data, (*built.subnodes, *subnodes))

    def _without_values(self, sink: Sink, column: WideColDesc, rows: list[bytearray]) -> SubnodeEntry:
        """The heap of ``column`` with the values of ``rows`` alone, whose cells are changed to refer to them."""
        node = self._heap.subnode(column.nidValues)
        heap, new = Heap(node, CLIENT_WIDE_VALUES), HeapBuilder(sink, CLIENT_WIDE_VALUES)
        if node.bid_sub or heap.root:
            raise Damaged(self._damage("nidValues", "a heap of values alone", f"subnode 0x{node.nid:x} with more"))
        for row in rows:
            if self._has(row, column):
                cell = slice(column.ibData, column.ibData + 4)
                hid = int.from_bytes(row[cell], "little")
                if not is_hid(hid):
                    raise Damaged(self._damage("cell", f"an item of subnode 0x{node.nid:x}", f"0x{hid:x}"))
                row[cell] = new.value(heap.item(hid)).to_bytes(4, "little")
        require_sound(node)
        return SubnodeEntry(node.nid, new.finish(0).data, NO_TREE)

    @cached_property
    def _rows(self) -> list[tuple[int, bytes]]:
        """(id, bytes) of the rows in the order of the matrix."""
        size, hnid = self._info.rgib[3], self._info.hnidRows
        if is_hid(hnid):
            data = self._heap.item(hnid)
        else:
            whole = rows_per_block(self.node.ndb.format, size) * size
            data = b"".join([block[:whole] for block in _blocks(self._heap.subnode(hnid))])
        rows = [(row_id, data[number * size : (number + 1) * size]) for row_id, number in self._index]
        numbers = sorted(number for _, number in self._index)
        if numbers != list(range(len(data) // size)) or len(data) % size:
            raise Damaged(self._damage("hidRowIndex", "each row of the matrix once", f"{len(self._index)} rows"))
        for row_id, row in rows:
            if int.from_bytes(row[:4], "little") != row_id:
                raise Damaged(self._damage("dwRowID", f"row 0x{row_id:x}", f"0x{int.from_bytes(row[:4], 'little'):x}"))
        place = dict(self._index)
        return sorted(rows, key=lambda row: place[row[0]])

    def _has(self, row: bytes | bytearray, column: WideColDesc) -> bool:
        return bool(row[self._info.rgib[2] + (column.iBit >> 3)] & 0x80 >> (column.iBit & 7))

    def _fits(self) -> bool:
        """True where the cells of all columns lie beside each other and fill the row, and nothing else is a subnode."""
        _, _, end1, size = self._info.rgib
        cells = sorted((each.ibData, each.cbData) for each in self._columns)
        ends = [at + length for at, length in cells]
        groups = [max((at + length for at, length in cells if length >= least), default=0) for least in (4, 2, 1)]
        heaps = {each.nidValues for each in self._columns if each.nidValues}
        variable = [each for each in self._columns if each.nidValues]
        known = heaps | {self._info.hnidColumns} | ({self._info.hnidRows} if not is_hid(self._info.hnidRows) else set())
        return (
            list(self._info.rgib[:3]) == groups
            and [at for at, _ in cells] == [0, *ends][:-1]
            and size == end1 + (len(cells) + 7) // 8 <= self.node.ndb.format.max_block_data
            and sorted(each.iBit for each in self._columns) == list(range(len(cells)))
            and len(heaps) == len(variable)
            and all(each.cbData == 4 for each in variable)
            and set(self.node.subnodes) == known
        )

    def _damage(self, field: str, expected: str, found: str) -> Damage:
        place = f"table 0x{self.node.nid:x}"
        return Damage("ltp", "wide table", field, place, self.node.offset(), expected, found)


def _blocks(node: Node) -> Iterator[bytes]:
    return (node.data.block(at) for at in range(len(node.data.leaves)))
