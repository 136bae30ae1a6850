"""An item as the server tells of it: a row of FindItem, or the whole of GetItem.

Invariant: a row never passes for more than it is. Strings of FindItem may be cut (at 255 characters); what may be cut
says so, and whoever judges asks for the whole item first.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property

from excise.core.clock import iso
from excise.core.digests import json_sha256
from excise.core.text import normalise
from excise.mime.addresses import Address
from excise.stores.ews import bodies
from excise.stores.ews.bodies import extended, field
from excise.stores.ews.sieve import Base64
from excise.stores.ews.soap import Element, children, content_at, find, find_all, local_name, moment, text_at

#: FindItem cuts strings here; so many characters are compared where a row must do.
CUT = 255
_KEPT = 120
_CONVERSATION_BYTES = 16
_JOURNAL = "X-MS-Journal-Report"
#: A part of the address, SMTP or X.500, that every Exchange organisation sends reports from.
_SYSTEM = "microsoftexchange329e71ec88ae4615bbc36ab6ce41109e"
#: The header field that marks a journal report, whose message is another one than its row shows.
JOURNAL_FIELD = bodies.named("InternetHeaders", _JOURNAL)
_VERBS = {"102": "answered", "103": "answered", "104": "forwarded"}

ROW_FIELDS = (
    field("item:ParentFolderId"),
    field("item:ItemClass"),
    field("item:Subject"),
    field("item:DateTimeReceived"),
    field("item:DateTimeSent"),
    field("item:Size"),
    field("item:Categories"),
    field("item:IsDraft"),
    field("message:InternetMessageId"),
    field("message:IsRead"),
    *map(extended, bodies.SENDER_ADDRESSES),
    extended(bodies.FLAG_STATUS),
    extended(bodies.LAST_VERB),
    bodies.STAMP_FIELD,
    JOURNAL_FIELD,
)
#: What the fingerprint needs beside a row.
VERSION_FIELDS = (*ROW_FIELDS, field("item:Body"), field("item:Attachments"))
#: Everything that is kept of an item.
WHOLE_FIELDS = (
    *VERSION_FIELDS,
    field("message:From"),
    field("message:Sender"),
    field("message:ToRecipients"),
    field("message:CcRecipients"),
    field("message:BccRecipients"),
    extended(bodies.TRANSPORT_HEADERS),
    extended(bodies.CONVERSATION_ID),
)


class EwsItem:
    """One item in ``folder``, read from ``element``."""

    def __init__(self, element: Element, folder: str, bulk: Mapping[str, Base64] | None = None) -> None:
        """``bulk``: the large contents of the answer that it is in."""
        self._element, self._bulk = element, bulk or {}
        self.folder = folder
        identity = find(element, "ItemId")
        self.id: str = "" if identity is None else identity.get("Id", "")
        self.change_key: str = "" if identity is None else identity.get("ChangeKey", "")

    @property
    def kind(self) -> str:
        """The name of its element: ``Message``, ``CalendarItem`` …"""
        return local_name(self._element)

    @cached_property
    def parent(self) -> str:
        """The id of its folder."""
        found = find(self._element, "ParentFolderId")
        return "" if found is None else str(found.get("Id", ""))

    @property
    def item_class(self) -> str:
        """The message class."""
        return self._text("ItemClass") or "IPM.Note"

    @property
    def subject(self) -> str | None:
        """The subject; None where the server tells of none."""
        return text_at(self._element, "Subject")

    @property
    def message_id(self) -> str | None:
        """The Message-ID."""
        return self._text("InternetMessageId") or None

    @property
    def received(self) -> datetime | None:
        """When it reached the mailbox."""
        return moment(self._text("DateTimeReceived"))

    @property
    def sent(self) -> datetime | None:
        """When it was sent."""
        return moment(self._text("DateTimeSent"))

    @property
    def size(self) -> int:
        """Bytes in the store; 0 where it is not told."""
        told = self._text("Size")
        return int(told) if told.isascii() and told.isdigit() and len(told) < 16 else 0

    @property
    def stamp(self) -> str:
        """The version of the deposit that it was made of; empty where it was not put here by Excise."""
        return self._named(bodies.STAMP)

    @property
    def has_journal_header(self) -> bool:
        """True where the server kept the header field that marks a journal report."""
        return _JOURNAL.lower() in self._extended

    @property
    def may_be_journal(self) -> bool:
        """True for what may be a journal report: it has that header field, or is from the server itself."""
        senders = (self._named(tag) for tag, _ in bodies.SENDER_ADDRESSES)
        return self.has_journal_header or any(_SYSTEM in sender.lower() for sender in senders)

    @cached_property
    def flags(self) -> frozenset[str]:
        """Flags, and the categories as keywords."""
        flags = {text for one in children(find(self._element, "Categories")) if (text := (one.text or "").strip())}
        flags |= {"seen"} if self._text("IsRead") == "true" else set()
        flags |= {"draft"} if self._text("IsDraft") == "true" else set()
        flags |= {"flagged"} if self._named("0x1090") == "2" else set()
        verb = _VERBS.get(self._named("0x1081"))
        return frozenset(flags | ({verb} if verb else set()))

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories."""
        return tuple((one.text or "").strip() for one in children(find(self._element, "Categories")))

    @property
    def transport_headers(self) -> str:
        """The header block as it came over the wire, where the server has it."""
        return self._named("0x007d") or self._named("0x7d")

    @property
    def conversation_id(self) -> str | None:
        """The id of its conversation, the same in all mailboxes, as hex; None where the server has none."""
        try:
            told = base64.b64decode(self._named("0x3013"), validate=True)
        except (binascii.Error, ValueError):
            return None
        return told.hex() if len(told) == _CONVERSATION_BYTES else None

    @property
    def body(self) -> str:
        """The body as plain text."""
        return self._text("Body")

    @cached_property
    def attachments(self) -> tuple[tuple[str, str], ...]:
        """Kind (``FileAttachment``, ``ItemAttachment`` …) and name of each attachment."""
        found = children(find(self._element, "Attachments"))
        return tuple((local_name(one), text_at(one, "Name") or "") for one in found)

    @property
    def mime(self) -> bytes | None:
        """The MIME as the server made it; None where there is none, or where it is no base64."""
        content, flaw = self._mime
        return None if flaw else content or None

    @property
    def mime_is_damaged(self) -> bool:
        """True where the server gives MIME that cannot be read."""
        return bool(self._mime[1])

    @cached_property
    def _mime(self) -> tuple[bytes, str]:
        return content_at(self._element, "MimeContent", self._bulk)

    def people(self, name: str) -> tuple[Address, ...]:
        """The people of ``From``, ``Sender``, ``ToRecipients`` …"""
        found = find_all(self._element, f"{name}/Mailbox")
        return tuple(Address(text_at(one, "Name") or "", text_at(one, "EmailAddress") or "") for one in found)

    @property
    def core(self) -> str:
        """A digest of what a row tells and stays the same: class, Message-ID, time of sending, subject."""
        return core_of(self.item_class, self.message_id, self.sent, self.subject or "")

    @property
    def version(self) -> str:
        """The fingerprint; the whole item must have been asked for."""
        return f"{self.core}-{contents_of(self.body, (name for _, name in self.attachments))}"

    def _text(self, path: str) -> str:
        return (text_at(self._element, path) or "").strip()

    def _named(self, name: str) -> str:
        return self._extended.get(name.lower(), "")

    @cached_property
    def _extended(self) -> dict[str, str]:
        """The extended properties by their tag, or by their name."""
        found = {}
        for one in find_all(self._element, "ExtendedProperty"):
            uri = find(one, "ExtendedFieldURI")
            if uri is not None:
                tag = uri.get("PropertyTag", "").lower()
                key = f"0x{int(tag, 16):04x}" if tag else uri.get("PropertyName", "").lower()
                found[key] = text_at(one, "Value") or ""
        return found


def core_of(item_class: str, message_id: str | None, sent: datetime | None, subject: str) -> str:
    """The first half of a version."""
    moment_sent = iso(sent.astimezone(UTC).replace(microsecond=0)) if sent is not None else None
    return json_sha256([item_class.lower(), (message_id or "")[:_KEPT], moment_sent, normalise(subject[:_KEPT])])


def contents_of(body: str, names: Iterable[str]) -> str:
    """The second half of a version: the text without its white space (which servers lay out as they like), and the
    attachments' names."""
    return json_sha256(["".join(body.split()), sorted(map(normalise, names))])
