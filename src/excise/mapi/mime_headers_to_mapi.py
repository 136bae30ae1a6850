"""Properties and recipient rows of a message's header block ([MS-OXCMAIL] 2.2.3.2, PST-FACTS 5.4 and 5.5)."""

from __future__ import annotations

import hashlib
import re
import struct
from datetime import datetime

from excise.mapi import tags as t
from excise.mapi.addresses import build_one_off
from excise.mapi.mime_fields import clean
from excise.mapi.properties import PropertyBag, Value, filetime
from excise.mapi.tags import PropertyTag
from excise.mime.addresses import Address, parse_addresses, parse_date, received_date
from excise.mime.charsets import decode_text
from excise.mime.headers import HeaderBlock, decode_base64, decode_header

Values = dict[PropertyTag, Value | None]
#: UTF-16 units of a subject; Outlook and SCANPST cut a longer one.
MAX_SUBJECT = 255
_PREFIX = re.compile(r"[^\W\d_]{1,3}: ")
_SENSITIVITY = {"personal": 1, "private": 2, "company-confidential": 3}
_LEVELS = {"low": 0, "normal": 1, "high": 2}
_PRIORITY = {"non-urgent": 0, "normal": 1, "urgent": 2}
_X_PRIORITY = {"1": 2, "2": 2, "3": 1, "4": 0, "5": 0}
_YEARS = range(1602, 9999)  # what a FILETIME and Python's datetime both hold, whatever the time zone


def transport_headers(data: bytes, block: HeaderBlock) -> str:
    """The header block of ``data`` as PidTagTransportMessageHeaders has it: text with CRLF, without the empty line."""
    text = decode_text(data[: block.body_start], None)[0].replace("\0", "")
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    # A carriage return alone ends no line in mail; to a reader of the property it would begin another field.
    return "".join(line.replace("\r", " ") + "\r\n" for line in lines if line)


def header_values(block: HeaderBlock) -> tuple[Values, list[str]]:
    """The properties that the header fields stand for, and notes on what does not fit into them."""
    subject = clean(_text(block, b"subject"))
    cut = _cut(subject)
    prefix = _PREFIX.match(cut)
    start = prefix.end() if prefix else 0
    sent, delivered = times(block)
    topic = _cut(clean(_text(block, b"thread-topic"))) or cut[start:]
    importance = _importance(block)
    values: Values = {
        t.PidTagSubject: cut,
        t.PidTagSubjectPrefix: cut[:start],
        t.PidTagNormalizedSubject: cut[start:],
        t.PidTagConversationTopic: topic,
        t.PidTagConversationIndex: _conversation_index(block, topic, sent or delivered),
        t.PidTagClientSubmitTime: sent,
        t.PidTagMessageDeliveryTime: delivered,
        t.PidTagImportance: importance,
        t.PidTagPriority: _PRIORITY.get(_text(block, b"priority").lower(), importance) - 1,
        t.PidTagSensitivity: _SENSITIVITY.get(_text(block, b"sensitivity").lower(), 0),
        t.PidTagReadReceiptRequested: bool(_people(block, b"disposition-notification-to")),
    }
    for name, tag in _TEXTS.items():
        values[tag] = clean(_text(block, name)) or None
    author = _people(block, b"from")[:1]
    _person(values, author, "SentRepresenting")
    _person(values, _people(block, b"sender")[:1] or author, "Sender")
    _reply_to(values, _people(block, b"reply-to"))
    notes = [] if cut == subject else [f"the subject is cut to {MAX_SUBJECT} characters; its header field is whole"]
    return values, notes


_TEXTS = {
    b"message-id": t.PidTagInternetMessageId,
    b"in-reply-to": t.PidTagInReplyToId,
    b"references": t.PidTagInternetReferences,
    b"list-help": t.PidTagListHelp,
    b"list-subscribe": t.PidTagListSubscribe,
    b"list-unsubscribe": t.PidTagListUnsubscribe,
}


def recipients(block: HeaderBlock) -> tuple[Values, list[PropertyBag]]:
    """The display names of To, Cc and Bcc, and the rows of the recipient table in that order."""
    values: Values = {}
    rows: list[PropertyBag] = []
    shown = {b"to": t.PidTagDisplayTo, b"cc": t.PidTagDisplayCc, b"bcc": t.PidTagDisplayBcc}
    for kind, (name, tag) in enumerate(shown.items(), 1):
        people = _people(block, name)
        values[tag] = _names(people)
        rows += [_row(one, kind) for one in people]
    return values, rows


def times(block: HeaderBlock) -> tuple[datetime | None, datetime | None]:
    """When it was sent (Date) and delivered (the topmost Received that bears a time, else Date)."""
    sent = _storable(parse_date(block.first(b"date")))
    return sent, _storable(received_date(block.raw(b"received"))) or sent


def _storable(moment: datetime | None) -> datetime | None:
    return moment if moment is not None and moment.year in _YEARS else None


def _text(block: HeaderBlock, name: bytes) -> str:
    return decode_header(block.first(name) or b"")


def _cut(text: str) -> str:
    raw = text.encode("utf-16-le", "replace")
    # A character of two units that the cut parts is left out whole.
    return text if len(raw) <= 2 * MAX_SUBJECT else raw[: 2 * MAX_SUBJECT].decode("utf-16-le", "ignore")


def _importance(block: HeaderBlock) -> int:
    for name, levels in ((b"importance", _LEVELS), (b"priority", _PRIORITY), (b"x-msmail-priority", _LEVELS)):
        level = levels.get(_text(block, name).lower())
        if level is not None:
            return level
    return _X_PRIORITY.get(_text(block, b"x-priority")[:1], 1)


def _conversation_index(block: HeaderBlock, topic: str, moment: datetime | None) -> bytes | None:
    """Thread-Index, else a header of the date and of the topic's digest, by which Outlook groups a conversation."""
    stored = decode_base64(block.first(b"thread-index") or b"")[0]
    if len(stored) >= 22 and (len(stored) - 22) % 5 == 0 and stored[0] == 1:
        return stored
    if moment is None:
        return None
    digest = hashlib.md5(topic.upper().encode("utf-16-le", "replace"), usedforsecurity=False).digest()
    return b"\x01" + (filetime(moment) >> 24).to_bytes(5, "big") + digest


def _people(block: HeaderBlock, name: bytes) -> list[Address]:
    found = [Address(clean(a.name), clean(a.address)) for raw in block.raw(name) for a in parse_addresses(raw)]
    return [one for one in found if one.name or one.address]


def _name(one: Address) -> str:
    return one.name or one.address


def _names(people: list[Address]) -> str | None:
    return "; ".join(_name(one) for one in people) or None


def _search_key(address: str) -> bytes:
    return f"SMTP:{address.upper()}".encode("ascii", "replace") + b"\0"


def _person(values: Values, people: list[Address], kind: str) -> None:
    for one in people:
        values[getattr(t, f"PidTag{kind}Name")] = _name(one)
        values[getattr(t, f"PidTag{kind}AddressType")] = "SMTP"
        values[getattr(t, f"PidTag{kind}EmailAddress")] = one.address or None
        values[getattr(t, f"PidTag{kind}SmtpAddress")] = one.address or None
        values[getattr(t, f"PidTag{kind}EntryId")] = build_one_off(_name(one), one.address)
        values[getattr(t, f"PidTag{kind}SearchKey")] = _search_key(one.address)


def _reply_to(values: Values, people: list[Address]) -> None:
    """A FlatEntryList ([MS-OXCDATA] 2.3.3)."""
    if people:
        entries = [build_one_off(_name(one), one.address) for one in people]
        body = b"".join(struct.pack("<I", len(e)) + e + bytes(-len(e) % 4) for e in entries)
        values[t.PidTagReplyRecipientEntries] = struct.pack("<II", len(entries), len(body)) + body
        values[t.PidTagReplyRecipientNames] = _names(people)


def _row(one: Address, kind: int) -> PropertyBag:
    return PropertyBag.of(
        {
            t.PidTagRecipientType: kind,
            t.PidTagResponsibility: True,
            t.PidTagObjectType: 6,
            t.PidTagEntryId: build_one_off(_name(one), one.address),
            t.PidTagDisplayName: _name(one),
            t.PidTagAddressType: "SMTP",
            t.PidTagEmailAddress: one.address or None,
            t.PidTagSmtpAddress: one.address or None,
            t.PidTagSearchKey: _search_key(one.address),
            t.PidTagDisplayType: 0,
            t.PidTag7BitDisplayName: _name(one),
            t.PidTagSendRichInfo: False,
        }
    )
