"""Searching one mailbox: the store proposes, the one local matcher decides (S07, S08, S11)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from excise.criteria import Criteria, Matcher
from excise.engine.channel import Channel
from excise.model.message import Untestable, envelope
from excise.store_api import registry
from excise.store_api.errors import MailboxChanged
from excise.store_api.protocols import Mailbox, MailboxInfo, Tally, Unreadable


@dataclass(frozen=True, slots=True)
class Match:
    """A message that the criteria match."""

    id: str
    version: str
    folder: str
    matched: tuple[str, ...]
    doubt: str
    envelope: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NotTested:
    """A message that could not be judged: unreadable as a whole, or for some terms."""

    id: str | None
    folder: str
    where: str
    terms: tuple[Untestable, ...]
    envelope: dict[str, Any] | None = None


@dataclass(slots=True)
class Searched:
    """What a search of one mailbox came to."""

    tally: Tally = field(default_factory=Tally)
    matches: int = 0
    untestable: int = 0


def search_mailbox(
    mailbox: Mailbox, criteria: Criteria, searched: Searched, channel: Channel
) -> Iterator[Match | NotTested]:
    """Search an open mailbox. ``searched`` holds the counts at the end; the mailbox must be the same one then (S30)."""
    matcher = Matcher(criteria)
    before = mailbox.info.identity
    searched.tally.report = channel.advance
    for found in mailbox.find(matcher, searched.tally):
        channel.check()
        if isinstance(found, Unreadable):
            searched.tally.unreadable += 1
            yield NotTested(found.id, found.folder, found.where, (Untestable("message", found.reason),))
            continue
        verdict = matcher.test(found.view)
        if verdict.matched:
            searched.matches += 1
            channel.matched(1)
            yield Match(found.id, found.version, found.view.folder, verdict.terms, found.doubt, envelope(found.view))
        elif verdict.untestable:
            searched.untestable += 1
            yield NotTested(found.id, found.view.folder, found.id, verdict.untestable, envelope(found.view))
    searched.tally.flush()
    if mailbox.info.identity != before:
        raise MailboxChanged(
            f"{mailbox.info.name}: the mailbox was replaced by another one while it was searched",
            hint="Run the command again when nobody rewrites it.",
        )


def open_and_search(
    info: MailboxInfo, criteria: Criteria, searched: Searched, channel: Channel
) -> Iterator[Match | NotTested]:
    """Open the mailbox read-only, search it, close it."""
    mailbox = registry.store(info.kind).open(info.locator)
    try:
        yield from search_mailbox(mailbox, criteria, searched, channel)
    finally:
        mailbox.close()
