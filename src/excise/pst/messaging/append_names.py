"""New names in the name-to-id map of an existing file ([MS-PST] 2.4.7). Ids that the file has given stay."""

from __future__ import annotations

from uuid import UUID

from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.heaps import NameId
from excise.pst.disk.ids import NID_NAME_TO_ID_MAP
from excise.pst.ltp.build_heap import Built
from excise.pst.ltp.build_properties import Property
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.rebuild import Keep, rebuild_properties, require_sound
from excise.pst.ltp.values import PT_BINARY, PT_LONG
from excise.pst.messaging.create_names import (
    BUCKET_COUNT,
    ENTRY_STREAM,
    FIRST_BUCKET,
    GUID_STREAM,
    STRING_STREAM,
    NameMapBuilder,
)
from excise.pst.messaging.names import NamedProperties, PropertyName
from excise.pst.ndb.read import Node, NodeDatabase
from excise.pst.ndb.write_types import Sink


class ExistingNames(NameMapBuilder):
    """The names of a file, and those that come to it. Damaged at the first name where the map cannot be read."""

    def __init__(self, ndb: NodeDatabase, names: NamedProperties) -> None:
        super().__init__()
        self._ndb = ndb
        self._known = names
        self._node: Node | None = None
        self._stored: dict[int, bytes] = {}

    def id_of(self, name: PropertyName) -> int:
        """The id of ``name`` in the file, a new one where it has none yet. Raises OverflowError when all are taken."""
        known = self._known.by_name.get(name)
        if known is not None:
            return known
        if self._node is None:
            self._node = self._read()
        return super().id_of(name)

    @property
    def changed(self) -> bool:
        """True where names were added."""
        return len(self) > 0

    def rebuild(self, sink: Sink, keep: Keep) -> Built:
        """Write node 0x61 with the new names."""
        assert self._node is not None  # noqa: S101 - names were added
        values = {prop_id: data for prop_id, data in self.values().items() if self._stored.get(prop_id) != data}
        changed = {prop_id: data for prop_id, data in values.items() if prop_id in self._stored}
        added = [
            Property(prop_id, PT_LONG if prop_id == BUCKET_COUNT else PT_BINARY, data)
            for prop_id, data in values.items()
            if prop_id not in self._stored
        ]
        return rebuild_properties(sink, keep, self._node, changed, added)

    def _read(self) -> Node:
        node = self._ndb.node(NID_NAME_TO_ID_MAP, DamageLog())
        if node is None:
            raise Damaged(_damage("a name-to-id map", "none"))
        context = PropertyContext(node)
        self._stored = {prop_id: context.raw(prop_id) for prop_id in context.ids()}
        require_sound(node)
        self._bucket_count = int.from_bytes(self._stored.get(BUCKET_COUNT, b""), "little")
        if not 0 < self._bucket_count <= 0xF000 - FIRST_BUCKET:
            raise Damaged(_damage("a number of hash buckets", f"{self._bucket_count}"))
        self._guid_stream[:] = self._stored.get(GUID_STREAM, b"")
        self._entries[:] = self._stored.get(ENTRY_STREAM, b"")
        self._strings[:] = self._stored.get(STRING_STREAM, b"")
        self._strings += bytes(-len(self._strings) % 4)  # Outlook does not fill up the last one
        if len(self._guid_stream) % 16 or len(self._entries) % 8:
            raise Damaged(_damage("streams of whole entries", "a part of one"))
        self._buckets = {
            prop_id - FIRST_BUCKET: bytearray(data)
            for prop_id, data in self._stored.items()
            if FIRST_BUCKET <= prop_id < FIRST_BUCKET + self._bucket_count
        }
        for at in range(0, len(self._guid_stream), 16):
            self._guids.setdefault(UUID(bytes_le=bytes(self._guid_stream[at : at + 16])), at // 16 + 3)
        taken = [each.wPropIdx for each in NameId.unpack_all(bytes(self._entries))]
        self._next = max(taken, default=-1) + 1
        return node

    def _guid_index(self, guid: UUID) -> int:
        if guid not in self._guids:
            self._guids[guid] = len(self._guid_stream) // 16 + 3
            self._guid_stream += guid.bytes_le
        return self._guids[guid]


def _damage(expected: str, found: str) -> Damage:
    return Damage("messaging", "name-to-id map", "content", "node 0x61", -1, expected, found)
