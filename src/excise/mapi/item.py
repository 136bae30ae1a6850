"""An item as MAPI sees it: a message, a contact, an appointment … with its recipients and attachments.

Invariant: what a reader could not reach is None with a reason, never something else in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from excise.mapi.addresses import Address, recipient_address, representing_address, sender_address
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import (
    PidTagAttachContentId,
    PidTagAttachFilename,
    PidTagAttachFlags,
    PidTagAttachLongFilename,
    PidTagAttachmentHidden,
    PidTagAttachMethod,
    PidTagAttachMimeTag,
    PidTagAttachSize,
    PidTagAttachTransportName,
    PidTagClientSubmitTime,
    PidTagDisplayName,
    PidTagInternetMessageId,
    PidTagMessageClass,
    PidTagMessageDeliveryTime,
    PidTagNormalizedSubject,
    PidTagRecipientType,
    PidTagSubject,
    PidTagSubjectPrefix,
    PidTagTransportMessageHeaders,
)

#: How deep messages inside messages are followed; what lies deeper is left out with a note.
MAX_EMBEDDING = 16


class AttachMethod(IntEnum):
    """PidTagAttachMethod ([MS-OXCMSG] 2.2.2.9)."""

    NoAttachment = 0
    ByValue = 1
    ByReference = 2
    ByReferenceResolve = 3
    ByReferenceOnly = 4
    EmbeddedMessage = 5
    Storage = 6
    ByWebReference = 7


class RecipientType(IntEnum):
    """PidTagRecipientType ([MS-OXOMSG] 2.2.3.1); MIME's From, To, Cc and Bcc."""

    Originator = 0
    To = 1
    Cc = 2
    Bcc = 3


@dataclass(frozen=True)
class MapiAttachment:
    """An attachment. Exactly one of ``data``, ``embedded`` and ``reason`` is set.

    ``data`` are the bytes of a file or of an OLE object; ``embedded`` is a message; ``reason`` says why there is
    neither.
    """

    properties: PropertyBag
    data: bytes | None = None
    embedded: MapiItem | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if [self.data, self.embedded, self.reason].count(None) != 2:
            raise ValueError("an attachment has data, an embedded item or a reason for having neither")

    @property
    def method(self) -> int:
        """PidTagAttachMethod; where it is absent, what the attachment itself shows."""
        stored = self.properties.integer(PidTagAttachMethod)
        if stored is not None:
            return stored
        return AttachMethod.EmbeddedMessage if self.embedded is not None else AttachMethod.ByValue

    @property
    def size(self) -> int:
        """Bytes of ``data``; without it PidTagAttachSize, which counts the properties too, or 0."""
        if self.data is not None:
            return len(self.data)
        return max(0, self.properties.integer(PidTagAttachSize) or 0)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that it bears, the long one first: long, short, transport and display name, each once."""
        tags = (PidTagAttachLongFilename, PidTagAttachFilename, PidTagAttachTransportName, PidTagDisplayName)
        found = [self.properties.text(tag) or "" for tag in tags]
        return tuple(dict.fromkeys(name for name in found if name.strip()))

    @property
    def name(self) -> str:
        """The name that a user sees, "" where there is none."""
        return self.names[0] if self.names else ""

    @property
    def mime_type(self) -> str:
        """PidTagAttachMimeTag in lower case, "" where there is none."""
        return (self.properties.text(PidTagAttachMimeTag) or "").strip().lower()

    @property
    def content_id(self) -> str:
        """PidTagAttachContentId without angle brackets, "" where there is none."""
        return (self.properties.text(PidTagAttachContentId) or "").strip().strip("<>").strip()

    @property
    def inline(self) -> bool:
        """True where it is part of the body: hidden, or marked as rendered in it, and with a content id."""
        marked = bool((self.properties.integer(PidTagAttachFlags) or 0) & 4)
        return bool(self.content_id) and (marked or bool(self.properties.boolean(PidTagAttachmentHidden)))


@dataclass(frozen=True)
class MapiItem:
    """An item: its properties, the rows of its recipient table, its attachments, and notes on what was not read."""

    properties: PropertyBag
    recipients: tuple[PropertyBag, ...] = ()
    attachments: tuple[MapiAttachment, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def message_class(self) -> str:
        """PidTagMessageClass, ``IPM.Note`` where it is absent."""
        return self.properties.text(PidTagMessageClass) or "IPM.Note"

    @property
    def subject(self) -> str:
        """The subject as a user sees it, without the two characters that say its prefix's length ([MS-PST] 2.5.3.1)."""
        stored = self.properties.text(PidTagSubject)
        if stored is None:
            prefix = self.properties.text(PidTagSubjectPrefix) or ""
            return prefix + (self.properties.text(PidTagNormalizedSubject) or "")
        return stored[2:] if stored.startswith("\x01") else stored

    @property
    def sender(self) -> Address:
        """Who sent it (MIME's Sender)."""
        return sender_address(self.properties)

    @property
    def representing(self) -> Address:
        """On whose behalf (MIME's From); the sender where the item does not say."""
        return representing_address(self.properties) or self.sender

    @property
    def transport_headers(self) -> str:
        """The header block that the message arrived with, "" where there is none."""
        return self.properties.text(PidTagTransportMessageHeaders) or ""

    @property
    def internet_message_id(self) -> str | None:
        """PidTagInternetMessageId with its angle brackets, None where there is none."""
        return (self.properties.text(PidTagInternetMessageId) or "").strip() or None

    @property
    def submitted(self) -> datetime | None:
        """When the sender sent it (MIME's Date)."""
        return self.properties.time(PidTagClientSubmitTime)

    @property
    def delivered(self) -> datetime | None:
        """When it arrived in the mailbox."""
        return self.properties.time(PidTagMessageDeliveryTime)

    def recipients_of(self, kind: RecipientType) -> list[Address]:
        """The addresses of one kind, in the order of the table."""
        rows = (row for row in self.recipients if recipient_type(row) == kind)
        return [address for address in map(recipient_address, rows) if address]

    def walk(self) -> Iterator[MapiItem]:
        """This item and every item inside it, outermost first, to the depth that readers follow."""
        stack = [(self, 0)]
        while stack:
            item, depth = stack.pop()
            yield item
            if depth < MAX_EMBEDDING:
                inner = [a.embedded for a in item.attachments if a.embedded is not None]
                stack.extend((child, depth + 1) for child in reversed(inner))


def recipient_type(row: PropertyBag) -> int:
    """The kind of a recipient row; the bits that mark a resent or submitted row are taken away."""
    return (row.integer(PidTagRecipientType) or 0) & 0xF
