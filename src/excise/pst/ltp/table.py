"""Table Contexts ([MS-PST] 2.3.4), whole rows or chosen columns in one pass.

The row index says which rows there are; the matrix holds them. A row that the index has and the matrix has not,
or under another id, is reported and missing. A column that does not fit into the row is reported and missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from struct import Struct

from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.heaps import CLIENT_TC, TCInfo, TColDesc, is_hid
from excise.pst.ltp.heap import BTreeOnHeap, Heap
from excise.pst.ltp.properties import Properties
from excise.pst.ltp.values import (
    PT_BOOLEAN,
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


@dataclass(frozen=True, slots=True)
class RowRef:
    """One row: its id and its bytes."""

    row_id: int
    data: bytes


class Row(Properties):
    """One row as a set of properties; a cell whose bit is clear is absent."""

    def __init__(self, table: TableContext, ref: RowRef) -> None:
        self._table = table
        self.row_id = ref.row_id
        self.data = ref.data
        self.codec = table.codec

    def ids(self) -> Iterator[int]:
        """See ``Properties``."""
        return (prop_id for prop_id in self._table.columns if self.type_of(prop_id) is not None)

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
        if column is None or self.type_of(prop_id) is None:
            return b""
        cell = self.data[column.ibData : column.ibData + column.cbData]
        if self._table.is_inline(column):
            return cell
        return self._table.heap.value(int.from_bytes(cell, "little"))

    def _record(self, damage: Damage) -> None:
        self._table.node.log.add(damage)


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
        """The rows by row id."""
        return (Row(self, ref) for ref in self.refs())

    def row(self, row_id: int) -> Row | None:
        """The row ``row_id``, None where there is none that can be read."""
        number = dict(self.index).get(row_id)
        return next((Row(self, ref) for ref in self._refs([(row_id, number)])), None) if number is not None else None

    def refs(self) -> Iterator[RowRef]:
        """The rows by row id, as bytes. What cannot be read is reported and missing."""
        return self._refs(self.index)

    def _refs(self, index: Sequence[tuple[int, int]]) -> Iterator[RowRef]:
        log = self.node.log
        size, block_of = self.row_size, self._block
        per_block = self._per_block
        loaded, data = -1, b""
        for row_id, number in index:
            block, at = divmod(number, per_block)
            if block != loaded:
                try:
                    loaded, data = block, block_of(block)
                except Damaged as error:
                    loaded, data = block, b""
                    log.add(error.damage)
            row = data[at * size : at * size + size]
            if len(row) == size and int.from_bytes(row[:_ROW_ID_SIZE], "little") == row_id:
                yield RowRef(row_id, row)
            else:
                found = "no row" if len(row) < size else f"dwRowID 0x{int.from_bytes(row[:_ROW_ID_SIZE], 'little'):x}"
                log.add(self._damage("dwRowID", f"row 0x{row_id:x} at {number}", found))

    def scan(self, prop_ids: Sequence[int]) -> Iterator[tuple[int, list[Cell]]]:
        """(row id, values of ``prop_ids``) for each row, by row id; None for an absent cell or column.

        A value that cannot be read is a Damage.
        """
        plan = []
        for at, prop_id in enumerate(prop_ids):
            column = self.columns.get(prop_id)
            if column is not None:
                byte, mask = self.bit(column)
                plan.append((at, byte, mask, column.ibData, column.ibData + column.cbData, self._decoder(column)))
        width = len(prop_ids)
        for ref in self.refs():
            data = ref.data
            values: list[Cell] = [None] * width
            for at, byte, mask, start, end, decoder in plan:
                if data[byte] & mask:
                    values[at] = decoder(data[start:end])
            yield ref.row_id, values

    def _decoder(self, column: TColDesc) -> Callable[[bytes], Cell]:
        ptype = column.tag & 0xFFFF
        fast = self._fast_decoder(ptype) if self.is_inline(column) or ptype in (PT_UNICODE, PT_STRING8) else None
        return fast or (lambda cell: self._slow_cell(column, cell))

    def _fast_decoder(self, ptype: int) -> Callable[[bytes], Cell] | None:
        from_bytes = int.from_bytes
        if ptype == PT_SYSTIME:
            return lambda cell: filetime(from_bytes(cell, "little"))
        if ptype == PT_LONG:
            return lambda cell: from_bytes(cell, "little", signed=True)
        if ptype == PT_BOOLEAN:
            return lambda cell: cell[0] != 0
        if ptype in (PT_UNICODE, PT_STRING8):
            codec = "utf-16-le" if ptype == PT_UNICODE else self.codec
            value, log = self.heap.value, self.node.log

            def text(cell: bytes) -> Cell:
                try:
                    return value(from_bytes(cell, "little")).decode(codec, "replace").rstrip("\0")
                except Damaged as error:
                    log.add(error.damage)
                    return error.damage

            return text
        return None

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
        self.columns.setdefault(column.tag >> 16, column)

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
        return Damage("ltp", "TCINFO" if field != "dwRowID" else "TCROWID", field, f"table 0x{self.node.nid:x}", -1,
                      expected, found)  # fmt: skip
