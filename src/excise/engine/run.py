"""Running a plan: the coordinator (DESIGN.md, "A run"). It alone binds the units together and seals the bag.

Order: confirmed → units run → all ended → records gathered → bag sealed and validated → outcome told. A run that did
not come to its end is resumed from the journals; a run that did is never run again.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.case.bag import is_sealed, seal, tag_manifest_sha256, validate
from excise.case.chain import ChainedLog
from excise.case.gathered import is_gathered
from excise.case.layout import VERIFIER, Case, who
from excise.case.parts import ITEMS as ITEM_LINES
from excise.case.parts import committed_parts
from excise.case.plan import Plan, UnitPlan, planned_items
from excise.case.records import ITEMS, LOST, OUTCOME, SCOPE, csv_bytes, item_row
from excise.core.errors import (
    STATUS_ORDER,
    ConfirmationMissing,
    DoesNotVerify,
    ExciseError,
    Interrupted,
    Refused,
    UsageError,
    worst_status,
)
from excise.core.files import os_error, read_regular, write_durably
from excise.core.marker import CASE_FILE
from excise.engine.accounts import check_accounts
from excise.engine.approval import ApprovalMissing
from excise.engine.authority import Checked, check_authority
from excise.engine.channel import Channel, Progress, UnitError, jobs_for, run_units
from excise.engine.gathering import gather
from excise.engine.import_run import run_import_unit
from excise.engine.journal import ItemStatus, Journal, read_journal
from excise.engine.planner import check_space
from excise.engine.remaking import left_out_of, lost_of
from excise.engine.restore import run_restore_unit
from excise.engine.unit import UnitResult, UnitTask, run_unit
from excise.model.item import INCOMPLETE, Action, Outcome
from excise.store_api import registry

#: Outcomes of which the detail says where something of the item was missing.
_WHOLE = (Outcome.COPIED, Outcome.IMPORTED)


@dataclass(slots=True)
class RunResult:
    """How a run ended: item counts by outcome, what went wrong with which mailbox, the audit head, the exit status.

    ``lost``: items of files made anew that could not be read, so that the kept originals alone have them;
    ``more_lost``: how many there are besides is not known.
    """

    plan: Plan
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: list[tuple[str, str]] = field(default_factory=list)
    late: int = 0
    open_items: int = 0
    incomplete: int = 0
    lost: int = 0
    more_lost: bool = False
    head: str = ""
    sealed: bool = False
    interrupted: bool = False
    exit_code: int = 0


def confirm(audit: ChainedLog, plan: Plan, how: str) -> None:
    """Record that ``plan`` was confirmed, and how. A plan that a cap refuses as a whole cannot be."""
    if plan.header.get("refused"):
        raise Refused(
            "S04",
            plan.header["refused"].removesuffix(" (safety rule S04)"),
            hint="Nothing was touched. Narrow the criteria.",
        )
    audit.append({"type": "confirmed", "plan": plan.number, "plan_sha256": plan.sha256, "how": how, "who": who()})


def is_confirmed(audit: ChainedLog, plan: Plan) -> bool:
    """True where just this plan was confirmed."""
    return any(r["type"] == "confirmed" and r["plan_sha256"] == plan.sha256 for r in audit.records)


def execute(
    case: Case,
    plan: Plan,
    audit: ChainedLog,
    *,
    jobs: int,
    progress: Progress,
    stop: threading.Event,
    announce: Callable[[str], None],
    finish: bool = False,
) -> RunResult:
    """Run ``plan``, or go on with it. ``announce`` is told the audit head before anything is removed.

    ``jobs``: as in ``jobs_for``. ``finish``: items that are still open at the end are recorded as failed, so that the
    bag can be sealed; without it a bag is not sealed either while a mailbox could not be searched again for what was
    removed from it (S20).
    """
    if _has(audit, "run-finished", plan):
        if _head_is_older(case, audit):
            return _told_at_last(case, plan, audit)
        raise UsageError(
            f"{case.root}: plan {plan.number} has been run to its end", hint=f"See: excise status {case.root}"
        )
    _require_current(case, plan, audit)
    begun = _has(audit, "run-started", plan)
    checked = _authority(case, plan, audit, closing=finish and begun)
    if not begun and plan.action.preserves:
        check_space(case, plan)
    if checked is not None and checked.policy.sources:
        audit.append({"type": "authority-checked", "plan": plan.number, **checked.record()})
    used = check_accounts(plan, checked.policy) if checked is not None else []
    kind = "run-resumed" if begun else "run-started"
    started = {"type": kind, "plan": plan.number, "plan_sha256": plan.sha256, "who": who()}
    audit.append(started | ({"accounts": used} if used else {}))
    announce(audit.head)
    result = RunResult(plan)
    sealed = is_sealed(case.bag_dir(plan.number))
    if not sealed:
        if checked is not None:
            _run_units(case, plan, audit, result, jobs, progress, stop)
        if finish and not result.interrupted:
            _give_up(case, plan)
    _count(case, plan, result)
    ready = not result.open_items and not result.interrupted and (finish or not result.errors)
    if ready and not sealed and is_gathered(plan):
        ready = _gather(case, plan, audit, result, stop, finish=finish)
    if ready:
        if not sealed:
            _seal(case, plan)
        _record_seal(case, plan, audit)
        result.sealed = True
    result.exit_code = _exit_code(plan, result)
    end = "run-finished" if result.sealed else "run-stopped"
    result.head = audit.append(
        {"type": end, "plan": plan.number, "exit_code": result.exit_code, "open": result.open_items}
    )
    _tell_head(case, result.head)
    return result


def _require_current(case: Case, plan: Plan, audit: ChainedLog) -> None:
    """Refuse a plan in whose place another one stands, and one that nobody confirmed."""
    if any(r["type"] == "plan-made" and r.get("replaces") == plan.number for r in audit.records):
        raise Refused(
            "S06",
            f"{case.root}: plan {plan.number} was reviewed, and another one has taken its place",
            hint=f"Nothing was touched. See: excise status {case.root}",
        )
    if plan.action is not Action.COPY and not is_confirmed(audit, plan):
        raise ConfirmationMissing(
            f"{case.root}: plan {plan.number} has not been confirmed",
            hint=f"Look at it, then: excise run {case.root} --confirm {plan.sha256[:12]}",
        )


def _head_is_older(case: Case, audit: ChainedLog) -> bool:
    """True where the file tells of a head that the log had before: any other would tell of a log that was changed."""
    try:
        told = read_regular(case.head_path, 200).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return False
    return any(record["prev"] == told for record in audit.records)


def _told_at_last(case: Case, plan: Plan, audit: ChainedLog) -> RunResult:
    """What a run came to that had no room to write the head of its log."""
    result = RunResult(plan, sealed=True, head=audit.head)
    _count(case, plan, result)
    ends = (r for r in audit.records if r["type"] == "run-finished" and r.get("plan") == plan.number)
    result.exit_code = next(ends)["exit_code"]
    _tell_head(case, audit.head)
    return result


def _tell_head(case: Case, head: str) -> None:
    try:
        write_durably(case.head_path, f"{head}\n".encode())
    except OSError as error:
        raise os_error(error, case.head_path, "writing the head of the audit log after the run") from error


def _gather(
    case: Case, plan: Plan, audit: ChainedLog, result: RunResult, stop: threading.Event, *, finish: bool
) -> bool:
    """Make the one PST of the case; whether the bag can be sealed.

    Where it cannot be made and the run is to be finished, the bag is sealed without it, which the log tells.
    """
    try:
        gather(case, plan, audit, stop)
    except Interrupted:
        result.interrupted = True
        result.exit_code = worst_status([result.exit_code, Interrupted.exit_code])
        return False
    except ExciseError as error:
        result.errors.append(("the PST of the case", error.text()))
        result.exit_code = worst_status([result.exit_code, error.exit_code])
        if not finish or isinstance(error, DoesNotVerify):
            return False
        audit.append({"type": "case-pst-given-up", "plan": plan.number, "error": error.error_id})
    return True


def _authority(case: Case, plan: Plan, audit: ChainedLog, *, closing: bool) -> Checked | None:
    """What allows the run, checked before anything is opened (S25); None where a run that lost it is being closed."""
    try:
        return check_authority(case, plan, audit.records, counting=True)
    except ApprovalMissing:
        if not closing:
            raise
        return None


def _has(audit: ChainedLog, kind: str, plan: Plan) -> bool:
    """True where the audit log has a record of that kind about ``plan``."""
    return any(record["type"] == kind and record.get("plan") == plan.number for record in audit.records)


def _run_units(
    case: Case, plan: Plan, audit: ChainedLog, result: RunResult, jobs: int, progress: Progress, stop: threading.Event
) -> None:
    tasks = [UnitTask(case.root, plan.number, unit.unit, plan.sha256) for unit in plan.units if unit.matches]
    putting = {Action.RESTORE: run_restore_unit, Action.IMPORT: run_import_unit}
    work: Callable[[UnitTask, Channel], UnitResult] = putting.get(plan.action, run_unit)
    local = all(registry.store(unit.kind).capabilities.local_files for unit in plan.units if unit.matches)
    jobs = jobs_for(jobs, (unit.kind for unit in plan.units if unit.matches))
    for task, ended in run_units(work, tasks, jobs=jobs, local=local, progress=progress, stop=stop):
        unit = plan.unit(task.unit)
        if isinstance(ended, UnitError):
            ended = UnitResult(unit.unit, error=ended.message, exit_code=ended.exit_code)
        if ended.exit_code == 130:
            result.interrupted = True
        elif ended.error:
            result.errors.append((unit.name, ended.error))
        result.exit_code = worst_status([result.exit_code, ended.exit_code])
        result.late += ended.late
        audit.append(
            {
                "type": "unit-finished",
                "plan": plan.number,
                "unit": unit.unit,
                "mailbox": unit.name,
                "outcomes": ended.outcomes,
                "late": ended.late,
                "exit_code": ended.exit_code,
                "audit_head": ended.audit_head,
                "journal_head": ended.journal_head,
            }
        )


def _give_up(case: Case, plan: Plan) -> None:
    """Record every open item as failed or, where its removal had begun, as unknown."""
    for unit in plan.units:
        if unit.matches:
            case.make(case.unit_dir(unit.unit))
            items = [match["item"] for match in planned_items(plan, unit)]
            journal = Journal(case.unit_dir(unit.unit) / "journal.jsonl", items)
            try:
                journal.give_up()
            finally:
                journal.close()


def unit_status(case: Case, plan: Plan, unit: UnitPlan) -> dict[int, ItemStatus]:
    """The status of each planned item of a unit by its number, read from its journal."""
    items = [match["item"] for match in planned_items(plan, unit)]
    return read_journal(case.unit_dir(unit.unit) / "journal.jsonl", items)[0]


def unit_counts(case: Case, plan: Plan) -> list[tuple[UnitPlan, Counter[str]]]:
    """Each unit of a plan with its items counted by outcome, or by state where they have none yet."""
    counts = []
    for unit in plan.units:
        items = unit_status(case, plan, unit)
        counts.append((unit, Counter(str(item.outcome or item.state) for item in items.values())))
    return counts


def _count(case: Case, plan: Plan, result: RunResult) -> None:
    for unit in plan.units:
        lost = lost_of(case, plan, unit)
        result.lost += len(lost)
        result.more_lost |= any(line["id"] is None for line in lost)
        if unit.matches:
            for item in unit_status(case, plan, unit).values():
                if item.outcome is None:
                    result.open_items += 1
                else:
                    result.outcomes[item.outcome.value] += 1
                    result.incomplete += item.outcome in _WHOLE and item.detail.startswith(INCOMPLETE)


def _exit_code(plan: Plan, result: RunResult) -> int:
    codes = [result.exit_code]
    outcomes = {Outcome(value) for value in result.outcomes}
    if any(not outcome.finished_well and outcome not in (Outcome.HELD, Outcome.REFUSED) for outcome in outcomes):
        codes.append(9)
    if result.incomplete or result.lost:
        codes.append(9)
    if Outcome.HELD in outcomes:
        codes.append(8)
    if Outcome.REFUSED in outcomes:
        codes.append(3)
    if plan.header["totals"].get("untestable") or plan.header["totals"].get("unreadable"):
        codes.append(9)
    codes.extend(unit.not_searched_code for unit in plan.units if unit.not_searched_code in STATUS_ORDER)
    if result.open_items and not result.interrupted and not any(codes):
        codes.append(9)
    return worst_status(codes)


# Sealing


def _seal(case: Case, plan: Plan) -> None:
    bag = case.bag_dir(plan.number)
    records = case.make(bag / "data" / "records")
    try:
        if plan.action is not Action.RESTORE:
            write_durably(case.root / "scope.csv", csv_bytes(SCOPE, scope_rows(plan)))
        write_durably(case.root / "outcome.csv", csv_bytes(OUTCOME, outcome_rows(case, plan)))
        write_durably(records / "scope.csv", csv_bytes(SCOPE, scope_rows(plan)))
        write_durably(records / "outcome.csv", csv_bytes(OUTCOME, outcome_rows(case, plan)))
        write_durably(records / "items.csv", csv_bytes(ITEMS, _item_rows(case, plan)))
        if lost := [row for unit in plan.units for row in (*lost_of(case, plan, unit), *left_out_of(case, unit))]:
            write_durably(records / "lost.csv", csv_bytes(LOST, lost))
        _copy_records(case, plan, records)
        seal(
            bag,
            {
                "External-Identifier": case.id,
                "Internal-Sender-Identifier": f"plan {plan.number} {plan.sha256}",
                "Internal-Sender-Description": f"Excise case, {plan.action.value}: evidence and records",
            },
        )
    except OSError as error:
        raise os_error(error, bag, "sealing the bag") from error


def _record_seal(case: Case, plan: Plan, audit: ChainedLog) -> None:
    """Have BagIt's validator read the sealed bag, and bind it into the audit log, if an earlier process did not."""
    bag = case.bag_dir(plan.number)
    validate(bag)
    if not _has(audit, "bag-sealed", plan):
        digest = tag_manifest_sha256(bag)
        audit.append({"type": "bag-sealed", "plan": plan.number, "bag": bag.name, "tagmanifest_sha256": digest})


def _copy_records(case: Case, plan: Plan, records: Path) -> None:
    """Copy the living records as they are now into the bag; an earlier, unfinished try is written over."""
    copies = [(case.root / CASE_FILE, records / CASE_FILE), (case.audit_path, records / "audit.jsonl")]
    if (case.root / VERIFIER).exists():  # cases of earlier releases have none
        copies.append((case.root / VERIFIER, records / VERIFIER))
    copies += [(p, records / "plan" / p.relative_to(plan.directory)) for p in sorted(plan.directory.rglob("*.json*"))]
    for unit in plan.units:
        directory = case.unit_dir(unit.unit)
        copies += [(p, records / "units" / directory.name / p.name) for p in sorted(directory.glob("*.jsonl"))]
    for source, target in copies:
        case.make(target.parent)
        with source.open("rb") as stream:
            write_durably(target, iter(lambda stream=stream: stream.read(1 << 20), b""))  # type: ignore[misc]


def scope_rows(plan: Plan) -> Iterator[dict[str, Any]]:
    """The rows of scope.csv: every mailbox of the plan."""
    for unit in plan.units:
        row = {name: getattr(unit, name, None) for name in SCOPE}
        reason, refused = unit.not_searched, unit.refused
        yield row | {"mailbox": unit.name, "searched": not reason, "reason": reason, "removal_refused": refused}


def outcome_rows(case: Case, plan: Plan) -> Iterator[dict[str, Any]]:
    """The rows of outcome.csv: every item of the plan, whether its end is known or not."""
    for unit in plan.units:
        if not unit.matches:
            continue
        status, _ = read_journal(case.unit_dir(unit.unit) / "journal.jsonl", range(1, unit.matches + 1))
        for match in planned_items(plan, unit):
            item = status[match["item"]]
            yield {
                "unit": unit.unit,
                "mailbox": unit.name,
                "item": match["item"],
                "evidence": f"{unit.unit:05}-{match['item']:06}" if item.part else match.get("evidence"),
                "id": match["id"],
                "folder": match["folder"],
                "outcome": None if item.outcome is None else item.outcome.value,
                "detail": item.detail,
                "part": item.part or None,
                "sha256": item.sha256 or match.get("sha256"),
                "size": item.size if item.part else match.get("size"),
            }


def _item_rows(case: Case, plan: Plan) -> Iterator[dict[str, Any]]:
    for unit in plan.units:
        for number, part in committed_parts(case.evidence_dir(plan.number, unit.unit)):
            try:
                with (part / ITEM_LINES).open("rb") as stream:
                    for line in stream:
                        yield item_row(json.loads(line), unit.unit, number)
            except (ValueError, AttributeError, TypeError, RecursionError) as error:
                raise DoesNotVerify(f"{part / ITEM_LINES}: expected lines of items, found something else") from error
