"""Making the one PST of a case (``--pst-per case``) of what the units have preserved, when all of them have ended.

No unit waits for another: each has preserved, verified and removed on its own parts, and this copies out of them. So
whatever stops it, nothing is lost, and it goes on with the items that no committed part has yet.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from excise.case.chain import ChainedLog
from excise.case.gathered import hashes_in, part_problems
from excise.case.layout import Case
from excise.case.part_pst import PartFull
from excise.case.parts import (
    ITEMS,
    EvidenceKind,
    PartWriter,
    Provenance,
    committed_parts,
    part_files,
    part_name,
    partial_name,
)
from excise.case.plan import Plan
from excise.core.errors import DoesNotVerify, Interrupted
from excise.core.files import flush_names, os_error
from excise.engine.evidence import PartReader
from excise.engine.journal import read_journal
from excise.model.item import Fetched


class _Item(NamedTuple):
    fetched: Fetched
    line: dict[str, Any]
    under: str


def gather(case: Case, plan: Plan, audit: ChainedLog, stop: threading.Event) -> None:
    """Write what is not yet in the PST of the case, verify it and commit it, in parts as large as the plan has them.

    DoesNotVerify where the evidence is not what it was, or what was written is not what it must be; Interrupted where
    the user asked to stop. It may be called again after any of them.
    """
    place = case.gathered_dir(plan.number)
    last, done = _adopt(case, plan, audit)
    items = (item for item in _items(case, plan) if item.line["evidence"] not in done)
    first = next(items, None)
    while first is not None:
        last += 1
        case.make(place)
        try:
            first = _write_part(case, plan, audit, last, first, items, stop)
        except OSError as error:
            raise os_error(error, place, "writing the PST of the case") from error


def _adopt(case: Case, plan: Plan, audit: ChainedLog) -> tuple[int, set[str]]:
    """The number of the last part that an earlier process committed, and the items of all of them; what it left
    unfinished is thrown away."""
    place = case.gathered_dir(plan.number)
    for partial in (case.root / "units").glob(_partial(0).replace("000", "*")):
        shutil.rmtree(partial)
    done: set[str] = set()
    parts = committed_parts(place)
    if parts:
        flush_names(place, case.root)
    for number, part in parts:
        _require(part_problems(part, number, plan.number, audit.records))
        done |= hashes_in(part).keys()
    return (parts[-1][0] if parts else 0), done


def _partial(part: int) -> str:
    return f"case-{partial_name(part)}"


def _require(problems: list[str]) -> None:
    if problems:
        raise DoesNotVerify(
            problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""),
            hint="The evidence of each mailbox is untouched. Look at the disk.",
        )


def _write_part(
    case: Case,
    plan: Plan,
    audit: ChainedLog,
    part: int,
    item: _Item | None,
    items: Iterator[_Item],
    stop: threading.Event,
) -> _Item | None:
    """Write one part that begins with ``item`` and commit it; the item that is to begin the next one."""
    partial, final = case.root / "units" / _partial(part), case.gathered_dir(plan.number) / part_name(part)
    writer = PartWriter(partial, (EvidenceKind.PST,), int(plan.header["part_size"]), f"case {case.id}")
    try:
        while item is not None and writer.takes(item.fetched):
            _check(stop)
            try:
                writer.add(item.fetched, _provenance(item.line, writer.count + 1), under=item.under)
            except PartFull:
                break
            item = next(items, None)
        count, digests = writer.count, writer.complete()
    except BaseException:
        writer.abandon()
        raise
    record = {"type": "case-pst-part", "plan": plan.number, "part": part, "items": count, "sha256": digests}
    audit.append(record)
    _require(part_problems(partial, part, plan.number, audit.records))
    writer.commit(final)
    return item


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Interrupted("stopped by the user at a safe point")


def _provenance(line: dict[str, Any], number: int) -> Provenance:
    return Provenance(
        line["evidence"],
        number,
        line["source"],
        line["mailbox"],
        line["sha256"],
        line["message_id"],
        tuple(line["matched"]),
        line["fetched_at"],
    )


def _items(case: Case, plan: Plan) -> Iterator[_Item]:
    """Every preserved item of the plan, mailbox by mailbox, checked against the hashes of its unit."""
    labels = _labels(plan)
    for unit in plan.units:
        place = case.evidence_dir(plan.number, unit.unit)
        if not unit.matches or not place.is_dir():
            continue
        _, log = read_journal(case.unit_dir(unit.unit) / "journal.jsonl", range(1, unit.matches + 1))
        for number, part in committed_parts(place):
            reader = PartReader(part, part_files(log.records, number).get(ITEMS, ""))
            try:
                for line in reader.lines().values():
                    yield _Item(_fetched(reader, line), line, labels[unit.unit])
            finally:
                reader.close()


def _labels(plan: Plan) -> dict[int, str]:
    """What the folder of each mailbox is called: its name, made another where two cannot be told apart."""
    found: dict[int, str] = {}
    taken: set[str] = set()
    for unit in plan.units:
        label = unit.name or f"Mailbox {unit.unit}"
        if label.casefold() in taken:
            label = f"{label} ({unit.unit})"
        taken.add(label.casefold())
        found[unit.unit] = label
    return found


def _fetched(reader: PartReader, line: dict[str, Any]) -> Fetched:
    """An item as it was fetched, out of the part that holds it."""
    item, name = line["item"], line["evidence"]
    _, content = reader.read(item, name)
    headers = line["headers"]
    return Fetched(
        line["id"],
        line["version"],
        content,
        line["folder"],
        frozenset(line["flags"]),
        None if line["delivered"] is None else datetime.fromisoformat(line["delivered"]),
        line["attributes"],
        reader.record(item, name),
        None if headers is None else tuple((field, origin) for field, origin in headers),
        tuple(line["notes"]),
        reader.read_item(item, name),
    )
