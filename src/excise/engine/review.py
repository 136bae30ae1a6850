"""A reviewed plan: what a person left of a plan that was not run yet, as a new plan that takes its place (S06).

The new plan holds the same lines without those that were excluded, and for each unit those that were, with the reason.
Nothing is searched again. The plan that it replaces can never be run: another one is the newest, and the audit log
tells that it was replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from excise.case.chain import ChainedLog
from excise.case.layout import Case, who
from excise.case.parts import EvidenceKind
from excise.case.plan import (
    Caps,
    Plan,
    UnitPlan,
    excluded_path,
    iterate_excluded,
    iterate_matches,
    iterate_untestable,
    lost_path,
    matches_path,
    read_lines,
    untestable_path,
    write_plan,
)
from excise.core.clock import iso, now
from excise.core.digests import canonical_json, sha256_hex
from excise.core.errors import UsageError
from excise.core.files import write_durably
from excise.engine.authority import HELD
from excise.engine.planner import figures, over_cap

_OF_CASE = ("format", "plan", "case", "case_sha256", "units")
_S04 = "(safety rule S04)"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Items that somebody took out: (unit, item) of the plan that was reviewed; by which choice, and why."""

    items: frozenset[tuple[int, int]]
    choice: str
    reason: str


def check_reviewable(plan: Plan, audit: ChainedLog) -> None:
    """A UsageError where ``plan`` is none that a review may replace: it was run, or no search made it."""
    if any(r["type"] == "run-started" and r.get("plan") == plan.number for r in audit.records):
        raise UsageError(f"plan {plan.number} has been run: nothing can be taken out of it any more")
    if not plan.action.preserves:
        raise UsageError(f"plan {plan.number} is for {plan.action}: only what a search found can be reviewed")


def make_reviewed_plan(case: Case, plan: Plan, exclusions: Sequence[Exclusion], audit: ChainedLog) -> Plan:
    """Freeze a plan of what is left of ``plan``, and tell the audit log what it replaces."""
    check_reviewable(plan, audit)
    reasons = _reasons(plan, exclusions)
    number, first = case.plan_numbers()[-1] + 1, case.next_unit()
    directory = case.make(case.plan_dir(number))
    case.make(directory / "matches")
    caps = Caps(**plan.header["caps"])
    hashes: dict[str, str] = {}
    units = [
        _left(directory, plan, replace(unit, unit=first + place, source_unit=unit.unit), caps, reasons, hashes)
        for place, unit in enumerate(plan.units)
    ]
    kinds = tuple(EvidenceKind(kind) for kind in plan.header["evidence"])
    header = {
        **{key: value for key, value in plan.header.items() if key not in _OF_CASE},
        "made": iso(now()),
        **figures(plan.action, caps, kinds, units, one_pst=plan.header.get("pst_per") == "case"),
        "review": {
            "replaces": plan.number,
            "replaces_sha256": plan.sha256,
            "excluded": len(reasons),
            "exclusions": [{"choice": e.choice, "items": len(e.items), "reason": e.reason} for e in exclusions],
            "excluded_sha256": hashes,
            "who": who(),
        },
    }
    made = write_plan(case, number, header, units)
    audit.append(
        {
            "type": "plan-made",
            "plan": number,
            "plan_sha256": made.sha256,
            "matches": made.matches,
            "replaces": plan.number,
            "excluded": len(reasons),
            "who": who(),
        }
    )
    return made


def _reasons(plan: Plan, exclusions: Sequence[Exclusion]) -> dict[tuple[int, int], Exclusion]:
    """The exclusion of each item that is taken out: the first that names it."""
    sizes = {unit.unit: unit.matches for unit in plan.units}
    found: dict[tuple[int, int], Exclusion] = {}
    for exclusion in exclusions:
        if not exclusion.reason.strip():
            raise UsageError("an exclusion needs a reason", hint="Say why, for the record: --reason TEXT")
        for unit, item in exclusion.items:
            if not 1 <= item <= sizes.get(unit, 0):
                raise UsageError(f"plan {plan.number} has no item {unit:05}-{item:06}")
            found.setdefault((unit, item), exclusion)
    if not found:
        raise UsageError("nothing is excluded, so there is no new plan to make")
    return found


def _left(
    directory: Path,
    plan: Plan,
    unit: UnitPlan,
    caps: Caps,
    reasons: Mapping[tuple[int, int], Exclusion],
    hashes: dict[str, str],
) -> UnitPlan:
    """The unit without what was excluded, its files written; ``hashes`` takes that of what was."""
    old = plan.unit(unit.source_unit)
    kept: list[bytes] = []
    out: list[bytes] = [canonical_json(line) + b"\n" for line in iterate_excluded(plan, old)]
    size = doubtful = held = 0
    whole = old.hold.startswith(HELD)
    lost = read_lines(lost_path(plan.directory, old.unit), old.lost_sha256) if old.lost_sha256 else []
    unreadable, stay = {line["id"] for line in lost}, 0
    for match in iterate_matches(plan, old):
        exclusion = reasons.get((old.unit, match["item"]))
        if exclusion is not None:
            out.append(canonical_json(_excluded_line(old.unit, match, exclusion)) + b"\n")
            # What is in doubt or held was to stay anyway.
            stay += not (match["doubt"] or whole or "hold" in match or match["id"] in unreadable)
            continue
        kept.append(canonical_json(match | {"item": len(kept) + 1}) + b"\n")
        size += match["envelope"].get("size") or 0
        doubtful += bool(match["doubt"])
        held += bool(old.held) and not match["doubt"] and (whole or "hold" in match)
    rest = [canonical_json(line) + b"\n" for line in iterate_untestable(plan, old)]
    number = unit.unit
    for path, lines in (
        (matches_path(directory, number), kept),
        (excluded_path(directory, number), out),
        (untestable_path(directory, number), rest),
        (lost_path(directory, number), [canonical_json(line) + b"\n" for line in lost]),
    ):
        if lines:
            write_durably(path, lines)
    if out:
        hashes[str(number)] = sha256_hex(b"".join(out))
    return replace(
        unit,
        matches=len(kept),
        match_bytes=size,
        doubtful=doubtful,
        held=held,
        refused=_refused(old, caps, len(kept)),
        matches_sha256=sha256_hex(b"".join(kept)) if kept else "",
        untestable_sha256=old.untestable_sha256,
        kept=old.kept + stay if old.rewrite else 0,
    )


def _refused(old: UnitPlan, caps: Caps, matches: int) -> str:
    """Why nothing may be removed: a cap is applied to what is left, all else stays."""
    if old.refused and not old.refused.endswith(_S04):
        return old.refused
    return over_cap(caps, old.disposal, matches, old.seen)


def _excluded_line(unit: int, match: Mapping[str, Any], exclusion: Exclusion) -> dict[str, Any]:
    """The line of what was taken out: the number that it had, the match itself, by which choice and why."""
    said = {"choice": exclusion.choice, "reason": exclusion.reason}
    return {**match, "from_unit": unit, "from_item": match["item"], **said}
