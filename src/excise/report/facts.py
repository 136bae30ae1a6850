"""What a report says of one plan, gathered from the plan, the journals and the evidence.

Lines of plans and parts are read one at a time; what is kept of 100,000 matches are counts. Everything is checked as it
is read: plans against their hashes, journals as chains. What does not fit is a DoesNotVerify, and there is no report.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from excise.case.approvals import Said, Signed, approvals
from excise.case.bag import is_encrypted
from excise.case.layout import Case
from excise.case.parts import ITEMS, committed_parts
from excise.case.plan import Plan, UnitPlan, iterate_matches, iterate_untestable
from excise.core.clock import iso
from excise.core.errors import DoesNotVerify
from excise.core.files import open_nofollow, os_error
from excise.core.text import are, count_of
from excise.engine.accounts import planned
from excise.engine.journal import ItemStatus, read_journal
from excise.engine.remaking import lost_of
from excise.model.item import INCOMPLETE, Action, Outcome
from excise.report.arrivals import Arrivals

MOST_LISTED = 500
#: Marks of a message, as bits.
_MARKS = {"seen": 1, "answered": 2, "forwarded": 4}
#: Stores that keep no marks: nothing can be said of them.
_NO_MARKS = frozenset({"eml"})
_RANGES = (
    *((n, n, f"{n}") for n in range(6)),
    (6, 10, "6 to 10"),
    (11, 100, "11 to 100"),
    (101, 1000, "101 to 1,000"),
    (1001, 1 << 62, "more than 1,000"),
)


def _range(matches: int) -> str:
    return next(label for low, high, label in _RANGES if low <= matches <= high)


@dataclass(slots=True)
class MailboxFacts:
    """One mailbox of a plan. ``read``, ``replied``, ``forwarded`` count its matches that were marked so."""

    plan: UnitPlan
    outcomes: Counter[str] = field(default_factory=Counter)
    open_items: int = 0
    read: int = 0
    replied: int = 0
    forwarded: int = 0
    preserved: int = 0
    proved: bool = False
    late: int = 0

    @property
    def marks_known(self) -> bool:
        """False where this kind of store keeps no marks."""
        return self.plan.kind not in _NO_MARKS

    @property
    def removed(self) -> int:
        """Items that are surely gone."""
        return self.outcomes[Outcome.REMOVED]

    @property
    def done_well(self) -> int:
        """Items of which what was asked for is so."""
        return sum(count for what, count in self.outcomes.items() if Outcome(what).finished_well)

    @property
    def others(self) -> list[tuple[str, int]]:
        """Outcomes that need somebody's attention, with their counts."""
        return sorted((what, count) for what, count in self.outcomes.items() if not Outcome(what).finished_well)

    @property
    def reason(self) -> str:
        """Why it was not searched, in one line; empty where it was."""
        return self.plan.not_searched.removeprefix(f"{self.plan.name}: ").partition("\n")[0]

    @property
    def rank(self) -> tuple[bool, bool, int, str]:
        """What mailboxes are sorted by: what needs attention first, then the most matches."""
        return (not self.plan.not_searched, not self.others, -self.plan.matches, self.plan.name)


@dataclass(frozen=True, slots=True)
class Problem:
    """An item that did not end as planned, or whose copy is not whole."""

    evidence: str
    mailbox: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A signed statement about a plan: by whom, as it says, and with which key. ``flaw``: why it cannot be read."""

    principal: str = ""
    role: str = ""
    account: str = ""
    begins: str = ""
    until: str = ""
    key: str = ""
    flaw: str = ""


@dataclass
class PlanFacts:
    """All that a report says of one plan. ``subjects`` and ``senders`` are empty unless they may be shown."""

    plan: Plan
    stand: str
    mailboxes: list[MailboxFacts] = field(default_factory=list)
    arrivals: Arrivals = field(default_factory=Arrivals)
    folders: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    open_items: int = 0
    preserved: int = 0
    encrypted: bool = False
    incomplete: int = 0
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    replaced: bool = False
    untestable: Counter[tuple[str, str]] = field(default_factory=Counter)
    subjects: Counter[str] = field(default_factory=Counter)
    senders: Counter[str] = field(default_factory=Counter)
    approvals: list[Approval] = field(default_factory=list)
    lost: list[dict[str, Any]] = field(default_factory=list)

    @property
    def made_anew(self) -> list[UnitPlan]:
        """The mailboxes whose file the plan has made anew."""
        return [mailbox.plan for mailbox in self.mailboxes if mailbox.plan.rewrite]

    @property
    def searches(self) -> bool:
        """True for a plan that a search made; a restore puts back what another plan found."""
        return self.plan.action is not Action.RESTORE and "rule" in self.plan.header

    def total(self, name: str) -> int:
        """The sum of a count over all mailboxes."""
        return sum(int(getattr(mailbox, name)) for mailbox in self.mailboxes)

    @property
    def accounts(self) -> list[str]:
        """As whom each server was to be asked, in words."""
        return planned(self.plan)

    @cached_property
    def place(self) -> str:
        """The directory that all mailboxes lie below, with a slash at its end; empty where there is none."""
        if len(self.mailboxes) < 2:
            return ""
        names = [mailbox.plan.name for mailbox in self.mailboxes]
        low, high = min(names).split("/")[:-1], max(names).split("/")[:-1]
        same = takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))
        return "".join(f"{part}/" for part, _ in same)

    def short(self, name: str) -> str:
        """A mailbox's name without that directory."""
        return name.removeprefix(self.place)

    @property
    def not_searched(self) -> list[MailboxFacts]:
        """The mailboxes that were not searched."""
        return [mailbox for mailbox in self.mailboxes if mailbox.plan.not_searched]

    @property
    def touched(self) -> list[MailboxFacts]:
        """The mailboxes from which something was removed."""
        return [mailbox for mailbox in self.mailboxes if mailbox.removed]

    def spread(self) -> list[tuple[str, int]]:
        """Matches by mailbox, the most first."""
        counted = [(self.short(m.plan.name), m.plan.matches) for m in self.mailboxes if m.plan.matches]
        return sorted(counted, key=lambda entry: (-entry[1], entry[0]))

    def how_many(self) -> list[tuple[str, int]]:
        """How many of the searched mailboxes have how many matches."""
        counted = Counter(_range(m.plan.matches) for m in self.mailboxes if not m.plan.not_searched)
        return [(label, counted[label]) for _, _, label in _RANGES if counted[label]]


def gather(case: Case, plan: Plan, records: Iterable[Mapping[str, Any]], *, content: bool) -> PlanFacts:
    """Read all of a plan and its run. ``records``: the audit log's. ``content``: subjects and senders too."""
    facts = PlanFacts(plan, "", encrypted=is_encrypted(case.bag_dir(plan.number)))
    for unit in plan.units:
        try:
            facts.mailboxes.append(_gather_unit(case, facts, unit, content))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            place = f"{plan.directory}: unit {unit.unit}"
            raise DoesNotVerify(
                f"{place}: expected a plan and its journal, found something else ({error!r})"
            ) from error
    facts.lost = [row for unit in plan.units for row in lost_of(case, plan, unit)]
    facts.approvals = [_approval(found) for found in approvals(case, plan.number)]
    facts.mailboxes.sort(key=lambda mailbox: mailbox.rank)
    facts.stand = _stand(facts, records)
    return facts


def _approval(found: Signed[Said] | str) -> Approval:
    if isinstance(found, str):
        return Approval(flaw=found)
    said = found.statement
    account = f"{said.user} (uid {said.uid}) on {said.host}"
    begins, until = iso(said.begins) or "", iso(said.until) or ""
    return Approval(said.principal, said.role, account, begins, until, found.signature.fingerprint)


def _stand(facts: PlanFacts, records: Iterable[Mapping[str, Any]]) -> str:
    """Where the plan stands, in words."""
    records = list(records)
    for record in records:
        if record["type"] == "plan-made" and record.get("replaces") == facts.plan.number:
            facts.replaced = True
            return f"replaced by plan {record.get('plan')}"
    kinds = [record["type"] for record in records if record.get("plan") == facts.plan.number]
    if "run-finished" in kinds:
        return "run to its end"
    if "run-started" in kinds:
        how = "stopped" if "run-stopped" in kinds[-1:] else "interrupted, or still running"
        return f"{how}: {count_of(facts.open_items, 'item')} {are(facts.open_items)} open"
    return "confirmed, not run" if "confirmed" in kinds else "planned, not run"


def _gather_unit(case: Case, facts: PlanFacts, unit: UnitPlan, content: bool) -> MailboxFacts:
    mailbox = MailboxFacts(unit)
    for line in iterate_untestable(facts.plan, unit):
        facts.untestable.update({(str(term["term"]), str(term["reason"])[:300]) for term in line["terms"]})
    if not unit.matches:
        return mailbox
    path = case.unit_dir(unit.unit) / "journal.jsonl"
    status, journal = read_journal(path, range(1, unit.matches + 1))
    for note in journal.records:
        if note["type"] == "proved":
            mailbox.proved, mailbox.late = True, int(note["late"])
    marks = dict(_marks_in_evidence(case, facts.plan, unit))
    for match in iterate_matches(facts.plan, unit):
        _count(facts, mailbox, match, status[match["item"]], marks.get(match["item"]), content)
    return mailbox


def _count(
    facts: PlanFacts, mailbox: MailboxFacts, match: dict[str, Any], item: ItemStatus, marks: int | None, content: bool
) -> None:
    envelope = match["envelope"]
    facts.arrivals.add(envelope["received"])
    facts.folders[str(match["folder"])] += 1
    bits = _bits(envelope["flags"]) if marks is None else marks
    mailbox.read += bool(bits & _MARKS["seen"])
    mailbox.replied += bool(bits & _MARKS["answered"])
    mailbox.forwarded += bool(bits & _MARKS["forwarded"])
    mailbox.preserved += bool(item.sha256)
    facts.preserved += bool(item.sha256)
    if content:
        facts.subjects[str(envelope["subject"] or "")] += 1
        facts.senders[str(envelope["from"] or "")] += 1
    if item.outcome is None:
        mailbox.open_items += 1
        facts.open_items += 1
        return
    mailbox.outcomes[item.outcome] += 1
    facts.outcomes[item.outcome] += 1
    incomplete = item.detail.startswith(INCOMPLETE)
    facts.incomplete += incomplete and item.outcome.finished_well
    if incomplete or not item.outcome.finished_well:
        facts.problem_count += 1
        if len(facts.problems) < MOST_LISTED:
            facts.problems.append(_problem(mailbox.plan, match, item))


def _problem(unit: UnitPlan, match: dict[str, Any], item: ItemStatus) -> Problem:
    """The item, by its number: its id may be a file name that tells its subject (S23)."""
    detail = item.detail.replace(str(match["id"]) or "\0", "the message")
    return Problem(f"{unit.unit:05}-{match['item']:06}", unit.name, str(item.outcome), detail)


def _bits(flags: Iterable[str]) -> int:
    return sum(_MARKS.get(flag, 0) for flag in flags)


def _marks_in_evidence(case: Case, plan: Plan, unit: UnitPlan) -> Iterator[tuple[int, int]]:
    """The marks of each item as they were when it was fetched."""
    if is_encrypted(case.bag_dir(plan.number)):
        return  # the marks that the search found stand in for them
    for _, part in committed_parts(case.evidence_dir(plan.number, unit.unit)):
        path = part / ITEMS
        try:
            for line in _lines(path):
                found = json.loads(line)
                yield int(found["item"]), _bits(found["flags"])
        except OSError as error:
            raise os_error(error, path, "reading the evidence") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DoesNotVerify(f"{path}: expected lines of items, found something else") from error


def _lines(path: Path) -> Iterator[bytes]:
    with os.fdopen(open_nofollow(path), "rb") as stream:
        yield from stream
