"""Criteria for the replies to and forwards of what a case has preserved (S12): a search apart from the first.

What ties a message to another one: its Message-ID in References or In-Reply-To; the first 21 bytes of Thread-Index,
which Exchange gives to all of a conversation; the id that its server gives to the conversation, where the store has
one; the content of an attachment, by its SHA-256. Attachments that thousands of strangers share (pictures, signatures,
cards) and small ones tie nothing together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from excise.case.layout import Case
from excise.case.parts import committed_parts
from excise.case.plan import Plan
from excise.core.errors import UsageError
from excise.criteria import Criteria
from excise.engine.evidence import PartReader
from excise.model.mime import MimeView
from excise.model.view import MessageView

#: Above this the search would be too slow, and hardly about one message any more.
MOST_KEYS = 2_000
_SMALL = 1_000
_COMMON = re.compile(r"\.(png|gif|jpe?g|bmp|ico|svg|webp|emz|wmz|vcf|ics|p7s|p7m|asc|sig)\Z", re.IGNORECASE)
_ID = re.compile(r"<[^<>\s]{3,900}>\Z")
_CONVERSATION = re.compile(r"[0-9a-f]{32}")
#: 21 bytes in base64: what is the same in all of a conversation, but for the last byte, which shares its letters.
_THREAD = re.compile(r"[A-Za-z0-9+/]{28}")


@dataclass(slots=True)
class Keys:
    """What ties messages to those that a case has preserved."""

    message_ids: set[str] = field(default_factory=set)
    threads: set[str] = field(default_factory=set)
    conversations: set[str] = field(default_factory=set)
    attachments: set[str] = field(default_factory=set)

    def add(self, view: MessageView, conversation_id: object = None) -> None:
        """The keys of one message, with the id that its server gave to its conversation."""
        if isinstance(conversation_id, str) and _CONVERSATION.fullmatch(conversation_id):
            self.conversations.add(conversation_id)
        if view.message_id and _ID.match(view.message_id):
            self.message_ids.add(view.message_id)
        for value in view.header("Thread-Index"):
            found = _THREAD.match(value.strip())
            if found:
                self.threads.add(found[0])
        for attachment in view.attachments():
            plain = not attachment.path and not _COMMON.search(attachment.name or "")
            digest = attachment.sha256() if plain and (attachment.size or 0) >= _SMALL else None
            if digest:
                self.attachments.add(digest)

    def __len__(self) -> int:
        return len(self.message_ids) + len(self.threads) + len(self.conversations) + len(self.attachments)


def add_keys(case: Case, plan: Plan, keys: Keys) -> None:
    """Add those of everything that ``plan`` has preserved. A UsageError where there are too many."""
    for unit in plan.units:
        for number, path in committed_parts(case.evidence_dir(plan.number, unit.unit)):
            part = PartReader(path)
            try:
                for item in part.lines():
                    line, content = part.read(item, f"part {number}, item {item}")
                    keys.add(MimeView(content), line["attributes"].get("conversation_id"))
            finally:
                part.close()
            if len(keys) > MOST_KEYS:
                raise UsageError(
                    f"{case.root}: more than {MOST_KEYS:,} Message-IDs, conversations and attachments to look for",
                    hint="Search for the replies by their subject instead, in a case of their own.",
                )


def family_criteria(case: Case, keys: Keys) -> Criteria:
    """What has one of ``keys`` in it; a UsageError where there are none."""
    headers = [f"{name}={value}" for value in sorted(keys.message_ids) for name in ("References", "In-Reply-To")]
    headers += [f"Thread-Index={value}" for value in sorted(keys.threads)]
    parts = [Criteria.from_options(header=headers)] if headers else []
    if keys.conversations:
        parts.append(Criteria.from_options(conversation_id=sorted(keys.conversations)))
    parts += [Criteria.from_options(attachment_sha256=sorted(keys.attachments))] if keys.attachments else []
    if not parts:
        raise UsageError(
            f"{case.root}: nothing that was preserved has a Message-ID, a conversation or an attachment to look for"
        )
    return Criteria(any_of=tuple(branch for part in parts for branch in part.any_of))
