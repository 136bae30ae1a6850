"""A message of the evidence as a family of documents for review: the message, and each of its attachments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from excise.core.clock import parse_iso
from excise.core.digests import json_sha256, sha256_hex
from excise.core.text import normalise
from excise.mime.multipart import Part
from excise.model.mime import MimeView

_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,8})\Z")
_MESSAGES = frozenset({"message/rfc822", "message/global", "message/news"})


@dataclass(frozen=True, slots=True)
class Attached:
    """One attachment of the message itself, with its bytes as far as they can be decoded; ``flaw`` says where not."""

    name: str
    extension: str
    content: bytes
    flaw: str


class Family:
    """One message: ``line`` of its part, and ``content``, its bytes."""

    def __init__(self, line: Mapping[str, Any], content: bytes) -> None:
        self.line, self.content = line, content
        delivered = line.get("delivered")
        self.view = MimeView(
            content,
            delivered=parse_iso(delivered) if isinstance(delivered, str) else None,
            folder=str(line.get("folder") or ""),
            flags=frozenset(line.get("flags") or ()),
        )

    @property
    def evidence_id(self) -> str:
        """Unit and item."""
        return str(self.line["evidence"])

    @cached_property
    def text(self) -> str:
        """All texts of the message itself."""
        return "\n\n".join(self.view.texts())

    def attachments(self) -> Iterator[Attached]:
        """Its attachments, in order; messages among them are one document each, and what is in them stays in them."""
        for part in self.view.outer_parts:
            if _is_attached(part):
                yield _attached(part)

    @cached_property
    def likeness(self) -> str:
        """What two copies of one mail in two mailboxes share: Message-ID, people, subject, time, text, attachments.

        Delivery alone differs between such copies. Two mails that say the same Message-ID and differ in any of these
        are two. A mail without a Message-ID is like nothing but its own bytes.
        """
        if not self.line.get("message_id"):
            return str(self.line["sha256"])
        view = self.view
        people = [[address for _, address in found] for found in (view.senders, view.recipients)]
        sent = view.sent.isoformat() if view.sent else None
        attached = [[each.name, sha256_hex(each.content)] for each in self.attachments()]
        subjects = [normalise(subject) for subject in view.subjects]
        return json_sha256([self.line["message_id"], people, subjects, sent, normalise(self.text), attached])


def _is_attached(part: Part) -> bool:
    kind = part.content_type.value
    if kind.startswith("multipart/"):
        return False
    named = bool(part.names) or part.disposition.value == "attachment"
    return named or kind in _MESSAGES or not kind.startswith(("text/", "message/"))


def _attached(part: Part) -> Attached:
    content, flaw = part.content.decode()
    name = part.names[0] if part.names else ""
    found = _EXTENSION.search(name)
    default = "eml" if part.content_type.value in _MESSAGES else "bin"
    return Attached(name, found[1].lower() if found else default, content, flaw)
