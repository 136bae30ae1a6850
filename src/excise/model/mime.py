"""A message in RFC 5322 form as the matcher sees it.

The header block is read when the first property is asked for, the body's structure when a term needs it. A journal
report (BACKENDS: Exchange's envelope journalling) shows the message that it carries, with the envelope's recipients.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from excise.mime.addresses import Address, parse_addresses, parse_date, received_date
from excise.mime.headers import HeaderBlock, decode_header, unfold, with_line_feeds
from excise.mime.multipart import Part
from excise.model.contents import Contents
from excise.model.item_class import mime_item_class
from excise.model.readable import all_links, readable_texts
from excise.model.view import BODY_KINDS, AttachmentView, MessageView, Untestable

SENDER_FIELDS = (b"from", b"sender", b"resent-from", b"resent-sender")
RECIPIENT_FIELDS = (b"to", b"cc", b"bcc", b"resent-to", b"resent-cc", b"resent-bcc")
_JOURNAL_IDENTIFIER = b"exjournalreport"
_ENVELOPE_LINE = re.compile(r"(?:recipient|to|cc|bcc)\s*:(.*)", re.IGNORECASE)
_ENVELOPE_NOTE = re.compile(r",\s*(expanded|forwarded)\s*:", re.IGNORECASE)
_JOURNAL_PARTS = 50


class MimeView(MessageView):
    """The view of ``data``, an RFC 5322 message.

    ``delivered`` and ``delivered_from`` are the store's own time of delivery and where it has it from ("From_ line",
    "file time"); the topmost Received header that bears a time goes before them. ``size``: that of ``data`` where
    it is not given.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        delivered: datetime | None = None,
        delivered_from: str = "",
        folder: str = "",
        flags: frozenset[str] = frozenset(),
        size: int | None = None,
    ) -> None:
        self._data = with_line_feeds(bytes(data) if isinstance(data, memoryview) else data)
        self._delivered, self._delivered_from = delivered, delivered_from
        self.folder, self.flags = folder, flags
        self.size = len(data) if size is None else size

    @cached_property
    def _outer(self) -> HeaderBlock:
        return HeaderBlock.parse(self._data)

    @property
    def claims_journal(self) -> bool:
        """True where the header says that this is a journal report; whether it is one, only its body shows."""
        identifier = self._outer.first(b"content-identifier") or b""
        return (
            self._outer.first(b"x-ms-journal-report") is not None or unfold(identifier).lower() == _JOURNAL_IDENTIFIER
        )

    @cached_property
    def _journalled(self) -> tuple[bytes, tuple[Address, ...]] | None:
        """The bytes of the message that a journal report carries, and its envelope's recipients."""
        if not self.claims_journal:
            return None
        parts, _ = Part(self._data, 0, len(self._data)).split(_JOURNAL_PARTS)
        inner = next((part for part in parts if part.content_type.value == "message/rfc822"), None)
        if inner is None:
            return None
        envelope = [part for part in parts if part.content_type.value == "text/plain"][:1]
        return inner.content.decode()[0], tuple(a for part in envelope for a in _envelope_recipients(part))

    @cached_property
    def _message(self) -> bytes:
        return self._journalled[0] if self._journalled else self._data

    @cached_property
    def _block(self) -> HeaderBlock:
        return HeaderBlock.parse(self._message) if self._journalled else self._outer

    @cached_property
    def _contents(self) -> Contents:
        return Contents.of_mime(self._message)

    @cached_property
    def outer_parts(self) -> list[Part]:
        """The parts of the message itself, of a journal report its own, in order."""
        return (Contents.of_mime(self._data) if self._journalled else self._contents).parts

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        found = self._block.texts(b"subject")
        # Anyone can write a journal report's header: the subject that a mail reader shows counts too.
        return found + self._outer.texts(b"subject") if self._journalled else found

    @property
    def subject_raw(self) -> str | None:
        raw = self._block.first(b"subject")
        return None if raw is None else unfold(raw).decode("latin-1")

    @cached_property
    def senders(self) -> tuple[Address, ...]:
        return self._addresses(SENDER_FIELDS)

    @cached_property
    def recipients(self) -> tuple[Address, ...]:
        return self._addresses(RECIPIENT_FIELDS) + (self._journalled[1] if self._journalled else ())

    def _addresses(self, names: tuple[bytes, ...]) -> tuple[Address, ...]:
        return tuple(address for name in names for raw in self._block.raw(name) for address in parse_addresses(raw))

    @property
    def message_id(self) -> str | None:
        raw = self._block.first(b"message-id")
        return (decode_header(raw) or None) if raw is not None else None

    @cached_property
    def sent(self) -> datetime | None:
        return parse_date(self._block.first(b"date"))

    @cached_property
    def _received(self) -> tuple[datetime | None, str]:
        moment = received_date(self._outer.raw(b"received"))
        if moment is not None:
            return moment, "Received header"
        return self._delivered, self._delivered_from if self._delivered is not None else ""

    @property
    def received(self) -> datetime | None:
        return self._received[0]

    @property
    def received_from(self) -> str:
        return self._received[1]

    @cached_property
    def item_class(self) -> str | None:
        return mime_item_class(self._block, self._contents)

    def header(self, name: str) -> tuple[str, ...]:
        return self._block.texts(name.lower().encode("latin-1", "replace"))

    def attachments(self) -> Iterator[AttachmentView]:
        return iter(self._contents.attachments)

    def texts(self) -> Iterator[str]:
        return readable_texts(self._contents)

    def links(self) -> Iterator[str]:
        return all_links(self._contents)

    def untestable(self, term_kind: str) -> tuple[Untestable, ...]:
        return self._contents.flaws(term_kind) if term_kind in BODY_KINDS else ()


def _envelope_recipients(part: Part) -> Iterator[Address]:
    """Recipients in a journal report's envelope; ``Expanded:`` and ``Forwarded:`` name lists and first addressees."""
    data = part.content.decode()[0]
    for line in data.decode("utf-8", "replace").splitlines():
        match = _ENVELOPE_LINE.match(line)
        if match:
            for address in parse_addresses(_ENVELOPE_NOTE.sub(",", match[1]).encode("utf-8")):
                if "@" in address.address:
                    yield address
