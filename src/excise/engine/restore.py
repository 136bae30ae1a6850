"""Putting removed messages back from the evidence: a planned, journalled run of its own (S21, S29).

A restore plan lists, per mailbox, evidence items. What is already there is counted first: a folder ends with at least
as many copies of a message as were removed from it, so running it twice doubles nothing.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from excise.case.bag import is_sealed, tag_manifest_sha256, validate
from excise.case.chain import ChainedLog, read_chain
from excise.case.layout import Case
from excise.case.parts import EML, ITEMS, MESSAGES, PST, part_name
from excise.case.plan import Plan, UnitPlan, matches_path, read_matches, read_plan, write_plan
from excise.case.reread import walk_mboxrd
from excise.core.clock import iso, now
from excise.core.digests import canonical_json, sha256_hex
from excise.core.errors import DoesNotVerify, ExciseError, SourceUnavailable, UsageError
from excise.core.files import open_nofollow, os_error, read_regular, write_durably
from excise.engine.channel import Channel
from excise.engine.journal import Journal, replay
from excise.engine.states import Event, State
from excise.engine.unit import UnitResult, UnitTask
from excise.model.item import Action, Deposit, Outcome
from excise.pst import Damaged
from excise.pst.file.read import open_pst
from excise.pst.messaging.names import PS_EXCISE
from excise.pst_mapi.content import joined
from excise.store_api import registry
from excise.store_api.errors import MailboxChanged, Unsupported
from excise.store_api.protocols import Mailbox, MailboxInfo

_BATCH = 32 << 20
#: An unknown outcome may be a removal: putting it back is safe, since what is there is counted first.
_GONE = (Outcome.REMOVED, Outcome.UNKNOWN)


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """What to put back: all that was removed, or only the evidence ids in ``only``; where it came from, or ``into``."""

    only: tuple[str, ...] = ()
    into: MailboxInfo | None = None


def make_restore_plan(case: Case, order: RestoreOrder, audit: ChainedLog) -> Plan:
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
    _check_bags(case, audit, {line["from_plan"] for _, lines in groups.values() for line in lines})
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
        "policy_sha256": None,
    }
    made = write_plan(case, number, header, units)
    audit.append(
        {"type": "plan-made", "plan": number, "plan_sha256": made.sha256, "matches": made.matches, "action": "restore"}
    )
    return made


def _refuse_unless_done(case: Case, audit: ChainedLog) -> None:
    """Refuse to put a plan after one that is not at its end: it could not be run or resumed any more.

    A restore that was never confirmed may be planned anew.
    """
    plan = read_plan(case)
    kinds = {record["type"] for record in audit.records if record.get("plan") == plan.number}
    if "run-finished" in kinds or (plan.action is Action.RESTORE and "run-started" not in kinds):
        return
    raise UsageError(
        f"{case.root}: plan {plan.number} has not been run to its end",
        hint=f"excise resume {case.root} finishes it, excise run {case.root} begins it.",
    )


def _check_bags(case: Case, audit: ChainedLog, plans: set[int]) -> None:
    """The evidence that is to go back is sealed, bound by the audit log, and BagIt's validator accepts it."""
    for number in sorted(plans):
        bag = case.bag_dir(number)
        seals = [r["tagmanifest_sha256"] for r in audit.records if r["type"] == "bag-sealed" and r["plan"] == number]
        if not is_sealed(bag) or tag_manifest_sha256(bag) not in seals:
            raise DoesNotVerify(
                f"{bag}: not the bag that the audit log recorded", hint=f"See: excise verify {case.root}"
            )
        validate(bag)


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
    status = replay(read_chain(path).records, matches, str(path))
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
        **place,  # type: ignore[arg-type]
    )


# Reading evidence


def read_content(part: Path, line: Mapping[str, Any]) -> bytes:
    """The content of one evidence item, from the part's mbox, EML file or PST, checked against its hash."""
    place = line.get("mbox")
    if isinstance(place, dict):
        content = _from_mbox(part / MESSAGES, place)
    elif line.get("eml") is not None:
        content = read_regular(part / EML / f"{line['evidence']}.eml")
    else:
        content = _from_pst(part / PST, line["pst"])
    if sha256_hex(content) != line["sha256"]:
        raise DoesNotVerify(f"{part}: {line['evidence']}: its bytes are not those that were preserved (SHA-256)")
    return content


def _from_mbox(path: Path, place: Mapping[str, Any]) -> bytes:
    with os.fdopen(open_nofollow(path), "rb") as stream:
        stream.seek(place["offset"])
        data = stream.read(place["length"])
    _, content = next(walk_mboxrd(io.BytesIO(data)))
    return content[:-1] if place["newline_added"] else content


def _from_pst(path: Path, place: Mapping[str, Any]) -> bytes:
    with os.fdopen(open_nofollow(path), "rb") as stream, open_pst(stream) as pst:
        try:
            properties = pst.message(place["nid"]).properties

            def read(key: str) -> bytes | None:
                prop_id = pst.names.id_of(PS_EXCISE, key)
                return properties.raw(prop_id) if prop_id is not None and prop_id in properties else None

            content = joined(read, place["content"])
        except Damaged as error:
            raise DoesNotVerify(f"{path}: {error.damage.text()}") from error
    if content is None:
        raise DoesNotVerify(f"{path}: message 0x{place['nid']:x}: its MIME is not there")
    return content


def part_lines(part: Path) -> dict[int, dict[str, Any]]:
    """The lines of a committed part by item number."""
    return {line["item"]: line for line in map(json.loads, read_regular(part / ITEMS).splitlines())}


# Putting back


class RestoreRun:
    """One mailbox's restore while it runs."""

    def __init__(self, case: Case, plan: Plan, unit: UnitPlan, channel: Channel) -> None:
        """Read the planned items and open journal and audit log."""
        self.case, self.plan, self.unit, self.channel = case, plan, unit, channel
        self.lines = {line["item"]: line for line in read_matches(plan, unit)}
        directory = case.make(case.unit_dir(unit.unit))
        self.journal = Journal(directory / "journal.jsonl", list(self.lines))
        self.audit = ChainedLog(directory / "audit.jsonl")
        self._parts: dict[tuple[int, int, int], dict[int, dict[str, Any]]] = {}

    def close(self) -> None:
        """Close both logs."""
        self.journal.close()
        self.audit.close()

    def deposit(self, item: int) -> Deposit:
        """The planned item as it goes back, read from the evidence and checked against the journalled hash."""
        line = self.lines[item]
        key = (line["from_plan"], line["from_unit"], line["part"])
        part = self.case.evidence_dir(key[0], key[1]) / part_name(key[2])
        try:
            if key not in self._parts:
                self._parts[key] = part_lines(part)
            found = self._parts[key][line["from_item"]]
            content = read_content(part, found)
        except OSError as error:
            raise os_error(error, part, "reading the evidence") from error
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise DoesNotVerify(f"{part}: {line['evidence']}: the evidence cannot be read ({error})") from error
        if (found["sha256"], found["version"]) != (line["sha256"], line["version"]):
            raise DoesNotVerify(f"{part}: {line['evidence']}: not the item that was removed, by its hash")
        delivered = datetime.fromisoformat(found["delivered"]) if found["delivered"] else None
        return Deposit(
            content, self._folder(found["folder"]), frozenset(found["flags"]), delivered, found["attributes"]
        )

    def run(self) -> None:
        """Put back what is not there."""
        if not self.plan.header["scope"]["into"]:
            _check_mailbox(self.case, self.unit, self.unit.source_unit)
        mailbox = registry.store(self.unit.kind).open(self.unit.locator, writable=True)
        try:
            for done in mailbox.recover():
                self.journal.note("recovered", what=done)
            self.audit.append({"type": "mailbox-opened", "mailbox": self.unit.name, "identity": mailbox.info.identity})
            todo = self.journal.in_state(State.PLANNED, State.PUTTING)
            self.journal.event(Event.PUTTING, todo)
            for batch in self._batches(mailbox, todo):
                self._put(mailbox, batch)
                self.channel.check()
        finally:
            mailbox.close()

    def _batches(self, mailbox: Mailbox, todo: Sequence[int]) -> Iterator[list[tuple[int, Deposit]]]:
        """Items in batches of bounded size, twins of one version in one folder always together (they are counted
        together)."""
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for item in todo:
            deposit = self.deposit(item)
            groups[self._place(deposit.folder), mailbox.version_of(deposit)].append(item)
        batch: list[tuple[int, Deposit]] = []
        size = 0
        for items in groups.values():
            for item in items:
                deposit = self.deposit(item)
                batch.append((item, deposit))
                size += len(deposit.content)
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _put(self, mailbox: Mailbox, batch: list[tuple[int, Deposit]]) -> None:
        versions = {item: mailbox.version_of(deposit) for item, deposit in batch}
        room = self._room(mailbox, versions)
        missing: list[tuple[int, Deposit]] = []
        outcomes: list[tuple[int, Outcome, str, str | None]] = []
        for item, deposit in batch:
            key = (self._place(deposit.folder), versions[item])
            if room[key] > 0:
                room[key] -= 1
                missing.append((item, deposit))
            else:
                outcomes.append((item, Outcome.ALREADY_THERE, "", None))
        placed = list(mailbox.put([deposit for _, deposit in missing]))
        if len(placed) != len(missing):
            raise ExciseError(
                f"{self.unit.name}: the store answered for {len(placed)} items where {len(missing)} were given"
            )
        outcomes += [
            (item, done.outcome, done.detail, done.id) for (item, _), done in zip(missing, placed, strict=True)
        ]
        self._prove(mailbox, batch, versions, outcomes)
        self.journal.placed(outcomes)

    def _place(self, folder: str) -> str:
        """The folder as it is counted: another store (``--into``) may call it otherwise, so there all count as one."""
        return "" if self.plan.header["scope"]["into"] else folder

    def _room(self, mailbox: Mailbox, versions: Mapping[int, str]) -> dict[tuple[str, str], int]:
        """How many copies may still be put, by place and version: as many as were removed less those there."""
        removed: dict[tuple[str, str], dict[tuple[int, str], int]] = defaultdict(dict)
        for item, version in versions.items():
            line = self.lines[item]
            removed[self._place(self._folder(line["folder"])), version][line["from_unit"], line["folder"]] = line[
                "twins"
            ]
        there = self._there(mailbox, set(versions.values()))
        return {key: sum(units.values()) - there[key] for key, units in removed.items()}

    def _folder(self, folder: str) -> str:
        """The folder an item goes to; where a mailbox has none, all goes into it (the evidence keeps the name)."""
        return folder if registry.store(self.unit.kind).capabilities.has_folders else ""

    def _there(self, mailbox: Mailbox, versions: set[str]) -> Counter[tuple[str, str]]:
        """How many there are of each version, by place."""
        there: Counter[tuple[str, str]] = Counter()
        for (folder, version), count in mailbox.count(versions).items():
            there[self._place(folder), version] += count
        return there

    def _prove(
        self,
        mailbox: Mailbox,
        batch: Iterable[tuple[int, Deposit]],
        versions: Mapping[int, str],
        outcomes: Sequence[tuple[int, Outcome, str, str | None]],
    ) -> None:
        """Count again: every item that is said to be there must be (S20)."""
        good = {item for item, outcome, _, _ in outcomes if outcome.finished_well}
        wanted = Counter((self._place(deposit.folder), versions[item]) for item, deposit in batch if item in good)
        found = self._there(mailbox, set(versions.values()))
        short = sum(max(0, count - found.get(key, 0)) for key, count in wanted.items())
        if short:
            raise ExciseError(
                f"{self.unit.name}: {short} messages were put back but not found when counted again",
                hint="Look at the mailbox with another program, then: excise resume CASE",
            )

    def result(self, error: ExciseError | None = None) -> UnitResult:
        """Close the books."""
        outcomes = Counter(str(item.outcome) for item in self.journal.status.values() if item.outcome is not None)
        record: dict[str, Any] = {"type": "mailbox-closed", "mailbox": self.unit.name, "outcomes": dict(outcomes)}
        record |= {"open": len(self.lines) - outcomes.total(), "journal_head": self.journal.head}
        if error is not None:
            record["error"] = error.error_id
        head = self.audit.append(record)
        text, code = ("", 0) if error is None else (error.text(), error.exit_code)
        return UnitResult(self.unit.unit, dict(outcomes), head, self.journal.head, 0, text, code)


def run_restore_unit(task: UnitTask, channel: Channel) -> UnitResult:
    """Run or go on with one mailbox's restore."""
    case = Case(task.root)
    plan = read_plan(case, task.plan)
    unit = RestoreRun(case, plan, plan.unit(task.unit), channel)
    try:
        try:
            unit.run()
        except ExciseError as error:
            return unit.result(error)
        return unit.result()
    finally:
        unit.close()
