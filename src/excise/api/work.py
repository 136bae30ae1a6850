"""Putting the layers together: the composition root."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.case.chain import ChainedLog, LogHeld
from excise.case.layout import Authorisation, Case
from excise.case.plan import Plan, read_plan
from excise.case.verify import Check, verify_case
from excise.core.errors import ConfirmationMissing, Refused, SourceUnavailable, UsageError
from excise.core.files import make_directories, os_error, write_durably
from excise.core.marker import enclosing_case
from excise.criteria import Criteria
from excise.engine import planner, restore, run
from excise.engine.channel import Channel, Progress, UnitError, run_units
from excise.engine.journal import replay
from excise.engine.search import Match, NotTested, Searched, open_and_search
from excise.store_api import registry
from excise.store_api.discovery import Scope, find_mailboxes
from excise.store_api.protocols import MailboxInfo


class _NoProgress:
    def advance(self, messages: int, size: int, matches: int, mailboxes: int) -> None:
        """Show nothing."""


@dataclass(slots=True)
class Setting:
    """How to work: parallel jobs (0: one a processor), who shows progress, the flag that stops at a safe point."""

    jobs: int = 0
    progress: Progress = field(default_factory=_NoProgress)
    stop: threading.Event = field(default_factory=threading.Event)
    announce: Callable[[str], None] = lambda _head: None

    @property
    def workers(self) -> int:
        """The number of parallel jobs."""
        return self.jobs or len(os.sched_getaffinity(0))


# Looking


@dataclass(frozen=True, slots=True)
class _SearchTask:
    info: MailboxInfo
    criteria: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SearchedMailbox:
    """One mailbox of a search: what was found, or why it was not searched."""

    info: MailboxInfo
    found: tuple[Match | NotTested, ...] = ()
    counts: Searched = field(default_factory=Searched)
    error: UnitError | None = None


def _search_one(task: _SearchTask, channel: Channel) -> SearchedMailbox:
    counts = Searched()
    found = tuple(open_and_search(task.info, Criteria.from_canonical(task.criteria), counts, channel))
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
) -> Iterator[SearchedMailbox]:
    """Search every mailbox of ``scope``; changes nothing. What could not be searched is yielded with its error."""
    check_expected(scope, expect_mailboxes)
    criteria.require_limits()
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
    tasks = [_SearchTask(info, criteria.canonical()) for info in scope.mailboxes]
    records: list[dict[str, Any]] = [
        {"type": "mailbox-not-searched", "mailbox": lost.name, "seen": 0, "matches": 0} for lost in scope.not_searched
    ]
    local = all(registry.store(task.info.kind).capabilities.local_files for task in tasks)
    try:
        for task, result in run_units(
            _search_one, tasks, jobs=setting.workers, local=local, progress=setting.progress, stop=setting.stop
        ):
            found = SearchedMailbox(task.info, error=result) if isinstance(result, UnitError) else result
            records.append(
                {
                    "type": "mailbox-not-searched" if found.error else "mailbox-searched",
                    "mailbox": task.info.name,
                    "seen": found.counts.tally.seen,
                    "matches": found.counts.matches,
                }
            )
            yield found
    finally:
        with _access_log() as log:
            log.append(*records, {"type": "search-ended", "criteria_sha256": criteria.sha256})


def check_expected(scope: Scope, expected: int | None) -> None:
    """Refuse a scope of another size than the user expects, before anything is opened (S03)."""
    found = len(scope.mailboxes) + len(scope.not_searched)
    if expected is not None and expected != found:
        raise Refused(
            "S03", f"expected {expected} mailboxes, found {found}", hint="No mailbox was opened. Check the sources."
        )


# Working on a case


class Work:
    """An open case, held by this process (S29)."""

    def __init__(self, case: Case, setting: Setting) -> None:
        """Open the audit log of ``case``, whose lock the caller holds."""
        self.case, self.setting = case, setting
        self.audit = ChainedLog(case.audit_path)

    def plan(self, order: planner.Order, scope: Scope | None = None) -> Plan:
        """Search and freeze a plan."""
        scope = scope or find_mailboxes(order.sources, order.wanted)
        setting = self.setting
        plan = planner.make_plan(
            self.case,
            order,
            scope,
            jobs=setting.workers,
            progress=setting.progress,
            stop=setting.stop,
            audit=self.audit,
        )
        self.save_head()
        return plan

    def plan_restore(self, order: restore.RestoreOrder) -> Plan:
        """Freeze a plan that puts removed messages back."""
        plan = restore.make_restore_plan(self.case, order, self.audit)
        self.save_head()
        return plan

    def newest_plan(self) -> Plan:
        """The newest plan, checked against the hash that the audit log recorded when it was made."""
        plan = read_plan(self.case)
        if not any(r["type"] == "plan-made" and r["plan_sha256"] == plan.sha256 for r in self.audit.records):
            raise Refused(
                "S06",
                f"{plan.directory}: not a plan that the audit log recorded (changed, or its making was interrupted)",
                hint="Nothing was touched. See excise verify CASE; start again with a new case.",
            )
        return plan

    def confirm(self, plan: Plan, how: str) -> None:
        """Record that ``plan`` is confirmed."""
        run.confirm(self.audit, plan, how)
        self.save_head()

    def confirm_by_hash(self, plan: Plan, given: str) -> None:
        """Confirm ``plan`` by (the beginning of) its hash; ConfirmationMissing where it is another one."""
        given = given.strip().lower()
        if len(given) < 12 or not plan.sha256.startswith(given):
            raise ConfirmationMissing(
                f"{self.case.root}: the hash {given[:64]!r} does not confirm plan {plan.number} ({plan.sha256[:12]}…)",
                hint="Give at least the first 12 hex digits of the plan's hash as it was shown.",
            )
        self.confirm(plan, "by hash")

    def is_confirmed(self, plan: Plan) -> bool:
        """True where just this plan was confirmed."""
        return run.is_confirmed(self.audit, plan)

    def run(self, plan: Plan, *, finish: bool = False) -> run.RunResult:
        """Run the confirmed plan, or go on with it."""
        setting = self.setting
        return run.execute(
            self.case,
            plan,
            self.audit,
            jobs=setting.workers,
            progress=setting.progress,
            stop=setting.stop,
            announce=setting.announce,
            finish=finish,
        )

    def save_head(self) -> None:
        """Write down the audit log's head beside it."""
        write_durably(self.case.head_path, f"{self.audit.head}\n".encode())


@contextmanager
def new_case(
    root: Path, sources: tuple[str, ...], authorisation: Authorisation, setting: Setting | None = None
) -> Iterator[Work]:
    """Make a case and hold it. A case inside a source, or the other way round, is refused (S28)."""
    place = root.resolve()
    outer = enclosing_case(place.parent)
    if outer is not None:
        raise Refused("S28", f"{root}: the case would lie in the case {outer}", hint="Put it somewhere else.")
    for source in sources:
        path = Path(source.partition(":")[2] if source.partition(":")[0] in registry.kinds() else source).resolve()
        if place == path or path in place.parents:
            raise Refused(
                "S28", f"{root}: the case would lie in the source {path}", hint="Put the case somewhere else."
            )
    case = Case.create(root, authorisation)
    with case.locked():
        work = Work(case, setting or Setting())
        try:
            work.audit.append({"type": "case-created", "case": case.id, "case_sha256": case.sha256})
            work.save_head()
            yield work
        finally:
            work.audit.close()


@contextmanager
def open_case(root: Path, setting: Setting | None = None) -> Iterator[Work]:
    """Open an existing case and hold it."""
    case = Case(root)
    with case.locked():
        work = Work(case, setting or Setting())
        try:
            if not work.audit.records:
                raise UsageError(
                    f"{root}: the case was not finished being made", hint="Start again with a new case directory."
                )
            yield work
        finally:
            work.audit.close()


def verify(root: Path, expect_head: str | None = None) -> Iterator[Check]:
    """Check everything in the case at ``root``; changes nothing."""
    return verify_case(Case(root), replay, expect_head)
