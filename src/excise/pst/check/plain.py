"""Messages in which a check would find no error, told by one quick look at their blocks.

A message that is not plain need not be damaged; it is for the whole check. Asked only in Unicode files whose blocks,
pages and references were found sound before: here nothing is held against its checksum again.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from struct import Struct

from excise.pst.disk import ids
from excise.pst.disk.blocks import BTYPE_S, SLBlock, block_kind
from excise.pst.disk.crypt import decode
from excise.pst.disk.damage import Damaged, DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.heaps import CLIENT_BTH, CLIENT_PC, CLIENT_TC, HN_SIGNATURE, TCInfo, TColDesc
from excise.pst.ltp.table import Row, TableContext
from excise.pst.ltp.values import FIXED, INLINE, PT_BINARY, PT_LONG, PT_OBJECT, PT_STRING8, PT_UNICODE, decode_value
from excise.pst.messaging import tags
from excise.pst.messaging.message import ATTACH_EMBEDDED_MSG
from excise.pst.ndb.read import DataTree, NodeDatabase
from excise.pst.ndb.source import Source

_MESSAGES = frozenset({ids.NID_TYPE_NORMAL_MESSAGE, ids.NID_TYPE_ASSOC_MESSAGE})
_MULTIPLE = 0x1000
_ANY_SIZE = frozenset({0, PT_UNICODE, PT_BINARY})
_ODD = -1
_MAX_DEPTH = 8
# Of one message with all that is embedded in it; more are for the whole check, which has bounds of its own.
_MAX_NODES = 4096
# The blocks of a message mostly lie together, with its properties last.
_BEHIND, _AHEAD = 1 << 14, 1 << 16

_MAX_BLOCKS = 64
_ITEM = (1 << UNICODE.hid_shift) - 1

_HNHDR = Struct("<HBBI")
_BTHHEADER = Struct("<BBBBI")
_RECORD = Struct("<HHI")
_ROW_INDEX = Struct("<II")
_DWORD = Struct("<I")

#: The data and the subnodes of each subnode, as BIDs.
Subnodes = Mapping[int, tuple[int, int]]
#: Of the cells that refer to a value: place of the bit, the bit, place of the cell, or _ODD where it is not looked at.
Cells = list[tuple[int, int, int]]


class NotPlain(Exception):
    """Somebody has to look closer."""


class PlainMessages:
    """The plain messages among those that were asked for, by NID: ``add`` them in the order of the NBT."""

    def __init__(self, ndb: NodeDatabase) -> None:
        self._ndb = ndb
        self._window = _Window(ndb.source)
        self._shapes: dict[tuple[bytes, bytes], tuple[int, Cells]] = {}
        self._nids = array("I")
        self._left = 0

    def __contains__(self, nid: int) -> bool:
        at = bisect_left(self._nids, nid)
        return at < len(self._nids) and self._nids[at] == nid

    def add(self, nid: int, data: int, sub: int) -> bool:
        """True where the node ``nid`` is a plain message, which is then one of these."""
        if nid & 0x1F not in _MESSAGES:
            return False
        self._left = _MAX_NODES
        try:
            self._message(data, sub, 0)
        except (NotPlain, Damaged, ValueError, struct.error):
            return False
        self._nids.append(nid)
        return True

    def _message(self, data: int, sub: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise NotPlain
        subnodes = self._subnodes(sub)
        records = self._properties(data, subnodes)
        if tags.ATTACH_DATA in records:
            raise NotPlain
        for nid, (below, below_sub) in subnodes.items():
            if nid == ids.NID_RECIPIENT_TABLE:
                self._rows(below, below_sub)
            elif nid == ids.NID_ATTACHMENT_TABLE:
                if not subnodes.keys() >= self._rows(below, below_sub):
                    raise NotPlain
            elif nid & 0x1F == ids.NID_TYPE_ATTACHMENT:
                self._attachment(below, below_sub, depth)
            else:
                self._value(below, below_sub)

    def _attachment(self, data: int, sub: int, depth: int) -> None:
        subnodes = self._subnodes(sub)
        records = self._properties(data, subnodes)
        method_type, method = records.get(tags.ATTACH_METHOD, (PT_LONG, 0))
        data_type, target = records.get(tags.ATTACH_DATA, (0, 0))
        embedded = method == ATTACH_EMBEDDED_MSG
        wanted = data_type == PT_OBJECT
        if method_type != PT_LONG or (embedded and not wanted) or (wanted and target not in subnodes):
            raise NotPlain
        for nid, (below, below_sub) in subnodes.items():
            if embedded and nid == target:
                self._message(below, below_sub, depth + 1)
            else:
                self._value(below, below_sub)

    def _properties(self, bid: int, subnodes: Subnodes) -> dict[int, tuple[int, int]]:
        """The records of a PC whose values can all be read: type, and what stands there; of an object, its NID."""
        heap = _PlainHeap(self._blocks(bid), CLIENT_PC)
        leaf = heap.leaf(heap.root, 2, 6)
        records = {}
        for prop_id, ptype, hnid in _RECORD.iter_unpack(leaf):
            if ptype in INLINE:
                records[prop_id] = ptype, hnid
                continue
            if hnid & 0x1F:
                if hnid not in subnodes or ptype in FIXED or ptype & _MULTIPLE or ptype == PT_STRING8:
                    raise NotPlain
            else:
                heap.require_value(hnid, ptype)
                if ptype == PT_OBJECT:
                    (hnid,) = _DWORD.unpack_from(heap.item(hnid))
            records[prop_id] = ptype, hnid
        if len(records) * _RECORD.size != len(leaf):
            raise NotPlain
        return records

    def _rows(self, bid: int, sub: int) -> set[int]:
        """The ids of the rows of a table whose matrix is one item or block, and whose cells can all be read."""
        subnodes = self._subnodes(sub)
        for below, below_sub in subnodes.values():
            self._value(below, below_sub)
        heap = _PlainHeap(self._blocks(bid), CLIENT_TC)
        info = heap.item(heap.root)
        key = info[:10], info[22:]
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = _shape(info)
        size, cells = shape
        index, matrix = struct.unpack_from("<II", info, 10)
        rows, found = self._matrix(heap, matrix, subnodes), set[int]()
        for row_id, number in _ROW_INDEX.iter_unpack(heap.leaf(index, 4, 4)):
            row = rows[number * size : number * size + size]
            if len(row) != size or _DWORD.unpack_from(row)[0] != row_id:
                raise NotPlain
            for byte, mask, at in cells:
                if row[byte] & mask:
                    if at == _ODD:
                        raise NotPlain
                    (hnid,) = _DWORD.unpack_from(row, at)
                    if not hnid & 0x1F or hnid not in subnodes:
                        heap.require_value(hnid, 0)
            found.add(row_id)
        return found

    def _matrix(self, heap: _PlainHeap, hnid: int, subnodes: Subnodes) -> bytes:
        if not hnid & 0x1F:
            return heap.item(hnid)
        data, _ = subnodes.get(hnid, (0, 0))
        blocks = self._blocks(data)
        if len(blocks) > 1:
            raise NotPlain
        return blocks[0]

    def _value(self, bid: int, sub: int) -> None:
        """A subnode without subnodes, which all can be read, and which no one takes for a heap."""
        if sub:
            raise NotPlain
        self._count()
        if bid & ids.BID_INTERNAL:
            leaves = self._leaves(bid)
            bid = leaves[0] if leaves else 0
        if bid:
            ib, cb = self._place(bid)
            start = decode(self._window.read(ib, min(cb, 12)), self._ndb.header.bCryptMethod, bid)
            if start[2:3] == bytes([HN_SIGNATURE]):
                raise NotPlain

    def _subnodes(self, bid: int) -> Subnodes:
        self._count()
        if not bid:
            return {}
        if not bid & ids.BID_INTERNAL:
            raise NotPlain
        ib, cb = self._place(bid)
        data = self._window.read(ib, cb)
        if block_kind(data) != (BTYPE_S, 0):
            raise NotPlain
        found = {nid & 0xFFFFFFFF: (below, sub) for nid, below, sub in SLBlock.values(UNICODE, data)}
        if len(found) != int.from_bytes(data[2:4], "little"):
            raise NotPlain
        return found

    def _blocks(self, bid: int) -> list[bytes]:
        """The blocks of a tree that has not many, and one at least."""
        self._count()
        leaves = self._leaves(bid) if bid & ids.BID_INTERNAL else [bid]
        if not leaves or len(leaves) > _MAX_BLOCKS:
            raise NotPlain
        blocks = []
        for leaf in leaves:
            ib, cb = self._place(leaf)
            blocks.append(decode(self._window.read(ib, cb), self._ndb.header.bCryptMethod, leaf))
        return blocks

    def _leaves(self, root: int) -> list[int]:
        log = DamageLog()
        tree = DataTree(self._ndb, root, log)
        if log or tree.broken:
            raise NotPlain
        return tree.leaves

    def _place(self, bid: int) -> tuple[int, int]:
        at = self._ndb.blocks.position(bid)
        if at is None:
            raise NotPlain
        _, ib, cb = self._ndb.blocks.place(at)
        return ib, cb

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise NotPlain


class PlainRows:
    """Tells which rows of ``table`` are plain: each cell that refers to a value refers to one in the table's heap."""

    def __init__(self, table: TableContext) -> None:
        self._heap = table.heap
        self._shift = table.node.ndb.format.hid_shift
        self._mask = (1 << self._shift) - 1
        self._counts: dict[int, int] = {}
        self._cells = _cells(table.info.rgib[2], table.columns.values())

    def __contains__(self, row: Row) -> bool:
        data, counts, shift, mask = row.data, self._counts, self._shift, self._mask
        for byte, bit, at in self._cells:
            if data[byte] & bit:
                if at == _ODD:
                    return False
                (hid,) = _DWORD.unpack_from(data, at)
                block = hid >> shift
                count = counts.get(block)
                if count is None:
                    count = counts[block] = self._items(block)
                if hid and (hid & 0x1F or not 0 < (hid & mask) >> 5 < count):
                    return False
        return True

    def _items(self, block: int) -> int:
        try:
            return len(self._heap.page(block)[1])
        except Damaged:
            return 0


class _PlainHeap:
    """A heap with sound page maps. NotPlain where it is another."""

    def __init__(self, blocks: list[bytes], client: int) -> None:
        _, signature, found, self.root = _HNHDR.unpack_from(blocks[0])
        if signature != HN_SIGNATURE or found != client or len(blocks[0]) < 12:
            raise NotPlain
        self._blocks = [(data, _offsets(data)) for data in blocks]
        # Most values are in the first block: what is needed to look there, and the first HID behind its items.
        self._data, self._offsets = self._blocks[0]
        self._end = min(len(self._offsets) << 5, 1 << UNICODE.hid_shift)

    def item(self, hid: int) -> bytes:
        """The item ``hid``; empty for 0."""
        if not hid:
            return b""
        if hid < self._end and not hid & 0x1F:
            number = hid >> 5
            return self._data[self._offsets[number - 1] : self._offsets[number]]
        number, block = (hid & _ITEM) >> 5, hid >> UNICODE.hid_shift
        if hid & 0x1F or block >= len(self._blocks):
            raise NotPlain
        data, offsets = self._blocks[block]
        if not 0 < number < len(offsets):
            raise NotPlain
        return data[offsets[number - 1] : offsets[number]]

    def require_value(self, hid: int, ptype: int) -> None:
        """NotPlain unless there is a value of ``ptype`` at ``hid``, or one of any size for 0."""
        if ptype in _ANY_SIZE and hid < self._end and not hid & 0x1F:
            return
        value, size = self.item(hid), FIXED.get(ptype)
        if ptype & ~_MULTIPLE == PT_STRING8 or (size is not None and len(value) < size):
            raise NotPlain
        if ptype & _MULTIPLE:
            decode_value(ptype, value, "cp1252")

    def leaf(self, hid: int, cb_key: int, cb_entry: int) -> bytes:
        """The records of a BTH without an index."""
        kind, key, entry, levels, root = _BTHHEADER.unpack_from(self.item(hid))
        if (kind, key, entry, levels) != (CLIENT_BTH, cb_key, cb_entry, 0):
            raise NotPlain
        records = self.item(root)
        if len(records) % (cb_key + cb_entry):
            raise NotPlain
        return records


class _Window:
    """Reads small pieces of ``source`` that lie near each other out of one large one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._start, self._run = 0, b""

    def read(self, ib: int, length: int) -> bytes:
        """``length`` bytes at ``ib``, which are in the file."""
        at = ib - self._start
        if at < 0 or at + length > len(self._run):
            self._start = max(0, ib - _BEHIND)
            self._run = self._source.read(self._start, _BEHIND + _AHEAD)
            at = ib - self._start
        return self._run[at : at + length]


def _offsets(data: bytes) -> tuple[int, ...]:
    """The page map of a heap block."""
    (at,) = struct.unpack_from("<H", data)
    (count,) = struct.unpack_from("<H", data, at)
    offsets = struct.unpack_from(f"<{count + 1}H", data, at + 4)
    if offsets[-1] > at or list(offsets) != sorted(offsets):
        raise NotPlain
    return offsets


def _shape(info: bytes) -> tuple[int, Cells]:
    """The size of a row of a table with TCINFO ``info``, and its cells that refer to values."""
    found = TCInfo.unpack(info)
    bits, size = found.rgib[2:]
    if found.bType != CLIENT_TC or not 4 <= bits <= size <= UNICODE.max_block_data:
        raise NotPlain
    for each in found.rgTCOLDESC:
        inline = TableContext.is_inline(each)
        if bits + (each.iBit >> 3) >= size or each.ibData + each.cbData > bits or not (inline or each.cbData == 4):
            raise NotPlain
    if len({each.tag >> 16 for each in found.rgTCOLDESC}) < len(found.rgTCOLDESC):
        raise NotPlain
    return size, _cells(bits, found.rgTCOLDESC)


def _cells(bits: int, columns: Iterable[TColDesc]) -> Cells:
    cells = []
    for each in columns:
        ptype = each.tag & 0xFFFF
        if not TableContext.is_inline(each):
            odd = ptype in FIXED or ptype in INLINE or ptype & _MULTIPLE or ptype == PT_STRING8
            cells.append((bits + (each.iBit >> 3), 0x80 >> (each.iBit & 7), _ODD if odd else each.ibData))
    return cells
