"""Property Contexts ([MS-PST] 2.3.3), and what every set of properties offers.

A value that cannot be read is a ``Damage`` in the place of the value, and in the log of the node.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from struct import Struct

from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.heaps import CLIENT_PC, is_hid
from excise.pst.ltp.heap import BTreeOnHeap, Heap
from excise.pst.ltp.values import INLINE, PT_OBJECT, Cell, ObjectRef, Value, decode_value
from excise.pst.ndb.read import Node

_RECORDS = Struct("<HHI")


class Properties(ABC):
    """Properties by id (the upper half of a tag). ``codec`` decodes PtypString8."""

    codec: str = "cp1252"

    @abstractmethod
    def ids(self) -> Iterator[int]:
        """The ids of all properties."""

    @abstractmethod
    def type_of(self, prop_id: int) -> int | None:
        """The type of a property as stored, None where it is absent."""

    @abstractmethod
    def raw(self, prop_id: int) -> bytes:
        """The bytes of a value as [MS-PST] stores them; empty where it is absent. Damaged where it cannot be read."""

    @abstractmethod
    def _record(self, damage: Damage) -> None:
        """Put ``damage`` into the log."""

    @abstractmethod
    def _owner(self) -> tuple[str, int]:
        """What has these properties, and where it lies in the file in bytes, -1 where that is not known."""

    def get(self, prop_id: int) -> Cell:
        """The value of a property; None where it is absent, a Damage where it cannot be read."""
        ptype = self.type_of(prop_id)
        if ptype is None:
            return None
        try:
            data = self.raw(prop_id)
            return decode_value(ptype, data, self.codec)
        except Damaged as error:
            damage = error.damage
        except ValueError as error:
            owner, offset = self._owner()
            place = f"property 0x{prop_id:04x}{ptype:04x} of {owner}"
            damage = Damage("ltp", "property", "value", place, offset, "a value of its type", str(error))
        self._record(damage)
        return damage

    def items(self) -> Iterator[tuple[int, int, Value | Damage]]:
        """All properties: id, type, value."""
        for prop_id in self.ids():
            value = self.get(prop_id)
            if value is not None:
                yield prop_id, self.type_of(prop_id) or 0, value

    def text(self, prop_id: int) -> str | None:
        """A property as text; None where it is absent, of another type or unreadable."""
        value = self.get(prop_id)
        return value if isinstance(value, str) else None

    def integer(self, prop_id: int) -> int | None:
        """A property as a number; None where it is absent, of another type or unreadable."""
        value = self.get(prop_id)
        return value if isinstance(value, int) else None

    def time(self, prop_id: int) -> datetime | None:
        """A property as a moment; None where it is absent, of another type, out of range or unreadable."""
        value = self.get(prop_id)
        return value if isinstance(value, datetime) else None

    def binary(self, prop_id: int) -> bytes | None:
        """A property as bytes; None where it is absent, of another type or unreadable."""
        value = self.get(prop_id)
        return value if isinstance(value, bytes) else None

    def __contains__(self, prop_id: int) -> bool:
        return self.type_of(prop_id) is not None


class PropertyContext(Properties):
    """The PC of ``node``. Damaged where it is none; records that cannot be read are reported and missing.

    Of a property that is there twice the first counts, and the other is reported.
    """

    def __init__(self, node: Node, codec: str = "cp1252") -> None:
        self.codec = codec
        self.node = node
        self._heap = Heap(node, CLIENT_PC)
        self._records: dict[int, tuple[int, int]] = {}
        count = 0
        for leaf in BTreeOnHeap(self._heap, self._heap.root, 2, 6).leaves():
            count += len(leaf) // _RECORDS.size
            for prop_id, ptype, hnid in _RECORDS.iter_unpack(leaf):
                self._records.setdefault(prop_id, (ptype, hnid))
        if count > len(self._records):
            # The first stands; that there is another value must not be lost.
            found = f"{count - len(self._records)} again"
            node.log.add(self._heap.damage("PC", "wPropId", "each property once", found))

    def ids(self) -> Iterator[int]:
        """See ``Properties``."""
        return iter(self._records)

    def type_of(self, prop_id: int) -> int | None:
        """See ``Properties``."""
        record = self._records.get(prop_id)
        return None if record is None else record[0]

    def raw(self, prop_id: int) -> bytes:
        """See ``Properties``. An object gives its eight bytes {NID, size}; see ``object_node`` for what it holds."""
        record = self._records.get(prop_id)
        if record is None:
            return b""
        ptype, hnid = record
        size = INLINE.get(ptype)
        return hnid.to_bytes(4, "little")[:size] if size is not None else self._heap.value(hnid)

    def hnid(self, prop_id: int) -> int | None:
        """``dwValueHnid`` of a property as it stands in its record."""
        record = self._records.get(prop_id)
        return None if record is None else record[1]

    def tree_of(self, prop_id: int) -> int | None:
        """The root block of a value that is a tree of blocks of its own; None for any other."""
        ptype, hnid = self._records.get(prop_id, (0, 0))
        entry = None if ptype in INLINE or is_hid(hnid) else self.node.subnodes.get(hnid)
        return None if entry is None else entry.bidData

    def chunks(self, prop_id: int) -> Iterator[bytes]:
        """A value's bytes in pieces of a block, for what may be large. Damaged where a part cannot be read."""
        ptype, hnid = self._records.get(prop_id, (0, 0))
        if ptype == PT_OBJECT:
            node = self.object_node(prop_id)
            yield from node.data.chunks() if node is not None else ()
        elif ptype in INLINE or is_hid(hnid):
            yield self.raw(prop_id)
        else:
            yield from self._heap.subnode(hnid).data.chunks()

    def size_of(self, prop_id: int) -> int:
        """Bytes that ``chunks`` will give. Damaged where that cannot be told."""
        ptype, hnid = self._records.get(prop_id, (0, 0))
        if ptype == PT_OBJECT:
            node = self.object_node(prop_id)
            return node.data.size if node is not None else 0
        if ptype in INLINE or is_hid(hnid):
            return len(self.raw(prop_id))
        return self._heap.subnode(hnid).data.size

    def object_node(self, prop_id: int) -> Node | None:
        """The subnode that an object property refers to; None where it is absent or no object. Damaged if missing."""
        value = self.get(prop_id)
        if isinstance(value, Damage):
            raise Damaged(value)
        return self._heap.subnode(value.nid) if isinstance(value, ObjectRef) else None

    def _record(self, damage: Damage) -> None:
        self.node.log.add(damage)

    def _owner(self) -> tuple[str, int]:
        return f"node 0x{self.node.nid:x}", self.node.offset()
