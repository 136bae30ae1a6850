"""TNEF, the format of winmail.dat ([MS-OXTNEF]): bytes to an item.

Invariants: every length is checked against what is left before it is used; a message inside a message lies within its
parent's bytes, so that work is bounded by size times ``MAX_EMBEDDING``; what is cut or damaged ends the reading at that
place and is noted, and what was read before it is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from excise.core.errors import DamagedInput
from excise.mapi.item import MAX_EMBEDDING, AttachMethod, MapiAttachment, MapiItem
from excise.mapi.properties import (
    PropertyBag,
    RawProperty,
    encode_value,
    fixed_size,
    is_variable,
    join_multiple,
    without_terminator,
)
from excise.mapi.tags import (
    MULTIPLE,
    NamedProperty,
    PidTagAttachDataObject,
    PidTagAttachFilename,
    PidTagAttachMethod,
    PidTagAttachTransportName,
    PidTagBody,
    PidTagClientSubmitTime,
    PidTagCreationTime,
    PidTagImportance,
    PidTagLastModificationTime,
    PidTagMessageClass,
    PidTagMessageDeliveryTime,
    PidTagRenderingPosition,
    PidTagSenderAddressType,
    PidTagSenderEmailAddress,
    PidTagSenderName,
    PidTagSubject,
    PropertyTag,
    PropertyType,
)

SIGNATURE = 0x223E9F78
_MESSAGE, _ATTACHMENT = 1, 2
_IID_MESSAGE = UUID("00020307-0000-0000-c000-000000000046").bytes_le

attOemCodepage = 0x00069007  # noqa: N816  the names of [MS-OXTNEF] 2.1.3.2
attMessageClass = 0x00078008  # noqa: N816
attFrom = 0x00008000  # noqa: N816
attSubject = 0x00018004  # noqa: N816
attDateSent = 0x00038005  # noqa: N816
attDateRecd = 0x00038006  # noqa: N816
attBody = 0x0002800C  # noqa: N816
attPriority = 0x0004800D  # noqa: N816
attDateModified = 0x00038020  # noqa: N816
attMsgProps = 0x00069003  # noqa: N816
attRecipTable = 0x00069004  # noqa: N816
attAttachRenddata = 0x00069002  # noqa: N816
attAttachTitle = 0x00018010  # noqa: N816
attAttachData = 0x0006800F  # noqa: N816
attAttachTransportFilename = 0x00069001  # noqa: N816
attAttachCreateDate = 0x00038012  # noqa: N816
attAttachModifyDate = 0x00038013  # noqa: N816
attAttachment = 0x00069005  # noqa: N816

_TEXTS = {attSubject: PidTagSubject, attBody: PidTagBody}
_ATTACHMENT_TEXTS = {attAttachTitle: PidTagAttachFilename, attAttachTransportFilename: PidTagAttachTransportName}
_DATES = {
    attDateSent: PidTagClientSubmitTime,
    attDateRecd: PidTagMessageDeliveryTime,
    attDateModified: PidTagLastModificationTime,
    attAttachCreateDate: PidTagCreationTime,
    attAttachModifyDate: PidTagLastModificationTime,
}
#: Message classes of Microsoft Mail and what they are today ([MS-OXTNEF] 2.1.3.2).
_CLASSES = {
    "IPM.Microsoft Mail.Note": "IPM.Note",
    "IPM.Microsoft Mail.Read Receipt": "REPORT.IPM.Note.IPNRN",
    "IPM.Microsoft Mail.Non-Delivery": "REPORT.IPM.Note.NDR",
    "IPM.Microsoft Schedule.MtgReq": "IPM.Schedule.Meeting.Request",
    "IPM.Microsoft Schedule.MtgRespP": "IPM.Schedule.Meeting.Resp.Pos",
    "IPM.Microsoft Schedule.MtgRespN": "IPM.Schedule.Meeting.Resp.Neg",
    "IPM.Microsoft Schedule.MtgRespA": "IPM.Schedule.Meeting.Resp.Tent",
    "IPM.Microsoft Schedule.MtgCncl": "IPM.Schedule.Meeting.Canceled",
}
#: attPriority and PidTagImportance count in opposite directions.
_IMPORTANCE = {1: 2, 2: 1, 3: 0}


class _DamageError(ValueError):
    """What cannot be read any further; the text says why."""


class Attribute(NamedTuple):
    """One attribute: whether it is of the message (1) or of an attachment (2), its id, its data, and its place."""

    level: int
    id: int
    data: bytes
    offset: int


def is_tnef(data: bytes) -> bool:
    """True where ``data`` begins as TNEF."""
    return data[:4] == struct.pack("<I", SIGNATURE)


def read_tnef(data: bytes, code_page: int | None = None) -> MapiItem:
    """The item in ``data``; ``code_page`` is that of text where the stream does not say it.

    Bytes that do not begin as TNEF are a DamagedInput; any later damage is in the item's notes.
    """
    if not is_tnef(data):
        raise DamagedInput(f"this is no TNEF: it begins with {data[:4].hex() or 'nothing'}, not with 789f3e22")
    return _read(data, code_page, 0)


@dataclass
class _Part:
    """The properties of the message or of one attachment, from MAPI lists and from attributes."""

    mapi: list[RawProperty] = field(default_factory=list)
    legacy: list[RawProperty] = field(default_factory=list)
    data: bytes | None = None
    ole: bool = False

    def bag(self, code_page: int | None) -> PropertyBag:
        """One bag; a MAPI property wins over the attribute that says the same."""
        ids = {entry.tag.id for entry in self.mapi}
        return PropertyBag([*self.mapi, *(e for e in self.legacy if e.tag.id not in ids)], code_page)


def _read(data: bytes, code_page: int | None, depth: int) -> MapiItem:
    notes: list[str] = []
    message, attachments = _Part(), list[_Part]()
    rows: list[list[RawProperty]] = []
    for one in _attributes(data, notes):
        try:
            if one.id == attOemCodepage and len(one.data) >= 4:
                code_page = int.from_bytes(one.data[:4], "little") or code_page
            elif one.level == _MESSAGE and one.id == attRecipTable:
                _recipients(one.data, rows)
            elif one.level == _MESSAGE:
                _message_attribute(one, message)
            elif one.id == attAttachRenddata:
                attachments.append(_renddata(one.data))
            elif attachments:
                _attachment_attribute(one, attachments[-1])
            else:
                notes.append(f"the attribute 0x{one.id:08x} at offset {one.offset} belongs to no attachment")
        except _DamageError as error:
            notes.append(f"the attribute 0x{one.id:08x} at offset {one.offset} is damaged: {error}")
    bag = message.bag(code_page)
    return MapiItem(
        bag,
        tuple(PropertyBag(row, bag.code_page) for row in rows),
        tuple(_attachment(part, bag.code_page, depth) for part in attachments),
        tuple(notes),
    )


def _attributes(data: bytes, notes: list[str]) -> Iterator[Attribute]:
    at = 6
    while at < len(data):
        if at + 9 > len(data):
            notes.append(f"TNEF ends in the middle of an attribute at offset {at}")
            return
        level, attribute, length = struct.unpack_from("<BII", data, at)
        start, end = at + 9, at + 9 + length
        if level not in (_MESSAGE, _ATTACHMENT) or end + 2 > len(data):
            notes.append(
                f"TNEF cannot be read beyond offset {at}: level {level}, {length} bytes, {len(data) - start} left"
            )
            return
        body = data[start:end]
        if sum(body) & 0xFFFF != int.from_bytes(data[end : end + 2], "little"):
            notes.append(f"the check sum of the attribute 0x{attribute:08x} at offset {at} is wrong")
        yield Attribute(level, attribute, body, at)
        at = end + 2


def _message_attribute(one: Attribute, message: _Part) -> None:
    if one.id == attMsgProps:
        _property_list(_Cursor(one.data), message.mapi)
    elif one.id in _TEXTS:
        message.legacy.append(_string8(_TEXTS[one.id], one.data))
    elif one.id in _DATES:
        message.legacy += _date(_DATES[one.id], one.data)
    elif one.id == attMessageClass:
        stored = one.data.rstrip(b"\0").decode("ascii", "replace")
        text = _CLASSES.get(stored, stored)
        message.legacy.append(RawProperty(PidTagMessageClass, encode_value(PropertyType.String, text)))
    elif one.id == attPriority and len(one.data) >= 2:
        importance = _IMPORTANCE.get(int.from_bytes(one.data[:2], "little"), 1)
        message.legacy.append(RawProperty(PidTagImportance, importance.to_bytes(4, "little")))
    elif one.id == attFrom:
        _from(one.data, message)


def _attachment_attribute(one: Attribute, part: _Part) -> None:
    if one.id == attAttachment:
        _property_list(_Cursor(one.data), part.mapi)
    elif one.id == attAttachData:
        part.data = one.data
    elif one.id in _ATTACHMENT_TEXTS:
        part.legacy.append(_string8(_ATTACHMENT_TEXTS[one.id], one.data))
    elif one.id in _DATES:
        part.legacy += _date(_DATES[one.id], one.data)


def _renddata(data: bytes) -> _Part:
    """attAttachRenddata ([MS-OXTNEF] 2.1.3.3.15): what kind of attachment begins here, and where it is drawn."""
    if len(data) < 6:
        raise _DamageError(f"AttachRenddata of {len(data)} bytes")
    kind = int.from_bytes(data[:2], "little")
    position = RawProperty(PidTagRenderingPosition, data[2:6])
    return _Part(legacy=[position], ole=kind == 2)


def _string8(tag: PropertyTag, data: bytes) -> RawProperty:
    return RawProperty(PropertyTag(tag.id, PropertyType.String8), data.rstrip(b"\0"))


def _date(tag: PropertyTag, data: bytes) -> list[RawProperty]:
    """A DTR: year, month, day, hour, minute, second, day of the week; Outlook writes UTC."""
    if len(data) < 12:
        raise _DamageError(f"a date of {len(data)} bytes")
    year, month, day, hour, minute, second = struct.unpack_from("<6H", data)
    if not year:
        return []
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        return [RawProperty(tag, encode_value(PropertyType.Time, moment))]
    except ValueError:
        raise _DamageError(f"the date {year}-{month}-{day} {hour}:{minute}:{second} does not exist") from None


def _from(data: bytes, message: _Part) -> None:
    """A TRP structure: id, its length, lengths of name and address, the display name, "TYPE:address"."""
    if len(data) < 8:
        raise _DamageError(f"a sender of {len(data)} bytes")
    _, _, name_size, address_size = struct.unpack_from("<4H", data)
    if 8 + name_size + address_size > len(data):
        raise _DamageError("a sender that is longer than its attribute")
    message.legacy.append(_string8(PidTagSenderName, data[8 : 8 + name_size]))
    kind, _, address = data[8 + name_size : 8 + name_size + address_size].partition(b":")
    message.legacy.append(_string8(PidTagSenderAddressType, kind))
    message.legacy.append(_string8(PidTagSenderEmailAddress, address))


class _Cursor:
    """Reads forward within ``data``; what is not there is a _DamageError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int, padded: bool = True) -> bytes:
        """The next ``size`` bytes; ``padded`` skips to the next multiple of 4 behind them, as far as there is any."""
        if self.at + size > len(self.data):
            raise _DamageError(f"{size} bytes at {self.at}, {len(self.data) - self.at} are left")
        piece = self.data[self.at : self.at + size]
        self.at += size + (-size % 4 if padded else 0)
        return piece

    def number(self) -> int:
        """The next 32-bit number."""
        return int.from_bytes(self.take(4), "little")


def _property_list(cursor: _Cursor, into: list[RawProperty]) -> None:
    """MsgPropertyList ([MS-OXTNEF] 2.1.3.4). What was read before a damage stays in ``into``."""
    for _ in range(cursor.number()):
        head = cursor.number()
        tag = PropertyTag(head >> 16, head & 0xFFFF)
        name = _name(cursor) if tag.id >= 0x8000 else None
        into.append(RawProperty(tag, _value(cursor, tag), name))


def _recipients(data: bytes, rows: list[list[RawProperty]]) -> None:
    cursor = _Cursor(data)
    for _ in range(cursor.number()):
        row: list[RawProperty] = []
        rows.append(row)
        _property_list(cursor, row)


def _name(cursor: _Cursor) -> NamedProperty:
    guid = UUID(bytes_le=cursor.take(16))
    if cursor.number() == 0:
        return NamedProperty(guid, lid=cursor.number())
    raw = cursor.take(cursor.number())
    return NamedProperty(guid, name=raw[: len(raw) & ~1].decode("utf-16-le", "replace").rstrip("\0"))


def _value(cursor: _Cursor, tag: PropertyTag) -> bytes:
    """One value in the raw form of a bag."""
    single = tag.type & ~MULTIPLE
    if is_variable(single):
        pieces = [without_terminator(cursor.take(cursor.number()), single) for _ in range(cursor.number())]
        if tag.type & MULTIPLE:
            return join_multiple(pieces)
        if len(pieces) > 1:
            raise _DamageError(f"the property {tag} has {len(pieces)} values, not one")
        return pieces[0] if pieces else b""
    size = fixed_size(single)
    if size is None:
        raise _DamageError(f"the property {tag} has an unknown type")
    if not tag.type & MULTIPLE:
        return cursor.take(size)
    return b"".join(cursor.take(size) for _ in range(cursor.number()))


def _attachment(part: _Part, code_page: int, depth: int) -> MapiAttachment:
    data_object = next((e for e in part.mapi if e.tag.id == PidTagAttachDataObject.id), None)
    others = [e for e in part.mapi if e is not data_object]
    bag = _Part(others, part.legacy).bag(code_page)
    method = bag.integer(PidTagAttachMethod)
    if data_object is not None and data_object.tag.type == PropertyType.Object:
        return _object(bag, data_object.raw, code_page, depth)
    data = data_object.raw if data_object is not None else part.data
    if method in (AttachMethod.ByReference, AttachMethod.ByReferenceResolve, AttachMethod.ByReferenceOnly) and not data:
        return MapiAttachment(bag, reason="it is a reference to a file that is not in the message")
    if data is None:
        return MapiAttachment(bag, reason="its data is not in the stream")
    if method is None and part.ole:
        storage = RawProperty(PidTagAttachMethod, AttachMethod.Storage.to_bytes(4, "little"))
        bag = PropertyBag([*bag, storage], code_page)
    return MapiAttachment(bag, data=data)


def _object(bag: PropertyBag, raw: bytes, code_page: int, depth: int) -> MapiAttachment:
    """PidTagAttachDataObject: an interface id, then a TNEF stream (a message) or the bytes of an OLE object."""
    if raw[:16] != _IID_MESSAGE:
        return MapiAttachment(bag, data=raw[16:])
    if not is_tnef(raw[16:20]):
        return MapiAttachment(bag, reason="the embedded message is damaged: it does not begin as TNEF")
    if depth >= MAX_EMBEDDING:
        return MapiAttachment(bag, reason=f"messages are nested deeper than {MAX_EMBEDDING}")
    return MapiAttachment(bag, embedded=_read(raw[16:], code_page, depth + 1))
