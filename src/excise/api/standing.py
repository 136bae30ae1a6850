"""Standing approvals: asking for one, handing it to those who sign it, and the passes of a sweep under it."""

from __future__ import annotations

from datetime import datetime

from excise.api.work import Work
from excise.case.layout import account, who
from excise.case.plan import Plan
from excise.case.standing import Standing, draft_terms, write_pass, write_terms
from excise.core.clock import iso
from excise.core.errors import ExciseError, UsageError
from excise.engine.approval import matter_of, operator_signs, rules_for
from excise.engine.authority import binding, given_policy
from excise.engine.standing import check_allowed, check_plan, check_standing
from excise.engine.sweep import base_plan
from excise.policy.effective import effective_policy


def ask(work: Work, per_hour: int, until: datetime) -> Standing:
    """Ask for a standing approval of what a sweep of the case would remove: its terms stand in the case.

    Raises a UsageError where nothing would be removed or nobody has to approve it, ApprovalMissing where the policy
    allows no such one.
    """
    base = base_plan(work.case, work.audit, waiting=True)
    if not base.action.removes or base.header.get("no_evidence"):
        raise UsageError(f"{base.name} is for {base.action.value}: there is nothing to approve beforehand")
    work.policy = effective_policy(work.setting.policy_file or given_policy(base))
    work.policy.check_operator(account())
    header = work.policy.header()
    if "policy" not in header:
        raise UsageError(
            "there is no policy, and so nobody who could approve anything",
            hint="excise sweep --yes --max-total N needs no approval then.",
        )
    standing, policy = draft_terms(work.case, base, header, per_hour, until), work.policy.policy
    check_allowed(standing, policy)
    matter = matter_of(standing, policy)
    if not rules_for(policy, matter) and not operator_signs(policy, matter):
        raise UsageError(
            f"nobody has to approve {base.action.value}: the policy has no rule for it",
            hint="excise sweep --yes --max-total N needs no approval then.",
        )
    if standing.terms.until <= standing.terms.made:
        raise UsageError(f"the end {iso(until)} is over already")
    write_terms(work.case, standing)
    work.record_files(
        {
            "type": "standing-asked",
            "standing": standing.number,
            "terms_sha256": standing.sha256,
            "per_hour": per_hour,
            "until": standing.header["until"],
            "who": who(),
        },
        [standing.path],
    )
    return standing


def check(work: Work, standing: Standing) -> None:
    """ApprovalMissing where ``standing`` does not hold now."""
    check_standing(work.case, standing, binding(standing).policy, work.audit.records)


def begin_pass(work: Work, plan: Plan, standing: Standing, number: int) -> int:
    """Have pass ``number``, which found ``plan``, confirmed by ``standing``; its statement then stands in the case. How
    many items passes had removed in the hour before.

    Where it may not be run, that is recorded and raised: ApprovalMissing where it is not what was approved, or not any
    more, ``Refused`` where it is too much (S04).
    """
    try:
        _, counted = check_plan(work.case, plan, standing, binding(plan).policy, work.audit.records)
    except ExciseError as error:
        work.audit.append(
            {
                "type": "standing-refused",
                "standing": standing.number,
                "terms_sha256": standing.sha256,
                "pass": number,
                "plan": plan.number,
                "plan_sha256": plan.sha256,
                "why": error.message,
                "exit_code": error.exit_code,
            }
        )
        work.save_head()
        raise
    path = write_pass(work.case, standing, plan, counted)
    work.record_files(
        {
            "type": "standing-pass",
            "standing": standing.number,
            "terms_sha256": standing.sha256,
            "pass": number,
            "plan": plan.number,
            "plan_sha256": plan.sha256,
            "removable": plan.removable,
            "counted": counted,
            "per_hour": standing.terms.per_hour,
            "until": standing.header["until"],
            "who": who(),
        },
        [path],
    )
    work.confirm(plan, f"under {standing.name}, pass {number}")
    return counted
