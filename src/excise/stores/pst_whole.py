"""Items that are put into a PST file property for property, and a fingerprint that is theirs in every file.

``PstItem.version`` counts what is of one file alone (the nodes of objects, an attachment's size), so that it cannot
tell an item again in another one. Here an item counts as what it is written as: the original, its copy in the
evidence and what is made of that copy are the same. What a file would draw by chance or take from the clock, and the
item has not, is taken from the item.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from excise.mapi import tags as t
from excise.mapi.item import AttachMethod, MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag, RawProperty, Value
from excise.mapi.tags import NamedProperty, PropertyTag, PropertyType
from excise.pst.messaging.new_message import NewAttachment, NewMessage, NewProperty
from excise.pst_mapi.new_message import new_message
from excise.stores.pst_record import fingerprint
from excise.stores.pst_version import OF_THE_FILE

#: What fingerprints of this kind begin with; no other version does.
IN_ANY_FILE = "in-any-file:"
PidTagLastModificationTime = PropertyTag(0x3008, 0x0040)
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def whole_item(item: MapiItem) -> MapiItem:
    """``item`` with all that [MS-PST] wants of a message, so that the same item is the same in each file."""
    attachments = tuple(map(_whole_attachment, item.attachments))
    made = item.delivered or item.submitted or _NO_TIME
    values: dict[PropertyTag, Value]
    values = {t.PidTagMessageClass: "IPM.Note", t.PidTagCreationTime: made, PidTagLastModificationTime: made}
    filled = MapiItem(_filled(item.properties, values), item.recipients, attachments)
    if t.PidTagSearchKey in filled.properties:
        return filled
    key = bytes.fromhex(_version(new_message(filled)))[:16]
    return replace(filled, properties=_filled(filled.properties, {t.PidTagSearchKey: key}))


def version_in_any_file(item: MapiItem) -> str:
    """The fingerprint of ``item`` that it has in every file which it is put into."""
    return f"{IN_ANY_FILE}{_version(new_message(whole_item(item)))}"


def _whole_attachment(one: MapiAttachment) -> MapiAttachment:
    embedded = None if one.embedded is None else whole_item(one.embedded)
    stored = one.properties.raw(t.PidTagAttachDataBinary)
    method = AttachMethod.ByValue
    if embedded is not None:
        method = AttachMethod.EmbeddedMessage
    elif one.data is None:
        method = AttachMethod.NoAttachment
    elif stored is not None and stored.tag.type == PropertyType.Object:
        method = AttachMethod.Storage
    bag = _filled(one.properties, {t.PidTagAttachMethod: int(method)})
    return replace(one, properties=bag, embedded=embedded)


def _filled(bag: PropertyBag, values: dict[PropertyTag, Value]) -> PropertyBag:
    absent = {tag: value for tag, value in values.items() if bag.raw(tag) is None}
    return PropertyBag([*bag, *PropertyBag.of(absent)], bag.code_page) if absent else bag


def _version(message: NewMessage) -> str:
    rows = map(_raws, message.recipients)
    return fingerprint(_raws(message.properties), rows, map(_attachment, message.attachments))


def _attachment(one: NewAttachment) -> MapiAttachment:
    data = next((each.data for each in one.properties if each.prop_id == t.PidTagAttachDataBinary.id), None)
    bag = PropertyBag(_raws(each for each in one.properties if each.name or each.prop_id not in OF_THE_FILE))
    if one.embedded is not None:
        data = _version(one.embedded).encode("ascii")
    return MapiAttachment(bag, data=data) if isinstance(data, bytes) else MapiAttachment(bag, reason="none")


def _raws(properties: Iterable[NewProperty]) -> list[RawProperty]:
    return [_raw(number, each) for number, each in enumerate(properties)]


def _raw(number: int, each: NewProperty) -> RawProperty:
    assert isinstance(each.data, bytes)  # noqa: S101 - new_message gives no pieces
    if each.name is None:
        return RawProperty(PropertyTag(each.prop_id, each.prop_type), each.data)
    key = each.name.key
    lid, text = (None, key) if isinstance(key, str) else (key, None)
    # A named property counts by its name; the id is only for the bag.
    return RawProperty(
        PropertyTag(0x8000 + number, each.prop_type), each.data, NamedProperty(each.name.guid, lid, text)
    )
