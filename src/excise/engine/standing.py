"""Whether a pass of a sweep may remove what it found under a standing approval (S04, S25).

The rules, in this order; the first that is broken stops the pass before anything of it is removed:

1. The policy in force, and the one that the terms were made under, allow standing approvals for this action, of so many
   items an hour and for so long.
2. The clock shows no time before the newest record of the case's log, and none that is past the end of the terms.
3. Those who would have to approve a plan signed just these terms (``approval``), and their signatures count now.
4. The plan is within the terms: criteria, scope, action, disposal, evidence, caps and policy are the same, and each
   mailbox was one of those that were approved.
5. What passes removed in the last 60 minutes, by their journals, and this plan together are not above the cap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from excise.case.approvals import Said, Signed
from excise.case.layout import Case
from excise.case.plan import Plan, read_plan
from excise.case.removals import Moment, counted, removals
from excise.case.standing import HOUR, Standing, outside, pass_records, read_standing
from excise.core.clock import iso, now, parse_iso
from excise.core.errors import DoesNotVerify, Refused
from excise.engine.approval import ApprovalMissing, require_approval
from excise.policy.model import Policy
from excise.store_api.discovery import Scope
from excise.store_api.protocols import NotSearched

Records = Sequence[Mapping[str, Any]]
_NEW = "Ask for a new standing approval, or run the plan under an approval of its own."


def check_allowed(standing: Standing, policy: Policy) -> None:
    """ApprovalMissing where ``policy`` allows no such standing approval."""
    terms, allowed = standing.terms, policy.approval.standing
    why = ""
    if allowed is None or terms.action not in allowed.actions:
        why = f"the policy allows none for {terms.action}"
    elif terms.per_hour > allowed.per_hour:
        why = f"it is for {terms.per_hour} an hour, and the policy allows {allowed.per_hour}"
    elif terms.until - terms.made > timedelta(hours=allowed.hours):
        why = f"it is to last longer than the {allowed.hours:g} hours that the policy allows"
    if why:
        raise ApprovalMissing(f"{standing.name}: {why}")


def check_standing(case: Case, standing: Standing, policy: Policy, records: Records) -> list[Signed[Said]]:
    """The statements by which ``standing`` holds now; ApprovalMissing where it does not (rules 1 to 3)."""
    check_allowed(standing, policy)
    moment, terms = now(), standing.terms
    newest = parse_iso(max((str(r["time"]) for r in records), key=lambda text: text.rstrip("Z"), default=None))
    if newest is not None and moment < newest:
        raise ApprovalMissing(
            f"{standing.name}: the clock was moved back: it shows {iso(moment)}, the case's log has a record of "
            f"{iso(newest)}",
            hint="Nothing was removed. Set the clock right.",
        )
    if moment >= terms.until:
        raise ApprovalMissing(f"{standing.name}: it ended at {iso(terms.until)}", hint=_NEW)
    asked = [r for r in records if r["type"] == "standing-asked" and r.get("standing") == standing.number]
    if [r.get("terms_sha256") for r in asked] != [standing.sha256]:
        raise DoesNotVerify(f"{standing.path}: not the terms that the audit log tells of")
    return require_approval(case, standing, policy, records)


def check_pass(
    case: Case, plan: Plan, policy: Policy, records: Records, told: Mapping[str, Any], *, counting: bool
) -> list[Signed[Said]]:
    """The statements under which ``plan`` may be run as the pass of which the record ``told`` tells."""
    standing = read_standing(case, told["standing"])
    if (told.get("plan_sha256"), told.get("terms_sha256")) != (plan.sha256, standing.sha256):
        raise DoesNotVerify(f"{case.audit_path}: line {told['seq'] + 1}: it tells of another plan or of other terms")
    return check_plan(case, plan, standing, policy, records, counting=counting)[0]


def check_plan(
    case: Case, plan: Plan, standing: Standing, policy: Policy, records: Records, *, counting: bool = True
) -> tuple[list[Signed[Said]], int]:
    """The statements under which ``plan`` may be run, and how many items were removed in the hour before (rules 1 to
    5)."""
    good = check_standing(case, standing, policy, records)
    why = outside(standing.terms, plan)
    if why:
        raise ApprovalMissing(f"{plan.name} is not within {standing.name}: {why}", hint=f"Nothing was removed. {_NEW}")
    before = removed_before(case, plan, records) if counting else 0
    if before + plan.removable > standing.terms.per_hour:
        raise Refused(
            "S04",
            f"{plan.name}: {plan.removable:,} to remove and {before:,} removed in the last 60 minutes, more than the "
            f"{standing.terms.per_hour:,} an hour of {standing.name}",
            hint=f"Nothing of it was removed. Look at it. {_NEW}",
        )
    return good, before


def removed_before(case: Case, plan: Plan, records: Records) -> int:
    """How many items other passes removed in the last 60 minutes, by their journals."""
    since, moments = now() - HOUR, list[Moment]()
    for number in pass_records(records).keys() - {plan.number}:
        ended = [r["time"] for r in records if r["type"] == "run-finished" and r.get("plan") == number]
        last = parse_iso(ended[-1]) if ended else None
        if last is None or last > since:
            moments += removals(case, read_plan(case, number), records)
    return counted(moments, since)


def within(standing: Standing, scope: Scope) -> Scope:
    """``scope`` without the mailboxes that were not approved, which are told as not searched."""
    approved = set(standing.terms.scope.locators)
    kept = [info for info in scope.mailboxes if info.locator in approved]
    why = f"it was not there when {standing.name} was asked for, and is not part of it"
    strange = [
        NotSearched(info.name, why, ApprovalMissing.exit_code)
        for info in scope.mailboxes
        if info.locator not in approved
    ]
    scope.mailboxes[:] = kept
    scope.not_searched.extend(strange)
    return scope
