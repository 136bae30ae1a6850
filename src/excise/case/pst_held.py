"""Messages as two readers of PST files find them, in one form for both: libpff, and Excise's own reader.

Neither shares code with what writes PST files but for the layouts in ``excise.pst.disk``. libpff has no call for
embedded messages and for recipients and attachments of classes that it does not know, and refuses values above 128 MiB:
there Excise's own reader is asked.

What is kept of one message at a time is no more than its file can hold: values that share blocks give nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from excise.core.bulk import Spool
from excise.core.errors import ExciseError
from excise.core.text import shown
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import PS_MAPI, PS_PUBLIC_STRINGS, NamedProperty
from excise.pst import Damaged
from excise.pst.file.read import PstFile
from excise.pst.ltp.properties import Properties
from excise.pst.messaging.message import Attachment, Message
from excise.pst.ndb.read import NodeDatabase

Names = Mapping[int, NamedProperty]
DATA = 0x3701
_LIBPFF_LIMIT = 120 << 20
_PIECE = 1 << 20
#: What names may take beside twice the stream that they are in: that much may share its characters.
_NAME_LIMIT = 1 << 20


class Unreadable(Exception):
    """Something cannot be read; the text is the reader's reason."""


@dataclass(frozen=True, slots=True)
class HeldAttachment:
    """An attachment. ``content`` reads it: size and SHA-256; ``embedded`` is the message in it, or None."""

    properties: PropertyBag
    content: Callable[[], tuple[int, str]]
    embedded: Callable[[], Held | None]


@dataclass(frozen=True, slots=True)
class Held:
    """A message that a PST file holds."""

    properties: PropertyBag
    recipients: list[PropertyBag]
    attachments: list[HeldAttachment]


@contextmanager
def reading() -> Iterator[None]:
    """Turn what either reader raises inside the block into ``Unreadable``."""
    try:
        yield
    except (Damaged, ExciseError) as error:
        raise Unreadable(shown(str(error), 300)) from error
    except (OSError, MemoryError, ValueError, OverflowError, SystemError) as error:
        raise Unreadable(f"libpff: {shown(str(error), 300)}") from error


class _Room:
    """How many bytes of values one message may still have."""

    def __init__(self, file: NodeDatabase) -> None:
        self._left = file.max_tree_size

    def within(self, entries: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """``entries``; a ValueError where they are too much."""
        for tag, raw in entries:
            self._left -= len(raw)
            if self._left < 0:
                raise ValueError("the values of a message are larger than their file")
            yield tag, raw


def record_sets(owner: Any, number: int) -> Iterator[tuple[int, bytes]]:
    """Tag and raw value of each property in record set ``number`` of a libpff object, but for attachments' content."""
    records = owner.get_record_set(number)
    for at in range(records.number_of_entries):
        entry = records.get_entry(at)
        if entry.entry_type is None or entry.value_type is None:
            raise ValueError(f"property {at + 1} has no id or no type")
        content = entry.entry_type == DATA
        yield entry.entry_type << 16 | entry.value_type, b"" if content else _aside(entry.get_data() or b"")


def _aside(raw: bytes) -> bytes:
    spool = Spool()
    spool.write(raw)
    return spool.content()


def held_by_libpff(node: Any, own: PstFile, names: Names) -> Held:
    """The message that is libpff's ``node``; ``own`` is the same file through Excise's reader."""
    room = _Room(own.ndb)
    bag = PropertyBag.from_raw(room.within(record_sets(node, 0)), names=names)
    other = _Own(own, node.identifier, names, bag.code_page)
    if not hasattr(node, "get_number_of_attachments"):
        return Held(bag, other.held.recipients, other.held.attachments)
    table = node.recipients
    count = table.number_of_record_sets if table is not None else 0
    rows = [PropertyBag.from_raw(room.within(record_sets(table, row)), bag.code_page, names) for row in range(count)]
    found = range(node.number_of_attachments)
    return Held(bag, rows, [_attachment(node.get_attachment(number), number, bag, other, room) for number in found])


def _attachment(node: Any, number: int, bag: PropertyBag, other: _Own, room: _Room) -> HeldAttachment:
    properties = PropertyBag.from_raw(room.within(record_sets(node, 0)), bag.code_page, other.names)

    def content() -> tuple[int, str]:
        with reading():
            size = left = node.size or 0
            if size > _LIBPFF_LIMIT:
                return other.held.attachments[number].content()
            digest = hashlib.sha256()
            while left and (piece := node.read_buffer(min(left, _PIECE))):
                digest.update(piece)
                left -= len(piece)
        return size - left, digest.hexdigest()

    return HeldAttachment(properties, content, lambda: other.held.attachments[number].embedded())


class _Own:
    """A message through Excise's own reader, opened when it is needed."""

    def __init__(self, file: PstFile, nid: int, names: Names, code_page: int) -> None:
        self._file, self._nid, self.names, self._code_page = file, nid, names, code_page
        self._held: Held | None = None

    @property
    def held(self) -> Held:
        """The message, whole."""
        if self._held is None:
            self._held = held_by_us(self._file.message(self._nid), self.names, self._code_page)
        return self._held


def held_by_us(message: Message, names: Names, code_page: int | None = None) -> Held:
    """``message``; Unreadable where anything of it is damaged. ``code_page`` is that of the item around it."""
    room = _Room(message.node.ndb)
    with reading():
        bag = PropertyBag.from_raw(room.within(_values(message.properties)), code_page, names)
        cells = (room.within(_values(row.properties)) for row in message.recipients)
        rows = [PropertyBag.from_raw(row, bag.code_page, names) for row in cells]
        attachments = [_own_attachment(each, bag.code_page, names, room) for each in message.attachments]
    if message.log.entries:
        raise Unreadable(message.log.entries[0].text())
    return Held(bag, rows, attachments)


def _own_attachment(attachment: Attachment, code_page: int, names: Names, room: _Room) -> HeldAttachment:
    def content() -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with reading():
            for piece in attachment.chunks():
                digest.update(piece)
                size += len(piece)
        return size, digest.hexdigest()

    def embedded() -> Held | None:
        with reading():
            inner = attachment.embedded
        return None if inner is None else held_by_us(inner, names, code_page)

    bag = PropertyBag.from_raw(room.within(_values(attachment.properties)), code_page, names)
    return HeldAttachment(bag, content, embedded)


def _values(properties: Properties) -> Iterator[tuple[int, bytes]]:
    for prop_id in properties.ids():
        kind = properties.type_of(prop_id) or 0
        yield prop_id << 16 | kind, b"" if prop_id == DATA else properties.raw(prop_id)


def names_of(handle: Any) -> dict[int, NamedProperty]:
    """The named properties of a file that libpff opened ([MS-PST] 2.4.7); a ValueError where the map is damaged."""
    node = handle.get_name_to_id_map()
    if node is None:
        raise ValueError("there is no map of named properties")
    streams = {tag >> 16: raw for tag, raw in record_sets(node, 0)}
    guids, entries, strings = (streams.get(key, b"") for key in (2, 3, 4))
    sets = [UUID(int=0), PS_MAPI, PS_PUBLIC_STRINGS]
    sets += [UUID(bytes_le=guids[at : at + 16]) for at in range(0, len(guids), 16)]
    found: dict[int, NamedProperty] = {}
    room = _NAME_LIMIT + 2 * len(strings)
    for at in range(0, len(entries), 8):
        number, kind, index = (int.from_bytes(entries[at + a : at + b], "little") for a, b in ((0, 4), (4, 6), (6, 8)))
        if kind >> 1 >= len(sets):
            raise ValueError(f"named property {index} is of a set that is not there")
        name = NamedProperty(sets[kind >> 1], lid=number)
        if kind & 1:
            size = int.from_bytes(strings[number : number + 4], "little")
            room -= size
            if room < 0:
                raise ValueError("the names of properties share their characters")
            text = strings[number + 4 : number + 4 + size].decode("utf-16-le")
            name = NamedProperty(sets[kind >> 1], name=text)
        found[0x8000 + index] = name
    return found
