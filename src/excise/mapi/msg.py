"""Outlook's .msg files ([MS-OXMSG]) through olefile: bytes or a path to an item.

Invariants: all streams together are read to no more than the size of the file, so that a directory whose entries share
sectors gives nothing; storages are followed to ``MAX_EMBEDDING``; damage within a message is noted, and only a file
that is no compound file, or no message, is an error.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from excise.core.errors import DamagedInput
from excise.mapi.item import MAX_EMBEDDING, AttachMethod, MapiAttachment, MapiItem
from excise.mapi.named import read_names
from excise.mapi.properties import PropertyBag, RawProperty, fixed_size, is_variable, join_multiple, without_terminator
from excise.mapi.tags import (
    MULTIPLE,
    NamedProperty,
    PidTagAttachDataBinary,
    PidTagAttachMethod,
    PropertyTag,
    PropertyType,
)

SIGNATURE = bytes.fromhex("d0cf11e0a1b11ae1")
#: A .msg file above this is refused; olefile holds what it reads in memory.
MAX_FILE = 1 << 30
_PROPERTIES = "__properties_version1.0"
_SUBSTORAGE = re.compile(r"__substg1\.0_([0-9a-f]{8})(?:-([0-9a-f]{8}))?\Z", re.IGNORECASE)
_RECIPIENT = re.compile(r"__recip_version1\.0_#[0-9a-f]{8}\Z", re.IGNORECASE)
_ATTACHMENT = re.compile(r"__attach_version1\.0_#[0-9a-f]{8}\Z", re.IGNORECASE)
_STREAM_LIMIT = 2048  # recipients or attachments; [MS-OXMSG] 2.2.1 and 2.2.2 allow no more
_OBJECT = "__substg1.0_3701000D"


def is_msg(data: bytes) -> bool:
    """True where ``data`` begins as a compound file, as .msg files do."""
    return data[:8] == SIGNATURE


def read_msg(source: bytes | Path) -> MapiItem:
    """The item in a .msg file.

    A file that is no compound file, whose directory is damaged, or that holds no message is a DamagedInput.
    """
    place = str(source) if isinstance(source, Path) else "the .msg file"
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size > MAX_FILE:
        raise DamagedInput(f"{place} has {size} bytes; .msg files above {MAX_FILE} bytes are not read")
    data = source.read_bytes() if isinstance(source, Path) else source
    if not is_msg(data):
        raise DamagedInput(f"{place} is no .msg file: it begins with {data[:8].hex() or 'nothing'}")
    reader = _Reader(data, place)
    if not reader.has((), _PROPERTIES):
        raise DamagedInput(f"{place} is a compound file, but no message: it has no stream {_PROPERTIES}")
    return reader.message((), 0)


class _Reader:
    def __init__(self, data: bytes, place: str) -> None:
        import olefile

        try:
            self._ole: Any = olefile.OleFileIO(io.BytesIO(data))
        except Exception as error:  # olefile raises OSError, IndexError, RecursionError … on damaged directories
            raise DamagedInput(f"{place} is a damaged compound file: {error}") from error
        self._budget = len(data)
        self._notes: list[str] = []
        self._names: dict[int, NamedProperty] = {}
        self._read_names()

    def _read_names(self) -> None:
        path = ("__nameid_version1.0",)
        if self.has(path, "__substg1.0_00030102"):
            streams = [self._stream(path, f"__substg1.0_000{n}0102") or b"" for n in (2, 3, 4)]
            self._names, notes = read_names(*streams)
            self._notes += notes

    def _entry(self, path: tuple[str, ...]) -> Any:
        entry = self._ole.root
        for name in path:
            entry = entry.kids_dict.get(name.lower())
            if entry is None:
                return None
        return entry

    def has(self, path: tuple[str, ...], name: str) -> bool:
        """True where the storage at ``path`` has a member ``name``."""
        return self._entry((*path, name)) is not None

    def _members(self, path: tuple[str, ...], pattern: re.Pattern[str]) -> list[str]:
        entry = self._entry(path)
        return sorted(kid.name for kid in entry.kids if pattern.match(kid.name)) if entry is not None else []

    def _stream(self, path: tuple[str, ...], name: str) -> bytes | None:
        """The bytes of a stream, None (with a note, but for an absent one) where they cannot be read."""
        full = [*path, name]
        entry = self._entry(tuple(full))
        if entry is None or entry.entry_type != 2:
            return None
        if entry.size > self._budget:
            self._notes.append(f"the stream {'/'.join(full)} says {entry.size} bytes, more than the file can hold")
            return None
        self._budget -= entry.size
        try:
            data: bytes = self._ole.openstream(full).read()
        except Exception as error:  # noqa: BLE001  olefile's errors have no common base; each is noted
            self._notes.append(f"the stream {'/'.join(full)} cannot be read: {error}")
            return None
        if len(data) != entry.size:
            self._notes.append(f"the stream {'/'.join(full)} says {entry.size} bytes, {len(data)} are there")
        return data

    def message(self, path: tuple[str, ...], depth: int, code_page: int | None = None) -> MapiItem:
        """The message in the storage at ``path``."""
        outer, self._notes = self._notes, [] if depth else self._notes
        bag = self._bag(path, 32 if depth == 0 else 24, code_page)
        recipients = [self._bag((*path, name), 8, bag.code_page) for name in self._capped(path, _RECIPIENT)]
        attachments = [self._attachment((*path, n), depth, bag.code_page) for n in self._capped(path, _ATTACHMENT)]
        item = MapiItem(bag, tuple(recipients), tuple(attachments), tuple(self._notes))
        self._notes = outer
        return item

    def _capped(self, path: tuple[str, ...], pattern: re.Pattern[str]) -> list[str]:
        names = self._members(path, pattern)
        if len(names) > _STREAM_LIMIT:
            self._notes.append(f"{len(names) - _STREAM_LIMIT} of {len(names)} entries like {names[0]} are not read")
        return names[:_STREAM_LIMIT]

    def _attachment(self, path: tuple[str, ...], depth: int, code_page: int) -> MapiAttachment:
        whole = self._bag(path, 8, code_page)
        stored = whole.raw(PidTagAttachDataBinary)
        bag = PropertyBag([e for e in whole if e.tag.id != PidTagAttachDataBinary.id], code_page)
        inner = (*path, _OBJECT)
        entry = self._entry(inner)
        if entry is not None and entry.entry_type == 1:
            if not self.has(inner, _PROPERTIES):
                return MapiAttachment(bag, reason="it is an OLE object in a storage of its own")
            if depth >= MAX_EMBEDDING:
                return MapiAttachment(bag, reason=f"messages are nested deeper than {MAX_EMBEDDING}")
            return MapiAttachment(bag, embedded=self.message(inner, depth + 1, code_page))
        if stored is not None:
            return MapiAttachment(bag, data=stored.raw)
        method = bag.integer(PidTagAttachMethod)
        if method in (AttachMethod.ByReference, AttachMethod.ByReferenceResolve, AttachMethod.ByReferenceOnly):
            return MapiAttachment(bag, reason="it is a reference to a file that is not in the message")
        return MapiAttachment(bag, reason="its data cannot be read")

    def _bag(self, path: tuple[str, ...], header: int, code_page: int | None) -> PropertyBag:
        return PropertyBag(self._properties(path, header), code_page)

    def _properties(self, path: tuple[str, ...], header: int) -> Iterator[RawProperty]:
        """The property stream ([MS-OXMSG] 2.4), then streams that it does not list."""
        table = self._stream(path, _PROPERTIES)
        if table is None:
            self._notes.append(f"{'/'.join(path)} has no readable property stream")
            table = b""
        seen: set[int] = set()
        for at in range(header, len(table) - 15, 16):
            tag = PropertyTag.parse(struct.unpack_from("<I", table, at)[0])
            if tag.value in seen:
                continue
            seen.add(tag.value)
            raw = self._value(path, tag, table[at + 8 : at + 16])
            if raw is not None:
                yield RawProperty(tag, raw, self._names.get(tag.id))
        for name in self._members(path, _SUBSTORAGE):
            match = _SUBSTORAGE.match(name)
            if match is None or match[2] is not None:
                continue
            tag = PropertyTag.parse(int(match[1], 16))
            if tag.value not in seen and tag.type != PropertyType.Object and not tag.type & MULTIPLE:
                raw = self._value(path, tag, b"")
                if raw is not None:
                    yield RawProperty(tag, raw, self._names.get(tag.id))

    def _value(self, path: tuple[str, ...], tag: PropertyTag, inline: bytes) -> bytes | None:
        """A value in the raw form of a bag; None where it has none of its own (an object) or cannot be read."""
        single = tag.type & ~MULTIPLE
        size = fixed_size(single)
        if size is not None and size <= 8 and not tag.type & MULTIPLE:
            return inline[:size]
        name = f"__substg1.0_{tag.value:08X}"
        if tag.type == PropertyType.Object and (self._entry((*path, name)) is None or self._is_storage(path, name)):
            return None
        data = self._stream(path, name)
        if data is None:
            self._notes.append(f"the property {tag} of {'/'.join(path) or 'the message'} has no readable value")
            return None
        return self._multiple(path, name, single, data) if tag.type & MULTIPLE and is_variable(single) else data

    def _is_storage(self, path: tuple[str, ...], name: str) -> bool:
        return bool(self._entry((*path, name)).entry_type == 1)

    def _multiple(self, path: tuple[str, ...], name: str, single: int, lengths: bytes) -> bytes:
        """[MS-OXMSG] 2.1.4.3: one stream for each value, and one of their lengths (8 bytes each for binary values)."""
        pieces: list[bytes] = []
        for index in range(len(lengths) // (8 if single == PropertyType.Binary else 4)):
            piece = self._stream(path, f"{name}-{index:08X}")
            if piece is None:
                self._notes.append(f"value {index + 1} of {name} cannot be read")
                break
            pieces.append(without_terminator(piece, single))
        return join_multiple(pieces)
