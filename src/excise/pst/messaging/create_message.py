"""Messages, recipients and attachments, written ([MS-PST] 2.4.5, 2.4.6).

What [MS-PST] wants of every message and a message does not bring is filled in. Sizes are always those of what was
written, and the flag for attachments says what is there: the stored ones tell of another file.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from excise.pst.disk.heaps import MAX_HEAP_ITEM
from excise.pst.disk.ids import (
    NID_ATTACHMENT_TABLE,
    NID_RECIPIENT_TABLE,
    NID_TYPE_ATTACHMENT,
    NID_TYPE_LTP,
    NID_TYPE_NORMAL_MESSAGE,
)
from excise.pst.ltp.build_heap import Built
from excise.pst.ltp.build_properties import Property, build_properties
from excise.pst.ltp.build_table import ROW_ID_TAG, ROW_VERSION_TAG, NewCell, Schema, build_table
from excise.pst.ltp.values import (
    FIXED,
    PT_BINARY,
    PT_BOOLEAN,
    PT_LONG,
    PT_OBJECT,
    PT_STRING8,
    PT_SYSTIME,
    PT_UNICODE,
    ObjectRef,
    ansi_codec,
    encode_value,
)
from excise.pst.messaging import tags
from excise.pst.messaging.create_names import NameMapBuilder
from excise.pst.messaging.message import ATTACH_BY_VALUE, ATTACH_EMBEDDED_MSG, ATTACH_OLE, MAX_DEPTH
from excise.pst.messaging.new_message import NewAttachment, NewMessage, NewProperty
from excise.pst.messaging.templates import ASSOC_CONTENTS, ATTACHMENTS, CONTENTS, RECIPIENTS
from excise.pst.ndb.write_types import NO_TREE, Sink, SubnodeEntry, Tree

_FIRST_NAMED_ID = 0x8000
_LARGEST = 0x7FFFFFFF
_MIRRORED = {column.tag >> 16 for schema in (CONTENTS, ASSOC_CONTENTS, ATTACHMENTS) for column in schema.columns}
#: Empty text is no cell in a row that mirrors a message, but for these.
_EMPTY_CELLS = frozenset({tags.SUBJECT, tags.SENT_REPRESENTING_NAME, tags.CONVERSATION_TOPIC})


@dataclass(frozen=True, slots=True)
class Written:
    """A message that is in the file and no node yet: its trees, and its properties for the row that mirrors it."""

    data: Tree
    sub: Tree
    properties: Mapping[int, Property]
    codec: str

    @property
    def size(self) -> int:
        """PidTagMessageSize: the bytes of all its leaves, subnodes' included, or the most it can tell."""
        return min(self.data.size + self.sub.size, _LARGEST)

    def number(self, prop_id: int) -> int:
        """An Integer32 of the message; 0 where it has none."""
        return _number(self.properties, prop_id)

    def text(self, prop_id: int) -> str:
        """A short text of the message; empty where it has none, or one too long for a heap."""
        value = self.properties.get(prop_id)
        data = None if value is None else _cell(value, PT_UNICODE, self.codec)
        return data.decode("utf-16-le", "replace") if isinstance(data, bytes) else ""

    def cells(self, schema: Schema) -> dict[int, NewCell]:
        """A cell for each column of ``schema`` that is a property of the message, with its value."""
        found: dict[int, NewCell] = {}
        for column in schema.columns:
            value = self.properties.get(column.tag >> 16)
            data = None if value is None else _cell(value, column.tag & 0xFFFF, self.codec)
            if data is not None and (data or column.tag >> 16 in _EMPTY_CELLS):
                found[column.tag] = data
        return found


class MessageWriter:
    """Writes messages to ``sink``; ``names`` gives named properties their ids in the file.

    ValueError for a message that cannot be stored: a property twice, a value that has not the size of its type, an id
    from 0x8000 on without a name, embedded messages more than 64 deep. OverflowError where the file has no room for a
    new name.
    """

    def __init__(self, sink: Sink, names: NameMapBuilder) -> None:
        self._sink = sink
        self._names = names

    def write(self, message: NewMessage, *, flags: int = 0, no_flags: int = 0, depth: int = 0) -> Written:
        """Write all of ``message``, with the message flags ``flags`` set and ``no_flags`` cleared."""
        if depth > MAX_DEPTH:
            raise ValueError(f"embedded messages are more than {MAX_DEPTH} deep")
        values, subnodes = self._properties(message.properties)
        codec = _codec(values, message.codec)
        subnodes.append(self._table_node(NID_RECIPIENT_TABLE, self._recipients(message.recipients)))
        rows, entries, hidden = self._attachments(message.attachments, codec, depth)
        if rows:
            subnodes.append(self._table_node(NID_ATTACHMENT_TABLE, build_table(self._sink, ATTACHMENTS, rows)))
            subnodes += entries
            flags |= 0 if hidden else tags.FLAG_HAS_ATTACHMENTS
        else:
            no_flags |= tags.FLAG_HAS_ATTACHMENTS
        _fill_in(values, (_number(values, tags.MESSAGE_FLAGS) | flags) & ~no_flags)
        beside = sum(each.data.size + each.sub.size for each in subnodes)
        built = build_properties(self._sink, values.values(), size_id=tags.MESSAGE_SIZE, beside=beside)
        sub = self._sink.subnode_tree([*subnodes, *built.subnodes])
        written = Written(built.data, sub, values, codec)
        values[tags.MESSAGE_SIZE] = _long(tags.MESSAGE_SIZE, written.size)
        return written

    def _properties(self, properties: Iterable[NewProperty]) -> tuple[dict[int, Property], list[SubnodeEntry]]:
        """The properties by id with large values written, and the subnodes of objects."""
        values: dict[int, Property] = {}
        objects: list[SubnodeEntry] = []
        for each in properties:
            prop_id = self._id(each)
            if prop_id in values:
                raise ValueError(f"property 0x{prop_id:04x} is given twice")
            data = self._settled(each)
            size = FIXED.get(each.prop_type)
            if each.prop_type == PT_OBJECT:
                tree = data if isinstance(data, Tree) else self._sink.bytes_tree(data)
                objects.append(SubnodeEntry(self._sink.next_nid(NID_TYPE_LTP), tree, NO_TREE))
                data = encode_value(PT_OBJECT, ObjectRef(objects[-1].nid, tree.size))
            elif size is not None and (isinstance(data, Tree) or len(data) != size):
                raise ValueError(f"property 0x{prop_id:04x}{each.prop_type:04x} needs a value of {size} bytes")
            values[prop_id] = Property(prop_id, each.prop_type, data)
        return values, objects

    def _id(self, each: NewProperty) -> int:
        if each.name is not None:
            return self._names.id_of(each.name)
        if not 0 < each.prop_id < _FIRST_NAMED_ID:
            raise ValueError(f"property 0x{each.prop_id:04x} has no name")
        return each.prop_id

    def _settled(self, each: NewProperty) -> bytes | Tree:
        """A value that goes into a heap, else its tree. Text that a row has to hold in Unicode stays text."""
        data = each.data
        if each.prop_type == PT_STRING8 and each.prop_id in _MIRRORED:
            return data if isinstance(data, bytes) else b"".join(data)
        if isinstance(data, bytes):
            return data if len(data) <= MAX_HEAP_ITEM else self._sink.bytes_tree(data)
        chunks = iter(data)
        head = bytearray()
        for chunk in chunks:
            head += chunk
            if len(head) > MAX_HEAP_ITEM:
                return self._sink.bytes_tree(chain([bytes(head)], chunks))
        return bytes(head)

    def _table_node(self, nid: int, built: Built) -> SubnodeEntry:
        return SubnodeEntry(nid, built.data, self._sink.subnode_tree(built.subnodes))

    def _recipients(self, recipients: Sequence[Sequence[NewProperty]]) -> Built:
        rows: list[dict[int, NewCell]] = []
        for number, recipient in enumerate(recipients, 1):
            values, objects = self._properties(recipient)
            if objects:
                raise ValueError("a recipient with an object")
            rows.append({prop_id << 16 | each.prop_type: each.data for prop_id, each in values.items()})
            rows[-1] |= {ROW_ID_TAG: _dword(number), ROW_VERSION_TAG: _dword(self._sink.next_unique())}
        return build_table(self._sink, _recipient_schema({tag for row in rows for tag in row}), rows)

    def _attachments(
        self, attachments: Iterable[NewAttachment], codec: str, depth: int
    ) -> tuple[list[dict[int, NewCell]], list[SubnodeEntry], bool]:
        """Rows of the attachment table, attachment subnodes, and whether all attachments are hidden."""
        rows: list[dict[int, NewCell]] = []
        entries: list[SubnodeEntry] = []
        hidden = True
        for attachment in attachments:
            nid = self._sink.next_nid(NID_TYPE_ATTACHMENT)
            entry, written = self._attachment(nid, attachment, codec, depth)
            entries.append(entry)
            version = _dword(self._sink.next_unique())
            rows.append(written.cells(ATTACHMENTS) | {ROW_ID_TAG: _dword(nid), ROW_VERSION_TAG: version})
            flag = written.properties.get(tags.ATTACHMENT_HIDDEN, Property(0, PT_BOOLEAN, b"\0"))
            hidden = hidden and flag.data == b"\1"
        return rows, entries, hidden

    def _attachment(self, nid: int, attachment: NewAttachment, codec: str, depth: int) -> tuple[SubnodeEntry, Written]:
        values, subnodes = self._properties(attachment.properties)
        if attachment.embedded is not None:
            if tags.ATTACH_DATA in values or _number(values, tags.ATTACH_METHOD) not in (0, ATTACH_EMBEDDED_MSG):
                raise ValueError("an attachment with an embedded message and other data")
            inner = self.write(attachment.embedded, depth=depth + 1)
            subnodes.append(SubnodeEntry(self._sink.next_nid(NID_TYPE_NORMAL_MESSAGE), inner.data, inner.sub))
            reference = encode_value(PT_OBJECT, ObjectRef(subnodes[-1].nid, inner.size))
            values[tags.ATTACH_DATA] = Property(tags.ATTACH_DATA, PT_OBJECT, reference)
            values[tags.ATTACH_METHOD] = _long(tags.ATTACH_METHOD, ATTACH_EMBEDDED_MSG)
        _fill_in_attachment(values)
        built = build_properties(self._sink, values.values())
        sub = self._sink.subnode_tree([*subnodes, *built.subnodes])
        return SubnodeEntry(nid, built.data, sub), Written(built.data, sub, values, codec)


def _fill_in(values: dict[int, Property], flags: int) -> None:
    now = encode_value(PT_SYSTIME, datetime.now(UTC))
    values[tags.MESSAGE_FLAGS] = _long(tags.MESSAGE_FLAGS, flags)
    values[tags.MESSAGE_SIZE] = _long(tags.MESSAGE_SIZE, 0)
    for prop_id, prop_type, data in (
        (tags.MESSAGE_CLASS, PT_UNICODE, "IPM.Note".encode("utf-16-le")),
        (tags.CREATION_TIME, PT_SYSTIME, now),
        (tags.LAST_MODIFICATION_TIME, PT_SYSTIME, now),
        (tags.SEARCH_KEY, PT_BINARY, secrets.token_bytes(16)),
    ):
        values.setdefault(prop_id, Property(prop_id, prop_type, data))


def _fill_in_attachment(values: dict[int, Property]) -> None:
    data = values.get(tags.ATTACH_DATA)
    method = 0 if data is None else ATTACH_OLE if data.prop_type == PT_OBJECT else ATTACH_BY_VALUE
    values.setdefault(tags.ATTACH_METHOD, _long(tags.ATTACH_METHOD, method))
    values.setdefault(tags.RENDERING_POSITION, _long(tags.RENDERING_POSITION, -1))
    values[tags.ATTACH_SIZE] = _long(tags.ATTACH_SIZE, 0)
    size = sum(map(_value_size, values.values()))
    if size > _LARGEST:
        raise ValueError(f"an attachment of {size} bytes; a PST file can hold {_LARGEST} at most")
    values[tags.ATTACH_SIZE] = _long(tags.ATTACH_SIZE, size)


def _value_size(each: Property) -> int:
    """Bytes that a property counts for in PidTagAttachSize: an object as much as it holds."""
    if isinstance(each.data, Tree):
        return each.data.size
    return int.from_bytes(each.data[4:8], "little") if each.prop_type == PT_OBJECT else len(each.data)


def _cell(value: Property, ptype: int, codec: str) -> NewCell | None:
    """``value`` as a cell of a column of ``ptype``; None where it is of another type."""
    if value.prop_type == PT_STRING8 and ptype == PT_UNICODE and isinstance(value.data, bytes):
        return value.data.decode(codec, "replace").encode("utf-16-le")
    return value.data if value.prop_type == ptype else None


def _recipient_schema(used: set[int]) -> Schema:
    known = {column.tag for column in RECIPIENTS.columns}
    if used <= known:
        return RECIPIENTS
    ids = {tag >> 16 for tag in used}
    if len(ids) < len(used):
        raise ValueError("a property of recipients has two types")
    return Schema.of_tags(used | {tag for tag in known if tag >> 16 not in ids})


def _codec(values: Mapping[int, Property], default: str) -> str:
    pages = (tags.MESSAGE_CODEPAGE, tags.INTERNET_CODEPAGE, tags.MESSAGE_LOCALE_ID)
    return ansi_codec(*(_number(values, each) or None for each in pages)) or default


def _number(values: Mapping[int, Property], prop_id: int) -> int:
    value = values.get(prop_id)
    if value is None or value.prop_type != PT_LONG or not isinstance(value.data, bytes):
        return 0
    return int.from_bytes(value.data, "little", signed=True)


def _long(prop_id: int, value: int) -> Property:
    return Property(prop_id, PT_LONG, encode_value(PT_LONG, value))


def _dword(value: int) -> bytes:
    return value.to_bytes(4, "little")
