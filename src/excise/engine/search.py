"""Searching one mailbox: the store proposes, the one local matcher decides (S07, S08, S11)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from excise.criteria import Criteria, Matcher, Verdict
from excise.engine.channel import Channel
from excise.model.message import MessageView, Untestable, envelope
from excise.store_api import registry
from excise.store_api.errors import MailboxChanged
from excise.store_api.protocols import Candidate, Filter, Mailbox, MailboxInfo, Tally, Unreadable

#: How often a mailbox that changes while it is read is read at most, and the pause before the second time, in seconds.
_ATTEMPTS = 6
_FIRST_PAUSE = 0.05


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


class Judge(Filter, Protocol):
    """Who decides what matches."""

    def test(self, view: MessageView) -> Verdict:
        """Test one message."""


class Searchable(Protocol):
    """What can be searched: a mailbox is one."""

    @property
    def info(self) -> MailboxInfo:
        """It as it is now."""

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """What may match; a candidate's view is good until the next one is asked for."""


def search_mailbox(
    mailbox: Mailbox, criteria: Criteria, searched: Searched, channel: Channel
) -> list[Match | NotTested]:
    """Search an open mailbox for what ``criteria`` match; see ``search_by``."""
    return search_by(Matcher(criteria), mailbox, searched, channel)


def search_by(judge: Judge, mailbox: Searchable, searched: Searched, channel: Channel) -> list[Match | NotTested]:
    """Search an open mailbox. ``searched`` holds the counts at the end; the mailbox must be the same one then (S30).

    What another program rewrote meanwhile (Dovecot does so in an mbox into which mail is delivered) is read again, a
    few times; a MailboxChanged then says that it never held still.
    """
    before = mailbox.info.identity
    pause = _FIRST_PAUSE
    for left in reversed(range(_ATTEMPTS)):
        searched.tally, searched.matches, searched.untestable = Tally(report=channel.advance), 0, 0
        try:
            found = list(_search_once(judge, mailbox, searched, channel))
        except MailboxChanged:
            if not left or mailbox.info.identity != before:
                raise
            channel.check()
            time.sleep(pause)
            pause *= 2
            continue
        break
    searched.tally.flush()
    channel.matched(searched.matches)
    if mailbox.info.identity != before:
        raise MailboxChanged(
            f"{mailbox.info.name}: the mailbox was replaced by another one while it was searched",
            hint="Run the command again when nobody rewrites it.",
        )
    return found


def _search_once(
    judge: Judge, mailbox: Searchable, searched: Searched, channel: Channel
) -> Iterator[Match | NotTested]:
    for found in mailbox.find(judge, searched.tally):
        channel.check()
        if isinstance(found, Unreadable):
            searched.tally.unreadable += 1
            yield NotTested(found.id, found.folder, found.where, (Untestable("message", found.reason),))
            continue
        verdict = judge.test(found.view)
        if verdict.matched:
            searched.matches += 1
            yield Match(found.id, found.version, found.view.folder, verdict.terms, found.doubt, envelope(found.view))
        elif verdict.untestable:
            searched.untestable += 1
            yield NotTested(found.id, found.view.folder, found.id, verdict.untestable, envelope(found.view))


def open_and_search(info: MailboxInfo, judge: Judge, searched: Searched, channel: Channel) -> list[Match | NotTested]:
    """Open the mailbox read-only, search it, close it."""
    mailbox = registry.store(info.kind).open(info.locator)
    try:
        return search_by(judge, mailbox, searched, channel)
    finally:
        mailbox.close()
