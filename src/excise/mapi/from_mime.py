"""MIME to MAPI: an RFC 5322 message as the item that Outlook shows ([MS-OXCMAIL] 2.2).

Invariants: no input is an error, and no leaf is dropped: what is no body becomes an attachment by value.
"""

from __future__ import annotations

import email
import re
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from uuid import UUID

from excise.core.digests import sha256_hex
from excise.mapi import tags as t
from excise.mapi.addresses import Address, build_one_off
from excise.mapi.item import MAX_EMBEDDING, MapiAttachment, MapiItem
from excise.mapi.mime_fields import Field, decoded, parse_addresses, parse_block, unfold
from excise.mapi.properties import PropertyBag, Value
from excise.mapi.tags import NamedProperty, PropertyTag, PropertyType

_PS_EXCISE = UUID("6f0f6c1e-5a51-4c0e-9b0b-2f1d6a3e8c47")
PidNameOriginalMime = NamedProperty(_PS_EXCISE, name="OriginalMime")
PidNameOriginalSha256 = NamedProperty(_PS_EXCISE, name="OriginalMimeSha256")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CONTENT = re.compile(rb"(?im)^content-[^:\r\n]*:[^\n]*(?:\n[ \t][^\n]*)*\n?")
_META = re.compile(r"(?i)(<meta[^>]{0,200}charset\s*=\s*[\"']?)[\w.:-]+")
_PREFIX = re.compile(r"[^\W\d_]{1,3}: ")
_SENSITIVITY = {"personal": 1, "private": 2, "company-confidential": 3}
_Values = dict[PropertyTag, Value | None]


def from_mime(data: bytes, keep_original: bool = False) -> MapiItem:
    """The item that ``data`` stands for; with ``keep_original`` it also bears ``data`` itself and its SHA-256."""
    named: dict[tuple[NamedProperty, int], Value] = {}
    if keep_original:
        named[PidNameOriginalMime, PropertyType.Binary] = data
        named[PidNameOriginalSha256, PropertyType.String] = sha256_hex(data)
    return _item(data, 0, named)


def original_mime(item: MapiItem) -> bytes | None:
    """The bytes that ``item`` was made of, None where it does not bear them or they do not fit their SHA-256."""
    found = {p.name: p.tag for p in item.properties if p.name is not None}
    if PidNameOriginalMime not in found or PidNameOriginalSha256 not in found:
        return None
    data = item.properties.binary(found[PidNameOriginalMime])
    digest = item.properties.text(found[PidNameOriginalSha256])
    return data if data is not None and sha256_hex(data) == digest else None


def _item(data: bytes, depth: int, named: dict[tuple[NamedProperty, int], Value] | None = None) -> MapiItem:
    end = _HEAD_END.search(data)
    head = data[: end.start()] if end else data
    block = re.sub("\r?\n", "\r\n", _decode(head, None)) + "\r\n"
    fields, notes = parse_block(block)
    values = _header_values(fields)
    values[t.PidTagTransportMessageHeaders] = block
    rows = _recipients(fields, values)
    content = _Content(depth)
    try:
        message = email.message_from_bytes(data)
        if not content.opaque(message, head, data[end.end() :] if end else b""):
            content.read(message)
    except Exception as error:  # noqa: BLE001  the parser's errors on hostile mail have no common base
        notes = [*notes, f"the message cannot be taken apart ({type(error).__name__}); it is attached whole"]
        content = _Content(depth)
        content.attach(data, "application/octet-stream", "message.eml")
    values |= content.values
    values[t.PidTagMessageFlags] = 1 | (0x10 if any(not a.inline for a in content.attachments) else 0)
    return MapiItem(PropertyBag.of(values, named), tuple(rows), tuple(content.attachments), tuple(notes))


def _decode(raw: bytes, charset: str | None) -> str:
    for name in (charset, "utf-8"):
        try:
            return raw.decode(name or "utf-8").replace("\0", "")
        except (LookupError, ValueError):
            continue
    return raw.decode("latin-1").replace("\0", "")


def _header_values(fields: list[Field]) -> _Values:
    first: dict[str, str] = {}
    for one in fields:
        first.setdefault(one.name.lower(), unfold(one.value).strip())
    subject = decoded(first.get("subject", ""))
    prefix = _PREFIX.match(subject)
    start = prefix.end() if prefix else 0
    sent = _time(first.get("date", ""))
    values: _Values = {
        t.PidTagMessageClass: "IPM.Note",
        t.PidTagSubject: subject,
        t.PidTagSubjectPrefix: subject[:start],
        t.PidTagNormalizedSubject: subject[start:],
        t.PidTagConversationTopic: subject[start:],
        t.PidTagClientSubmitTime: sent,
        t.PidTagMessageDeliveryTime: _time(first.get("received", "").rpartition(";")[2]) or sent,
        t.PidTagInternetMessageId: first.get("message-id") or None,
        t.PidTagInReplyToId: first.get("in-reply-to") or None,
        t.PidTagInternetReferences: first.get("references") or None,
        t.PidTagListHelp: first.get("list-help") or None,
        t.PidTagListSubscribe: first.get("list-subscribe") or None,
        t.PidTagListUnsubscribe: first.get("list-unsubscribe") or None,
        t.PidTagSensitivity: _SENSITIVITY.get(first.get("sensitivity", "").lower(), 0),
        t.PidTagImportance: _importance(first),
    }
    author = _people(first.get("from", ""))[:1]
    sender = _people(first.get("sender", ""))[:1] or author
    _person(values, author, "SentRepresenting")
    _person(values, sender, "Sender")
    _reply_to(values, _people(first.get("reply-to", "")))
    return values


def _people(text: str) -> list[Address]:
    # Decoding comes after parsing: a decoded name may hold commas.
    return [Address(decoded(a.name), a.smtp, a.stored, a.address_type) for a in parse_addresses(text)]


def _time(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.year > 1601 else None


def _importance(first: dict[str, str]) -> int:
    word = first.get("importance", "").lower()
    if word in ("low", "normal", "high"):
        return ("low", "normal", "high").index(word)
    return {"1": 2, "2": 2, "4": 0, "5": 0}.get(first.get("x-priority", "")[:1], 1)


def _search_key(address: str) -> bytes:
    return f"SMTP:{address.upper()}".encode("ascii", "replace") + b"\0"


def _person(values: _Values, people: list[Address], kind: str) -> None:
    for one in people:
        name = one.name or one.text
        values[getattr(t, f"PidTag{kind}Name")] = name
        values[getattr(t, f"PidTag{kind}AddressType")] = "SMTP"
        values[getattr(t, f"PidTag{kind}EmailAddress")] = one.text
        values[getattr(t, f"PidTag{kind}SmtpAddress")] = one.text
        values[getattr(t, f"PidTag{kind}EntryId")] = build_one_off(name, one.text)
        values[getattr(t, f"PidTag{kind}SearchKey")] = _search_key(one.text)


def _reply_to(values: _Values, people: list[Address]) -> None:
    if people:
        entries = [build_one_off(one.name or one.text, one.text) for one in people]
        body = b"".join(struct.pack("<I", len(e)) + e + bytes(-len(e) % 4) for e in entries)
        values[t.PidTagReplyRecipientEntries] = struct.pack("<II", len(entries), len(body)) + body
        values[t.PidTagReplyRecipientNames] = "; ".join(one.name or one.text for one in people)


def _recipients(fields: list[Field], values: _Values) -> list[PropertyBag]:
    rows: list[PropertyBag] = []
    shown = {"to": t.PidTagDisplayTo, "cc": t.PidTagDisplayCc, "bcc": t.PidTagDisplayBcc}
    for kind, (header, tag) in enumerate(shown.items(), 1):
        people = [a for f in fields if f.name.lower() == header for a in _people(unfold(f.value))]
        values[tag] = "; ".join(one.name or one.text for one in people) or None
        rows += [_row(one, kind) for one in people]
    return rows


def _row(one: Address, kind: int) -> PropertyBag:
    name = one.name or one.text
    return PropertyBag.of(
        {
            t.PidTagRecipientType: kind,
            t.PidTagResponsibility: True,
            t.PidTagObjectType: 6,
            t.PidTagEntryId: build_one_off(name, one.text),
            t.PidTagDisplayName: name,
            t.PidTagAddressType: "SMTP",
            t.PidTagEmailAddress: one.text,
            t.PidTagSmtpAddress: one.text,
            t.PidTagSearchKey: _search_key(one.text),
            t.PidTagDisplayType: 0,
            t.PidTag7BitDisplayName: name,
            t.PidTagSendRichInfo: False,
        }
    )


@dataclass
class _Content:
    """Bodies and attachments of one message; ``group`` is the alternative that the first body came from."""

    depth: int
    values: _Values = field(default_factory=dict)
    attachments: list[MapiAttachment] = field(default_factory=list)
    group: int = 0

    def opaque(self, message: Message, head: bytes, body: bytes) -> bool:
        """True where the message is signed or encrypted, and is now one attachment ([MS-OXOSMIME])."""
        kind = message.get_content_type()
        if kind == "multipart/signed":
            entity = b"".join(line.rstrip(b"\r\n") + b"\r\n" for line in _CONTENT.findall(head)) + b"\r\n" + body
            self.values[t.PidTagMessageClass] = "IPM.Note.SMIME.MultipartSigned"
            self.attach(entity, kind, "smime.p7m")
        elif kind in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
            self.values[t.PidTagMessageClass] = "IPM.Note.SMIME"
            self.attach(_payload(message), "application/pkcs7-mime", "smime.p7m")
        else:
            return False
        return True

    def read(self, message: Message) -> None:
        """Every leaf in its order, without recursion."""
        stack: list[tuple[Message, int]] = [(message, 0)]
        while stack:
            part, group = stack.pop()
            kind, payload = part.get_content_type(), part.get_payload()
            children = [p for p in payload if isinstance(p, Message)] if isinstance(payload, list) else []
            if kind == "message/rfc822" and children:
                self._message(children[0].as_bytes())
            elif kind.startswith("multipart/") and isinstance(payload, list):
                inner = group or (id(part) if kind == "multipart/alternative" else 0)
                stack += [(child, inner) for child in reversed(children)]
            elif isinstance(payload, list):
                self.attach(b"\r\n".join(child.as_bytes() for child in children), kind, _name(part))
            elif not self._body(part, kind, group):
                self._file(part, kind)

    def _message(self, data: bytes) -> None:
        if self.depth >= MAX_EMBEDDING:
            self.attach(data, "message/rfc822", "message.eml")
            return
        inner = _item(data, self.depth + 1)
        bag = PropertyBag.of(
            {t.PidTagAttachMethod: 5, t.PidTagRenderingPosition: -1, t.PidTagDisplayName: inner.subject or "message"}
        )
        self.attachments.append(MapiAttachment(bag, embedded=inner))

    def _body(self, part: Message, kind: str, group: int) -> bool:
        tag = {"text/plain": t.PidTagBody, "text/html": t.PidTagHtml}.get(kind)
        other = t.PidTagHtml if tag is t.PidTagBody else t.PidTagBody
        if tag is None or tag in self.values or _name(part) or part.get_content_disposition() == "attachment":
            return False
        if other in self.values and not (group and group == self.group):
            return False
        self.group = group
        text = _decode(_payload(part), part.get_content_charset())
        self.values[tag] = text if tag is t.PidTagBody else _META.sub(r"\1utf-8", text).encode("utf-8", "replace")
        self.values[t.PidTagInternetCodepage] = 65001
        self.values[t.PidTagNativeBody] = 3 if t.PidTagHtml in self.values else 1
        return True

    def _file(self, part: Message, kind: str) -> None:
        content_id = str(part.get("Content-ID") or "").strip().strip("<>")
        hidden = bool(content_id) and part.get_content_disposition() != "attachment"
        self.attach(_payload(part), kind, _name(part), content_id, str(part.get("Content-Location") or ""), hidden)

    def attach(
        self, data: bytes, kind: str, name: str, content_id: str = "", location: str = "", hidden: bool = False
    ) -> None:
        """Adds ``data`` by value."""
        dot = name.rfind(".")
        bag = PropertyBag.of(
            {
                t.PidTagAttachMethod: 1,
                t.PidTagRenderingPosition: -1,
                t.PidTagAttachMimeTag: kind,
                t.PidTagAttachLongFilename: name or None,
                t.PidTagDisplayName: name or None,
                t.PidTagAttachExtension: name[dot:] if dot > 0 else None,
                t.PidTagAttachContentId: content_id or None,
                t.PidTagAttachContentLocation: location or None,
                t.PidTagAttachFlags: 4 if hidden else 0,
                t.PidTagAttachmentHidden: hidden,
            }
        )
        self.attachments.append(MapiAttachment(bag, data))


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _name(part: Message) -> str:
    return decoded(part.get_filename() or "").replace("\0", "").strip()
