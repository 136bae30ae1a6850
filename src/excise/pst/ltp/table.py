"""Table Contexts ([MS-PST] 2.3.4), whole rows or chosen columns in one pass.

The row index says which rows there are; the matrix holds them. A row that the index has and the matrix has not,
or under another id, is reported and missing. A column that does not fit into the row is reported and missing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from struct import Struct
from typing import Any

from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.heaps import CLIENT_TC, TCInfo, TColDesc, is_hid
from excise.pst.ltp.heap import BTreeOnHeap, Heap
from excise.pst.ltp.properties import Properties
from excise.pst.ltp.values import (
    PT_LONG,
    PT_STRING8,
    PT_SYSTIME,
    PT_UNICODE,
    Cell,
    decode_value,
    filetime,
    fixed_size,
)
from excise.pst.ndb.read import Node

ROW_ID = 0x67F2
ROW_VERSION = 0x67F3
_ROW_ID_SIZE = 4
_BATCH = 4096
_HNID_SIZE = 4
_DWORD = Struct("<I")


class Row(Properties):
    """One row as a set of properties; a cell whose bit is clear is absent."""

    def __init__(self, table: TableContext, row_id: int, data: bytes) -> None:
        self._table = table
        self.row_id = row_id
        self.data = data
        self.codec = table.codec

    def ids(self) -> Iterator[int]:
        """See ``Properties``."""
        return (prop_id for prop_id in self._table.columns if self.type_of(prop_id) is not None)

    def columns(self) -> Iterator[int]:
        """The ids of the table's columns, whether this row has a cell there or not."""
        return iter(self._table.columns)

    def type_of(self, prop_id: int) -> int | None:
        """See ``Properties``."""
        column = self._table.columns.get(prop_id)
        if column is None:
            return None
        byte, mask = self._table.bit(column)
        return column.tag & 0xFFFF if self.data[byte] & mask else None

    def raw(self, prop_id: int) -> bytes:
        """See ``Properties``."""
        column = self._table.columns.get(prop_id)
        return b"" if column is None or self.type_of(prop_id) is None else self._stored(column)

    def absent(self) -> Iterator[tuple[int, bytes]]:
        """The tag of each absent cell, and what stands in its place: zeros or a remnant, which is no value.

        For those who compare with readers that do not look at the Cell Existence Bitmap. A remnant that refers to
        nothing gives no bytes.
        """
        for prop_id, column in self._table.columns.items():
            if self.type_of(prop_id) is None:
                try:
                    data = self._stored(column)
                except Damaged:
                    data = b""
                yield column.tag, data

    def _stored(self, column: TColDesc) -> bytes:
        cell = self.data[column.ibData : column.ibData + column.cbData]
        if self._table.is_inline(column):
            return cell
        return self._table.heap.value(int.from_bytes(cell, "little"))

    def _record(self, damage: Damage) -> None:
        self._table.node.log.add(damage)

    def _owner(self) -> tuple[str, int]:
        return f"row 0x{self.row_id:x} of table 0x{self._table.node.nid:x}", self._table.node.offset()


class TableContext:
    """The TC of ``node``. Damaged where it is none, or where its rows cannot be told apart.

    ``columns`` are those that fit into a row, by property id.
    """

    def __init__(self, node: Node, codec: str = "cp1252") -> None:
        self.node = node
        self.codec = codec
        self.heap = Heap(node, CLIENT_TC)
        try:
            self.info = TCInfo.unpack(self.heap.item(self.heap.root))
        except ValueError as error:
            raise Damaged(self._damage("bType", "a TCINFO", str(error))) from error
        self.row_size = self.info.rgib[3]
        bits = self.info.rgib[2]
        if self.info.bType != CLIENT_TC or not _ROW_ID_SIZE <= bits <= self.row_size <= node.ndb.format.max_block_data:
            found = f"bType 0x{self.info.bType:02x}, rgib {self.info.rgib}"
            raise Damaged(self._damage("rgib", "ends of cells in order, and rows that fit into a block", found))
        self.columns: dict[int, TColDesc] = {}
        for column in self.info.rgTCOLDESC:
            self._add_column(column)

    def bit(self, column: TColDesc) -> tuple[int, int]:
        """(byte in the row, mask) of a column's bit in the Cell Existence Bitmap."""
        return self.info.rgib[2] + (column.iBit >> 3), 0x80 >> (column.iBit & 7)

    @staticmethod
    def is_inline(column: TColDesc) -> bool:
        """True where a cell holds its value and not an HNID."""
        size = fixed_size(column.tag & 0xFFFF)
        return size is not None and size <= 8 and column.cbData == size

    @cached_property
    def index(self) -> list[tuple[int, int]]:
        """The row index: (row id, number of the row in the matrix), by row id."""
        tree = BTreeOnHeap(self.heap, self.info.hidRowIndex, 4, None)
        # Unicode files have four bytes here; ANSI files two, but four in the tables that later Outlooks added.
        record = {2: Struct("<IH"), 4: Struct("<II")}.get(tree.header.cbEnt)
        if record is None:
            raise Damaged(
                self._damage("hidRowIndex", "a row index with 2 or 4 bytes a row", f"{tree.header.cbEnt} bytes")
            )
        return [entry for leaf in tree.leaves() for entry in record.iter_unpack(leaf)]

    def rows(self) -> Iterator[Row]:
        """The rows by row id. What cannot be read is reported and missing."""
        return (Row(self, *each) for each in self._cut(self.index))

    def row(self, row_id: int) -> Row | None:
        """The row ``row_id``, None where there is none that can be read."""
        at = bisect_left(self.index, (row_id, 0))
        return next((Row(self, *each) for each in self._cut(self.index[at : at + 1]) if each[0] == row_id), None)

    def bid_of_row(self, row_id: int) -> int | None:
        """The BID of the block that holds the row ``row_id``; None where the index does not have it once.

        Damaged where the matrix cannot be found.
        """
        at = bisect_left(self.index, (row_id, 0))
        found = [number for each, number in self.index[at : at + 2] if each == row_id]
        if len(found) != 1:
            return None
        if is_hid(self.info.hnidRows):
            leaves, block = self.node.data.leaves, self.info.hnidRows >> self.node.ndb.format.hid_shift
        else:
            leaves, block = self._matrix.data.leaves if self._matrix else [], found[0] // self._per_block
        return leaves[block] if block < len(leaves) else None

    def scan(self, prop_ids: Sequence[int]) -> Iterator[tuple[list[int], list[list[Cell]]]]:
        """The rows by row id in batches: (row ids, a list of values for each of ``prop_ids``).

        A value is None for an absent cell or column, and a Damage where it cannot be read. Columns are decoded one
        after another, which is faster in Python than row by row.
        """
        columns = [self.columns.get(prop_id) for prop_id in prop_ids]
        for start in range(0, len(self.index), _BATCH):
            rows = list(self._cut(self.index[start : start + _BATCH]))
            joined = b"".join([data for _, data in rows])
            yield [row_id for row_id, _ in rows], [self._column(column, joined) for column in columns]

    def _column(self, column: TColDesc | None, rows: bytes) -> list[Cell]:
        """The values of ``column`` in whole ``rows``."""
        if column is None:
            return [None] * (len(rows) // self.row_size)
        byte, mask = self.bit(column)
        there = rows[byte :: self.row_size]
        at, rest = column.ibData, self.row_size - column.ibData - column.cbData
        decode, layout = self._decoder(column)
        cells = Struct(f"<{at}x{layout}{rest}x").iter_unpack(rows)
        return [decode(cell) if bits & mask else None for bits, (cell,) in zip(there, cells, strict=True)]

    def _cut(self, index: Sequence[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
        """(row id, bytes) of the rows of ``index``. What cannot be read is reported and missing."""
        log = self.node.log
        size, per_block, id_of = self.row_size, self._per_block, _DWORD.unpack_from
        loaded, data = -1, b""
        for row_id, number in index:
            block, at = divmod(number, per_block)
            if block != loaded:
                try:
                    loaded, data = block, self._block(block)
                except Damaged as error:
                    loaded, data = block, b""
                    log.add(error.damage)
            row = data[at * size : at * size + size]
            if len(row) == size and id_of(row)[0] == row_id:
                yield row_id, row
            else:
                found = "no row" if len(row) < size else f"dwRowID 0x{id_of(row)[0]:x}"
                log.add(self._damage("dwRowID", f"row 0x{row_id:x} at {number}", found))

    def _decoder(self, column: TColDesc) -> tuple[Callable[[Any], Cell], str]:
        """A function from a cell of ``column`` to its value, and how struct is to read the cell."""
        ptype = column.tag & 0xFFFF
        if ptype in (PT_UNICODE, PT_STRING8) and column.cbData == _HNID_SIZE:
            return self._text_decoder("utf-16-le" if ptype == PT_UNICODE else self.codec), "I"
        if self.is_inline(column):
            if ptype == PT_SYSTIME:
                return filetime, "Q"
            if ptype == PT_LONG:
                return int, "i"
        return partial(self._slow_cell, column), f"{column.cbData}s"

    def _text_decoder(self, codec: str) -> Callable[[int], Cell]:
        text_of, log = self.heap.text_reader(codec), self.node.log

        def text(hnid: int) -> Cell:
            try:
                return text_of(hnid)
            except Damaged as error:
                log.add(error.damage)
                return error.damage

        return text

    def _slow_cell(self, column: TColDesc, cell: bytes) -> Cell:
        try:
            data = cell if self.is_inline(column) else self.heap.value(int.from_bytes(cell, "little"))
            return decode_value(column.tag & 0xFFFF, data, self.codec)
        except Damaged as error:
            damage = error.damage
        except ValueError as error:
            damage = self._damage("cell", f"a value of column 0x{column.tag:08x}", str(error))
        self.node.log.add(damage)
        return damage

    def _add_column(self, column: TColDesc) -> None:
        byte, _ = self.bit(column)
        inline = self.is_inline(column)
        if (
            byte >= self.row_size
            or column.ibData + column.cbData > self.info.rgib[2]
            or not (inline or column.cbData == 4)
        ):
            found = f"ibData {column.ibData}, cbData {column.cbData}, iBit {column.iBit}"
            self.node.log.add(self._damage("rgTCOLDESC", f"column 0x{column.tag:08x} within the row", found))
            return
        if self.columns.setdefault(column.tag >> 16, column) is not column:
            found = f"column 0x{column.tag:08x} of a property that has one"
            self.node.log.add(self._damage("rgTCOLDESC", "each property once", found))

    @cached_property
    def _matrix(self) -> Node | None:
        """The subnode of the row matrix; None where the matrix is a heap item or there is none."""
        hnid = self.info.hnidRows
        return None if is_hid(hnid) else self.heap.subnode(hnid)

    @cached_property
    def _per_block(self) -> int:
        in_heap = is_hid(self.info.hnidRows)
        return (1 << 32) if in_heap else max(1, self.node.ndb.format.max_block_data // self.row_size)

    def _block(self, index: int) -> bytes:
        if is_hid(self.info.hnidRows):
            return self.heap.item(self.info.hnidRows)
        node = self._matrix
        return b"" if node is None else node.data.block(index)

    def _damage(self, field: str, expected: str, found: str) -> Damage:
        structure, place = "TCINFO" if field != "dwRowID" else "TCROWID", f"table 0x{self.node.nid:x}"
        return Damage("ltp", structure, field, place, self.node.offset(), expected, found)
