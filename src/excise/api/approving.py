"""Approving a plan, or a sweep beforehand: who may, the statement, its signature, and the way back into the case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from excise.api.work import Work
from excise.case.approvals import (
    Said,
    Signed,
    Statement,
    approvals_dir,
    keep_in,
    new_statement,
    read_as,
    read_signed_as,
    signature_path,
)
from excise.case.layout import Case, account
from excise.case.plan import Plan
from excise.case.standing import Standing, StandingStatement, new_standing_statement, standing_dir
from excise.core.errors import UsageError
from excise.core.files import read_regular, write_durably
from excise.core.signatures import read_signature, sign
from excise.core.text import shown
from excise.engine.approval import ApprovalMissing, Judge, hours_for, matter_of, operator_signs, rules_for
from excise.engine.authority import binding
from excise.policy.effective import effective_policy
from excise.policy.model import OPERATOR, Policy


@dataclass(frozen=True, slots=True)
class Approver:
    """In what role, under which principal and for how many hours the user who runs this may sign a plan."""

    role: str
    principal: str
    hours: float


def policy_for(about: Plan | Standing, *, here: bool) -> Policy:
    """The policy that binds a plan or a standing approval. ``here``: where it will run, so that a file which was given
    for it counts too."""
    return binding(about, None if here else effective_policy()).policy


def who_approves(case: Case, about: Plan | Standing, policy: Policy, role: str | None = None) -> Approver:
    """What the user who runs this may sign; ApprovalMissing where it is nothing, a UsageError where it is not clear."""
    user, made_by, matter = account(), str(case.facts.get("authorisation", {}).get("user")), matter_of(about, policy)
    if not rules_for(policy, matter) and not operator_signs(policy, matter):
        raise UsageError(f"{about.name} needs no approval", hint="The policy has no rule for it.")
    names = [name for name, person in policy.people.items() if person.user == user]
    if len(names) != 1:
        found = "under more than one name" if names else "not"
        raise ApprovalMissing(f"the user {shown(user, 60)} stands {found} under people in the policy")
    person = policy.people[names[0]]
    roles = [one for one in person.roles if hours_for(policy, matter, one)] if user != made_by else []
    roles += [OPERATOR] * (operator_signs(policy, matter) and user == made_by)
    if role is not None:
        roles = [role] if role in roles else []
    if not roles:
        why = "who operates cannot approve" if user == made_by else "the policy asks for no approval by them"
        raise ApprovalMissing(f"the user {shown(user, 60)} may not approve {about.name}{_as(role)}: {why}")
    if len(roles) > 1:
        raise UsageError(f"you may approve it as {' or '.join(map(shown, roles))}", hint="Say which with --role.")
    return Approver(roles[0], names[0], hours_for(policy, matter, roles[0]))


def _as(role: str | None) -> str:
    return "" if role is None else f" as {shown(role, 60)}"


def statement_for(about: Plan | Standing, approver: Approver) -> bytes:
    """The statement to be signed, from now on; about a standing approval, to its end."""
    if isinstance(about, Standing):
        return new_standing_statement(about, approver.role, approver.principal)
    return new_statement(about, role=approver.role, principal=approver.principal, hours=approver.hours)


def _kind(about: Plan | Standing) -> type[Said]:
    return StandingStatement if isinstance(about, Standing) else Statement


def signature_for(case: Case, about: Plan | Standing, policy: Policy, statement: bytes, key: Path) -> bytes:
    """Sign a statement, and see whether it will count; ApprovalMissing where it will not."""
    signature = sign(statement, key, matter_of(about, policy).namespace)
    signed = Signed(key, statement, read_as(_kind(about), statement, key), read_signature(signature))
    why = Judge(case, about, policy, running=False).why_not(signed)
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


def take_in(work: Work, about: Plan | Standing, path: Path) -> Signed[Said]:
    """Take a statement and its signature from files into the case; ApprovalMissing where it does not count."""
    signed = read_signed_as(_kind(about), path)
    policy = policy_for(about, here=True)
    why = Judge(work.case, about, policy, work.audit.records).why_not(signed)
    if why:
        raise ApprovalMissing(f"{path}: {why}", hint="It was not taken into the case.")
    add(work, about, read_regular(path), read_regular(signature_path(path)))
    return signed


def add(work: Work, about: Plan | Standing, statement: bytes, signature: bytes) -> None:
    """Put a statement and its signature into the case, and record both."""
    if isinstance(about, Standing):
        directory = standing_dir(work.case, about.number)
        of = {"standing": about.number, "terms_sha256": about.sha256}
    else:
        directory = approvals_dir(work.case, about.number)
        of = {"plan": about.number, "plan_sha256": about.sha256}
    path = keep_in(work.case, directory, statement, signature)
    signed = read_signed_as(_kind(about), path)
    work.record_files(
        {
            "type": "approval-added",
            **of,
            "role": signed.statement.role,
            "user": signed.statement.user,
            "key": signed.signature.fingerprint,
        },
        [path, signature_path(path)],
    )


def still_missing(case: Case, about: Plan | Standing, work: Work | None) -> list[str]:
    """What a plan or a standing approval still lacks, in words; for a request, all that it needs."""
    records = work.audit.records if work else ()
    judge = Judge(case, about, policy_for(about, here=work is not None), records, running=False)
    return judge.missing(judge.statements())
