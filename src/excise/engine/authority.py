"""What the policy allows, asked before anything is opened, and again right before anything is removed (S24, S25).

A plan is bound by the policy that it was made under, which its header froze, and by the one in force when it runs:
what either forbids is forbidden. Holds come from the one in force alone, read anew each time; what they were when the
plan was made stands in the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import ne
from typing import TYPE_CHECKING, Any

from excise.case.approvals import Said, Signed
from excise.case.chain import read_chain
from excise.case.layout import Authorisation, Case, account
from excise.case.plan import Plan
from excise.case.standing import Standing, pass_records, standing_numbers
from excise.core.errors import DoesNotVerify
from excise.engine.approval import ApprovalMissing, Signers, in_words, needs_approval, require_approval
from excise.policy.effective import Effective, PolicyRefused, effective_policy
from excise.policy.holds import Holds
from excise.policy.model import Policy
from excise.policy.read import policy_from_canonical
from excise.store_api.discovery import Scope
from excise.store_api.protocols import NotSearched

if TYPE_CHECKING:
    from pathlib import Path

    from excise.engine.planner import Order

#: What a plan was shaped by: where one of these became stricter since, the plan is not run any more.
_SHAPING = ("ticket", "reason", "never_search", "narrow_only", "caps")
#: How a held mailbox is called in a plan.
HELD = "held: "


def check_person(policy: Effective, said: Authorisation) -> None:
    """PolicyRefused where the user who runs this may not operate, or where ticket or reason are not as asked for."""
    policy.check_operator(account())
    policy.check_said(said.ticket, said.reason)


def limited(policy: Effective, order: Order) -> Order:
    """``order`` with the caps of ``policy`` where those are smaller (S04)."""
    caps = policy.policy.caps
    set_here = {name: value for name, value in caps.model_dump().items() if value is not None}
    smaller = {
        name: min(value, was) if (was := getattr(order.caps, name)) is not None else value
        for name, value in set_here.items()
    }
    return replace(order, caps=replace(order.caps, **smaller))


def allowed(policy: Effective, scope: Scope) -> Scope:
    """``scope`` without what is never searched, which is told as not searched; PolicyRefused where nothing is left."""
    forbidden = {info.locator: why for info in scope.mailboxes if (why := policy.never_searched(info.name))}
    if not forbidden:
        return scope
    kept = [info for info in scope.mailboxes if info.locator not in forbidden]
    if not kept:
        raise PolicyRefused(next(iter(forbidden.values())), hint="No mailbox was opened.")
    lost = [
        NotSearched(info.name, forbidden[info.locator], PolicyRefused.exit_code)
        for info in scope.mailboxes
        if info.locator in forbidden
    ]
    return replace(scope, mailboxes=kept, not_searched=[*scope.not_searched, *lost])


def check_names(policy: Effective, names: Iterable[str]) -> None:
    """PolicyRefused where one of the mailboxes ``names`` is never searched."""
    for name in names:
        why = policy.never_searched(name)
        if why:
            raise PolicyRefused(f"{name}: {why}", hint="No mailbox was opened.")


def narrow_only(policy: Effective) -> frozenset[str]:
    """The terms that may stand alone in a removal though they only narrow (S02)."""
    return frozenset(policy.policy.narrow_only or ())


def given_policy(plan: Plan | Standing) -> Path | None:
    """The policy file that was given when ``plan`` was made."""
    from pathlib import Path

    name = (plan.header.get("policy") or {}).get("given")
    return Path(name) if isinstance(name, str) else None


def in_force(plan: Plan | Standing) -> Effective:
    """The policy in force now, with the file that was given for ``plan``, without what the plan froze."""
    return effective_policy(given_policy(plan))


def holds_now(plan: Plan) -> Holds:
    """The holds in force, read anew."""
    return Holds.of(in_force(plan).policy)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a plan may be run by: the policy, and the statements that approve it."""

    policy: Effective
    statements: Sequence[Signed[Said]]

    def record(self) -> dict[str, Any]:
        """For the audit log: which files said so, by their hashes."""
        files = {str(source.path): source.sha256 for source in self.policy.sources}
        return {
            "policy_sha256": self.policy.sha256,
            "policy_files": files,
            "holds": len(self.policy.policy.holds),
            "allowed_signers_sha256": Signers.of(self.policy.policy).sha256 if self.statements else None,
            "statements": [
                {
                    "sha256": one.sha256,
                    "role": one.statement.role,
                    "user": one.statement.user,
                    "key": one.signature.fingerprint,
                }
                for one in self.statements
            ],
        }


def binding(plan: Plan | Standing, now: Effective | None = None) -> Effective:
    """The policy that binds a plan or a standing approval; ApprovalMissing where it became stricter than that was made
    for.

    ``now``: the policy in force, by default that of where the plan is run.
    """
    now, path = now or in_force(plan), plan.path
    frozen = _frozen(plan, path)
    if frozen is None:
        if now.sources:
            raise _stricter(plan, f"{now.sources[0].path}: there is a policy now, and the plan was made without one")
        return now
    both = now.with_frozen(plan.header, path) if now.sources else Effective(frozen).with_frozen(plan.header, path)
    for name in _SHAPING:
        if _loose(getattr(both.policy, name)) != _loose(getattr(frozen, name)):
            unset = getattr(Policy(), name)
            files = ", ".join(str(source.path) for source in now.sources)
            where = next(now.origins(name, partial(ne, unset)), files)
            raise _stricter(plan, f"{where}: {name}: the policy is stricter than it was when the plan was made")
    return both


def _frozen(plan: Plan | Standing, path: Path) -> Policy | None:
    if plan.header.get("policy") is None and plan.header.get("policy_sha256") is None:
        return None
    try:
        frozen = policy_from_canonical(plan.header["policy"]["rules"], path)
    except (KeyError, TypeError) as error:
        raise DoesNotVerify(f"{path}: expected the rules of the policy with its hash, found only one") from error
    if frozen.sha256 != plan.header["policy_sha256"]:
        raise DoesNotVerify(f"{path}: the rules of the policy do not have the hash {plan.header['policy_sha256']!r}")
    return frozen


def needs(plan: Plan | Standing) -> list[str]:
    """The approvals that ``plan`` needs by the policy that it was made under, in words."""
    frozen = _frozen(plan, plan.path)
    return [] if frozen is None else in_words(frozen, plan)


def _loose(value: Any) -> Any:
    """A value without the order of its entries."""
    return frozenset(value or ()) if value is None or isinstance(value, tuple) else value


def _stricter(plan: Plan | Standing, why: str) -> ApprovalMissing:
    return ApprovalMissing(f"{plan.name}: {why}", hint="Nothing was opened. Make a new plan, in a new case.")


def check_authority(
    case: Case, plan: Plan, records: Sequence[Mapping[str, Any]] | None = None, *, counting: bool = False
) -> Checked:
    """What the policy asks of a run of ``plan`` by the user who runs this; raises where something of it is missing.

    ``records``: the coordinator's log; read from the case where it is not given and an approval is asked for.
    ``counting``: of a pass under a standing approval, that it removes no more in an hour than was approved; while the
    case is held by one run, once.
    """
    policy = binding(plan)
    said = case.facts.get("authorisation", {})
    if policy.sources:
        check_person(policy, Authorisation(*(str(said.get(name) or "") for name in ("ticket", "reason", "operator"))))
    if records is None:
        # It has a record of each mailbox: read before each removal, a run's time would grow with their square.
        asked = needs_approval(policy.policy, plan) or standing_numbers(case)
        records = read_chain(case.audit_path).records if asked else ()
    told = pass_records(records).get(plan.number)
    if told is not None:
        from excise.engine.standing import check_pass

        return Checked(policy, check_pass(case, plan, policy.policy, records, told, counting=counting))
    return Checked(policy, require_approval(case, plan, policy.policy, records))
