"""Searching, and how work is done: what ``excise search`` needs, apart from what needs a case."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.case.chain import ChainedLog, LogHeld
from excise.case.layout import Authorisation
from excise.core.errors import Refused, SourceUnavailable
from excise.core.files import make_directories, os_error
from excise.core.text import count_of
from excise.criteria import Criteria, Matcher
from excise.engine.authority import allowed, check_person
from excise.engine.channel import Channel, Progress, UnitError, jobs_for, run_units
from excise.engine.family import FamilyMatcher, find_originals
from excise.engine.search import Match, NotTested, Searched, open_and_search
from excise.policy.effective import effective_policy
from excise.store_api import registry
from excise.store_api.discovery import Scope
from excise.store_api.protocols import MailboxInfo


class _NoProgress:
    def advance(self, messages: int, size: int, matches: int, mailboxes: int) -> None:
        """Show nothing."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What makes a case provable to others while it is worked on.

    ``timestamp``: the address of an RFC 3161 authority. ``sign_key``: the OpenSSH key that signs checkpoints of the
    audit log. ``sinks``: where the log goes too (``excise.case.sinks``).
    """

    timestamp: str | None = None
    sign_key: Path | None = None
    sinks: tuple[str, ...] = ()


@dataclass(slots=True)
class Setting:
    """How to work: parallel jobs (0: what suits the stores), who shows progress, the flag that stops at a safe point.

    ``policy_file``: a policy beside those that are found, which it can only tighten.
    """

    jobs: int = 0
    progress: Progress = field(default_factory=_NoProgress)
    stop: threading.Event = field(default_factory=threading.Event)
    announce: Callable[[str], None] = lambda _head: None
    proof: Proof = field(default_factory=Proof)
    policy_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _SearchTask:
    info: MailboxInfo
    criteria: dict[str, Any]
    rule: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SearchedMailbox:
    """One mailbox of a search: what was found, or why it was not searched."""

    info: MailboxInfo
    found: tuple[Match | NotTested, ...] = ()
    counts: Searched = field(default_factory=Searched)
    error: UnitError | None = None


def _search_one(task: _SearchTask, channel: Channel) -> SearchedMailbox:
    counts = Searched()
    criteria = Criteria.from_canonical(task.criteria)
    judge = Matcher(criteria) if task.rule is None else FamilyMatcher(criteria, Criteria.from_canonical(task.rule))
    found = tuple(open_and_search(task.info, judge, counts, channel))
    counts.tally.report = None
    return SearchedMailbox(task.info, found, counts)


def access_log_path() -> Path:
    """The operator's own access log: ``$EXCISE_ACCESS_LOG``, else in the user's state directory."""
    given = os.environ.get("EXCISE_ACCESS_LOG")
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "excise" / "access.jsonl"


@contextmanager
def _access_log() -> Iterator[ChainedLog]:
    """The access log, held. Looking is access (S22): where it cannot be written, nothing is searched."""
    path = access_log_path()
    try:
        make_directories(path.parent)
        log = _hold(path)
    except OSError as error:
        problem = os_error(error, path, "opening the access log")
        raise SourceUnavailable(problem.message, hint="Set EXCISE_ACCESS_LOG to a file that you may write.") from error
    try:
        yield log
    finally:
        log.close()


def tell_access_log(record: Mapping[str, Any]) -> None:
    """Append ``record`` to the operator's own access log; an error where it cannot be written."""
    with _access_log() as log:
        log.append(record)


def _hold(path: Path) -> ChainedLog:
    for _ in range(100):
        try:
            return ChainedLog(path, exclusive=True)
        except LogHeld:
            threading.Event().wait(0.1)
    raise LogHeld(
        f"{path}: another search has held the access log for ten seconds", hint="Try again when it has ended."
    )


def search(
    criteria: Criteria,
    scope: Scope,
    setting: Setting,
    *,
    expect_mailboxes: int | None = None,
    authorisation: Authorisation | None = None,
    with_replies: bool = False,
) -> Iterator[SearchedMailbox]:
    """Search every mailbox of ``scope``; changes nothing. What could not be searched is yielded with its error.

    ``with_replies``: for replies to and forwards of what matches too (S12), in a second search; they have
    ``with-replies`` among what matched. Where a mailbox could not be asked for originals, that is yielded as an error.
    """
    check_expected(scope, expect_mailboxes)
    criteria.require_limits()
    policy = effective_policy(setting.policy_file)
    check_person(policy, authorisation or Authorisation())
    lost_before, scope = len(scope.not_searched), allowed(policy, scope)
    who = (authorisation or Authorisation()).record()
    with _access_log() as log:
        log.append(
            {
                "type": "search-started",
                "criteria_sha256": criteria.sha256,
                "who": who,
                "mailboxes": len(scope.mailboxes),
            }
        )
    records: list[dict[str, Any]] = [
        {"type": "mailbox-not-searched", "mailbox": lost.name, "seen": 0, "matches": 0} for lost in scope.not_searched
    ]
    for lost in scope.not_searched[lost_before:]:
        yield SearchedMailbox(MailboxInfo("", "", lost.name, ""), error=UnitError(lost.reason, lost.exit_code))
    try:
        for found in _search_all(criteria, scope.mailboxes, setting, with_replies=with_replies):
            if found.info.kind:
                records.append(
                    {
                        "type": "mailbox-not-searched" if found.error else "mailbox-searched",
                        "mailbox": found.info.name,
                        "seen": found.counts.tally.seen,
                        "matches": found.counts.matches,
                    }
                )
            yield found
    finally:
        with _access_log() as log:
            log.append(*records, {"type": "search-ended", "criteria_sha256": criteria.sha256})


def _search_all(
    criteria: Criteria, mailboxes: Sequence[MailboxInfo], setting: Setting, *, with_replies: bool
) -> Iterator[SearchedMailbox]:
    """Every mailbox; and by its name alone each whose originals nobody knows: replies to them were not looked for."""
    local = all(registry.store(info.kind).capabilities.local_files for info in mailboxes)
    jobs = jobs_for(setting.jobs, (info.kind for info in mailboxes))
    progress, stop = setting.progress, setting.stop
    wanted, rule, unknown, searched = criteria, None, set[str](), set[str]()
    if with_replies:
        originals = find_originals(criteria, mailboxes, jobs=jobs, local=local, progress=progress, stop=stop)
        wanted, rule, unknown = originals.criteria, criteria.canonical(), set(originals.not_searched)
    tasks = [_SearchTask(info, wanted.canonical(), rule) for info in mailboxes]
    for task, result in run_units(_search_one, tasks, jobs=jobs, local=local, progress=progress, stop=stop):
        if isinstance(result, UnitError):
            yield SearchedMailbox(task.info, error=result)
        else:
            searched.add(task.info.name)
            yield result
    why = "replies to and forwards of what it holds were not looked for: it could not be read the first time"
    for name in sorted(unknown & searched):
        yield SearchedMailbox(MailboxInfo("", "", name, ""), error=UnitError(why, SourceUnavailable.exit_code))


def check_expected(scope: Scope, expected: int | None) -> None:
    """Refuse a scope of another size than the user expects, before anything is opened (S03)."""
    found = len(scope.mailboxes) + len(scope.not_searched)
    if expected is not None and expected != found:
        raise Refused(
            "S03",
            f"expected {count_of(expected, 'mailbox')}, found {found}",
            hint="No mailbox was opened. Check the sources.",
        )
