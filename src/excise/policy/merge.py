"""Two policies as one: what either forbids is forbidden, so that a later one can only tighten an earlier one.

One function a key. Where two values have no stricter one between them (whose key is whose, which file of signers), the
earlier one stays and another one is a ``ConflictError``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from excise.policy.model import Approval, Caps, Evidence, Person, Policy, Standing


class ConflictError(Exception):
    """A later policy wants another value where only one can be; ``where`` is the key."""

    def __init__(self, *where: str) -> None:
        super().__init__(".".join(where))
        self.where = where


def tightened(first: Policy, later: Policy) -> Policy:
    """Both as one."""
    return Policy.model_construct(
        **{name: merge(getattr(first, name), getattr(later, name)) for name, merge in MERGES.items()}
    )


def _both(first: tuple[Any, ...], later: tuple[Any, ...]) -> tuple[Any, ...]:
    """All that either asks for."""
    return (*first, *(entry for entry in later if entry not in first))


def _common(first: tuple[str, ...] | None, later: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What both allow; one that says nothing allows what the other does."""
    if first is None or later is None:
        return later if first is None else first
    return tuple(entry for entry in first if entry in later)


def _allowed(first: tuple[str, ...] | None, later: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What the first allows and the later one does not forbid: here what is not set is not allowed."""
    return first if later is None else tuple(entry for entry in first or () if entry in later)


def _least(first: Any, later: Any) -> Any:
    """The smaller of the limits that are set; of two answers False."""
    given = [value for value in (first, later) if value is not None]
    return min(given) if given else None


def _either(first: bool | None, later: bool | None) -> bool | None:
    """What either asks for; None where neither says anything."""
    return later if first is None else first or bool(later)


def _caps(first: Caps, later: Caps) -> Caps:
    return Caps(**{name: _least(getattr(first, name), getattr(later, name)) for name in Caps.model_fields})


def _people(first: dict[str, Person], later: dict[str, Person]) -> dict[str, Person]:
    """Who stands in both, in the roles of both; a later policy makes nobody an approver."""
    if not first or not later:
        return first or later
    found: dict[str, Person] = {}
    for principal in first.keys() & later.keys():
        one, other = first[principal], later[principal]
        if one.user != other.user:
            raise ConflictError("people", principal, "user")
        roles = _common(one.roles, other.roles)
        if roles:
            found[principal] = one.model_copy(update={"roles": roles})
    if not found:
        raise ConflictError("people")
    return dict(sorted(found.items()))


def _approval(first: Approval, later: Approval) -> Approval:
    if first.allowed_signers and later.allowed_signers not in (None, first.allowed_signers):
        raise ConflictError("approval", "allowed_signers")
    return Approval.model_construct(
        allowed_signers=first.allowed_signers or later.allowed_signers,
        revoked_keys=_both(first.revoked_keys, later.revoked_keys),
        operator_signs=first.operator_signs or later.operator_signs,
        rules=_both(first.rules, later.rules),
        standing=_standing(first.standing, later.standing),
    )


def _evidence(first: Evidence, later: Evidence) -> Evidence:
    return Evidence.model_construct(recipients=_both(first.recipients, later.recipients))


def _standing(first: Standing | None, later: Standing | None) -> Standing | None:
    """What the first allows, within what the later one does where it says anything; a later policy allows nothing."""
    if first is None or later is None:
        return first
    actions = tuple(action for action in first.actions if action in later.actions)
    if not actions:
        return None
    per_hour, hours = min(first.per_hour, later.per_hour), min(first.hours, later.hours)
    return Standing(actions=actions, per_hour=per_hour, hours=hours)


#: key -> how two values of it become one.
MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "operators": _common,
    "ticket": _both,
    "reason": _both,
    "never_search": _both,
    "reveal": _least,
    "narrow_only": _allowed,
    "caps": _caps,
    "people": _people,
    "approval": _approval,
    "evidence": _evidence,
    "separate_accounts": _either,
    "rights_within_scope": _either,
    "canaries": _both,
    "holds": _both,
}
