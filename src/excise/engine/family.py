"""Criteria for the replies to and forwards of messages (S12): of what a case has preserved, as a search apart from the
first, or of what a search finds, as a part of one plan, whose lines say which items are there for that.

What ties a message to another one: its Message-ID in References or In-Reply-To; the first 21 bytes of Thread-Index,
which Exchange gives to all of a conversation; the id that its server gives to the conversation, where the store has
one; the content of an attachment, by its SHA-256. Attachments that thousands of strangers share (pictures, signatures,
cards) and small ones tie nothing together.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from excise.case.layout import Case
from excise.case.parts import committed_parts
from excise.case.plan import Plan
from excise.core.errors import UsageError
from excise.criteria import Criteria, Matcher, Verdict
from excise.engine.channel import Channel, Progress, UnitError, run_units
from excise.engine.evidence import PartReader
from excise.engine.search import Searched, search_by
from excise.model.mime import MimeView
from excise.model.view import MessageView
from excise.store_api import registry
from excise.store_api.protocols import MailboxInfo

#: Above this the search would be too slow, and hardly about one message any more.
MOST_KEYS = 2_000
#: Among what held of a match: it is there as a reply or a forward, not for the rule.
WITH_REPLIES = "with-replies"
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
            check_number(keys, str(case.root))


def check_number(keys: Keys, where: str) -> None:
    """A UsageError where there are too many keys to look for."""
    if len(keys) > MOST_KEYS:
        raise UsageError(
            f"{where}: more than {MOST_KEYS:,} Message-IDs, conversations and attachments to look for",
            hint="Search for the replies by their subject instead, in a case of their own.",
        )


def family_criteria(case: Case, keys: Keys) -> Criteria:
    """What has one of ``keys`` in it; a UsageError where there are none."""
    found = _criteria(keys)
    if found is None:
        raise UsageError(
            f"{case.root}: nothing that was preserved has a Message-ID, a conversation or an attachment to look for"
        )
    return found


def _criteria(keys: Keys) -> Criteria | None:
    headers = [f"{name}={value}" for value in sorted(keys.message_ids) for name in ("References", "In-Reply-To")]
    headers += [f"Thread-Index={value}" for value in sorted(keys.threads)]
    parts = [Criteria.from_options(header=headers)] if headers else []
    if keys.conversations:
        parts.append(Criteria.from_options(conversation_id=sorted(keys.conversations)))
    parts += [Criteria.from_options(attachment_sha256=sorted(keys.attachments))] if keys.attachments else []
    return Criteria(any_of=tuple(branch for part in parts for branch in part.any_of)) if parts else None


@dataclass(frozen=True, slots=True)
class Originals:
    """What a first search found, before the one that also looks for replies and forwards.

    ``found``: how many. ``not_searched``: mailboxes of which this is not known, so that replies to what they hold were
    not looked for.
    """

    rule: Criteria
    keys: Keys
    found: int
    not_searched: tuple[str, ...]

    @property
    def criteria(self) -> Criteria:
        """The rule, or what belongs to the originals."""
        more = _criteria(self.keys)
        return self.rule if more is None else Criteria(any_of=(*self.rule.any_of, *more.any_of))

    def header(self, not_searched: Iterable[str]) -> dict[str, Any]:
        """For the plan's header; ``not_searched``: mailboxes that could not even be opened."""
        keys = self.keys
        return {
            "rule": self.rule.canonical(),
            "rule_sha256": self.rule.sha256,
            "words": self.rule.words(),
            "originals": self.found,
            "message_ids": len(keys.message_ids),
            "conversations": len(keys.threads) + len(keys.conversations),
            "attachments": len(keys.attachments),
            "not_searched": sorted({*self.not_searched, *not_searched}),
        }


@dataclass(frozen=True, slots=True)
class _Task:
    info: MailboxInfo
    criteria: dict[str, Any]


def find_originals(
    criteria: Criteria,
    mailboxes: Sequence[MailboxInfo],
    *,
    jobs: int,
    local: bool,
    progress: Progress,
    stop: threading.Event,
) -> Originals:
    """Search ``mailboxes`` for what ``criteria`` match, and gather what ties other messages to it."""
    keys, found, lost = Keys(), 0, []
    tasks = [_Task(info, criteria.canonical()) for info in mailboxes]
    for task, result in run_units(_search, tasks, jobs=jobs, local=local, progress=progress, stop=stop):
        if isinstance(result, UnitError):
            lost.append(task.info.name)
            continue
        count, more = result
        found += count
        keys.message_ids |= more.message_ids
        keys.threads |= more.threads
        keys.conversations |= more.conversations
        keys.attachments |= more.attachments
        check_number(keys, "--with-replies")
    return Originals(criteria, keys, found, tuple(sorted(lost)))


class _Gathering(Matcher):
    """A matcher that keeps the keys of what it matches."""

    def __init__(self, criteria: Criteria) -> None:
        super().__init__(criteria)
        self.keys = Keys()

    def test(self, view: MessageView) -> Verdict:
        verdict = super().test(view)
        if verdict.matched:
            self.keys.add(view, view.conversation_id)
        return verdict


class FamilyMatcher(Matcher):
    """A matcher of the rule and of what belongs to the originals; what matches for the latter alone says so."""

    def __init__(self, criteria: Criteria, rule: Criteria) -> None:
        super().__init__(criteria)
        self.rule = Matcher(rule)

    def test(self, view: MessageView) -> Verdict:
        verdict = super().test(view)
        if verdict.matched and not self.rule.test(view).matched:
            return verdict._replace(terms=(WITH_REPLIES, *verdict.terms))
        return verdict


def _search(task: _Task, channel: Channel) -> tuple[int, Keys]:
    judge, searched = _Gathering(Criteria.from_canonical(task.criteria)), Searched()
    mailbox = registry.store(task.info.kind).open(task.info.locator)
    try:
        search_by(judge, mailbox, searched, channel)
    finally:
        mailbox.close()
    return searched.matches, judge.keys
