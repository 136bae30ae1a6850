"""Table Contexts of Unicode files, built ([MS-PST] 2.3.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from struct import Struct

from excise.pst.disk.formats import UNICODE
from excise.pst.disk.heaps import CLIENT_TC, MAX_HEAP_ITEM, TCInfo, TColDesc, rows_per_block
from excise.pst.disk.ids import NID_TYPE_LTP
from excise.pst.ltp.build_heap import Built, HeapBuilder
from excise.pst.ltp.values import fixed_size
from excise.pst.ndb.write_types import NO_TREE, Sink, SubnodeEntry, Tree

ROW_ID_TAG = 0x67F20003
ROW_VERSION_TAG = 0x67F30003
RECORD, _ROW_ID = Struct("<II"), Struct("<I")

#: A cell of a new row: the value, or a written tree.
NewCell = bytes | Tree
#: Any cell: the value as [MS-PST] stores it, the written tree of one that is a subnode, or that subnode with its NID.
CellData = bytes | Tree | SubnodeEntry


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its tag, where its cell is in the row, and its bit in the Cell Existence Bitmap."""

    tag: int
    ib_data: int
    cb_data: int
    i_bit: int

    @property
    def inline(self) -> bool:
        """True where the cell holds the value and not an HNID."""
        return fixed_size(self.tag & 0xFFFF) == self.cb_data


@dataclass(frozen=True)
class Schema:
    """The columns of a table, by tag, and ``rgib``, the ends of the parts of a row (TCINFO)."""

    columns: tuple[Column, ...]
    rgib: tuple[int, int, int, int]

    @cached_property
    def described(self) -> tuple[TColDesc, ...]:
        """The columns as TCINFO has them."""
        return tuple(TColDesc(c.tag, c.ib_data, c.cb_data, c.i_bit) for c in self.columns)

    @cached_property
    def places(self) -> dict[int, tuple[int, int, bool, int, int]]:
        """By tag: offset and size of the cell, whether it holds the value, and byte and mask of its bit."""
        bits = self.rgib[2]
        return {
            c.tag: (c.ib_data, c.cb_data, c.inline, bits + (c.i_bit >> 3), 0x80 >> (c.i_bit & 7)) for c in self.columns
        }

    @classmethod
    def of_tags(cls, tags: Iterable[int]) -> Schema:
        """A layout for ``tags``; the row's id and version are added, and come first."""
        rest = sorted(set(tags) - {ROW_ID_TAG, ROW_VERSION_TAG})
        bits = {tag: bit for bit, tag in enumerate([ROW_ID_TAG, ROW_VERSION_TAG, *rest])}
        at = 0
        columns: list[Column] = []
        for group in ((4, 8), (2,), (1,)):
            for tag, bit in bits.items():
                if (size := _cell_size(tag)) in group:
                    columns.append(Column(tag, at, size, bit))
                    at += size
        return cls.exact(columns)

    @classmethod
    def exact(cls, columns: Iterable[Column]) -> Schema:
        """The layout of a template. ValueError where it lacks the row's id or version, or has over 255 columns."""
        ordered = tuple(sorted(columns, key=lambda each: each.tag))
        if not {ROW_ID_TAG, ROW_VERSION_TAG} <= {each.tag for each in ordered} or len(ordered) > 255:
            raise ValueError("a table needs PidTagLtpRowId and PidTagLtpRowVer, and has at most 255 columns")
        ends = [max((c.ib_data + c.cb_data for c in ordered if c.cb_data >= least), default=0) for least in (4, 2, 1)]
        return cls(ordered, (ends[0], ends[1], ends[2], ends[2] + (len(ordered) + 7) // 8))


def _cell_size(tag: int) -> int:
    size = fixed_size(tag & 0xFFFF)
    return 4 if size is None or size > 8 else size


def build_table(sink: Sink, schema: Schema, rows: Iterable[Mapping[int, CellData]]) -> Built:
    """Write the TC of ``rows``: cells by tag, those of the row's id and version among them.

    A tag that a row does not have is an absent cell. ValueError where a row id is missing or given twice, a tag is no
    column, a fixed value has another size, or the values do not fit into a heap.
    """
    heap = HeapBuilder(sink, CLIENT_TC)
    index = heap.add(bytes(8))
    root = heap.add(TCInfo(schema.rgib, index, 0, schema.described).pack())
    size = schema.rgib[3]
    matrix = bytearray()
    for cells in rows:
        matrix += _row(heap, schema, cells)
    hnid, subnodes = write_matrix(sink, heap, size, matrix)
    ids = sorted((_ROW_ID.unpack_from(matrix, at)[0], at // size) for at in range(0, len(matrix), size))
    if any(one == other for (one, _), (other, _) in pairwise(ids)):
        raise ValueError("a row id is given twice")
    heap.replace(index, heap.tree(4, 4, [RECORD.pack(*each) for each in ids]).header.pack())
    heap.replace(root, TCInfo(schema.rgib, index, hnid, schema.described).pack())
    built = heap.finish(root)
    return Built(built.data, built.subnodes + subnodes)


def write_matrix(sink: Sink, heap: HeapBuilder, size: int, rows: bytearray) -> tuple[int, tuple[SubnodeEntry, ...]]:
    """Write the matrix of ``rows`` of ``size`` bytes each; hnidRows, and the subnode that it is where it is large."""
    if len(rows) <= MAX_HEAP_ITEM:
        return heap.value(bytes(rows)), ()
    nid = sink.next_nid(NID_TYPE_LTP)
    return nid, (SubnodeEntry(nid, sink.data_tree(_matrix_blocks(rows, size)), NO_TREE),)


def _matrix_blocks(rows: bytearray, size: int) -> Iterator[bytes]:
    whole = rows_per_block(UNICODE, size) * size
    for at in range(0, len(rows), whole):
        block = bytes(rows[at : at + whole])
        yield block.ljust(UNICODE.max_block_data, b"\0") if at + whole < len(rows) else block


def _row(heap: HeapBuilder, schema: Schema, cells: Mapping[int, CellData]) -> bytearray:
    if ROW_ID_TAG not in cells or ROW_VERSION_TAG not in cells:
        raise ValueError("a row needs its id and its version")
    row = bytearray(schema.rgib[3])
    places = schema.places
    for tag, data in cells.items():
        place = places.get(tag)
        if place is None:
            raise ValueError(f"the table has no column 0x{tag:08x}")
        at, size, inline, byte, mask = place
        cell = data if inline else heap.value(data).to_bytes(4, "little")
        if not isinstance(cell, bytes) or len(cell) != size:
            raise ValueError(f"a cell of column 0x{tag:08x} needs {size} bytes")
        row[at : at + size] = cell
        row[byte] |= mask
    return row
