"""Putting removed messages back from the evidence: a planned, journalled run of its own (S21, S29).

A restore plan lists, per mailbox, evidence items. What is already there is counted first: a folder ends with at least
as many copies of a message as were removed from it, so running it twice doubles nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from excise.case.chain import ChainedLog, read_chain
from excise.case.layout import Case
from excise.case.parts import ITEMS, part_files, part_name
from excise.case.plan import Plan, UnitPlan, matches_path, read_matches, read_plan, write_plan
from excise.core.clock import iso, now
from excise.core.digests import canonical_json, sha256_hex
from excise.core.errors import DoesNotVerify, SourceUnavailable, UsageError
from excise.core.files import write_durably
from excise.engine import accounts
from excise.engine.channel import Channel
from excise.engine.evidence import PartReader, check_bags
from excise.engine.journal import read_journal
from excise.engine.putting import PutRun, run_put_unit
from excise.engine.unit import UnitResult, UnitTask
from excise.model.item import Action, Deposit, Outcome
from excise.policy.effective import Effective
from excise.store_api import registry
from excise.store_api.errors import MailboxChanged, Unsupported
from excise.store_api.protocols import MailboxInfo

#: An unknown outcome may be a removal: putting it back is safe, since what is there is counted first.
_GONE = (Outcome.REMOVED, Outcome.UNKNOWN)


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """What to put back: all that was removed, or only the evidence ids in ``only``; where it came from, or ``into``."""

    only: tuple[str, ...] = ()
    into: MailboxInfo | None = None


def make_restore_plan(case: Case, order: RestoreOrder, audit: ChainedLog, policy: Effective) -> Plan:
    """Freeze a plan that puts removed items back."""
    _refuse_unless_done(case, audit)
    left = set(order.only)
    groups: dict[int, tuple[UnitPlan, list[dict[str, Any]]]] = {}
    for plan, unit in _removing_units(case):
        lines = list(_removed_lines(case, plan, unit, order, left))
        if lines:
            # One target is one unit: what is already there is counted once for all that goes into it.
            groups.setdefault(0 if order.into else unit.unit, (unit, []))[1].extend(lines)
    if left:
        raise UsageError(
            f"{case.root}: no removed message has the evidence id {', '.join(sorted(left))}",
            hint="The ids stand in outcome.csv, in the column evidence.",
        )
    _refuse_without_evidence(case, {line["from_plan"] for _, lines in groups.values() for line in lines})
    check_bags(case, audit.records, {line["from_plan"] for _, lines in groups.values() for line in lines})
    if not groups:
        raise UsageError(f"{case.root}: nothing was removed in this case, so there is nothing to put back")
    number, unit_number = case.plan_numbers()[-1] + 1, case.next_unit()
    directory = case.make(case.plan_dir(number))
    case.make(directory / "matches")
    units = [
        _restore_unit(directory, unit_number + place, unit, lines, order.into)
        for place, (unit, lines) in enumerate(groups.values())
    ]
    header: dict[str, Any] = {
        "made": iso(now()),
        "action": Action.RESTORE,
        "disposal": None,
        "evidence": (),
        "scope": {"only": order.only, "into": order.into.locator if order.into else None},
        "totals": {"mailboxes": len(units), "matches": sum(unit.matches for unit in units)},
        **accounts.header(unit.locator for unit in units),
        **policy.header(),
    }
    made = write_plan(case, number, header, units)
    audit.append(
        {"type": "plan-made", "plan": number, "plan_sha256": made.sha256, "matches": made.matches, "action": "restore"}
    )
    return made


def _refuse_without_evidence(case: Case, plans: set[int]) -> None:
    """Refuse to put back what was not kept."""
    for number in sorted(plans):
        if read_plan(case, number).hashes_only:
            raise UsageError(
                f"{case.root}: plan {number} was run with --no-evidence: of what it removed only hashes and envelopes "
                "were kept, so nothing of it can be put back",
                hint="It was approved so. If there is a backup of the mailbox, that is where it may still be.",
            )


def _refuse_unless_done(case: Case, audit: ChainedLog) -> None:
    """Refuse to put a plan after one that is not at its end: it could not be run or resumed any more.

    A restore that was never confirmed may be planned anew.
    """
    plan = read_plan(case)
    kinds = {record["type"] for record in audit.records if record.get("plan") == plan.number}
    empty = not plan.matches and "run-started" not in kinds  # a pass of a sweep that found nothing
    if "run-finished" in kinds or empty or (plan.action is Action.RESTORE and "run-started" not in kinds):
        return
    raise UsageError(
        f"{case.root}: plan {plan.number} has not been run to its end",
        hint=f"excise resume {case.root} finishes it, excise run {case.root} begins it.",
    )


def _check_mailbox(case: Case, unit: UnitPlan, source_unit: int) -> None:
    """The mailbox is there, and the one that messages were removed from, or that the removal made of it (S30)."""
    known = {unit.identity}
    records = read_chain(case.unit_dir(source_unit) / "journal.jsonl").records
    known |= {record["identity"] for record in records if record["type"] == "identity"}
    hint = (
        f"The others are put back. Then close this run (excise resume {case.root} --finish), make an empty mailbox "
        "there, and: "
        f"excise restore {case.root} --into {unit.locator} --only ID … (the ids of its messages stand in outcome.csv)"
    )
    try:
        mailbox = registry.store(unit.kind).open(unit.locator)
    except SourceUnavailable as error:
        error.hint = hint
        raise
    try:
        found = mailbox.info.identity
    finally:
        mailbox.close()
    if found not in known:
        raise MailboxChanged(
            f"{unit.name}: expected the mailbox that they were removed from, found another one ({found})", hint=hint
        )


def _removing_units(case: Case) -> Iterator[tuple[Plan, UnitPlan]]:
    for number in case.plan_numbers():
        plan = read_plan(case, number)
        if plan.action.removes:
            yield from ((plan, unit) for unit in plan.units if unit.matches)


def _removed_lines(
    case: Case, plan: Plan, unit: UnitPlan, order: RestoreOrder, left: set[str]
) -> Iterator[dict[str, Any]]:
    matches = {match["item"]: match for match in read_matches(plan, unit)}
    twins: Counter[tuple[str, str]] = Counter()
    path = case.unit_dir(unit.unit) / "journal.jsonl"
    status, _ = read_journal(path, matches)
    for number, item in status.items():
        twins[matches[number]["folder"], matches[number]["version"]] += item.outcome in _GONE
    for number, item in status.items():
        evidence = f"{unit.unit:05}-{number:06}"
        if item.outcome in _GONE and (not order.only or evidence in order.only):
            left.discard(evidence)
            match = matches[number]
            yield match | {
                "evidence": evidence,
                "from_plan": plan.number,
                "from_unit": unit.unit,
                "from_item": number,
                "part": item.part,
                "sha256": item.sha256,
                "size": item.size,
                "twins": twins[match["folder"], match["version"]],
            }


def _restore_unit(
    directory: Path, number: int, unit: UnitPlan, lines: list[dict[str, Any]], into: MailboxInfo | None
) -> UnitPlan:
    kind = into.kind if into else unit.kind
    if not registry.store(kind).capabilities.can_put:
        raise Unsupported(
            f"a store of the kind {kind!r} cannot take messages", hint="Restore into another one: --into SOURCE"
        )
    data = [canonical_json(line | {"item": item}) + b"\n" for item, line in enumerate(lines, 1)]
    write_durably(matches_path(directory, number), data)
    place = {"kind": into.kind, "locator": into.locator, "name": into.name, "identity": into.identity} if into else {}
    return replace(
        unit,
        unit=number,
        source_unit=unit.unit,
        matches=len(lines),
        matches_sha256=sha256_hex(b"".join(data)),
        untestable_sha256="",
        refused="",
        held=0,
        rewrite="",
        kept=0,
        lost=0,
        lost_sha256="",
        **place,  # type: ignore[arg-type]
    )


# Putting back


class RestoreRun(PutRun):
    """One mailbox's restore while it runs."""

    def __init__(self, case: Case, plan: Plan, unit: UnitPlan, channel: Channel) -> None:
        """Read the planned items and open journal and audit log."""
        super().__init__(case, plan, unit, channel)
        self._parts: dict[tuple[int, int, int], PartReader] = {}

    def close(self) -> None:
        """Close the evidence and both logs."""
        for part in self._parts.values():
            part.close()
        super().close()

    def check_target(self) -> None:
        """The mailbox is the one that messages were removed from, unless another one was named."""
        if not self.plan.header["scope"]["into"]:
            _check_mailbox(self.case, self.unit, self.unit.source_unit)

    def deposit(self, item: int) -> Deposit:
        """The planned item as it goes back, read from the evidence and checked against the journalled hash."""
        line = self.lines[item]
        key = (line["from_plan"], line["from_unit"], line["part"])
        if key not in self._parts:
            self._parts[key] = PartReader(
                self.case.evidence_dir(key[0], key[1]) / part_name(key[2]), self._lines_of(key[1], key[2])
            )
        found, content = self._parts[key].read(line["from_item"], line["evidence"])
        if (found["sha256"], found["version"]) != (line["sha256"], line["version"]):
            raise DoesNotVerify(
                f"{self._parts[key].part}: {line['evidence']}: not the item that was removed, by its hash"
            )
        delivered = datetime.fromisoformat(found["delivered"]) if found["delivered"] else None
        # Where a mailbox has no folders, all goes into it (the evidence keeps the name).
        capabilities = registry.store(self.unit.kind).capabilities
        folder = found["folder"] if capabilities.has_folders else ""
        whole = None
        if capabilities.takes_items:
            whole = self._parts[key].read_item(line["from_item"], line["evidence"])
            self.tell_form(item, had_properties=found["properties"] is not None, whole=whole is not None)
        stream = self._parts[key].read_stream(line["from_item"], line["evidence"])
        return Deposit(content, folder, frozenset(found["flags"]), delivered, found["attributes"], whole, stream)

    def _lines_of(self, unit: int, part: int) -> str:
        """The SHA-256 of the lines of a part, which bind its items' properties, as the journal has it."""
        path = self.case.unit_dir(unit) / "journal.jsonl"
        return part_files(read_chain(path).records, part).get(ITEMS, "")

    def place(self, folder: str) -> str:
        """The folder as it is counted: another store (``--into``) may call it otherwise, so there all count as one."""
        return "" if self.plan.header["scope"]["into"] else folder

    def likeness(self, item: int, version: str) -> str:
        """What was removed is known by its version."""
        del item
        return version

    def copies(self, item: int) -> tuple[object, int]:
        """As many copies as were removed from that folder of that mailbox; where the target takes several versions
        for one, of each of them."""
        line = self.lines[item]
        return (line["from_unit"], line["folder"], line["version"]), line["twins"]


def run_restore_unit(task: UnitTask, channel: Channel) -> UnitResult:
    """Run or go on with one mailbox's restore."""
    return run_put_unit(RestoreRun, task, channel)
