"""Whether those who must have approved a plan, or what a sweep may remove without being asked again, did (S25).

The rules, in the order in which a statement is held against them; one that breaks any of them does not count, and the
refusal says which:

1. It is about this case, this plan by its hash, this action, this disposal, and the policy that the plan was made by;
   or about these terms of a standing approval by their hash.
2. It holds now: it has begun, has not ended, and lasts no longer than the rule allows.
3. Its principal is in the policy, as the user of the operating system that the statement names, and in its role.
4. Its key stands in the allowed signers under that principal alone: one key under two names is one person.
5. ``ssh-keygen`` verifies it: a key that counts now, is not revoked, and signed just these bytes for just this purpose.
6. Who approves is not who operates: not the user who made the case or the plan, confirmed the plan or runs it.
7. No two of those who approve are the same person, by principal or user (and so by key); a person counts in one role.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from excise.case import standing as standing_files
from excise.case.approvals import NAMESPACE, Said, Signed, approvals, disposal_of
from excise.case.layout import Case, account
from excise.case.plan import Plan, disposals_of
from excise.case.standing import Standing, standing_statements
from excise.core.clock import iso, now
from excise.core.digests import sha256_hex
from excise.core.errors import ConfirmationMissing
from excise.core.signatures import BadSignature, principals_of, verify
from excise.core.text import are, count_of, shown
from excise.policy.model import OPERATOR, OPERATOR_HOURS, Policy, Rule
from excise.policy.read import read_guarded


class ApprovalMissing(ConfirmationMissing):
    """An approval that the policy asks for is missing, has ended, or does not count; the message says what is."""

    error_id = "approval-missing"


@dataclass(frozen=True, slots=True)
class Signers:
    """Whose signatures count, read once so that all is judged by the same files."""

    allowed: bytes
    revoked: tuple[bytes, ...]

    @classmethod
    def of(cls, policy: Policy) -> Signers:
        """Those that ``policy`` names; none where it asks for no signature."""
        name = policy.approval.allowed_signers
        allowed = read_guarded(Path(name), "the file of allowed signers") if name else b""
        revoked = (read_guarded(Path(path), "the file of revoked keys") for path in policy.approval.revoked_keys)
        return cls(allowed, tuple(revoked))

    @property
    def sha256(self) -> str:
        """SHA-256 of the allowed signers."""
        return sha256_hex(self.allowed)


@dataclass(frozen=True, slots=True)
class Matter:
    """What is to be approved: a plan, or the terms of a standing approval.

    ``says``: what a statement about it must say. ``longest``: how many hours a statement about it may last at most,
    whatever the rules say; ``end``: when it ends at the latest. ``concerns``: whether a record of the log is about it,
    so that who did that operates. ``second``: a second person has to approve it whatever the policy says (S13).
    """

    name: str
    action: str
    removes: bool
    disposals: frozenset[str]
    says: Mapping[str, Any]
    namespace: str
    statements: Callable[[Case], Iterator[Signed[Said] | str]]
    concerns: Callable[[Mapping[str, Any]], bool]
    second: bool = False
    longest: float | None = None
    end: datetime | None = None


def matter_of(about: Plan | Standing, policy: Policy) -> Matter:
    """What there is to approve about a plan or a standing approval under ``policy``."""
    return _standing(about, policy) if isinstance(about, Standing) else _plan(about)


def _plan(plan: Plan) -> Matter:
    says = {
        "case": plan.header["case"],
        "plan": plan.number,
        "plan_sha256": plan.sha256,
        "action": plan.action,
        "disposal": disposal_of(plan),
        "policy_sha256": plan.header["policy_sha256"],
    }
    return Matter(
        plan.name,
        plan.action,
        plan.action.removes,
        frozenset(disposals_of(plan)),
        says,
        NAMESPACE,
        lambda case: approvals(case, plan.number),
        lambda record: record.get("plan") == plan.number,
        plan.hashes_only,
    )


def _standing(standing: Standing, policy: Policy) -> Matter:
    terms = standing.terms
    says = {
        "case": terms.case,
        "standing": standing.number,
        "terms_sha256": standing.sha256,
        "action": terms.action,
        "criteria_sha256": terms.criteria_sha256,
        "per_hour": terms.per_hour,
        "policy_sha256": terms.policy_sha256,
    }
    allowed = policy.approval.standing
    return Matter(
        standing.name,
        terms.action,
        True,
        frozenset(terms.disposals),
        says,
        standing_files.NAMESPACE,
        lambda case: standing_statements(case, standing.number),
        lambda _record: True,  # it is for plans of the whole case
        False,
        allowed.hours if allowed else None,
        terms.until,
    )


@dataclass(slots=True)
class Operators:
    """Who operates: the users that did something for what is to be approved."""

    users: set[str] = field(default_factory=set)
    uids: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, case: Case, matter: Matter, records: Iterable[Mapping[str, Any]], *, running: bool) -> Operators:
        """From the case, its log, and where the plan is ``running``, the user who runs this."""
        acting = [case.facts.get("authorisation", {}), *([{"user": account(), "uid": os.getuid()}] if running else [])]
        kinds = ("plan-made", "confirmed", "run-started", "run-resumed", "standing-asked")
        acting += [r["who"] for r in records if r["type"] in kinds and matter.concerns(r) and "who" in r]
        uids = {one["uid"] for one in acting if isinstance(one.get("uid"), int)}
        return cls({str(one.get("user")) for one in acting}, uids)


def rules_for(policy: Policy, matter: Matter) -> list[Rule]:
    """The rules of ``policy`` that ask for approval of ``matter``.

    Where it needs a second person and no rule asks for one: anybody whom the policy lets approve anything.
    """
    found = [
        rule
        for rule in policy.approval.rules
        if matter.action in rule.actions and (not rule.disposals or matter.disposals & set(rule.disposals))
    ]
    anybody = tuple(dict.fromkeys(role for person in policy.people.values() for role in person.roles))
    if matter.second and not found and anybody:
        return [Rule(actions=("purge",), roles=anybody)]
    return found


def check_second_person(policy: Policy) -> None:
    """ApprovalMissing where nobody can give the approval that a removal without evidence needs (S13)."""
    if not (policy.people and policy.approval.allowed_signers):
        raise ApprovalMissing(
            "--no-evidence needs the approval of a second person, and no policy names anybody who could give it",
            hint="Leave it out: the evidence is kept in the case, which you may lock away. Or name people and "
            "approval.allowed_signers in a policy.",
        )


def operator_signs(policy: Policy, matter: Matter) -> bool:
    """True where the operator has to sign ``matter``."""
    return policy.approval.operator_signs and bool(rules_for(policy, matter) or matter.removes)


def hours_for(policy: Policy, matter: Matter, role: str) -> float:
    """How long a statement about ``matter`` in ``role`` may last; 0 where no rule asks for one in that role."""
    rules = rules_for(policy, matter)
    if role == OPERATOR:
        hours = max((rule.hours for rule in rules), default=OPERATOR_HOURS)
    else:
        hours = min((rule.hours for rule in rules if role in rule.roles), default=0.0)
    return hours if matter.longest is None else min(hours, matter.longest)


def in_words(policy: Policy, about: Plan | Standing) -> list[str]:
    """What a plan or a standing approval needs, a line a rule."""
    matter = matter_of(about, policy)
    said = [_rule_in_words(rule) for rule in rules_for(policy, matter)]
    return said + ["the operator's own signature"] * operator_signs(policy, matter)


def _rule_in_words(rule: Rule) -> str:
    people = "1 approval" if rule.count == 1 else f"approvals of {rule.count} different persons"
    return (
        f"{people} as {' or '.join(shown(role) for role in rule.roles)}, not older than {count_of(rule.hours, 'hour')}"
    )


class Judge:
    """Holds statements against what they are to approve and a policy."""

    def __init__(
        self,
        case: Case,
        about: Plan | Standing,
        policy: Policy,
        records: Sequence[Mapping[str, Any]] = (),
        *,
        running: bool = True,
    ) -> None:
        """Read whose signatures count. ``running``: the user who runs this operates, and does not approve."""
        self.case, self.policy, self.matter = case, policy, matter_of(about, policy)
        self.signers = Signers.of(policy)
        self.operators = Operators.of(case, self.matter, records, running=running)
        self.at = now()
        self.problems: list[str] = []

    def why_not(self, signed: Signed[Said]) -> str:
        """Why a statement does not count; empty where it does, as far as it can be told alone."""
        return (
            self._about_another(signed.statement)
            or self._not_now(signed.statement)
            or self._nobody(signed.statement)
            or self._by_another(signed)
            or self._by_the_operator(signed.statement)
        )

    def _about_another(self, said: Said) -> str:
        wrong = [name for name, value in self.matter.says.items() if getattr(said, name, None) != value]
        return f"it is for {_another(wrong[0])}" if wrong else ""

    def _not_now(self, said: Said) -> str:
        if said.until <= said.begins:
            return "it ends before it begins"
        if self.at < said.begins:
            return f"it begins in the future, at {iso(said.begins)}"
        if self.at >= said.until:
            return f"it expired at {iso(said.until)}"
        if self.matter.end is not None and said.until > self.matter.end:
            return f"it is to last longer than {self.matter.name}"
        longest = hours_for(self.policy, self.matter, said.role)
        if longest and said.lasts > timedelta(hours=longest):
            return f"it is to last longer than the {count_of(longest, 'hour')} that the policy allows"
        return ""

    def _nobody(self, said: Said) -> str:
        person = self.policy.people.get(said.principal)
        if person is None:
            return "its signer is nobody whom the policy names under people"
        if person.user != said.user:
            return (
                f"it was made by the user {shown(said.user, 60)}, not by {shown(person.user, 60)} as the policy has it"
            )
        if said.role == OPERATOR:
            allowed = self.policy.operators
            return "" if allowed is None or said.user in allowed else "its signer is none of the operators"
        if said.role not in person.roles:
            return f"its signer may not approve as {shown(said.role, 60)}"
        return (
            ""
            if hours_for(self.policy, self.matter, said.role)
            else f"nobody has to approve this as {shown(said.role, 60)}"
        )

    def _by_another(self, signed: Signed[Said]) -> str:
        names = principals_of(signed.signature.key, self.signers.allowed)
        if any(set(name) & set("*?!") for name in names):
            return "its key stands in the allowed signers under a pattern, which names no person"
        if len(names) > 1:
            return "its key stands in the allowed signers under more than one name"
        try:
            verify(
                signed.data,
                signed.signature.data,
                principal=signed.statement.principal,
                namespace=self.matter.namespace,
                allowed_signers=self.signers.allowed,
                revoked=self.signers.revoked,
                at=self.at,
            )
        except BadSignature as error:
            return f"its signature does not count: {error.message}"
        return ""

    def _by_the_operator(self, said: Said) -> str:
        operators = self.operators
        if said.role == OPERATOR:
            mine = said.user == account() and said.uid == os.getuid()
            return "" if mine else "it is the statement of another operator than the one who runs this"
        if said.user in operators.users or (said.host == socket.gethostname() and said.uid in operators.uids):
            return "who approves is who operates: the same user"
        return ""

    def statements(self) -> list[Signed[Said]]:
        """The statements of the case that count; why others do not is in ``problems``."""
        good: list[Signed[Said]] = []
        for found in self.matter.statements(self.case):
            if isinstance(found, str):
                self.problems.append(found)
                continue
            why = self.why_not(found) or self._same_person(found, good)
            if why:
                self.problems.append(f"{found.path.relative_to(self.case.root)}: {why}")
            else:
                good.append(found)
        return good

    def _same_person(self, signed: Signed[Said], others: Iterable[Signed[Said]]) -> str:
        """Why a statement is one of somebody who is counted already under another name or role."""
        said = signed.statement
        for other in others:
            was = other.statement
            if was.principal == said.principal:
                if was.role != said.role:
                    return f"the same person approved as {shown(was.role, 60)} already"
            elif was.user == said.user or (was.host, was.uid) == (said.host, said.uid):
                return "the same user signed under another name already"
        return ""

    def missing(self, good: Sequence[Signed[Said]]) -> list[str]:
        """What is still missing when the statements ``good`` count, a line a rule."""
        said = []
        for rule in rules_for(self.policy, self.matter):
            people = {
                one.statement.principal
                for one in good
                if one.statement.role in rule.roles and one.statement.lasts <= timedelta(hours=rule.hours)
            }
            if len(people) < rule.count:
                roles = " or ".join(shown(role) for role in rule.roles)
                said.append(f"{len(people)} of {rule.count} approvals as {roles} {are(len(people))} there")
        if operator_signs(self.policy, self.matter) and not any(one.statement.role == OPERATOR for one in good):
            said.append("the operator's own signature is missing")
        return said


def _another(name: str) -> str:
    """What a statement is for, by the name of the value in which it differs."""
    told = {"terms_sha256": "other terms", "criteria_sha256": "other criteria", "per_hour": "another number an hour"}
    told["standing"] = "another standing approval"
    return told.get(name) or f"another {name.removesuffix('_sha256')}"


def needs_approval(policy: Policy, about: Plan | Standing) -> bool:
    """True where somebody has to approve a plan or a standing approval."""
    matter = matter_of(about, policy)
    return bool(rules_for(policy, matter)) or operator_signs(policy, matter)


def require_approval(
    case: Case, about: Plan | Standing, policy: Policy, records: Sequence[Mapping[str, Any]]
) -> list[Signed[Said]]:
    """The statements by which a plan or a standing approval is approved; ApprovalMissing, with what is missing, where
    it is not."""
    if matter_of(about, policy).second:
        check_second_person(policy)
    if not needs_approval(policy, about):
        return []
    judge = Judge(case, about, policy, records)
    good = judge.statements()
    lacks = judge.missing(good)
    if lacks:
        not_counted = "".join(f"\n  not counted: {problem}" for problem in judge.problems)
        hint = f"See: excise approve {case.root} --request-out FILE, for who approves"
        if isinstance(about, Standing):
            hint = f"See: excise standing {case.root} --request-out FILE, for who approves"
        raise ApprovalMissing(
            f"{case.root}: {about.name} ({about.sha256[:12]}…) is not approved: {'; '.join(lacks)}{not_counted}",
            hint=hint,
        )
    return good
