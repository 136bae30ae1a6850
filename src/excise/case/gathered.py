"""The one PST of a case (``--pst-per case``): its parts, and what must hold of them.

They stand in ``data/evidence/case`` of the bag and hold, mailbox by mailbox, what the units' own parts hold: nothing
was removed on their word, for they are made when all units have ended. The audit log has the hashes of their files from
before they were committed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

from excise.case.bag import is_sealed
from excise.case.layout import Case
from excise.case.parts import ITEMS, committed_parts, part_name
from excise.case.plan import Plan
from excise.case.reread import reread_part
from excise.core.files import open_nofollow

#: The types of records of the coordinator's log: a part is about to be committed; no more will be made of what is left.
PART_WRITTEN, GIVEN_UP = "case-pst-part", "case-pst-given-up"

#: Gives a part as one that can be read, for a block, and what is wrong with it where it was encrypted.
Opened: TypeAlias = Callable[[Path], AbstractContextManager[tuple[Path, list[str]]]]


def _as_it_is(part: Path) -> AbstractContextManager[tuple[Path, list[str]]]:
    return nullcontext((part, []))


def is_gathered(plan: Plan) -> bool:
    """True where the run of ``plan`` makes one PST for the case."""
    return plan.action.preserves and plan.header.get("pst_per") == "case"


def recorded_files(records: Iterable[Mapping[str, Any]], plan: int, part: int) -> Mapping[str, str]:
    """The digests of a part's files as the last record of it has them; empty where there is none."""
    found = [r["sha256"] for r in records if (r["type"], r.get("plan"), r.get("part")) == (PART_WRITTEN, plan, part)]
    return found[-1] if found and isinstance(found[-1], dict) else {}


def hashes_in(part: Path) -> dict[str, str]:
    """SHA-256 of each item of a part by its evidence id. ValueError or OSError where its lines cannot be read."""
    found: dict[str, str] = {}
    with os.fdopen(open_nofollow(part / ITEMS), "rb") as stream:
        for raw in stream:
            line = json.loads(raw)
            if not isinstance(line, dict) or not isinstance(line.get("evidence"), str):
                raise ValueError("a line that is no item's")  # noqa: TRY004 - one error for all that is no line
            found[line["evidence"]] = str(line.get("sha256"))
    return found


def part_problems(part: Path, number: int, plan: int, records: Iterable[Mapping[str, Any]]) -> list[str]:
    """What does not hold of a committed part, read again by another reader."""
    files = recorded_files(records, plan, number)
    if not files:
        return [f"{part}: a part that the audit log does not know"]
    return reread_part(part, files).problems


def gathered_problems(
    case: Case, plan: Plan, records: Iterable[Mapping[str, Any]], opened: Opened = _as_it_is
) -> list[str]:
    """Everything that does not hold of the one PST of the case, against the log and against the units' own parts."""
    records, place = list(records), case.gathered_dir(plan.number)
    problems: list[str] = []
    there: dict[str, str] = {}
    try:
        parts = committed_parts(place)
        known = {part_name(number) for number, _ in parts}
        problems += [f"{path}: not the name of a part" for path in _entries(place) if path.name not in known]
        for number, part in parts:
            with opened(part) as (copy, wrong):
                wrong += part_problems(copy, number, plan.number, records)
                problems += [problem.replace(str(copy), str(part)) for problem in wrong]
                held = hashes_in(copy)
            problems += [f"{part}: {evidence} stands in two parts" for evidence in sorted(there.keys() & held.keys())]
            there |= held
        wanted = dict(_of_units(case, plan, opened))
    except (OSError, ValueError, RecursionError) as error:
        return [*problems, f"{place}: its items cannot be compared: {error}"]
    problems += [
        f"{place}: {each}: not the item that its unit has" for each in sorted(there) if there[each] != wanted.get(each)
    ]
    given_up = any((r["type"], r.get("plan")) == (GIVEN_UP, plan.number) for r in records)
    if is_gathered(plan) and is_sealed(case.bag_dir(plan.number)) and not given_up:
        problems += [f"{place}: {evidence} is missing" for evidence in sorted(wanted.keys() - there.keys())]
    return problems


def _entries(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() else []


def _of_units(case: Case, plan: Plan, opened: Opened) -> Iterator[tuple[str, str]]:
    for unit in plan.units:
        for _, part in committed_parts(case.evidence_dir(plan.number, unit.unit)):
            with opened(part) as (copy, _):
                yield from hashes_in(copy).items()
