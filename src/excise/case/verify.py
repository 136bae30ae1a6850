"""Verifying a case: everything that holds, and everything that does not, with its file and place.

What is checked, in this order:

1. ``case.json`` is the one that the plans were made for.
2. The coordinator's audit log is a whole chain; its head is the one in ``audit.head``, and the expected one if one is
given.
3. Each plan's header has the hash that the audit log recorded, and its match files the hashes in the header.
4. Each unit's audit log and journal are whole chains that hold the heads which the coordinator bound, and the
journal's events follow the table of states; an item that was removed had been preserved and verified before.
5. Each part of evidence, read again by another reader, equals the hashes taken as it was fetched, and every item that
the journal calls preserved is in it.
6. Each sealed bag has the tag manifest that the audit log recorded, BagIt's validator accepts it, and its records agree
   with the living ones.
7. Each signed statement is one about its plan, or about the terms of its standing approval, with a signature over just
   its bytes; each plan that was run had those that the policy in its header asks for. Each pass under a
   standing approval was within its terms, before its end, and no more was removed by such passes in any 60 minutes, by
   the journals, than its cap.
8. Each file that the audit log has a hash of is that file, and what the log tells is in an order in which it can have
   happened; checkpoints, their signatures and time stamps hold.
9. Nothing else is in the case.
10. Encrypted evidence is the one that was recorded, to the recipients that were recorded, and hangs together with what
    was sealed; with a private key it is opened, and 5 is checked of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from excise.case.approvals import approval_checks, second_person_checks
from excise.case.approved import check_approved, check_signers
from excise.case.bag import TAG_MANIFEST, is_encrypted, is_sealed, tag_manifest_sha256, validate
from excise.case.chain import GENESIS, ChainReading, read_chain
from excise.case.encryption import waits
from excise.case.gathered import gathered_problems, is_gathered
from excise.case.gathered import recorded_files as gathered_files
from excise.case.layout import Case
from excise.case.originals import ORIGINAL, original_problems
from excise.case.parts import committed_parts, part_files
from excise.case.plan import (
    HEADER,
    Plan,
    UnitPlan,
    checked_lines,
    iterate_excluded,
    lost_path,
    matches_path,
    read_plan,
    untestable_path,
)
from excise.case.recorded import file_problem, order_problems, recorded_files, unrecorded_files
from excise.case.reread import reread_part
from excise.case.standing import standing_checks
from excise.case.strangers import check_strangers
from excise.case.verify_encrypted import (
    check_keys,
    check_opened,
    encryption_problems,
    opened_part,
    unopened_problems,
)
from excise.case.verify_proofs import Check, Trust, check_proofs
from excise.core.age import Identity
from excise.core.errors import ExciseError
from excise.core.files import open_nofollow, read_regular
from excise.core.marker import CASE_FILE
from excise.core.text import count_of
from excise.model.item import Action

__all__ = ["Check", "Trust", "verify_case"]

#: Reads a unit's journal: (path, planned items) -> the status of each item, the records; raises DoesNotVerify.
Replay = Callable[[Path, list[int]], tuple[dict[int, Any], ChainReading]]


def verify_case(
    case: Case,
    replay: Replay,
    expect_head: str | None = None,
    trust: Trust | None = None,
    identities: Sequence[Identity] = (),
) -> Iterator[Check]:
    """Check everything; ``replay`` is the engine's (a case knows no states). ``identities`` open encrypted evidence."""
    check_keys(case, identities)
    audit = ChainReading()
    try:
        audit = read_chain(case.audit_path)
    except ExciseError as error:
        yield Check("audit log", False, error.message)
    else:
        yield from _check_head(case, audit, expect_head)
    recorded = {r.get("plan_sha256"): r for r in audit.records if r["type"] == "plan-made"}
    plans: dict[Any, Plan] = {}
    for number in case.plan_numbers():
        try:
            plan = read_plan(case, number)
        except (ExciseError, OSError) as error:
            path = case.plan_dir(number) / HEADER
            yield Check(f"plan {number}", False, f"{path}: {str(error).removeprefix(f'{path}: ')}")
            continue
        plans[number] = plan
        yield _check_plan_hash(case, plan, recorded, audit)
        yield from _check_units(case, plan, audit, replay, identities)
        if is_gathered(plan) or case.gathered_dir(number).exists():
            problems = _gathered_problems(case, plan, audit.records, identities)
            yield Check(f"the PST of plan {number}", not problems, "; ".join(problems[:3]))
        yield from _check_bag(case, plan, audit)
        yield from check_opened(case, plan.number, audit.records, identities)
        yield from (Check(*found) for found in approval_checks(case, plan))
        yield from (Check(*found) for found in second_person_checks(case, plan, audit.records))
        yield from check_approved(case, plan, audit.records)
        yield from check_signers(case, plan, trust or Trust())
    made = {r.get("plan") for r in recorded.values()}
    for lost in sorted(number for number in made if isinstance(number, int) and number not in case.plan_numbers()):
        path = case.plan_dir(lost) / HEADER
        yield Check(f"plan {lost}", False, f"{path}: the audit log tells of plan {lost}, which is not there")
    actions = {number: plan.action for number, plan in plans.items()}
    problems = list(order_problems(case, audit.records, actions))
    yield Check("order of the audit log", not problems, "; ".join(problems[:3]))
    yield from (Check(*found) for found in standing_checks(case, plans, audit.records))
    yield from _check_recorded(case, audit)
    yield from check_proofs(case, list(_heads(audit)) if audit.records else [], trust or Trust())
    yield from check_strangers(case)


def _check_recorded(case: Case, audit: ChainReading) -> Iterator[Check]:
    recorded = recorded_files(audit.records)
    for name, digest in sorted(recorded.items()):
        problem = file_problem(case, name, digest)
        yield Check(name, not problem, problem)
    strange = [str(path.relative_to(case.root)) for path in unrecorded_files(case, recorded)]
    if strange:
        yield Check("files in no record", None, ", ".join(strange[:5]))


def _check_head(case: Case, audit: ChainReading, expect_head: str | None) -> Iterator[Check]:
    path = case.audit_path
    detail = f"{count_of(len(audit.records), 'record')}, head {audit.head}"
    if not audit.records:
        yield Check("audit log", False, f"{path}: expected records, found none")
        return
    yield Check("audit log", True, detail + (f", {audit.torn} bytes of a torn last line" if audit.torn else ""))
    if audit.records[0].get("case_sha256") != case.sha256:
        yield Check(
            "case.json", False, f"{case.root / CASE_FILE}: not the one that the audit log begins with, by its SHA-256"
        )
    else:
        yield Check("case.json", True)
    try:
        told = read_regular(case.head_path, 200).decode("ascii", "replace").strip()
    except (OSError, ExciseError):
        told = ""
    heads = list(_heads(audit))
    if told == audit.head:
        yield Check("audit head", True, f"as the last command left it: {told}")
    elif told in heads or (not told and len(audit.records) == 1):
        yield Check("audit head", None, f"{case.head_path}: older than the log: the last command was interrupted")
    else:
        yield Check(
            "audit head", False, f"{case.head_path}: expected {audit.head} as in {path}, found {told[:64] or 'nothing'}"
        )
    if expect_head is None:
        yield Check(
            "tail of the audit log",
            None,
            "not proven: give the head that was printed or sent elsewhere, with --expect-head",
        )
    elif len(expect_head) >= 12 and any(head.startswith(expect_head.lower()) for head in heads):
        last = audit.head.startswith(expect_head.lower())
        yield Check(
            "tail of the audit log", True, "" if last else "the expected head is in the chain; records follow it"
        )
    else:
        yield Check("tail of the audit log", False, f"{path}: the expected head {expect_head[:64]} is not in the chain")


def _heads(reading: ChainReading) -> Iterator[str]:
    """The head after each record."""
    yield from (record["prev"] for record in reading.records[1:])
    yield reading.head


def _check_plan_hash(case: Case, plan: Plan, recorded: dict[Any, Any], audit: ChainReading) -> Check:
    told = any(r.get("plan") == plan.number and r["type"] in ("plan-made", "confirmed") for r in audit.records)
    name = f"plan {plan.number}"
    path = plan.directory / HEADER
    if plan.sha256 not in recorded and not told:
        return Check(name, None, f"{path}: the command that made it was interrupted before it was recorded")
    if plan.sha256 not in recorded:
        return Check(name, False, f"{path}: its SHA-256 {plan.sha256[:16]}… is not the one in the audit log")
    if plan.header.get("case_sha256") != case.sha256:
        return Check(name, False, f"{path}: made for another {CASE_FILE}")
    return Check(name, True, plan.sha256)


def _check_units(
    case: Case, plan: Plan, audit: ChainReading, replay: Replay, identities: Sequence[Identity]
) -> Iterator[Check]:
    for unit in plan.units:
        name = f"unit {unit.unit} ({unit.name})"
        problems: list[str] = []
        matches: list[int] = []
        for path, digest in (
            (matches_path(plan.directory, unit.unit), unit.matches_sha256),
            (untestable_path(plan.directory, unit.unit), unit.untestable_sha256),
            (lost_path(plan.directory, unit.unit), unit.lost_sha256),
        ):
            if digest:
                try:
                    items = [line["item"] for line in checked_lines(path, digest) if "item" in line]
                except (ExciseError, OSError, ValueError) as error:
                    problems.append(getattr(error, "message", f"{path}: {error}"))
                else:
                    matches = matches or items
        try:
            for _ in iterate_excluded(plan, unit):
                pass
        except (ExciseError, AttributeError, TypeError) as error:
            problems.append(getattr(error, "message", f"{plan.directory}: what a review took out: {error}"))
        if unit.matches:
            problems += _unit_problems(case, plan, unit, matches, audit, replay, identities)
        yield Check(name, not problems, "; ".join(problems[:3]) or count_of(unit.matches, "item"))


def _unit_problems(
    case: Case,
    plan: Plan,
    unit: UnitPlan,
    matches: list[int],
    audit: ChainReading,
    replay: Replay,
    identities: Sequence[Identity],
) -> list[str]:
    directory = case.unit_dir(unit.unit)
    bound = [r for r in audit.records if r["type"] == "unit-finished" and r.get("unit") == unit.unit]
    problems: list[str] = []
    status: dict[int, Any] = {}
    records: list[dict[str, Any]] = []
    for path, key in ((directory / "audit.jsonl", "audit_head"), (directory / "journal.jsonl", "journal_head")):
        try:
            if key == "journal_head":
                status, reading = replay(path, matches)
                records = reading.records
            else:
                reading = read_chain(path)
        except ExciseError as error:
            problems.append(error.message)
            continue
        heads = {GENESIS, "", *_heads(reading)}
        problems += [
            f"{path}: the head {r[key][:16]}… that the audit log bound is not in it"
            for r in bound
            if r[key] not in heads
        ]
        ended = not _is_under_way(audit, plan) and not _given_up(reading)
        if bound and bound[-1][key] and bound[-1][key] != reading.head and ended:
            problems.append(f"{path}: records follow the last head that the audit log bound")
    if plan.action.preserves and not waits(case, plan.number, audit.records):
        problems += _evidence_problems(case, plan, unit, status, records, identities)
    return problems


def _ended(audit: ChainReading, plan: Plan) -> bool:
    """True where the run of ``plan`` came to its end."""
    return any(r["type"] == "run-finished" and r.get("plan") == plan.number for r in audit.records)


def _is_under_way(audit: ChainReading, plan: Plan) -> bool:
    """True where the last run of ``plan`` has not told its end: it still works, or was killed."""
    kinds = ("run-started", "run-resumed", "run-stopped", "run-finished")
    last = [r["type"] for r in audit.records if r["type"] in kinds and r.get("plan") == plan.number][-1:]
    return last in (["run-started"], ["run-resumed"])


def _given_up(reading: ChainReading) -> bool:
    """True where only the closing of open items (``resume --finish``) follows."""
    return bool(reading.records) and reading.records[-1]["type"] == "ended" and "given up" in str(reading.records[-1])


def _evidence_problems(
    case: Case,
    plan: Plan,
    unit: UnitPlan,
    status: dict[int, Any],
    records: list[dict[str, Any]],
    identities: Sequence[Identity],
) -> list[str]:
    problems: list[str] = []
    there: dict[int, str] = {}
    bag = case.bag_dir(plan.number)
    place = bag / "data" / "evidence" / f"{unit.unit:05}"
    for part in sorted(place.iterdir()) if place.is_dir() else ():
        try:
            problems += _part_problems(bag, part, records, there, identities, hashes_only=plan.hashes_only)
        except OSError as error:
            problems.append(f"{part}: {error.strerror}")
        except ExciseError as error:
            problems.append(error.message)
    if is_encrypted(bag) and not identities:
        return problems
    for number, item in status.items():
        if item.sha256 and item.state != "fetched" and there.get(number) != item.sha256:
            problems.append(f"{place}: item {number}: the evidence is not what was hashed when it was fetched")
        if item.outcome == "removed" and not item.sha256:
            problems.append(f"{place}: item {number}: removed, but the journal knows of no evidence")
    problems += [
        f"{place}: item {number}: in the evidence, but not in the plan" for number in there.keys() - status.keys()
    ]
    return problems


def _part_problems(
    bag: Path,
    part: Path,
    records: list[dict[str, Any]],
    there: dict[int, str],
    identities: Sequence[Identity],
    *,
    hashes_only: bool,
) -> list[str]:
    """What does not hold of a part, as far as it can be read; ``there`` is told of its items."""
    if not is_encrypted(bag):
        return _plain_problems(part, records, there, hashes_only=hashes_only)
    if not identities:
        number = int(part.name[5:]) if part.name[5:].isdecimal() else 0
        return list(unopened_problems(bag, part, part_files(records, number)))
    with opened_part(bag, part, identities) as (copy, problems):
        if problems:
            return problems
        found = _plain_problems(copy, records, there, hashes_only=hashes_only)
        return [problem.replace(str(copy), str(part)) for problem in found]


def _gathered_problems(
    case: Case, plan: Plan, records: list[dict[str, Any]], identities: Sequence[Identity]
) -> list[str]:
    bag = case.bag_dir(plan.number)
    if not is_encrypted(bag):
        return gathered_problems(case, plan, records)
    if identities:
        return gathered_problems(case, plan, records, lambda part: opened_part(bag, part, identities))
    parts = committed_parts(case.gathered_dir(plan.number))
    return [
        problem
        for number, part in parts
        for problem in unopened_problems(bag, part, gathered_files(records, plan.number, number))
    ]


def _plain_problems(
    part: Path, records: list[dict[str, Any]], there: dict[int, str], *, hashes_only: bool
) -> list[str]:
    if part.name.startswith(ORIGINAL):
        return original_problems(part, records)
    number = int(part.name[5:]) if part.name[5:].isdecimal() else 0
    found = reread_part(part, part_files(records, number), hashes_only=hashes_only)
    there |= {item: line.sha256 for item, line in found.items.items()}
    return found.problems


def _check_bag(case: Case, plan: Plan, audit: ChainReading) -> Iterator[Check]:
    bag = case.bag_dir(plan.number)
    sealed = [r for r in audit.records if r["type"] == "bag-sealed" and r.get("bag") == bag.name]
    if not is_sealed(bag):
        if sealed and waits(case, plan.number, audit.records):
            yield Check(bag.name, None, f"its encryption was interrupted; excise encrypt {case.root}")
        elif sealed:
            yield Check(bag.name, False, f"{bag}/{TAG_MANIFEST}: was there when the bag was sealed, and is gone")
        elif bag.exists():
            yield Check(bag.name, None, f"not sealed: the run has not ended; excise resume {case.root}")
        return
    try:
        if not sealed and not _ended(audit, plan):
            validate(bag)
            yield Check(bag.name, None, f"sealed, but the run was stopped then; excise resume {case.root}")
            return
        if sealed and is_encrypted(bag):
            problems = list(encryption_problems(bag, audit.records, sealed[-1]["tagmanifest_sha256"]))
            if problems:
                yield Check(bag.name, False, "; ".join(problems[:3]))
                return
        elif not sealed or sealed[-1]["tagmanifest_sha256"] != tag_manifest_sha256(bag):
            yield Check(bag.name, False, f"{bag}/tagmanifest-sha256.txt: not the one that the audit log recorded")
            return
        validate(bag)
    except (ExciseError, OSError) as error:
        yield Check(bag.name, False, getattr(error, "message", str(error)))
        return
    yield Check(bag.name, True, "the BagIt validator accepts it")
    yield from _check_copies(case, plan, bag)


def _check_copies(case: Case, plan: Plan, bag: Path) -> Iterator[Check]:
    """The living records agree with those in the sealed bag: equal, or for logs, begun with them."""
    records = bag / "data" / "records"
    pairs = [(case.root / CASE_FILE, records / CASE_FILE, False), (case.audit_path, records / "audit.jsonl", True)]
    sealed = [number for number in case.plan_numbers() if is_sealed(case.bag_dir(number))]
    if plan.number == sealed[-1]:
        pairs.append((case.root / "outcome.csv", records / "outcome.csv", False))
    if plan.number == max((n for n in sealed if _searched(case, n)), default=0):
        pairs.append((case.root / "scope.csv", records / "scope.csv", False))
    pairs += [
        (plan.directory / p.relative_to(records / "plan"), p, False) for p in sorted(records.glob("plan/**/*.json*"))
    ]
    pairs += [
        (case.root / "units" / p.relative_to(records / "units"), p, True)
        for p in sorted(records.glob("units/*/*.jsonl"))
    ]
    for living, copy, grows in pairs:
        try:
            same = _begins_with(living, copy, grows=grows)
        except OSError as error:
            yield Check(str(living.relative_to(case.root)), False, f"{living}: {error.strerror}")
            continue
        if not same:
            yield Check(
                str(living.relative_to(case.root)), False, f"{living}: differs from its copy in the sealed {bag.name}"
            )


def _begins_with(living: Path, copy: Path, *, grows: bool) -> bool:
    """True where ``living`` has the bytes of ``copy``, and more only if it ``grows``."""
    with os.fdopen(open_nofollow(living), "rb") as new, os.fdopen(open_nofollow(copy), "rb") as old:
        while piece := old.read(1 << 20):
            if new.read(len(piece)) != piece:
                return False
        return grows or not new.read(1)


def _searched(case: Case, number: int) -> bool:
    """True where plan ``number`` is one of a search, which writes scope.csv; a restore does not."""
    try:
        return read_plan(case, number).action is not Action.RESTORE
    except (ExciseError, OSError):
        return False
