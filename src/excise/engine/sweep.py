"""Sweeping: the same criteria over the same scope once more, for what arrived late.

A pass is a search like any other and freezes a plan of its own. What the case knows already is then taken out of it, as
by a review: what was restored, what a review took out, what was copied or may not be removed. A pass is clean where
nothing is left and every mailbox was searched; a mailbox that is gone was not (S08).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

from excise.case.chain import ChainedLog
from excise.case.layout import Case
from excise.case.parts import EvidenceKind
from excise.case.plan import Caps, Plan, UnitPlan, iterate_excluded, iterate_matches, read_plan
from excise.core.errors import DoesNotVerify, ExciseError, UsageError
from excise.criteria import Criteria
from excise.engine.family import Keys, add_keys, family_criteria
from excise.engine.journal import read_journal
from excise.engine.planner import Order
from excise.engine.review import Exclusion
from excise.model.item import Action, Disposal, Outcome
from excise.store_api import registry
from excise.store_api.discovery import Scope, find_mailboxes
from excise.store_api.protocols import MailboxInfo, NotSearched

_MOST_UNITS = 99_999
#: Items that stay where they are, and why a later pass leaves them there.
_STAYING = {Outcome.COPIED: "copied before", Outcome.HELD: "kept by a hold", Outcome.REFUSED: "removal was refused"}


def base_plan(case: Case, audit: ChainedLog, *, waiting: bool = False) -> Plan:
    """The newest plan of a search, whose criteria and scope a sweep takes. A UsageError where there is none, or where
    the newest plan of all waits to be run.

    ``waiting``: one whose run has not begun may wait; what it lists is still there, and found again.
    """
    plans = [read_plan(case, number) for number in case.plan_numbers()]
    # What an import replaced is no search: its criteria match what took its place, too.
    searches = [p for p in plans if p.action.preserves and p.header.get("criteria") and "replaces_for" not in p.header]
    if not searches:
        raise UsageError(f"{case.root}: no search was made in this case, so there is nothing to do again")
    if searches[-1].hashes_only:
        raise UsageError(
            f"{case.root}: the case is for a removal without evidence, and each of these is approved for itself",
            hint="For what arrived late: excise purge --no-evidence, in a new case.",
        )
    newest = plans[-1]
    done = {record["type"] for record in audit.records if record.get("plan") == newest.number}
    if newest.matches and "run-finished" not in done and not (waiting and "run-started" not in done):
        raise UsageError(
            f"{case.root}: plan {newest.number} has not been run to its end",
            hint=f"excise resume {case.root} finishes it, excise run {case.root} begins it.",
        )
    first = searches[0].header["criteria_sha256"]  # a search for replies has others
    return [plan for plan in searches if plan.header["criteria_sha256"] == first][-1]


def with_replies(case: Case, base: Plan, order: Order) -> Order:
    """The order for replies to and forwards of all that searches like ``base`` have preserved."""
    keys = Keys()
    for number in case.plan_numbers():
        plan = read_plan(case, number)
        if plan.action.preserves and plan.header["criteria_sha256"] == base.header["criteria_sha256"]:
            add_keys(case, plan, keys)
    return replace(order, criteria=family_criteria(case, keys))


def order_of(plan: Plan, max_total: int | None) -> Order:
    """What ``plan`` was made of, to be asked for again; ``max_total``, where it is given, only tightens its limit."""
    header = plan.header
    try:
        caps = Caps(**header["caps"])
        limits = [limit for limit in (caps.max_total, max_total) if limit is not None]
        scope = header["scope"]
        return Order(
            plan.action,
            Criteria.from_canonical(header["criteria"]),
            tuple(EvidenceKind(kind) for kind in header["evidence"]),
            Disposal(header["disposal"]) if header["disposal"] else None,
            Caps(caps.max_per_mailbox, min(limits, default=None), caps.max_share, caps.share_from),
            int(header["part_size"]),
            None,
            tuple(scope["sources"]),
            tuple(scope["mailboxes"]),
            parts=tuple(scope.get("parts", ())),
            compact=bool(header.get("compact")),
            rewrite=bool(header.get("rewrite")),
            pst_per="case" if header.get("pst_per") == "case" else "mailbox",
            directory=scope.get("directory"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DoesNotVerify(f"{plan.directory}: expected the header of a plan, found something else") from error


def check_scope(base: Plan, scope: Scope, first_unit: int) -> None:
    """Add to what was not searched each mailbox of ``base`` that is not there any more.

    One that lost all that it held may not look like a mailbox any more, such as an mbox of no bytes; it is one still.
    """
    there = {info.locator for info in scope.mailboxes} | {lost.name for lost in scope.not_searched}
    for unit in base.units:
        if {unit.locator or unit.name, unit.name} & there:
            continue
        emptied = _named(unit)
        scope.mailboxes += emptied
        if not emptied:
            scope.not_searched.append(NotSearched(unit.name, "it was there at the last search and is gone", 6))
    if first_unit + len(scope.mailboxes) + len(scope.not_searched) > _MOST_UNITS:
        raise UsageError("the case has no room for another pass", hint="Go on with a new case.")


def _named(unit: UnitPlan) -> list[MailboxInfo]:
    """The mailbox of files that a unit's locator names with its kind; none where there is none, or it is a server's."""
    if not unit.kind or not registry.store(unit.kind).capabilities.local_files:
        return []
    try:
        return find_mailboxes((unit.locator,)).mailboxes
    except ExciseError:
        return []


@dataclass(slots=True)
class Known:
    """What the case knows of one mailbox, each with why it is left where it is."""

    ids: dict[str, str] = field(default_factory=dict)
    items: dict[tuple[str, str], str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def why(self, item_id: str, version: str) -> str:
        """Why an item is left out; empty where it is not known."""
        return self.ids.get(item_id) or self.items.get((item_id, version)) or self.versions.get(version, "")


def known_in(case: Case, plan: Plan) -> list[Exclusion]:
    """What of ``plan`` the case knows already, by reason."""
    known = _known(case, before=plan.number)
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for unit in plan.units:
        if unit.locator in known:
            for match in iterate_matches(plan, unit):
                why = known[unit.locator].why(match["id"], match["version"])
                if why:
                    found[why].add((unit.unit, match["item"]))
    return [Exclusion(frozenset(items), "sweep", why) for why, items in sorted(found.items())]


def _known(case: Case, before: int) -> dict[str, Known]:
    known: dict[str, Known] = defaultdict(Known)
    for number in case.plan_numbers():
        if number >= before:
            break
        plan = read_plan(case, number)
        for unit in plan.units:
            for line in iterate_excluded(plan, unit):
                known[unit.locator].items[line["id"], line["version"]] = line["reason"]
            if unit.matches and case.unit_dir(unit.unit).is_dir():
                _add_outcomes(case, plan, unit, known[unit.locator])
    return known


def _add_outcomes(case: Case, plan: Plan, unit: UnitPlan, known: Known) -> None:
    path = case.unit_dir(unit.unit) / "journal.jsonl"
    status, _ = read_journal(path, range(1, unit.matches + 1))
    for match in iterate_matches(plan, unit):
        item = status[match["item"]]
        if plan.action is Action.RESTORE:
            why = f"restored by plan {plan.number}"
            if item.outcome is Outcome.RESTORED and item.placed:
                known.ids[item.placed] = why
            elif item.outcome in (Outcome.RESTORED, Outcome.ALREADY_THERE):
                known.versions[match["version"]] = why
        elif item.outcome in _STAYING:
            known.items[match["id"], match["version"]] = _STAYING[item.outcome]
