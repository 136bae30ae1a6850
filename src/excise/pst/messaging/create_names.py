"""The name-to-id map of a new file, built ([MS-PST] 2.4.7)."""

from __future__ import annotations

from struct import Struct
from uuid import UUID

from excise.pst.disk.crypt import crc
from excise.pst.messaging.names import PS_MAPI, PS_PUBLIC_STRINGS, PropertyName

_BUCKETS = 251
FIRST_BUCKET = 0x1000
_FIRST_ID = 0x8000
_LAST_ID = 0xFFFE
_NAMEID = Struct("<IHH")
BUCKET_COUNT, GUID_STREAM, ENTRY_STREAM, STRING_STREAM = 1, 2, 3, 4


class NameMapBuilder:
    """Gives named properties their ids, from 0x8000 on, and lays out the map that records them."""

    def __init__(self) -> None:
        self._next = 0
        self._bucket_count = _BUCKETS
        self._ids: dict[PropertyName, int] = {}
        self._guids: dict[UUID, int] = {PS_MAPI: 1, PS_PUBLIC_STRINGS: 2}
        self._guid_stream = bytearray()
        self._entries = bytearray()
        self._strings = bytearray()
        self._buckets: dict[int, bytearray] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def id_of(self, name: PropertyName) -> int:
        """The id of ``name``, a new one where it has none yet. Raises OverflowError when all ids are taken."""
        if (known := self._ids.get(name)) is not None:
            return known
        prop_id = _FIRST_ID + self._next
        if prop_id > _LAST_ID:
            raise OverflowError("a PST file has no room for more named properties")
        self._add(name, self._next)
        self._ids[name] = prop_id
        self._next += 1
        return prop_id

    def values(self) -> dict[int, bytes]:
        """The values of node 0x61 by property id: the bucket count is an Integer32, all others are Binary."""
        streams = {
            BUCKET_COUNT: self._bucket_count.to_bytes(4, "little"),
            GUID_STREAM: bytes(self._guid_stream),
            ENTRY_STREAM: bytes(self._entries),
            STRING_STREAM: bytes(self._strings),
        }
        return streams | {FIRST_BUCKET + hashed: bytes(self._buckets[hashed]) for hashed in sorted(self._buckets)}

    def _add(self, name: PropertyName, index: int) -> None:
        guid = self._guid_index(name.guid) << 1
        if isinstance(name.key, int):
            number = key = name.key
        else:
            guid |= 1
            text = name.key.encode("utf-16-le")
            number, key = len(self._strings), crc(text)
            self._strings += len(text).to_bytes(4, "little") + text + bytes(-len(text) % 4)
        self._entries += _NAMEID.pack(number, guid, index)
        bucket = self._buckets.setdefault((key ^ guid) % self._bucket_count, bytearray())
        bucket += _NAMEID.pack(key, guid, index)

    def _guid_index(self, guid: UUID) -> int:
        if guid not in self._guids:
            self._guids[guid] = len(self._guids) + 1
            self._guid_stream += guid.bytes_le
        return self._guids[guid]
