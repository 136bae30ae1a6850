"""Where the standing approvals of a case stand, for people: their terms, who signed, each pass under them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from excise.case.approvals import Said, Signed
from excise.case.chain import read_chain
from excise.case.layout import Case
from excise.case.plan import read_plan
from excise.case.removals import removals
from excise.case.standing import Standing, read_standing, standing_numbers, standing_statements
from excise.core.clock import iso, now


@dataclass(frozen=True, slots=True)
class PassState:
    """A pass that found something. ``refused``: why nothing of it was removed; empty where it was run."""

    plan: int
    time: str
    removable: int
    removed: int
    counted: int
    refused: str = ""

    @property
    def words(self) -> str:
        """One line."""
        if self.refused:
            return f"{self.time}  plan {self.plan}: nothing removed: {self.refused}"
        before = f"{self.counted:,} removed in the hour before"
        return f"{self.time}  plan {self.plan}: {self.removed:,} of {self.removable:,} removed, {before}"


@dataclass(slots=True)
class StandingState:
    """One standing approval, with the statements about it and the passes under it."""

    standing: Standing
    stands: str
    statements: list[Signed[Said] | str] = field(default_factory=list)
    passes: list[PassState] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """The hash of its terms."""
        return self.standing.sha256

    @property
    def title(self) -> str:
        """What it allows, in a line."""
        terms = self.standing.terms
        places = f"{len(terms.scope.locators):,} mailboxes"
        return f"{self.standing.name.capitalize()}: {terms.action}, {terms.per_hour:,} an hour in {places}"

    @property
    def removed(self) -> int:
        """How many items were removed under it, or begun to be."""
        return sum(one.removed for one in self.passes)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        terms = self.standing.terms
        passes = [{name: getattr(one, name) for name in PassState.__dataclass_fields__} for one in self.passes]
        return {
            "standing": self.standing.number,
            "terms_sha256": self.sha256,
            "action": terms.action,
            "per_hour": terms.per_hour,
            "until": iso(terms.until),
            "statements": len(self.statements),
            "stands": self.stands,
            "passes": passes,
        }


def standing_states(case: Case) -> Iterator[StandingState]:
    """Each standing approval of the case."""
    numbers = standing_numbers(case)
    records = read_chain(case.audit_path).records if numbers else []
    for number in numbers:
        standing = read_standing(case, number)
        found = StandingState(standing, _stands(standing), list(standing_statements(case, number)))
        mine = [r for r in records if r.get("standing") == number]
        found.passes = [_pass(case, r) for r in mine if r["type"] in ("standing-pass", "standing-refused")]
        yield found


def _stands(standing: Standing) -> str:
    end = iso(standing.terms.until)
    return f"ended at {end}" if now() >= standing.terms.until else f"until {end}"


def _pass(case: Case, record: Mapping[str, Any]) -> PassState:
    plan = read_plan(case, record["plan"])
    if record["type"] == "standing-refused":
        why = str(record["why"]).removeprefix(f"{plan.name}: ")
        return PassState(plan.number, record["time"], plan.removable, 0, 0, why)
    removed = len({item for _, item in removals(case, plan)})
    return PassState(plan.number, record["time"], plan.removable, removed, record["counted"])
