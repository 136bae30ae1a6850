"""A MAPI item as the matcher sees it: an item of a PST, a .msg file, an item from a server.

Recipients and attachments are asked of the item when a term needs them, so that a store may read them late.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from excise.mapi.addresses import Address as MapiAddress
from excise.mapi.addresses import recipient_address
from excise.mapi.item import MapiItem
from excise.mapi.tags import (
    PidTagInReplyToId,
    PidTagInternetMessageId,
    PidTagInternetReferences,
    PidTagMessageSize,
    PidTagSubject,
)
from excise.mime.addresses import Address, parse_addresses, parse_date
from excise.mime.headers import HeaderBlock
from excise.model.contents import Contents
from excise.model.readable import all_links, readable_texts
from excise.model.view import BODY_KINDS, AttachmentView, MessageView, Untestable

_PROPERTY_OF_FIELD = {
    "message-id": PidTagInternetMessageId,
    "in-reply-to": PidTagInReplyToId,
    "references": PidTagInternetReferences,
    "subject": PidTagSubject,
}


class MapiView(MessageView):
    """The view of ``item``.

    ``size``: PidTagMessageSize where it is not given. ``notes``: what a reader could not read, each in doubt for every
    term whose value is missing; the item's own notes where they are not given (a store that knows better gives none).
    """

    def __init__(
        self,
        item: MapiItem,
        *,
        folder: str = "",
        flags: frozenset[str] = frozenset(),
        size: int | None = None,
        notes: tuple[str, ...] | None = None,
    ) -> None:
        self._item = item
        self._notes = item.notes if notes is None else notes
        self.folder, self.flags = folder, flags
        self.size = item.properties.integer(PidTagMessageSize) if size is None else size

    @cached_property
    def _transport(self) -> HeaderBlock:
        return HeaderBlock.parse(self._item.transport_headers.encode("utf-8", "replace"))

    @cached_property
    def _contents(self) -> Contents:
        return Contents.of_mapi(self._item, self._notes)

    @property
    def subjects(self) -> tuple[str, ...]:
        subject = self._item.subject
        return (subject,) if subject else ()

    @property
    def subject_raw(self) -> str | None:
        return self._item.properties.text(PidTagSubject)

    @cached_property
    def senders(self) -> tuple[Address, ...]:
        found = [_plain(address) for address in (self._item.representing, self._item.sender) if address]
        return tuple(dict.fromkeys([*found, *self._header_addresses("from", "sender")]))

    @cached_property
    def recipients(self) -> tuple[Address, ...]:
        found = [_plain(address) for row in self._item.recipients if (address := recipient_address(row))]
        known = {address.address.lower() for address in found}
        more = (
            address for address in self._header_addresses("to", "cc", "bcc") if address.address.lower() not in known
        )
        return tuple(dict.fromkeys([*found, *more]))

    def _header_addresses(self, *names: str) -> Iterator[Address]:
        for name in names:
            for raw in self._transport.raw(name.encode()):
                yield from parse_addresses(raw)

    @property
    def message_id(self) -> str | None:
        return self._item.internet_message_id

    @property
    def sent(self) -> datetime | None:
        return self._item.submitted or parse_date(self._transport.first(b"date"))

    @property
    def received(self) -> datetime | None:
        return self._item.delivered

    @property
    def received_from(self) -> str:
        return "PidTagMessageDeliveryTime" if self._item.delivered is not None else ""

    @property
    def item_class(self) -> str | None:
        return self._item.message_class

    def header(self, name: str) -> tuple[str, ...]:
        """From the transport headers; Subject, Message-ID, References and In-Reply-To else from their properties."""
        found = self._transport.texts(name.lower().encode("latin-1", "replace"))
        tag = _PROPERTY_OF_FIELD.get(name.lower())
        if found or tag is None:
            return found
        text = self._item.subject if tag == PidTagSubject else self._item.properties.text(tag)
        return (text,) if text else ()

    def attachments(self) -> Iterator[AttachmentView]:
        return iter(self._contents.attachments)

    def texts(self) -> Iterator[str]:
        return readable_texts(self._contents)

    def links(self) -> Iterator[str]:
        return all_links(self._contents)

    def untestable(self, term_kind: str) -> tuple[Untestable, ...]:
        if term_kind in BODY_KINDS:
            return self._contents.flaws(term_kind)
        # What is there was read; what is missing may be among what the reader has noted.
        if self._notes and not self._has(term_kind):
            return tuple(Untestable(term_kind, note) for note in self._notes)
        return ()

    def _has(self, term_kind: str) -> bool:
        if term_kind.startswith("subject"):
            return bool(self.subjects)
        values = {"from": self.senders, "message-id": self.message_id, "header": self._transport.fields}
        return term_kind != "recipient" and bool(values.get(term_kind, True))


def _plain(address: MapiAddress) -> Address:
    return Address(address.name, address.text)
