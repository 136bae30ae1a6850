"""What is kept of a PST item beside its MIME: its fingerprint (S06), its flags, and the record of all its properties.

The record (JSON values) has ``class``, ``properties``, ``recipients`` and ``attachments``. A property is
``{"tag": "0x0037001F"}`` with ``name`` where it is a named one, ``value`` (times as ISO 8601, UUIDs as text), and
``base64``, the raw value as [MS-PST] stores it, where it is binary or where ``value`` alone would not give it back. An
attachment is ``{"properties", "size", "sha256"}``, or ``{"properties", "embedded"}`` with the record of the message in
it, or ``{"properties", "reason"}`` where its content is not there; the content itself lies in the MIME.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from excise.core.clock import iso
from excise.core.digests import json_sha256, sha256_hex
from excise.mapi.item import MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag, RawProperty, Value, encode_value
from excise.mapi.tags import (
    PidNameKeywords,
    PidTagAttachDataBinary,
    PidTagMessageFlags,
    PropertyTag,
    PSETID_Common,
)

PidTagFlagStatus = PropertyTag(0x1090, 0x0003)
PidTagLastVerbExecuted = PropertyTag(0x1081, 0x0003)

READ, UNSENT = 0x01, 0x08
FLAGGED = 2
_VERBS = {102: "answered", 103: "answered", 104: "forwarded"}

#: Not in the fingerprint, by property id: flags, read state, what changes with them, and the store's own bookkeeping.
UNSTABLE = frozenset(
    {
        0x0E07,  # PidTagMessageFlags
        0x0E08,  # PidTagMessageSize
        0x0E17,  # PidTagMessageStatus
        0x0E2B,  # PidTagToDoItemFlags
        0x0E69,  # PidTagRead
        0x1080,  # PidTagIconIndex
        0x1081,  # PidTagLastVerbExecuted
        0x1082,  # PidTagLastVerbExecutionTime
        0x1090,  # PidTagFlagStatus
        0x1091,  # PidTagFlagCompleteTime
        0x1095,  # PidTagFollowupIcon
        0x1096,  # PidTagBlockStatus
        0x1097,  # PidTagItemTemporaryFlags
        0x3008,  # PidTagLastModificationTime
        0x3FFA,  # PidTagLastModifierName
        0x3FFB,  # PidTagLastModifierEntryId
        0x65E2,  # PidTagChangeKey
        0x65E3,  # PidTagPredecessorChangeList
        0x67F2,  # PidTagLtpRowId
        0x67F3,  # PidTagLtpRowVer
        *range(0x0E30, 0x0E3E),  # replication
    }
)
#: The same in PSETID_Common: a follow-up flag and its reminder ([MS-OXOFLAG], [MS-OXORMDR]). Categories go too.
_UNSTABLE_LIDS = frozenset({0x8502, 0x8503, 0x8530, 0x8560, 0x8580, 0x85A0, 0x85A1, 0x85A4, 0x85BE, 0x85BF})


def version_of_item(item: MapiItem) -> str:
    """SHA-256 over what is stable in ``item``: properties, recipients, attachments with their content."""
    return fingerprint(item.properties, item.recipients, item.attachments)


def fingerprint(
    properties: Iterable[RawProperty],
    recipients: Iterable[Iterable[RawProperty]],
    attachments: Iterable[MapiAttachment],
) -> str:
    """SHA-256 over what is stable in an item of these properties, recipients and attachments."""
    stable = {
        "properties": _stable(properties),
        "recipients": sorted(map(_stable, recipients)),
        "attachments": [[_stable(a.properties), _content_mark(a)] for a in attachments],
    }
    return json_sha256(stable)


def _content_mark(attachment: MapiAttachment) -> str:
    return "" if attachment.data is None else sha256_hex(attachment.data)


def _stable(entries: Iterable[RawProperty]) -> list[list[str]]:
    return sorted([_key(entry), sha256_hex(entry.raw)] for entry in entries if not _is_unstable(entry))


def _is_unstable(entry: RawProperty) -> bool:
    name = entry.name
    if name is None:
        return entry.tag.id in UNSTABLE
    return name == PidNameKeywords or (name.guid == PSETID_Common and name.lid in _UNSTABLE_LIDS)


def _key(entry: RawProperty) -> str:
    return str(entry.tag) if entry.name is None else f"{entry.name}:{entry.tag.type:04X}"


def flags_of_item(item: MapiItem) -> frozenset[str]:
    """``seen``, ``answered``, ``flagged``, ``draft``, ``forwarded``, and the categories as keywords."""
    bag = item.properties
    stored = bag.integer(PidTagMessageFlags) or 0
    flags = {"seen"} if stored & READ else set()
    if stored & UNSENT:
        flags.add("draft")
    if bag.integer(PidTagFlagStatus) == FLAGGED:
        flags.add("flagged")
    verb = _VERBS.get(bag.integer(PidTagLastVerbExecuted) or 0)
    return frozenset(flags | ({verb} if verb else set()) | set(bag.texts(PidNameKeywords)))


def record_of_item(item: MapiItem) -> dict[str, Any]:
    """Everything that is known of ``item`` as JSON values."""
    return {
        "class": item.message_class,
        "properties": _properties(item.properties),
        "recipients": [_properties(row) for row in item.recipients],
        "attachments": [_attachment(attachment) for attachment in item.attachments],
    }


def _attachment(attachment: MapiAttachment) -> dict[str, Any]:
    data = attachment.data
    kept = (e for e in attachment.properties if data is None or e.tag.id != PidTagAttachDataBinary.id)
    record: dict[str, Any] = {"properties": _properties(attachment.properties, kept)}
    if attachment.embedded is not None:
        return {**record, "embedded": record_of_item(attachment.embedded)}
    if data is None:
        return {**record, "reason": attachment.reason}
    return {**record, "size": len(data), "sha256": sha256_hex(data)}


def _properties(bag: PropertyBag, entries: Iterable[RawProperty] | None = None) -> list[dict[str, Any]]:
    return [_property(bag, entry) for entry in (bag if entries is None else entries)]


def _property(bag: PropertyBag, entry: RawProperty) -> dict[str, Any]:
    record: dict[str, Any] = {"tag": str(entry.tag)}
    if entry.name is not None:
        record["name"] = str(entry.name)
    value = bag.get(entry.tag)
    plain = None if value is None else _plain(value)
    if plain is not None:
        record["value"] = plain
    if plain is None or not _gives_back(bag, entry, value):
        record["base64"] = base64.b64encode(entry.raw).decode("ascii")
    return record


def _plain(value: Value) -> Any:
    """``value`` as a JSON value; None where it holds binaries or numbers that JSON has not."""
    if isinstance(value, list):
        items = [_plain(one) for one in value]
        return None if None in items else items
    if isinstance(value, bytes):
        return None
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _gives_back(bag: PropertyBag, entry: RawProperty, value: Value | None) -> bool:
    try:
        return value is not None and encode_value(entry.tag.type, value, bag.code_page) == entry.raw
    except (ValueError, TypeError):
        return False
