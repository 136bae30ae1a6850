"""What a report says of the case as a whole: who asked, what was done when, and the hashes that bind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from excise.case.bag import is_sealed, tag_manifest_sha256
from excise.case.chain import ChainReading, read_chain
from excise.case.layout import Case
from excise.case.plan import Plan, read_plan
from excise.core.errors import DoesNotVerify
from excise.core.text import are, count_of
from excise.engine.accounts import used
from excise.engine.standing_state import StandingState, standing_states
from excise.report.facts import PlanFacts, gather

_STEPS = {
    "case-created": "The case was made",
    "search-started": "The search was started",
    "plan-made": "The plan was frozen",
    "confirmed": "The plan was confirmed",
    "run-started": "The run was started",
    "run-resumed": "The run was resumed",
    "run-stopped": "The run was stopped",
    "bag-sealed": "The evidence was sealed",
    "run-finished": "The run ended",
    "plan-reviewed": "The plan was reviewed",
    "bag-encrypted": "The evidence was encrypted",
    "plaintext-removed": "The evidence in the clear was removed",
    "evidence-opened": "Encrypted evidence was opened",
    "standing-asked": "A standing approval was asked for",
    "standing-pass": "A pass was taken as approved by a standing approval",
    "standing-refused": "A pass was refused under a standing approval",
    "case-closed": "The case was closed",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of what was done: when, with which plan, what, by whom or how."""

    time: str
    plan: str
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """All that a report tells."""

    case: Case
    authorisation: Mapping[str, Any]
    plans: Sequence[PlanFacts]
    steps: Sequence[Step]
    seals: Mapping[int, str]
    heads_before: Mapping[int, str]
    head: str
    content: bool
    standing: Sequence[StandingState] = ()


def gather_case(case: Case, *, content: bool) -> CaseFacts:
    """Read the whole case; DoesNotVerify where the audit log or a plan is not what it must be."""
    audit = read_chain(case.audit_path)
    authorisation = case.facts.get("authorisation")
    if not audit.records or not isinstance(authorisation, dict):
        raise DoesNotVerify(f"{case.root}: expected an audit log and an authorisation, found none")
    plans = [_recorded(case, number, audit) for number in case.plan_numbers()]
    return CaseFacts(
        case,
        authorisation,
        [gather(case, plan, audit.records, content=content) for plan in plans],
        [_step(record) for record in audit.records if record["type"] in _STEPS],
        {plan.number: tag_manifest_sha256(case.bag_dir(plan.number)) for plan in plans if _is_sealed(case, plan)},
        _heads_before(audit),
        audit.head,
        content,
        list(standing_states(case)),
    )


def _recorded(case: Case, number: int, audit: ChainReading) -> Plan:
    """The plan, which must be one that the audit log knows."""
    plan = read_plan(case, number)
    if not any(r["type"] == "plan-made" and r.get("plan_sha256") == plan.sha256 for r in audit.records):
        raise DoesNotVerify(
            f"{plan.directory}: not a plan that the audit log recorded", hint=f"See: excise verify {case.root}"
        )
    return plan


def _is_sealed(case: Case, plan: Plan) -> bool:
    return is_sealed(case.bag_dir(plan.number))


def _heads_before(audit: ChainReading) -> dict[int, str]:
    """The head that was announced before the first run of each plan began to change anything."""
    found: dict[int, str] = {}
    following = [*audit.records[1:], {"prev": audit.head}]
    for record, after in zip(audit.records, following, strict=True):
        if record["type"] == "run-started" and isinstance(record.get("plan"), int):
            found.setdefault(record["plan"], str(after["prev"]))
    return found


def _step(record: Mapping[str, Any]) -> Step:
    who = record.get("who")
    said = [str(record["how"])] if record.get("how") else []
    if isinstance(who, dict):
        said.append(f"by {who.get('user')} (uid {who.get('uid')}) on {who.get('host')}")
    said += used(record)
    if "matches" in record:
        said.append(count_of(record["matches"], "match"))
    if record.get("why") and record["type"] == "standing-refused":
        said.append(str(record["why"]))
    if record.get("open"):
        said.append(f"{count_of(record['open'], 'item')} {are(record['open'])} open")
    return Step(str(record["time"]), str(record.get("plan", "")), _STEPS[record["type"]], ", ".join(said))
