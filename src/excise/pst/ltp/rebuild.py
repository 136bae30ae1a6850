"""Tables, Property Contexts and maps of a Unicode file, written again with a part of their content changed.

What is not changed stays as it was: values byte for byte, subnodes under their NIDs. Only what was read without any
damage is written again, for a new checksum over a wrong value would hide it: everything here raises Damaged instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from struct import Struct
from typing import TypeAlias

from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.heaps import CLIENT_PC, is_hid
from excise.pst.disk.ids import NID_TYPE_LTP, nid_type
from excise.pst.ltp.build_heap import Built, HeapBuilder
from excise.pst.ltp.build_properties import KeptProperty, Property, build_properties
from excise.pst.ltp.build_table import ROW_VERSION_TAG, CellData, Column, NewCell, Schema, build_table
from excise.pst.ltp.heap import BTreeOnHeap, Heap
from excise.pst.ltp.table import Row, TableContext
from excise.pst.ltp.values import INLINE, PT_OBJECT
from excise.pst.ndb.read import Node
from excise.pst.ndb.write_types import Sink, SubnodeEntry

#: Gives the entry of a subnode, and all below it, as it will be in the file that is written.
Keep: TypeAlias = Callable[[Node], SubnodeEntry]

_RECORD = Struct("<HHI")
_NO_ROWS: Mapping[int, Mapping[int, bytes]] = {}


def require_sound(node: Node) -> None:
    """Damaged where anything was found wrong while ``node`` was read so far."""
    if node.log:
        raise Damaged(node.log.entries[0])


def rebuild_table(
    sink: Sink,
    keep: Keep,
    node: Node,
    without: Collection[int] = (),
    changed: Mapping[int, Mapping[int, bytes]] = _NO_ROWS,
    added: Iterable[Mapping[int, NewCell]] = (),
) -> Built:
    """Write the TC of ``node`` without the rows ``without`` and with the cells ``changed`` (row id → tag → value).

    A row with changed cells gets a new version; all others stay as they are, in their order. The rows ``added``, whole
    with id and version, come after them. Rows are taken out only of a table that has no other subnodes than its own.
    """
    table = TableContext(node)
    schema = schema_of(table)
    place = dict(table.index)
    if len(place) < len(table.index):
        raise Damaged(_damage("TCROWID", "dwRowID", node, "each row once", "a row twice"))
    every = list(table.rows())
    rows = sorted((row for row in every if row.row_id not in without), key=lambda row: place[row.row_id])
    for row in every:
        # A value of theirs that cannot be found may be among what is kept.
        if row.row_id in without:
            _require_values(table, row)
    others = _unknown(node)
    if others and without:
        # They are nothing of the table's own, and nobody can say whether they are content of what goes.
        raise Damaged(_damage("TC", "subnodes", node, "rows and values", f"subnode 0x{others[0]:x}"))
    require_sound(node)

    def cells(row: Row) -> dict[int, CellData]:
        found = dict(_cells(table, row, keep))
        if row.row_id in changed:
            found |= changed[row.row_id]
            found[ROW_VERSION_TAG] = sink.next_unique().to_bytes(4, "little")
        return found

    return _complete(node, keep, others, partial(build_table, sink, schema, chain(map(cells, rows), added)))


def rebuild_properties(
    sink: Sink, keep: Keep, node: Node, changed: Mapping[int, bytes], added: Iterable[Property] = ()
) -> Built:
    """Write the PC of ``node`` with the values ``changed`` (property id → value) of properties that it has, and with
    the properties ``added``, which it does not have."""
    heap = Heap(node, CLIENT_PC)
    records = [record for leaf in BTreeOnHeap(heap, heap.root, 2, 6).leaves() for record in _RECORD.iter_unpack(leaf)]
    require_sound(node)
    properties = [*(_property(heap, keep, changed, *record) for record in records), *added]
    return _complete(node, keep, node.subnodes, partial(build_properties, sink, properties))


@dataclass(frozen=True, slots=True)
class HeapMap:
    """A heap whose root item begins with the HID of a BTH; the rest of that item is not looked into."""

    heap: Heap
    client: int
    root: bytes
    cb_key: int
    records: tuple[tuple[bytes, int], ...]

    @classmethod
    def read(cls, node: Node, client: int, cb_key: int) -> HeapMap:
        """The map in ``node``: records of a key of ``cb_key`` bytes and a number of four."""
        heap = Heap(node, client)
        root = heap.item(heap.root)
        tree = BTreeOnHeap(heap, int.from_bytes(root[:4], "little"), cb_key, 4)
        cut = Struct(f"<{cb_key}sI")
        records = tuple(record for leaf in tree.leaves() for record in cut.iter_unpack(leaf))
        require_sound(node)
        return cls(heap, client, root, cb_key, records)

    def kept(self, keep: Keep, hnid: int) -> bytes | SubnodeEntry:
        """The value of a record whose number is ``hnid``, for ``rebuild``."""
        return _value(self.heap, keep, hnid)

    def rebuild(self, sink: Sink, keep: Keep, records: Iterable[tuple[bytes, int | bytes | SubnodeEntry]]) -> Built:
        """Write the map with ``records``; what is no number becomes a value of the heap, and its HNID the number."""
        node = self.heap.node
        return _complete(node, keep, _unknown(node), partial(self._write, sink, records))

    def _write(self, sink: Sink, records: Iterable[tuple[bytes, int | bytes | SubnodeEntry]]) -> Built:
        heap = HeapBuilder(sink, self.client)
        root, header = heap.add(self.root), heap.add(bytes(8))
        numbers = [(key, value if isinstance(value, int) else heap.value(value)) for key, value in records]
        packed = [key + number.to_bytes(4, "little") for key, number in numbers]
        heap.replace(header, heap.tree(self.cb_key, 4, packed).header.pack())
        heap.replace(root, header.to_bytes(4, "little") + self.root[4:])
        return heap.finish(root)


def _unknown(node: Node) -> list[int]:
    """The subnodes of ``node`` that are neither rows nor large values, of which a new heap has its own."""
    return [nid for nid in node.subnodes if nid_type(nid) != NID_TYPE_LTP]


def _complete(node: Node, keep: Keep, others: Iterable[int], build: Callable[[], Built]) -> Built:
    """What ``build`` writes, with the subnodes ``others`` of ``node`` beside its own."""
    try:
        built = build()
    except ValueError as error:
        raise Damaged(_damage("HN", "content", node, "what can be written again", str(error))) from error
    subnodes = {each.nid: each for each in built.subnodes}
    for nid in others:
        if nid not in subnodes:
            subnodes[nid] = _kept(node, keep, nid)
    require_sound(node)
    return Built(built.data, tuple(subnodes.values()))


def _kept(node: Node, keep: Keep, nid: int) -> SubnodeEntry:
    child = node.child(nid)
    if child is None:
        raise Damaged(_damage("SLBLOCK", "nid", node, f"subnode 0x{nid:x}", "none"))
    return keep(child)


def _value(heap: Heap, keep: Keep, hnid: int) -> bytes | SubnodeEntry:
    return heap.item(hnid) if is_hid(hnid) else _kept(heap.node, keep, hnid)


def _property(
    heap: Heap, keep: Keep, changed: Mapping[int, bytes], prop_id: int, prop_type: int, hnid: int
) -> Property | KeptProperty:
    size = INLINE.get(prop_type)
    if prop_id in changed:
        return Property(prop_id, prop_type, changed[prop_id])
    if size is not None:
        return Property(prop_id, prop_type, hnid.to_bytes(4, "little")[:size])
    value = _value(heap, keep, hnid)
    if isinstance(value, SubnodeEntry):
        return KeptProperty(prop_id, prop_type, value)
    return Property(prop_id, prop_type, value)


def schema_of(table: TableContext) -> Schema:
    """The layout of ``table``. Damaged where a table of its columns cannot be written."""
    columns = tuple(Column(c.tag, c.ibData, c.cbData, c.iBit) for c in table.info.rgTCOLDESC)
    if len({column.tag for column in columns}) < len(columns):
        raise Damaged(_damage("TCINFO", "rgTCOLDESC", table.node, "each column once", "a column twice"))
    if any(column.tag & 0xFFFF == PT_OBJECT for column in columns):
        raise Damaged(_damage("TCINFO", "rgTCOLDESC", table.node, "no column of objects", "one"))
    return Schema(columns, table.info.rgib)


def _cells(table: TableContext, row: Row, keep: Keep) -> Iterator[tuple[int, CellData]]:
    for column in table.info.rgTCOLDESC:
        byte, mask = table.bit(column)
        if row.data[byte] & mask:
            cell = row.data[column.ibData : column.ibData + column.cbData]
            inline = table.is_inline(column)
            yield column.tag, cell if inline else _value(table.heap, keep, int.from_bytes(cell, "little"))


def _require_values(table: TableContext, row: Row) -> None:
    """Damaged where a cell of ``row`` refers to nothing."""
    for prop_id in row.ids():
        column = table.columns[prop_id]
        hnid = int.from_bytes(row.data[column.ibData : column.ibData + column.cbData], "little")
        if table.is_inline(column):
            continue
        if is_hid(hnid):
            table.heap.item(hnid)
        elif hnid not in table.node.subnodes:
            raise Damaged(_damage("SLBLOCK", "nid", table.node, f"subnode 0x{hnid:x}", "none"))


def _damage(structure: str, field: str, node: Node, expected: str, found: str) -> Damage:
    return Damage("ltp", structure, field, f"node 0x{node.nid:x}", node.offset(), expected, found)
