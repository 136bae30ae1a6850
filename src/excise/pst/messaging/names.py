"""Named properties: ids from 0x8000 on, and what they stand for ([MS-PST] 2.4.7)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.heaps import NameId
from excise.pst.disk.ids import NID_NAME_TO_ID_MAP
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ndb.read import NodeDatabase

PS_MAPI = UUID("00020328-0000-0000-c000-000000000046")
PS_PUBLIC_STRINGS = UUID("00020329-0000-0000-c000-000000000046")
PSETID_COMMON = UUID("00062008-0000-0000-c000-000000000046")
#: The property set of this program.
PS_EXCISE = UUID("6f0f6c1e-5a51-4c0e-9b0b-2f1d6a3e8c47")

_FIRST_ID = 0x8000
_GUID_STREAM, _ENTRY_STREAM, _STRING_STREAM = 2, 3, 4


@dataclass(frozen=True, slots=True)
class PropertyName:
    """A property set and, in it, a number (LID) or a string."""

    guid: UUID
    key: int | str


class NamedProperties:
    """The name-to-id map of a file. A file without one has no names; what cannot be read is reported and missing.

    Names may share their characters, so that a small map could stand for any amount of text: once they are larger than
    the file, the others are missing.
    """

    def __init__(self, ndb: NodeDatabase) -> None:
        self._log = ndb.log
        self._room = ndb.max_tree_size
        self.by_id: dict[int, PropertyName] = {}
        self.by_name: dict[PropertyName, int] = {}
        node = ndb.node(NID_NAME_TO_ID_MAP)
        if node is None:
            self._log.add(_damage("NBT", "the node 0x61", "none"))
            return
        try:
            context = PropertyContext(node)
            guids, entries, strings = map(context.raw, (_GUID_STREAM, _ENTRY_STREAM, _STRING_STREAM))
        except Damaged as error:
            self._log.add(error.damage)
            return
        for entry in NameId.unpack_all(entries):
            name = self._name(entry, guids, strings)
            if name is not None:
                self.by_id.setdefault(_FIRST_ID + entry.wPropIdx, name)
        self.by_name = {name: prop_id for prop_id, name in reversed(self.by_id.items())}

    def __len__(self) -> int:
        return len(self.by_id)

    def name_of(self, prop_id: int) -> PropertyName | None:
        """What ``prop_id`` stands for, None where it has no name."""
        return self.by_id.get(prop_id)

    def id_of(self, guid: UUID, key: int | str) -> int | None:
        """The property id of a name in this file, None where it has none."""
        return self.by_name.get(PropertyName(guid, key))

    def _name(self, entry: NameId, guids: bytes, strings: bytes) -> PropertyName | None:
        index = entry.wGuid >> 1
        if index in (1, 2):
            guid = PS_MAPI if index == 1 else PS_PUBLIC_STRINGS
        elif index >= 3 and len(raw := guids[(index - 3) * 16 : (index - 2) * 16]) == 16:
            guid = UUID(bytes_le=raw)
        elif index == 0:
            guid = UUID(int=0)
        else:
            self._log.add(_damage("wGuid", f"a GUID in a stream of {len(guids)} bytes", f"index {index - 3}"))
            return None
        if not entry.wGuid & 1:
            return PropertyName(guid, entry.dwPropertyID)
        at = entry.dwPropertyID
        size = int.from_bytes(strings[at : at + 4], "little")
        if at + 4 + size > len(strings):
            self._log.add(
                _damage("dwPropertyID", f"a string in a stream of {len(strings)} bytes", f"{size} bytes at {at}")
            )
            return None
        self._room -= size
        if self._room < 0:
            self._log.add(_damage("dwPropertyID", "names no larger than their file", "more"))
            return None
        return PropertyName(guid, strings[at + 4 : at + 4 + size].decode("utf-16-le", "replace"))


def _damage(field: str, expected: str, found: str) -> Damage:
    return Damage("messaging", "NAMEID", field, "the name-to-id map", -1, expected, found)
