"""Approving a plan: the request that goes to an approver, the statement, its signature, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from excise.api.work import Work
from excise.case.approvals import (
    NAMESPACE,
    Signed,
    keep,
    new_statement,
    read_signed,
    read_statement,
    signature_path,
)
from excise.case.layout import Case, account
from excise.case.plan import Plan
from excise.core.errors import UsageError
from excise.core.files import read_regular, write_durably
from excise.core.signatures import read_signature, sign
from excise.core.text import shown
from excise.engine.approval import ApprovalMissing, Judge, hours_for, operator_signs, rules_for
from excise.engine.authority import binding
from excise.policy.effective import effective_policy
from excise.policy.model import OPERATOR, Policy


@dataclass(frozen=True, slots=True)
class Approver:
    """In what role, under which principal and for how many hours the user who runs this may sign a plan."""

    role: str
    principal: str
    hours: float


def policy_for(plan: Plan, *, here: bool) -> Policy:
    """The policy that binds ``plan``. ``here``: where it will run, so that a file which was given for it counts too."""
    return binding(plan, None if here else effective_policy()).policy


def who_approves(case: Case, plan: Plan, policy: Policy, role: str | None = None) -> Approver:
    """What the user who runs this may sign; ApprovalMissing where it is nothing, a UsageError where it is not clear."""
    user, made_by = account(), str(case.facts.get("authorisation", {}).get("user"))
    if not rules_for(policy, plan) and not operator_signs(policy, plan):
        raise UsageError(f"plan {plan.number} needs no approval", hint="The policy has no rule for it.")
    names = [name for name, person in policy.people.items() if person.user == user]
    if len(names) != 1:
        found = "under more than one name" if names else "not"
        raise ApprovalMissing(f"the user {shown(user, 60)} stands {found} under people in the policy")
    person = policy.people[names[0]]
    roles = [one for one in person.roles if hours_for(policy, plan, one)] if user != made_by else []
    roles += [OPERATOR] * (operator_signs(policy, plan) and user == made_by)
    if role is not None and role not in roles:
        roles = []
    if not roles:
        why = "who operates cannot approve" if user == made_by else "the policy asks for no approval by them"
        raise ApprovalMissing(f"the user {shown(user, 60)} may not approve plan {plan.number}{_as(role)}: {why}")
    if len(roles) > 1:
        raise UsageError(f"you may approve it as {' or '.join(map(shown, roles))}", hint="Say which with --role.")
    return Approver(roles[0], names[0], hours_for(policy, plan, roles[0]))


def _as(role: str | None) -> str:
    return "" if role is None else f" as {shown(role, 60)}"


def statement_for(plan: Plan, approver: Approver) -> bytes:
    """The statement to be signed, from now on."""
    return new_statement(plan, role=approver.role, principal=approver.principal, hours=approver.hours)


def signature_for(case: Case, plan: Plan, policy: Policy, statement: bytes, key: Path) -> bytes:
    """Sign a statement, and see whether it will count; ApprovalMissing where it will not."""
    signature = sign(statement, key, NAMESPACE)
    signed = Signed(key, statement, read_statement(statement, key), read_signature(signature))
    why = Judge(case, plan, policy, running=False).why_not(signed)
    if why:
        raise ApprovalMissing(f"the signature made with {key} would not count: {why}")
    return signature


def write_out(path: Path, statement: bytes, signature: bytes | None) -> None:
    """Write a statement, and its signature beside it, to new files for the operator to take into the case."""
    for name, data in ((path, statement), (signature_path(path), signature)):
        if name.exists():
            raise UsageError(f"{name}: is there already", hint="Name a new file.")
        if data is not None:
            write_durably(name, data, 0o644)


def take_in(work: Work, plan: Plan, path: Path) -> Signed:
    """Take a statement and its signature from files into the case; ApprovalMissing where it does not count."""
    signed = read_signed(path)
    policy = policy_for(plan, here=True)
    why = Judge(work.case, plan, policy, work.audit.records).why_not(signed)
    if why:
        raise ApprovalMissing(f"{path}: {why}", hint="It was not taken into the case.")
    add(work, plan, read_regular(path), read_regular(signature_path(path)))
    return signed


def add(work: Work, plan: Plan, statement: bytes, signature: bytes) -> None:
    """Put a statement and its signature into the case, and record both."""
    path = keep(work.case, statement, signature)
    signed = read_signed(path)
    work.record_files(
        {
            "type": "approval-added",
            "plan": plan.number,
            "plan_sha256": plan.sha256,
            "role": signed.statement.role,
            "user": signed.statement.user,
            "key": signed.signature.fingerprint,
        },
        [path, signature_path(path)],
    )


def still_missing(case: Case, plan: Plan, work: Work | None) -> list[str]:
    """What the plan still lacks, in words; for a request, all that it needs."""
    judge = Judge(
        case, plan, policy_for(plan, here=work is not None), work.audit.records if work else (), running=False
    )
    return judge.missing(judge.statements())
