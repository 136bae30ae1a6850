"""Items as the matcher sees them: what a row surely tells, what the list of attachments adds, and the whole.

Invariant (S07): the smaller views answer a kind of term as the whole message would, or give it as untestable.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from excise.core.text import normalise
from excise.mime.addresses import Address
from excise.model.message import AttachmentView, MessageView, MimeView, Untestable
from excise.stores.ews.item import CUT, EwsItem
from excise.stores.ews.synthesis import made_of_properties

_SUBJECTS = frozenset({"subject", "subject-contains", "subject-prefix", "subject-regex"})
#: What may hold more than the list of attachments shows.
_OPENED = (".zip", ".eml", ".msg", ".dat", ".mht", ".mhtml", ".p7m", ".p7s", ".tnef", ".txt")
_MARGIN = 5


class RowView(MessageView):
    """A row of FindItem."""

    def __init__(self, item: EwsItem) -> None:
        self._item = item
        self.folder, self.flags, self.size = item.folder, item.flags, item.size

    @property
    def subjects(self) -> tuple[str, ...]:
        return (self._item.subject,) if self._item.subject is not None else ()

    @property
    def subject_raw(self) -> str | None:
        return self._item.subject

    @property
    def senders(self) -> tuple[Address, ...]:
        return ()

    @property
    def recipients(self) -> tuple[Address, ...]:
        return ()

    @property
    def message_id(self) -> str | None:
        return self._item.message_id

    @property
    def sent(self) -> datetime | None:
        return self._item.sent

    @property
    def received(self) -> datetime | None:
        return self._item.received

    @property
    def received_from(self) -> str:
        return "item:DateTimeReceived" if self._item.received is not None else ""

    @property
    def item_class(self) -> str | None:
        return self._item.item_class

    def header(self, name: str) -> tuple[str, ...]:
        del name
        return ()

    def attachments(self) -> Iterator[AttachmentView]:
        return iter(())

    def texts(self) -> Iterator[str]:
        return iter(())

    def links(self) -> Iterator[str]:
        return iter(())

    def untestable(self, term_kind: str) -> tuple[Untestable, ...]:
        if self._tells(term_kind):
            return ()
        return (Untestable(term_kind, "the whole item tells it"),)

    def _tells(self, kind: str) -> bool:
        if kind in ("folder", "larger", "smaller", "received-since", "received-before", "item-class"):
            return True
        if self._item.may_be_journal:
            return False
        if kind in ("sent-since", "sent-before"):
            return self._item.sent is not None
        if kind in _SUBJECTS:
            return _is_whole(self._item.subject)
        return kind == "message-id" and _is_whole(self._item.message_id)


class ListedView(RowView):
    """A row with the list of its attachments."""

    def attachments(self) -> Iterator[AttachmentView]:
        return (AttachmentView((name,)) for _, name in self._item.attachments if name)

    def _tells(self, kind: str) -> bool:
        if kind != "attachment":
            return super()._tells(kind)
        if self._item.may_be_journal or "smime" in self._item.item_class.lower() or "begin " in self._item.body:
            return False
        return all(
            kind == "FileAttachment" and "." in name and not name.lower().endswith(_OPENED)
            for kind, name in self._item.attachments
        )


def _is_whole(text: str | None) -> bool:
    """True for a string that FindItem cannot have cut (at 255 characters or 512 bytes)."""
    return text is not None and len(text.encode("utf-8", "surrogatepass")) < CUT - _MARGIN


class EwsView(MimeView):
    """The whole item: its MIME, with what the server's own properties and the transport headers add."""

    def __init__(self, item: EwsItem, content: bytes) -> None:
        super().__init__(
            content,
            delivered=item.received,
            delivered_from="item:DateTimeReceived",
            folder=item.folder,
            flags=item.flags,
            size=item.size or len(content),
        )
        self._item = item

    @classmethod
    def of(cls, item: EwsItem) -> EwsView:
        """The view of ``item``, which was asked for with its MIME."""
        return cls(item, item.mime or made_of_properties(item))

    @property
    def claims_journal(self) -> bool:
        """True for a journal report; MIME that is made anew may lack the header field that says so."""
        return super().claims_journal or self._wire.claims_journal or self._item.has_journal_header

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        own = (self._item.subject,) if self._item.subject else ()
        return tuple(dict.fromkeys((*super().subjects, *own)))

    @cached_property
    def senders(self) -> tuple[Address, ...]:
        own = (*self._item.people("From"), *self._item.people("Sender"))
        return tuple(dict.fromkeys((*super().senders, *own, *self._wire.senders)))

    @cached_property
    def recipients(self) -> tuple[Address, ...]:
        own = tuple(one for name in ("To", "Cc", "Bcc") for one in self._item.people(f"{name}Recipients"))
        return tuple(dict.fromkeys((*super().recipients, *own, *self._wire.recipients)))

    @property
    def message_id(self) -> str | None:
        return super().message_id if self.claims_journal else self._item.message_id or super().message_id

    @property
    def sent(self) -> datetime | None:
        own = None if self.claims_journal else self._item.sent
        return own or super().sent

    @property
    def received(self) -> datetime | None:
        return self._item.received or super().received

    @property
    def received_from(self) -> str:
        return "item:DateTimeReceived" if self._item.received is not None else super().received_from

    @property
    def item_class(self) -> str | None:
        return self._item.item_class

    @property
    def conversation_id(self) -> str | None:
        return self._item.conversation_id

    def header(self, name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*super().header(name), *self._wire.header(name))))

    def attachments(self) -> Iterator[AttachmentView]:
        found = list(super().attachments())
        names = {normalise(name) for one in found for name in one.names}
        yield from found
        yield from (AttachmentView((n,)) for _, n in self._item.attachments if n and normalise(n) not in names)

    def untestable(self, term_kind: str) -> tuple[Untestable, ...]:
        found = super().untestable(term_kind)
        if self._item.mime is None and term_kind in ("attachment", "attachment-sha256", "url", "body-contains"):
            return (*found, Untestable(term_kind, "the server gives no MIME of this item"))
        return found

    @cached_property
    def _wire(self) -> MimeView:
        """The header block as it came over the wire."""
        return MimeView(self._item.transport_headers.encode("utf-8", "replace"))
