"""When items were removed, by the journals: how many in an hour, whatever a process that is gone knew.

An item counts from the moment at which its unit noted that the source is about to be written to (``removing``), also
where nobody knows yet what became of it; noted twice, as by a run that was resumed, it counts at both moments, and in
one hour once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from excise.case.chain import GENESIS, read_chain
from excise.case.layout import Case
from excise.case.plan import Plan, UnitPlan
from excise.core.clock import iso, parse_iso
from excise.core.errors import DoesNotVerify

_HOUR = timedelta(hours=1)
#: When, and of which plan, unit and number the item is.
Moment = tuple[datetime, tuple[int, int, int]]


def removals(case: Case, plan: Plan, records: Sequence[Mapping[str, Any]] = ()) -> list[Moment]:
    """Each removal that the journals of ``plan`` tell of. ``records``: the coordinator's log, whose bound heads each
    journal must have; DoesNotVerify where one is missing, cut off or another one."""
    found: list[Moment] = []
    for unit in plan.units:
        if unit.matches:
            found += _of_unit(case, plan, unit, records)
    return found


def _of_unit(case: Case, plan: Plan, unit: UnitPlan, records: Sequence[Mapping[str, Any]]) -> list[Moment]:
    path = case.unit_dir(unit.unit) / "journal.jsonl"
    found: list[Moment] = []

    def look(record: dict[str, Any]) -> dict[str, Any]:
        if record["type"] == "removing":
            moment = parse_iso(record["time"])
            items = record.get("items")
            if moment is None or not isinstance(items, list) or not all(type(item) is int for item in items):
                raise DoesNotVerify(f"{path}: record {record['seq']}: expected items that are removed, found others")
            found.extend((moment, (plan.number, unit.unit, item)) for item in items)
        return {"prev": record["prev"]}

    reading = read_chain(path, look)
    heads = {GENESIS, "", reading.head, *(record["prev"] for record in reading.records)}
    for record in records:
        bound = record["type"] == "unit-finished" and (record.get("plan"), record.get("unit")) == (
            plan.number,
            unit.unit,
        )
        if bound and record.get("journal_head") not in heads:
            raise DoesNotVerify(f"{path}: the head that the audit log bound is not in it: how much was removed?")
    return found


def counted(moments: Sequence[Moment], since: datetime) -> int:
    """How many different items were removed after ``since``; one whose time lies in the future counts too."""
    return len({item for moment, item in moments if moment > since})


class Removals:
    """The removals of passes under standing approvals, in the order of the passes, held against what was allowed."""

    def __init__(self) -> None:
        self._all: list[Moment] = []
        self._of: dict[int, list[Moment]] = {}

    def add(self, case: Case, plan: Plan) -> None:
        """The removals of one more pass."""
        self._of[plan.number] = removals(case, plan)
        self._all += self._of[plan.number]

    def of(self, plan: Plan) -> int:
        """How many items of ``plan`` were removed, or begun to be."""
        return len({item for _, item in self._of.get(plan.number, [])})

    def problem(self, plan: Plan, per_hour: int, begins: datetime, until: datetime) -> str:
        """Where one of ``plan`` was removed out of time, or as one too many in 60 minutes; empty where none was."""
        mine = self._of.get(plan.number, [])
        late = [moment for moment, _ in mine if not begins <= moment < until]
        if late:
            return f"plan {plan.number}: a removal at {iso(late[0])}, which is not before the end that was approved"
        window: deque[Moment] = deque()
        inside: Counter[tuple[int, int, int]] = Counter()
        last = max((moment for moment, _ in mine), default=None)
        first = min((moment for moment, _ in mine), default=None)
        for moment, item in sorted(self._all, key=itemgetter(0)):
            if last is None or moment > last:
                break
            window.append((moment, item))
            inside[item] += 1
            while window[0][0] <= moment - _HOUR:
                _, old = window.popleft()
                inside[old] -= 1
                if not inside[old]:
                    del inside[old]
            if first is not None and moment >= first and len(inside) > per_hour:
                return f"plan {plan.number}: {len(inside)} removals in the hour before {iso(moment)}, not {per_hour}"
        return ""
