"""What the matcher sees of a message, whatever store it lies in.

Invariant: a view never makes up a value and never leaves something out in silence. What it cannot read it reports by
``untestable``, for each kind of term that would have needed it (S11).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from excise.core.clock import iso
from excise.mime.addresses import Address

#: The kinds of terms that need more than the header block; each is named as its option on the command line.
ATTACHMENT_KINDS = ("attachment", "attachment-sha256")
TEXT_KINDS = ("body-contains", "url")
BODY_KINDS = ATTACHMENT_KINDS + TEXT_KINDS


class Untestable(NamedTuple):
    """A kind of term (the option's name, such as ``attachment``) that could not be tested on an item, and why."""

    term_kind: str
    reason: str


@dataclass(frozen=True)
class AttachmentView:
    """One attachment, at any depth.

    ``names``: every form of its name, decoded (RFC 2231, RFC 2047, raw; MAPI long and short), the best first.
    ``path``: the names of the containers around it, outermost first; empty for an attachment of the message itself.
    ``unpacked``: it lies in a winmail.dat of the message itself. ``is_item``: a message in a MAPI store,
    which has no bytes.
    """

    names: tuple[str, ...]
    path: tuple[str, ...] = ()
    unpacked: bool = False
    is_item: bool = False
    read_size: Callable[[], int | None] = field(default=lambda: None, repr=False, compare=False)
    read_sha256: Callable[[], str | None] = field(default=lambda: None, repr=False, compare=False)

    @property
    def name(self) -> str | None:
        """The best name, or None."""
        return self.names[0] if self.names else None

    @property
    def size(self) -> int | None:
        """The decoded content's length in bytes, or None where it cannot be read."""
        return self.read_size()

    def sha256(self) -> str | None:
        """SHA-256 of the decoded content in hex, or None where it cannot be read."""
        return self.read_sha256()


class MessageView(ABC):
    """One message; every property is read when it is asked for.

    ``folder``: path of its folder, ``/`` between the parts. ``flags``: ``seen``, ``answered``, ``flagged``, ``draft``,
    ``deleted``, ``forwarded``, and keywords. ``size``: bytes in the store, None where it is not known.
    """

    folder: str
    flags: frozenset[str]
    size: int | None

    @property
    @abstractmethod
    def subjects(self) -> tuple[str, ...]:
        """Every decoded subject: damaged or forged mail has several, a journal report its own beside the message's."""

    @property
    @abstractmethod
    def subject_raw(self) -> str | None:
        """The subject as it is stored, undecoded (bytes above 127 as Latin-1)."""

    @property
    @abstractmethod
    def senders(self) -> tuple[Address, ...]:
        """From and Sender, and those of resent mail."""

    @property
    @abstractmethod
    def recipients(self) -> tuple[Address, ...]:
        """To, Cc and Bcc, and those of resent mail; for a journal report the envelope's recipients too."""

    @property
    @abstractmethod
    def message_id(self) -> str | None:
        """The Message-ID with its angle brackets."""

    @property
    @abstractmethod
    def sent(self) -> datetime | None:
        """When the sender sent it, aware, UTC."""

    @property
    @abstractmethod
    def received(self) -> datetime | None:
        """When it reached the mailbox, aware, UTC."""

    @property
    @abstractmethod
    def received_from(self) -> str:
        """The property that ``received`` was read from (S02); empty where there is none."""

    @property
    @abstractmethod
    def item_class(self) -> str | None:
        """The message class as Exchange has it (``IPM.Note`` …), mapped for MIME as [MS-OXCMAIL] does."""

    @abstractmethod
    def header(self, name: str) -> tuple[str, ...]:
        """The decoded values of every header field ``name`` (any case)."""

    @abstractmethod
    def attachments(self) -> Iterator[AttachmentView]:
        """Every attachment, those inside attached messages, winmail.dat and zip files too."""

    @abstractmethod
    def texts(self) -> Iterator[str]:
        """The text of the message itself: plain text, HTML without its tags, RTF without its control words."""

    @abstractmethod
    def links(self) -> Iterator[str]:
        """The links of the message itself: targets in HTML, and URLs in plain text."""

    @abstractmethod
    def untestable(self, term_kind: str) -> tuple[Untestable, ...]:
        """Why terms of this kind cannot be tested on all of this item; empty where they can. Reads no more than it
        must.
        """

    @property
    def conversation_id(self) -> str | None:
        """The id that its server gives to all messages of its conversation, as 32 hex digits; None where the store has
        none."""
        return None

    @property
    def subject(self) -> str | None:
        """The decoded subject that a reader sees, or None."""
        return self.subjects[0] if self.subjects else None

    def problems(self) -> Iterator[Untestable]:
        """All that could not be read, term by term (S11)."""
        for kind in ("subject", "from", "recipient", "message-id", "header", *BODY_KINDS):
            yield from self.untestable(kind)


def envelope(view: MessageView) -> dict[str, Any]:
    """What ``--json`` shows of a message (CLI.md, "JSON of a match"); a value that is not known is None.

    Attachments are those of the message itself; a winmail.dat is shown unpacked. ``senders`` is there only where there
    are others than ``from``: all addresses of From and Sender.
    """
    first = view.senders[0].address or None if view.senders else None
    senders = list(dict.fromkeys(address for _, address in view.senders if address))
    return {
        "subject": view.subject,
        "from": first,
        **({"senders": senders} if any(address != first for address in senders) else {}),
        "to": list(dict.fromkeys(address for _, address in view.recipients if address)),
        "sent": iso(view.sent),
        "received": iso(view.received),
        "message_id": view.message_id,
        "size": view.size,
        "attachments": [
            {"name": attachment.name, "size": attachment.size}
            for attachment in view.attachments()
            if attachment.unpacked or not attachment.path
        ],
        "item_class": view.item_class,
        "flags": sorted(view.flags),
    }
