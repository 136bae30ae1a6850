"""What a client gives for an item: the elements of CreateItem and UpdateItem as properties, and as MIME."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr, parsedate_to_datetime

from .item_fields import CLASSES, KINDS
from .mime import Address, view, with_attachment
from .model import Extended, Item
from .properties import KEYWORDS
from .shapes import extended_key
from .soap import Element, EwsError, T

_DELIVERY_TIME, _SUBMIT_TIME, _FLAGS = "tag:0e06:SystemTime", "tag:0039:SystemTime", "tag:0e07:Integer"
_READ_ONLY = frozenset(
    {
        "item:ItemId", "item:ParentFolderId", "item:Size", "item:DateTimeReceived", "item:DateTimeSent",
        "item:DateTimeCreated", "item:HasAttachments", "item:LastModifiedTime", "item:IsFromMe", "item:IsDraft",
        "item:EffectiveRights", "item:DisplayTo", "item:DisplayCc", "item:ConversationId",
    }
)  # fmt: skip
_RECIPIENTS = {"ToRecipients": "To", "CcRecipients": "Cc", "BccRecipients": "Bcc", "ReplyTo": "Reply-To"}
_BOOLEANS = frozenset({"IsAllDayEvent", "IsMeeting", "IsCancelled", "IsRecurring", "IsComplete", "ReminderIsSet"})
_TIMES = frozenset({"Start", "End", "DueDate", "StartDate", "ReminderDueBy"})


def local(element: Element) -> str:
    """An element's name without its namespace."""
    return str(element.tag).rsplit("}", 1)[-1]


def new_item(element: Element, now: datetime) -> dict[str, object]:
    """The properties of the item that a CreateItem's element describes, for `World.add_item`."""
    kind = local(element)
    mime = _mime(element, now)
    extended = dict(_extended(element))
    flags = extended.pop(_FLAGS, None)
    given = int(str(flags[1])) if flags else 0x9
    keywords = extended.pop(KEYWORDS, ("StringArray", []))[1]
    categories = [text.text or "" for text in element.iterfind(f"{{{T}}}Categories/{{{T}}}String")]
    read = element.findtext(f"{{{T}}}IsRead")
    return {
        "item_class": element.findtext(f"{{{T}}}ItemClass") or _class_of(kind),
        "mime": mime,
        "received": _time_of(extended.pop(_DELIVERY_TIME, None)) or _received(mime) or now,
        "created": now,
        "read": bool(given & 1) if read is None else _true(read),
        "draft": bool(given & 8),
        "flag_status": element.findtext(f"{{{T}}}Flag/{{{T}}}FlagStatus") or "NotFlagged",
        "categories": categories or list(keywords),
        "values": _values(element, kind, extended),
        "extended": extended,
    }


def attached(element: Element, now: datetime) -> tuple[str, str, bytes]:
    """The name, content type and content of an attachment that a client gives."""
    name = element.findtext(f"{{{T}}}Name") or "attachment"
    if local(element) == "FileAttachment":
        kind = element.findtext(f"{{{T}}}ContentType") or "application/octet-stream"
        return name, kind, base64.b64decode(element.findtext(f"{{{T}}}Content") or "")
    inner = next((child for child in element if local(child) == "Message"), None)
    if inner is None:
        raise EwsError("ErrorInvalidItemForOperationCreateItemAttachment", "Only messages can be attached here.")
    return name, "message/rfc822", _mime(inner, now)


def _class_of(kind: str) -> str:
    if kind not in KINDS or kind.startswith("Meeting"):
        raise EwsError("ErrorInvalidOperation", f"Items of the kind {kind} cannot be created.")
    return next((prefix for prefix, name in CLASSES if name == kind), "IPM")


def _mime(element: Element, now: datetime) -> bytes:
    given = element.findtext(f"{{{T}}}MimeContent")
    if given is None:
        return _composed(element, now)
    try:
        return base64.b64decode("".join(given.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EwsError("ErrorMimeContentInvalidBase64String", "MimeContent is no base64.") from error


def _composed(element: Element, now: datetime) -> bytes:
    """A message of what the elements say."""
    made = EmailMessage(policy=SMTP)
    made["Subject"] = " ".join((element.findtext(f"{{{T}}}Subject") or "").split())
    sender = next(iter(people(element.find(f"{{{T}}}From"))), None)
    if sender:
        made["From"] = formataddr((sender.name, sender.address))
    for name, header in _RECIPIENTS.items():
        found = people(element.find(f"{{{T}}}{name}"))
        if found:
            made[header] = ", ".join(formataddr((person.name, person.address)) for person in found)
    made["Date"] = format_datetime(now.astimezone(UTC))
    for name, header in (("InternetMessageId", "Message-ID"), ("Importance", "Importance")):
        text = element.findtext(f"{{{T}}}{name}")
        if text:
            made[header] = text
    body = element.find(f"{{{T}}}Body")
    html = body is not None and body.get("BodyType") == "HTML"
    made.set_content((body.text if body is not None else "") or "", subtype="html" if html else "plain")
    data = made.as_bytes()
    for attachment in element.iterfind(f"{{{T}}}Attachments/*"):
        data = with_attachment(data, *attached(attachment, now))
    return data


def people(element: Element | None) -> list[Address]:
    """The people of an element of recipients."""
    found = [] if element is None else element.findall(f"{{{T}}}Mailbox")
    return [
        Address(person.findtext(f"{{{T}}}Name") or "", person.findtext(f"{{{T}}}EmailAddress") or "")
        for person in found
    ]


def _extended(element: Element) -> Iterable[tuple[str, Extended]]:
    for found in element.iterfind(f"{{{T}}}ExtendedProperty"):
        yield extended_value(found)


def extended_value(element: Element) -> tuple[str, Extended]:
    """The key and the value of an ExtendedProperty element."""
    path = element[0]
    kind = path.get("PropertyType", "String")
    if local(element[1]) == "Values":
        return extended_key(path), (kind, [value.text or "" for value in element[1]])
    return extended_key(path), (kind, element[1].text or "")


def _values(element: Element, kind: str, extended: dict[str, Extended]) -> dict[str, object]:
    """The answers by FieldURI that the elements give beside the MIME."""
    known = {uri.split(":")[1]: uri for uri in KINDS[kind] if not uri.startswith("message:")}
    known |= {"Importance": "item:Importance", "Sensitivity": "item:Sensitivity"}
    found = {uri: typed(child) for child in element if (uri := known.get(local(child)))}
    if element.find(f"{{{T}}}MimeContent") is not None and element.find(f"{{{T}}}Subject") is not None:
        found["item:Subject"] = element.findtext(f"{{{T}}}Subject") or ""
    sent = _time_of(extended.pop(_SUBMIT_TIME, None))
    return {**found, "item:DateTimeSent": sent} if sent else found


def typed(element: Element) -> object:
    """An element's text as what its name says it is."""
    name, text = local(element), element.text or ""
    if name in _BOOLEANS:
        return _true(text)
    if name in _TIMES:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    if element.find(f"{{{T}}}Mailbox") is not None:
        return people(element)[0]
    return text


def change(item: Item, update: Element) -> bool:
    """Change one field as an UpdateItem says; whether a held mailbox keeps the item's former state for it."""
    path = update[0]
    setting = local(update) == "SetItemField"
    if local(path) == "ExtendedFieldURI":
        if setting:
            key, value = extended_value(update[1][0])
            if key == KEYWORDS:
                item.categories = list(value[1])
            else:
                item.extended[key] = value
        else:
            item.extended.pop(extended_key(path), None)
        return False
    uri = path.get("FieldURI", "")
    if uri in _READ_ONLY:
        raise EwsError("ErrorInvalidPropertySet", f"The property {uri} is read-only.")
    content = update[1][0] if setting else None
    if uri == "message:IsRead" and content is not None:
        item.read = _true(content.text or "")
    elif uri == "item:Categories":
        item.categories = [] if content is None else [text.text or "" for text in content]
    elif uri == "item:Flag":
        item.flag_status = "NotFlagged" if content is None else content.findtext(f"{{{T}}}FlagStatus") or "NotFlagged"
    elif uri == "item:ItemClass" and content is not None:
        item.item_class = content.text or ""
    elif uri == "item:MimeContent" and content is not None:
        item.mime = base64.b64decode(content.text or "")
        return True
    else:
        item.values[uri] = "" if content is None else typed(content)
        return uri in ("item:Subject", "item:Body", "message:ToRecipients", "message:From", "message:Sender")
    return False


def _true(text: str) -> bool:
    return text.strip().lower() in ("true", "1")


def _time_of(value: Extended | None) -> datetime | None:
    return datetime.fromisoformat(str(value[1]).replace("Z", "+00:00")) if value else None


def _received(mime: bytes) -> datetime | None:
    """When the last server on a message's way took it: the date of its first Received header."""
    received = next((value for name, value in view(mime).headers if name.lower() == "received"), "")
    try:
        date = parsedate_to_datetime(received.rsplit(";", 1)[-1].strip())
    except (TypeError, ValueError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
