"""A policy as one immutable, strict value (docs/reference/policy.md).

Several files come to one value of the same type (``merge``), so what is one text in a file may be several here. A key
that is not set is None or empty and asks for nothing. The rules have a canonical form, whose hash goes into every plan
(S06); the holds are left out of it, since they are read anew each time they count (S24).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import re2
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from excise.core.age import recipient
from excise.core.digests import canonical_json, sha256_hex
from excise.core.errors import UsageError
from excise.core.text import is_blank, normalise
from excise.criteria.rule import NARROWING

#: The role under which the operator's own statement is signed; nobody else can hold it.
OPERATOR = "operator"
#: How long the operator's statement lasts at most where no rule says how long approvals do, in hours.
OPERATOR_HOURS = 72.0
#: Keys that the first release did not have.
_LATER = ("separate_accounts", "rights_within_scope", "canaries")


def _not_blank(text: str) -> str:
    if is_blank(text):
        raise ValueError("must not be blank")
    return text


def _pattern(text: str) -> str:
    try:
        re2.compile(text)
    except re2.error as error:
        raise ValueError(f"is not an RE2 pattern: {error}") from error
    return text


def _narrowing(name: str) -> str:
    if name not in NARROWING:
        raise ValueError(f"is not a term that only narrows; those are {', '.join(sorted(NARROWING))}")
    return name


def _address(text: str) -> str:
    local, at, domain = normalise(text).rpartition("@")
    if not (local and at and domain):
        raise ValueError("is not an address (name@domain)")
    return f"{local}@{domain}"


def _domain(text: str) -> str:
    domain = normalise(text).removeprefix("@")
    if not domain or "@" in domain or "/" in domain:
        raise ValueError("is not a domain")
    return domain


def _role(text: str) -> str:
    if normalise(text) == OPERATOR:
        raise ValueError(f"{OPERATOR!r} is the operator's own role; an approver's has another name")
    return _not_blank(text)


def _recipient(text: str) -> str:
    try:
        return recipient(text)
    except UsageError as error:
        raise ValueError(error.message) from error


def _alone(value: Any) -> Any:
    """A file gives one text where several files come to several."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


Text = Annotated[str, AfterValidator(_not_blank)]
Texts = Annotated[tuple[Text, ...], AfterValidator(_distinct)]
Patterns = Annotated[
    tuple[Annotated[Text, AfterValidator(_pattern)], ...], BeforeValidator(_alone), AfterValidator(_distinct)
]
Paths = Annotated[tuple[Text, ...], BeforeValidator(_alone), AfterValidator(_distinct)]
Roles = Annotated[tuple[Annotated[str, AfterValidator(_role)], ...], AfterValidator(_distinct), Field(min_length=1)]
Acting = Literal["copy", "move", "purge", "restore", "import"]
Disposing = Literal["copy", "trash", "soft", "hard"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Caps(_Strict):
    """The most that a plan may ask for (S04); None: no limit of the policy's."""

    max_per_mailbox: Annotated[int, Field(ge=0)] | None = None
    max_total: Annotated[int, Field(ge=0)] | None = None
    max_share: Annotated[float, Field(ge=0, le=100)] | None = None


class Person(_Strict):
    """Who signs under one principal of the allowed signers: a user of the operating system, and what they may be."""

    user: Text
    roles: Roles


class Rule(_Strict):
    """Which plans need approval: those whose action, and where ``disposals`` is not empty, disposal is named here.

    ``count`` different persons must approve in one of ``roles``; each approval lasts ``hours`` at most.
    """

    actions: Annotated[tuple[Acting, ...], Field(min_length=1)]
    roles: Roles
    disposals: tuple[Disposing, ...] = ()
    count: Annotated[int, Field(ge=1, le=20)] = 1
    hours: Annotated[float, Field(gt=0, le=24 * 366)] = 72.0


class Standing(_Strict):
    """The most that a standing approval of a sweep may ask for: which actions, items an hour, how many hours long."""

    actions: Annotated[tuple[Literal["move", "purge"], ...], Field(min_length=1)]
    per_hour: Annotated[int, Field(ge=1)]
    hours: Annotated[float, Field(gt=0, le=24 * 31)]


class Approval(_Strict):
    """What needs approval, and whose signatures count. ``standing``: None: nothing is approved beforehand."""

    allowed_signers: Text | None = None
    revoked_keys: Paths = ()
    operator_signs: bool = False
    rules: Annotated[tuple[Rule, ...], Field(alias="rule")] = ()
    standing: Standing | None = None


class Hold(_Strict):
    """What may not be removed, and for which matter. Without dates: a mailbox it names is held whole.

    ``addresses``, ``domains``, ``mailboxes`` and the lists in ``files`` say whose mail; where there is none of them,
    all mail between the dates is held. ``since`` and ``before`` are half-open, of the time sent or received.
    """

    case: Text
    addresses: tuple[Annotated[str, AfterValidator(_address)], ...] = ()
    domains: tuple[Annotated[str, AfterValidator(_domain)], ...] = ()
    mailboxes: Texts = ()
    files: Paths = ()
    since: AwareDatetime | None = None
    before: AwareDatetime | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Hold:
        if not self.named and self.since is None and self.before is None:
            raise ValueError("names nothing that is held: give addresses, domains, mailboxes, files or dates")
        if self.since is not None and self.before is not None and self.since >= self.before:
            raise ValueError("ends before it begins")
        return self

    @property
    def named(self) -> bool:
        """True where it says whose mail is held."""
        return bool(self.addresses or self.domains or self.mailboxes or self.files)


class Evidence(_Strict):
    """What is to become of preserved messages: ``recipients`` are the public keys that they are encrypted to."""

    recipients: Annotated[tuple[Annotated[Text, AfterValidator(_recipient)], ...], AfterValidator(_distinct)] = ()


class Policy(_Strict):
    """All rules. ``operators``: users of the operating system; None: anybody. ``reveal``: None: allowed.

    ``separate_accounts``: a server's mail is found and removed by two accounts. ``rights_within_scope``: rights that
    reach further than the scope are refused, and no warning alone; ``canaries``: mailboxes that no account may open.
    """

    operators: Texts | None = None
    ticket: Patterns = ()
    reason: Patterns = ()
    never_search: Texts = ()
    reveal: bool | None = None
    narrow_only: Annotated[tuple[Annotated[str, AfterValidator(_narrowing)], ...], AfterValidator(_distinct)] | None = (
        None
    )
    caps: Caps = Caps()
    people: dict[Text, Person] = Field(default_factory=dict)
    approval: Approval = Approval()
    evidence: Evidence = Evidence()
    separate_accounts: bool | None = None
    rights_within_scope: bool | None = None
    canaries: Annotated[tuple[Annotated[str, AfterValidator(_address)], ...], AfterValidator(_distinct)] = ()
    holds: Annotated[tuple[Hold, ...], Field(alias="hold")] = ()

    def canonical(self) -> dict[str, Any]:
        """The rules, without the holds, as JSON values. What came later is left out where it asks for nothing, so that
        older plans keep their policy's hash."""
        later = {name for name in _LATER if not getattr(self, name)}
        if not self.evidence.recipients:
            later.add("evidence")
        values = self.model_dump(mode="json", exclude={"holds", *later})
        if self.approval.standing is None:
            del values["approval"]["standing"]
        return values

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical form: the policy's hash."""
        return sha256_hex(canonical_json(self.canonical()))
