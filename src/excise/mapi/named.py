"""The table of named properties as .msg files and PSTs store it ([MS-OXMSG] 2.2.3, [MS-PST] 2.4.7)."""

from __future__ import annotations

import struct
from uuid import UUID

from excise.mapi.tags import PS_MAPI, PS_PUBLIC_STRINGS, NamedProperty

_FIRST_ID = 0x8000
_NAME_LIMIT = 2048


def read_names(guids: bytes, entries: bytes, strings: bytes) -> tuple[dict[int, NamedProperty], list[str]]:
    """Property id -> name, from the GUID, entry and string streams; and notes on entries that cannot be read."""
    names: dict[int, NamedProperty] = {}
    bad = 0
    for at in range(0, len(entries) - 7, 8):
        key, kind, index = struct.unpack_from("<IHH", entries, at)
        guid = _guid(guids, kind >> 1)
        name = _string(strings, key) if kind & 1 else None
        if guid is None or (kind & 1 and name is None):
            bad += 1
        else:
            names[_FIRST_ID + index] = NamedProperty(guid, None if kind & 1 else key, name)
    return names, [f"{bad} names of named properties cannot be read"] if bad else []


def _guid(guids: bytes, index: int) -> UUID | None:
    if index == 1:
        return PS_MAPI
    if index == 2:
        return PS_PUBLIC_STRINGS
    raw = guids[(index - 3) * 16 : (index - 2) * 16] if index >= 3 else b""
    return UUID(bytes_le=raw) if len(raw) == 16 else None


def _string(strings: bytes, offset: int) -> str | None:
    if offset + 4 > len(strings):
        return None
    size = int.from_bytes(strings[offset : offset + 4], "little")
    if size % 2 or size > _NAME_LIMIT or offset + 4 + size > len(strings):
        return None
    return strings[offset + 4 : offset + 4 + size].decode("utf-16-le", "replace")
