"""A ``MapiItem`` as a message to be written into a PST file, property for property.

Invariants: no value is changed. Named properties keep their names and get the ids of the new file; what has an id for
names and no name, or the name of another property of the same object, is named after its id, so that it cannot mean
something else. An object's value (but that of an attachment) is a place in the file that it came from: it is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from excise.core.bulk import whole_or_pieces
from excise.mapi import codepages
from excise.mapi.item import MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag, RawProperty, fixed_size
from excise.mapi.tags import (
    MULTIPLE,
    PidTagAttachDataBinary,
    PidTagMessageClass,
    PidTagMessageFlags,
    PidTagSubject,
    PidTagSubjectPrefix,
    PropertyType,
)
from excise.pst.messaging.names import PS_EXCISE, PropertyName
from excise.pst.messaging.new_message import NewAttachment, NewMessage, NewProperty

_FIRST_NAMED = 0x8000
#: Of rows of a table alone: PidTagLtpRowId, PidTagLtpRowVer.
_ROW = frozenset({0x67F2, 0x67F3})
_DATA = frozenset({PidTagAttachDataBinary.id})
_LONGEST_SUBJECT = 255
_READ = 1


def new_message(item: MapiItem, more: Iterable[NewProperty] = ()) -> NewMessage:
    """What ``item`` is, and the properties ``more``.

    Whether it can be stored is told by the writer alone (its ValueError); an attachment whose content is not there has
    its properties and no content.
    """
    codec = codepages.codec(item.properties.code_page) or "cp1252"
    return NewMessage(
        (*_properties(item.properties), *more),
        tuple(tuple(_properties(row, _ROW)) for row in item.recipients),
        tuple(_attachment(each) for each in item.attachments),
        codec,
    )


def with_prefix_length(item: MapiItem) -> MapiItem:
    """``item`` with its subject as Outlook stores it: U+0001, the length of its prefix and one, the whole subject.

    For items that no PST file or server made ([MS-PST] 2.5.3.1.1.1).
    """
    if not item.subject:
        return item
    prefix = item.properties.text(PidTagSubjectPrefix) or ""
    raw = f"\x01{chr(len(prefix) + 1)}{item.subject}".encode("utf-16-le", "replace")
    entries = (each for each in item.properties if each.tag.id != PidTagSubject.id)
    bag = PropertyBag((RawProperty(PidTagSubject, raw), *entries), item.properties.code_page)
    return replace(item, properties=bag)


def with_read_mark(item: MapiItem, *, read: bool) -> MapiItem:
    """``item`` shown as read, or as unread (PidTagMessageFlags, MSGFLAG_READ); all else as it is."""
    flags = (item.properties.integer(PidTagMessageFlags) or 0) & ~_READ | read
    entries = (each for each in item.properties if each.tag.id != PidTagMessageFlags.id)
    mark = RawProperty(PidTagMessageFlags, flags.to_bytes(4, "little", signed=True))
    return replace(item, properties=PropertyBag((mark, *entries), item.properties.code_page))


def bare_message(subject: str, more: Iterable[NewProperty], *, read: bool) -> NewMessage:
    """A message with a subject and the properties ``more``, shown as read or not: for what cannot be stored as the item
    that it is."""
    text = f"\x01\x01{subject.replace(chr(0), '')[:_LONGEST_SUBJECT]}".encode("utf-16-le", "replace")
    flags = int(read).to_bytes(4, "little")
    known = ((PidTagMessageClass, "IPM.Note".encode("utf-16-le")), (PidTagSubject, text), (PidTagMessageFlags, flags))
    return NewMessage((*(NewProperty(tag.id, tag.type, data) for tag, data in known), *more))


def _properties(bag: PropertyBag, without: frozenset[int] = frozenset()) -> Iterator[NewProperty]:
    names: set[PropertyName] = set()
    for entry in bag:
        if entry.tag.id in without or entry.tag.type == PropertyType.Object:
            continue
        name = _name(entry, names)
        if name is not None:
            names.add(name)
        yield NewProperty(entry.tag.id, entry.tag.type, _value(entry), name)


def _name(entry: RawProperty, taken: set[PropertyName]) -> PropertyName | None:
    if entry.name is None and entry.tag.id < _FIRST_NAMED:
        return None
    if entry.name is not None:
        key = entry.name.name if entry.name.lid is None else entry.name.lid
        name = PropertyName(entry.name.guid, "" if key is None else key)
        if name not in taken:
            return name
    return PropertyName(PS_EXCISE, f"Unnamed{entry.tag.id:04X}")


def _value(entry: RawProperty) -> bytes:
    """The raw value; of a fixed size without the zeros that some writers fill it up with."""
    size = None if entry.tag.type & MULTIPLE else fixed_size(entry.tag.type)
    if size is None or entry.raw[size:].strip(b"\0"):
        return entry.raw
    return entry.raw[:size]


def _attachment(attachment: MapiAttachment) -> NewAttachment:
    properties = list(_properties(attachment.properties, _DATA))
    if attachment.embedded is not None:
        return NewAttachment(properties, new_message(attachment.embedded))
    if attachment.data is not None:
        stored = attachment.properties.raw(PidTagAttachDataBinary)
        is_object = stored is not None and stored.tag.type == PropertyType.Object
        kind = PropertyType.Object if is_object else PropertyType.Binary
        properties.append(NewProperty(PidTagAttachDataBinary.id, kind, whole_or_pieces(attachment.data)))
    return NewAttachment(properties)
