"""A digest of what a user sees of an item, and can change in Outlook: whether it still is what it was made of.

Invariant: it depends on neither the order of properties, rows and attachments, nor on what a store or Outlook itself
adds to any item: ids, search keys, times of creation and change, sizes, row versions, the read mark, icons, views,
names computed of others (PidTagSubjectPrefix, PidTagDisplayTo …). An absent value and an empty one are the same.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from excise.core.digests import sha256_hex
from excise.mapi import tags as t
from excise.mapi.addresses import Address, recipient_address
from excise.mapi.item import MAX_EMBEDDING, MapiAttachment, MapiItem, recipient_type
from excise.mapi.mime_headers_to_mapi import times
from excise.mapi.tags import PropertyTag
from excise.mime.headers import HeaderBlock

#: The properties of an item that count as they are; subject, people, times and attachments have rules of their own.
COMPARED = (
    t.PidTagImportance,
    t.PidTagPriority,
    t.PidTagSensitivity,
    t.PidTagReadReceiptRequested,
    t.PidTagReplyRecipientEntries,
    t.PidTagReplyRecipientNames,
    t.PidTagTransportMessageHeaders,
    t.PidTagBody,
    t.PidTagReportText,
    t.PidTagRtfCompressed,
    t.PidTagHtml,
    t.PidTagInternetMessageId,
    t.PidTagInternetReferences,
    t.PidTagInReplyToId,
    t.PidTagListHelp,
    t.PidTagListSubscribe,
    t.PidTagListUnsubscribe,
)


def content_digest(item: MapiItem) -> str:
    """SHA-256 in hex of the content of ``item`` in its canonical form."""
    return sha256_hex(_canonical(_item(item, 0)).encode("ascii"))


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _item(item: MapiItem, depth: int) -> dict[str, Any]:
    bag = item.properties
    values = {str(tag): value for tag in COMPARED if (value := _value(item, tag))}
    html = bag.binary(t.PidTagHtml)
    return values | {
        "class": item.message_class,
        "subject": item.subject,
        "codepage": bag.integer(t.PidTagInternetCodepage) if html else None,
        "from": _person(item.representing),
        "sender": _person(item.sender),
        "times": _times(item),
        "recipients": sorted([recipient_type(row), *_person(recipient_address(row))] for row in item.recipients),
        "attachments": sorted((_attachment(one, depth) for one in item.attachments), key=_canonical),
    }


def _value(item: MapiItem, tag: PropertyTag) -> Any:
    value = item.properties.get(tag)
    return sha256_hex(value) if isinstance(value, bytes) and value else value


def _person(address: Address) -> list[str]:
    return [address.name, address.text, address.address_type]


def _times(item: MapiItem) -> list[str | None]:
    """Times that the transport headers give; where they give none, a store may have filled in its own."""
    block = HeaderBlock.parse(item.transport_headers.encode("utf-8", "replace"))
    return [
        _iso(stored) if stated is not None else None
        for stated, stored in zip(times(block), (item.submitted, item.delivered), strict=True)
    ]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _attachment(attachment: MapiAttachment, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": attachment.name,
        "type": attachment.mime_type,
        "id": attachment.content_id,
        "location": attachment.properties.text(t.PidTagAttachContentLocation) or "",
        "method": attachment.method,
    }
    if attachment.data is not None:
        found["sha256"] = sha256_hex(attachment.data)
    elif attachment.embedded is not None and depth < MAX_EMBEDDING:
        found["item"] = _item(attachment.embedded, depth + 1)
    else:
        found["reason"] = attachment.reason or "nested too deep"
    return found
