"""Making a plan: search every mailbox of the scope, write down each match, freeze it all under one hash (S05, S06).

Reads only. What a run will need is estimated here: requests, disk space in the case and beside the sources.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from excise.case.chain import ChainedLog
from excise.case.layout import Case
from excise.case.parts import EvidenceKind
from excise.case.plan import Caps, LinesFile, Plan, UnitPlan, all_matches, matches_path, untestable_path, write_plan
from excise.core.clock import iso, now
from excise.core.errors import Interrupted, Refused, UsageError
from excise.core.files import free_space
from excise.core.text import count_of
from excise.criteria import Criteria, Matcher
from excise.engine import accounts
from excise.engine.authority import HELD, allowed, limited, narrow_only
from excise.engine.channel import Channel, Progress, UnitError, jobs_for, run_units
from excise.engine.family import WITH_REPLIES, FamilyMatcher, find_originals
from excise.engine.reach import reach_of
from excise.engine.remaking import plan_remaking
from excise.engine.search import Match, NotTested, Searched, open_and_search
from excise.model.item import Action, Disposal
from excise.policy.effective import Effective
from excise.policy.holds import Holds
from excise.store_api import registry
from excise.store_api.discovery import Scope
from excise.store_api.errors import Unsupported
from excise.store_api.protocols import MailboxInfo

_SMALLEST_PST = 271_360


@dataclass(frozen=True, slots=True)
class Replacing:
    """What a removal is for that an import ends with: of what matches only ``targets``, each (id, version).

    ``plan``, ``plan_sha256``: the import; ``left``: ids of what matches too and stays; ``put``: how many messages the
    import put, which do not count for the share of the mailbox that may go.
    """

    plan: int
    plan_sha256: str
    targets: frozenset[tuple[str, str]]
    left: tuple[str, ...] = ()
    put: int = 0

    def header(self) -> dict[str, Any]:
        """For the plan's header."""
        return {"plan": self.plan, "plan_sha256": self.plan_sha256, "left": self.left}


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for. ``directory``: which directory made ``wanted`` of what was named, and how."""

    action: Action
    criteria: Criteria
    evidence: tuple[EvidenceKind, ...] = (EvidenceKind.MBOX, EvidenceKind.PST)
    disposal: Disposal | None = None
    caps: Caps = field(default_factory=Caps)
    part_size: int = 10_000_000_000
    expect_mailboxes: int | None = None
    sources: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    compact: bool = False
    rewrite: bool = False
    parts: tuple[str, ...] = ()
    replacing: Replacing | None = None
    pst_per: str = "mailbox"
    directory: Mapping[str, Any] | None = None
    no_evidence: bool = False
    with_replies: bool = False


@dataclass(frozen=True, slots=True)
class _SearchTask:
    unit: UnitPlan
    info: MailboxInfo
    criteria: dict[str, Any]
    directory: Path
    caps: Caps
    holds: Holds
    rewrite: bool = False
    replacing: Replacing | None = None
    rule: dict[str, Any] | None = None


def check_removable(order: Order, scope: Scope) -> None:
    """Unsupported where a store lacks the disposal, or where nothing may be removed from any mailbox of the scope."""
    for info in scope.mailboxes:
        resolve_disposal(order, info)
    if order.compact and not any(_compacts(info) for info in scope.mailboxes):
        raise UsageError("--compact is for PST files, and the sources have none", hint="Leave it out.")
    if order.rewrite and not any(registry.store(info.kind).capabilities.remakes for info in scope.mailboxes):
        raise UsageError("--rewrite is for PST files, and the sources have none", hint="Leave it out.")
    refused = [info for info in scope.mailboxes if _refused(order, info)]
    if order.action.removes and refused and len(refused) == len(scope.mailboxes):
        reason = _refused(order, refused[0])
        raise Unsupported(f"{refused[0].name}: {reason}", hint="Leave this mailbox out, or use excise copy.")


def _refused(order: Order, info: MailboxInfo) -> str:
    """Why nothing can be removed from a mailbox, be it by making its file anew where the order has that."""
    return "" if order.rewrite and "rewrite" in info.details else info.details.get("removal", "")


def _compacts(info: MailboxInfo) -> bool:
    return registry.store(info.kind).capabilities.compacts


def resolve_disposal(order: Order, info: MailboxInfo) -> Disposal:
    """The disposal for a mailbox: the one asked for, or the kind's default. One that a store lacks is refused."""
    if not order.action.removes:
        return Disposal.COPY
    capabilities = registry.store(info.kind).capabilities
    wanted = Disposal.HARD if order.action is Action.PURGE else order.disposal or capabilities.default_disposal
    if wanted is None or wanted not in capabilities.disposals:
        offered = ", ".join(sorted(capabilities.disposals)) or "none"
        why = capabilities.removal_refused_because or f"it offers: {offered}"
        raise Unsupported(
            f"{info.name}: a store of the kind {info.kind!r} cannot remove ({wanted or 'default'}): {why}",
            hint="Leave this mailbox out, or use excise copy.",
        )
    return wanted


def make_plan(
    case: Case,
    order: Order,
    scope: Scope,
    policy: Effective,
    *,
    jobs: int,
    progress: Progress,
    stop: threading.Event,
    audit: ChainedLog,
) -> Plan:
    """Search the scope and freeze the plan. Every mailbox is logged, with zero hits and failures too (S22)."""
    _check_order(order, scope, policy)
    order, scope = limited(policy, order), allowed(policy, scope)
    check_removable(order, scope)
    accounts.check_separate(policy, order.action, (info.locator for info in scope.mailboxes))
    warnings = reach_of(policy, order.action, scope)
    number = (case.plan_numbers() or [0])[-1] + 1
    directory = case.make(case.plan_dir(number))
    case.make(directory / "matches")
    first, local = case.next_unit(), all(registry.store(info.kind).capabilities.local_files for info in scope.mailboxes)
    jobs = jobs_for(jobs, (info.kind for info in scope.mailboxes))
    originals = None
    if order.with_replies:
        audit.append(_replies_record(number, order, scope))
        mailboxes = scope.mailboxes
        originals = find_originals(order.criteria, mailboxes, jobs=jobs, local=local, progress=progress, stop=stop)
        order = replace(order, criteria=originals.criteria)
    rule = originals.rule.canonical() if originals else None
    tasks = [replace(task, rule=rule) for task in _tasks(order, scope, directory, first, Holds.of(policy.policy))]
    audit.append(
        {
            "type": "search-started",
            "plan": number,
            "action": order.action,
            "criteria_sha256": order.criteria.sha256,
            "mailboxes": len(tasks) + len(scope.not_searched),
        }
    )
    units = []
    for unit in _searched(run_units(_search_unit, tasks, jobs=jobs, local=local, progress=progress, stop=stop)):
        units.append(unit)
        audit.append(search_record(number, unit))
    if stop.is_set():
        raise Interrupted(
            "stopped before the plan was finished; nothing was touched", hint="Start again with a new case directory."
        )
    units.sort(key=lambda unit: unit.unit)
    units.extend(_lost(scope, first + len(units)))
    for unit in units[len(tasks) :]:
        audit.append(search_record(number, unit))
    told: dict[str, Any] = {"warnings": warnings} if warnings else {}
    if originals:
        told["family"] = originals.header(lost.name for lost in scope.not_searched)
    plan = write_plan(case, number, _header(order, scope, units) | told | policy.header(), units)
    made = {"type": "plan-made", "plan": number, "plan_sha256": plan.sha256, "matches": plan.matches}
    audit.append(made | ({"warnings": len(warnings)} if warnings else {}))
    return plan


def _searched(found: Iterable[tuple[_SearchTask, UnitPlan | UnitError]]) -> Iterator[UnitPlan]:
    """The units as they were searched, or could not be."""
    for task, result in found:
        if isinstance(result, UnitError):
            yield replace(task.unit, not_searched=result.message, not_searched_code=result.exit_code)
        else:
            yield result


def _check_order(order: Order, scope: Scope, policy: Effective) -> None:
    """Refuse what no mailbox has to be opened for."""
    if order.action.removes:
        order.criteria.require_for("move", narrow_only(policy))
    if order.no_evidence and (order.action is not Action.PURGE or order.evidence or order.rewrite):
        raise UsageError("only a purge goes without evidence, and then without any kind of it, nor --rewrite")
    if not order.evidence and not order.no_evidence:
        raise UsageError("no kind of evidence is named", hint="Name mbox, pst or eml, or several of them.")
    if order.expect_mailboxes is not None and order.expect_mailboxes != len(scope.mailboxes) + len(scope.not_searched):
        raise Refused(
            "S03",
            f"expected {count_of(order.expect_mailboxes, 'mailbox')}, "
            f"found {len(scope.mailboxes) + len(scope.not_searched)}",
            hint="No mailbox was opened. Check the sources, or the number.",
        )


def _replies_record(number: int, order: Order, scope: Scope) -> dict[str, Any]:
    """That the mailboxes are about to be searched for the originals of replies and forwards."""
    facts = {"criteria_sha256": order.criteria.sha256, "mailboxes": len(scope.mailboxes)}
    return {"type": "originals-looked-for", "plan": number, **facts}


def _tasks(order: Order, scope: Scope, directory: Path, first: int, holds: Holds) -> Iterator[_SearchTask]:
    criteria = order.criteria.canonical()
    for number, info in enumerate(scope.mailboxes, first):
        unit = UnitPlan(
            number,
            info.kind,
            info.locator,
            info.name,
            info.identity,
            disposal=resolve_disposal(order, info),
            refused=_refused(order, info) if order.action.removes else "",
            space_for_removal=_space_for_removal(order, info),
            hold=_hold(order, info, holds),
        )
        rewrite = order.rewrite and registry.store(info.kind).capabilities.remakes
        yield _SearchTask(unit, info, criteria, directory, order.caps, holds, rewrite, order.replacing)


def _hold(order: Order, info: MailboxInfo, holds: Holds) -> str:
    """What is known of holds on a whole mailbox, from the policy and from its store (S24)."""
    cases = ", ".join(filter(None, (holds.mailbox(info.name) if order.action.removes else "", info.hold)))
    signs = info.details.get("hold_signs", "")
    unknown = f"not known; {signs}" if signs else "not known"
    return f"{HELD}{cases}" if cases else unknown if info.hold is None else "none"


def _space_for_removal(order: Order, info: MailboxInfo) -> int:
    copy = (info.size or 0) if order.compact and _compacts(info) else 0
    return info.space_for_removal + copy if order.action.removes else 0


def _lost(scope: Scope, first: int) -> Iterator[UnitPlan]:
    for number, lost in enumerate(scope.not_searched, first):
        yield UnitPlan(number, "", "", lost.name, "", not_searched=lost.reason, not_searched_code=lost.exit_code)


def search_record(plan: int, unit: UnitPlan) -> dict[str, Any]:
    """What the audit log says of a mailbox that was searched, or was not."""
    record: dict[str, Any] = {"type": "mailbox-searched", "plan": plan, "unit": unit.unit, "mailbox": unit.name}
    record |= {"identity": unit.identity, "seen": unit.seen, "matches": unit.matches}
    record |= {"unreadable": unit.unreadable, "untestable": unit.untestable, "false_hits": unit.false_hits}
    if unit.not_searched:
        record |= {"type": "mailbox-not-searched", "reason": unit.not_searched}
    return record


def _search_unit(task: _SearchTask, channel: Channel) -> UnitPlan:
    """Search one mailbox and write its two files of lines."""
    searched, count, doubtful, held, size = Searched(), 0, 0, 0, 0
    removes, whole = task.unit.disposal != Disposal.COPY, task.unit.hold.startswith(HELD)
    ids: list[str] = []
    with (
        LinesFile(matches_path(task.directory, task.unit.unit)) as lines,
        LinesFile(untestable_path(task.directory, task.unit.unit)) as rest,
    ):
        for found in open_and_search(task.info, _judge(task), searched, channel):
            if isinstance(found, NotTested):
                rest.add(not_tested_line(found))
                continue
            if task.replacing and (found.id, found.version) not in task.replacing.targets:
                continue
            count += 1
            doubtful += bool(found.doubt)
            size += found.envelope.get("size") or 0
            hold = task.holds.item(task.unit.name, found.envelope) if removes and not whole else ""
            held += removes and not found.doubt and (whole or bool(hold))
            ids += [] if found.doubt or whole or hold or not task.rewrite else [found.id]
            lines.add(match_line(count, found) | ({"hold": hold} if hold else {}))
        hashes = [lines.finish(), rest.finish()]
    tally = searched.tally
    put = task.replacing.put if task.replacing else 0
    refused = task.unit.refused or over_cap(task.caps, task.unit.disposal, count, tally.seen - put)
    # Where a cap refuses, a review may still bring it below.
    anew = task.rewrite and count and not task.unit.refused
    unit = plan_remaking(task.unit, task.directory, ids) if anew else task.unit
    return replace(
        unit,
        seen=tally.seen,
        bytes=tally.bytes,
        unreadable=tally.unreadable,
        untestable=searched.untestable,
        false_hits=tally.false_hits,
        matches=count,
        match_bytes=size,
        doubtful=doubtful,
        held=held,
        refused=refused,
        matches_sha256=hashes[0],
        untestable_sha256=hashes[1],
    )


def _judge(task: _SearchTask) -> Matcher:
    criteria = Criteria.from_canonical(task.criteria)
    return Matcher(criteria) if task.rule is None else FamilyMatcher(criteria, Criteria.from_canonical(task.rule))


def match_line(item: int, found: Match) -> dict[str, Any]:
    """The line of a planned item."""
    return {
        "item": item,
        "id": found.id,
        "version": found.version,
        "folder": found.folder,
        "matched": found.matched,
        "doubt": found.doubt,
        "envelope": found.envelope,
    }


def not_tested_line(found: NotTested) -> dict[str, Any]:
    """The line of what could not be tested or read."""
    terms = [{"term": term, "reason": reason} for term, reason in found.terms]
    return {"id": found.id, "folder": found.folder, "where": found.where, "terms": terms, "envelope": found.envelope}


def over_cap(caps: Caps, disposal: str, matches: int, seen: int) -> str:
    """Why nothing may be removed from a mailbox of ``seen`` messages, ``matches`` of them planned (S04); else empty."""
    if disposal == Disposal.COPY:
        return ""
    if caps.max_per_mailbox is not None and matches > caps.max_per_mailbox:
        found = count_of(matches, "match")
        return f"{found}, more than --max-per-mailbox {caps.max_per_mailbox} (safety rule S04)"
    if seen >= caps.share_from and matches * 100 > caps.max_share * seen:
        share = f"--max-share {caps.max_share:g} percent"
        return f"{count_of(matches, 'match')} in {count_of(seen, 'message')}, more than {share} (safety rule S04)"
    return ""


def _header(order: Order, scope: Scope, units: Sequence[UnitPlan]) -> dict[str, Any]:
    return {
        "made": iso(now()),
        "action": order.action,
        "disposal": order.disposal,
        "evidence": order.evidence,
        "part_size": order.part_size,
        **({"pst_per": order.pst_per} if order.pst_per != "mailbox" else {}),
        **({"no_evidence": True} if order.no_evidence else {}),
        **({"compact": True} if order.compact else {}),
        **({"rewrite": True} if order.rewrite else {}),
        **({"replaces_for": order.replacing.header()} if order.replacing else {}),
        "caps": asdict(order.caps),
        "criteria": order.criteria.canonical(),
        "criteria_sha256": order.criteria.sha256,
        "rule": order.criteria.words(),
        "scope": {
            "sources": order.sources,
            "mailboxes": order.wanted,
            **({"parts": order.parts} if order.parts else {}),
            **({"directory": order.directory} if order.directory else {}),
            "expect_mailboxes": order.expect_mailboxes,
            "passed_over": scope.passed_over,
            "other_files": scope.other_files,
        },
        **accounts.header(unit.locator for unit in units),
        **figures(order.action, order.caps, order.evidence, units, one_pst=order.pst_per == "case"),
    }


def figures(
    action: Action, caps: Caps, evidence: Sequence[EvidenceKind], units: Sequence[UnitPlan], *, one_pst: bool = False
) -> dict[str, Any]:
    """What a plan's header has of its units together: whether they are too many (S04), totals, the estimate.

    ``one_pst``: the case gets one PST beside what the units preserve, which is no PST where they can do without.
    """
    alone = [kind for kind in evidence if not one_pst or kind is not EvidenceKind.PST] or evidence
    preserved = sum(_preserved(unit, alone) for unit in units if unit.matches)
    preserved += _SMALLEST_PST + 2 * sum(unit.match_bytes for unit in units) if one_pst else 0
    preserved += sum(unit.space_for_removal for unit in units if unit.rewrite)  # the old files go into the case
    total = sum(unit.matches for unit in units)
    over = caps.max_total is not None and action.removes and total > caps.max_total
    return {
        "refused": f"{count_of(total, 'match')}, more than --max-total {caps.max_total} (safety rule S04)"
        if over
        else "",
        "totals": {
            "mailboxes": len(units),
            "not_searched": sum(bool(unit.not_searched) for unit in units),
            "with_matches": sum(unit.matches > 0 for unit in units),
            "matches": total,
            "match_bytes": sum(unit.match_bytes for unit in units),
            "unreadable": sum(unit.unreadable for unit in units),
            "untestable": sum(unit.untestable for unit in units),
        },
        "estimate": {
            "bytes_in_case": preserved + 4096 * total,
            "bytes_beside_sources": sum(unit.space_for_removal for unit in units if unit.matches),
            "requests": 0,
            "bytes_to_read": sum(unit.match_bytes + 2 * unit.bytes for unit in units if unit.matches),
        },
    }


def _preserved(unit: UnitPlan, kinds: Sequence[EvidenceKind]) -> int:
    """About how many bytes the evidence of a unit takes: a PST is never small, and has mail in two forms."""
    each = {EvidenceKind.PST: _SMALLEST_PST + 2 * unit.match_bytes}
    return sum(each.get(kind, unit.match_bytes) for kind in kinds)


def distinct_subjects(plan: Plan) -> list[tuple[str, int]]:
    """The subjects of the planned items with their counts, most frequent first (S05)."""
    counts = Counter(match["envelope"]["subject"] or "" for _, match in all_matches(plan))
    return counts.most_common()


def family_subjects(plan: Plan) -> list[tuple[str, int]]:
    """The same of those that are in the plan as replies and forwards (S12)."""
    lines = (match for _, match in all_matches(plan) if WITH_REPLIES in match["matched"])
    return Counter(match["envelope"]["subject"] or "" for match in lines).most_common()


def check_space(case: Case, plan: Plan) -> None:
    """Refuse to begin where the disk has surely too little room, in the case or beside a source."""
    need = int(plan.header["estimate"]["bytes_in_case"])
    have = free_space(case.root)
    if need > have:
        raise UsageError(
            f"{case.root}: the evidence needs about {need:,} bytes, the disk has {have:,} free",
            hint="Free some space, or put the case on another disk. Nothing was touched.",
        )
    for unit in plan.units:
        if unit.matches and unit.space_for_removal:
            place = Path(unit.locator.partition(":")[2]).parent
            have = free_space(place)
            if unit.space_for_removal > have:
                raise UsageError(
                    f"{place}: removing needs {unit.space_for_removal:,} bytes beside {unit.name}, {have:,} are free",
                    hint="Free some space there. Nothing was touched.",
                )
