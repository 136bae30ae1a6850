"""Signed statements in a case (S25; docs/reference/case-format.md, "Approvals").

``approvals/NNNN/NAME.json`` is a statement about plan NNNN, ``NAME.json.sig`` its OpenSSH signature. A statement is
canonical JSON, so that one statement has one sequence of bytes; NAME is the beginning of its SHA-256. What a statement
is worth is judged elsewhere: here it is only written and read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from excise.case.layout import Case, account, who
from excise.case.plan import Plan, disposals_of
from excise.core.clock import iso, now
from excise.core.digests import canonical_json, sha256_hex
from excise.core.errors import DoesNotVerify, ExciseError, UsageError
from excise.core.files import os_error, read_regular, write_durably
from excise.core.signatures import BadSignature, Signature, check, read_signature
from excise.core.text import shown
from excise.policy.model import OPERATOR

#: What a signature is made for: one that was made for something else is not an approval.
NAMESPACE = "excise-approval"
_LIMIT = 1 << 20


class Said(BaseModel):
    """What every statement says: for which case and policy, who signs it, in which role, from when until when."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    case: str
    policy_sha256: str
    role: str
    principal: str
    user: str
    uid: int
    host: str
    begins: Annotated[AwareDatetime, Field(alias="from")]
    until: AwareDatetime

    @property
    def lasts(self) -> timedelta:
        """How long it is to hold."""
        return self.until - self.begins


class Statement(Said):
    """What is signed of a plan: who, in which role, says yes to exactly which one."""

    excise_statement: Literal[1]
    plan: Annotated[int, Field(ge=1, le=9999)]
    plan_sha256: str
    action: str
    disposal: str


S = TypeVar("S", bound=Said, covariant=True)
#: A kind of statement, and a kind of anything that is written as one.
SaidKind = TypeVar("SaidKind", bound=Said)
Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Signed(Generic[S]):
    """A statement with its signature, as they were read; nothing about them is verified yet."""

    path: Path
    data: bytes
    statement: S
    signature: Signature

    @property
    def sha256(self) -> str:
        """SHA-256 of the statement's bytes."""
        return sha256_hex(self.data)


def disposal_of(plan: Plan) -> str:
    """The disposals that a plan's mailboxes with matches use, in words; ``copy`` where nothing is removed."""
    return ",".join(sorted(disposals_of(plan)))


def new_statement(plan: Plan, *, role: str, principal: str, hours: float) -> bytes:
    """The bytes of a statement about ``plan`` by the user who runs this, from now on."""
    begins = now().replace(microsecond=0)
    return statement_bytes(
        {
            "excise_statement": 1,
            "case": plan.header["case"],
            "plan": plan.number,
            "plan_sha256": plan.sha256,
            "action": plan.action,
            "disposal": disposal_of(plan),
            "policy_sha256": plan.header["policy_sha256"],
            **signer(role, principal),
            "from": iso(begins),
            "until": iso(begins + timedelta(hours=hours)),
        }
    )


def signer(role: str, principal: str) -> dict[str, Any]:
    """What a statement says of the user who runs this, its signer."""
    machine = who()
    return {"role": role, "principal": principal, "user": account(), "uid": machine["uid"], "host": machine["host"]}


def statement_bytes(values: dict[str, Any]) -> bytes:
    """The one sequence of bytes of a statement."""
    return canonical_json(values) + b"\n"


def read_as(kind: type[Kind], data: bytes, where: Path, what: str = "a statement") -> Kind:
    """``data`` as a value of ``kind`` in canonical form; DoesNotVerify, naming ``where``, for anything else."""
    try:
        found = kind.model_validate_json(data)
        same = statement_bytes(json.loads(data)) == data
    except (ValidationError, ValueError, RecursionError) as error:
        raise DoesNotVerify(f"{where}: expected {what}, found something else") from error
    if not same:
        raise DoesNotVerify(f"{where}: {what.replace('a ', 'the ', 1)} is not in canonical form")
    return found


def read_signed(path: Path) -> Signed[Statement]:
    """The statement about a plan at ``path`` with the signature beside it."""
    return read_signed_as(Statement, path)


def read_signed_as(kind: type[SaidKind], path: Path) -> Signed[SaidKind]:
    """The statement of that kind at ``path`` with the signature beside it (``path`` and ``.sig``)."""
    sig = signature_path(path)
    try:
        data, signature = read_regular(path, _LIMIT), read_regular(sig, _LIMIT)
    except FileNotFoundError as error:
        raise DoesNotVerify(f"{error.filename}: expected a statement and its signature, found only one") from error
    except OSError as error:
        raise os_error(error, path, "reading the statement") from error
    return Signed(path, data, read_as(kind, data, path), read_signature(signature))


def signature_path(path: Path) -> Path:
    """Where the signature of the statement at ``path`` stands, as ``ssh-keygen -Y sign`` names it."""
    return path.with_name(path.name + ".sig")


def approvals_dir(case: Case, plan: int) -> Path:
    """Where the statements about plan ``plan`` stand."""
    return case.root / "approvals" / f"{plan:04}"


def keep_in(case: Case, directory: Path, statement: bytes, signature: bytes) -> Path:
    """Put a statement and its signature into a directory of the case; where they stand. The same again changes
    nothing."""
    path = case.make(directory) / f"{sha256_hex(statement)[:16]}.json"
    try:
        write_durably(signature_path(path), signature)
        write_durably(path, statement)
    except OSError as error:
        raise os_error(error, path, "writing the statement") from error
    return path


def approvals(case: Case, plan: int) -> Iterator[Signed[Statement] | str]:
    """Each statement about plan ``plan``; in words why one cannot be read."""
    return statements_in(case, approvals_dir(case, plan), Statement)


def statements_in(
    case: Case, directory: Path, kind: type[SaidKind], pattern: str = "*.json"
) -> Iterator[Signed[SaidKind] | str]:
    """Each statement of that kind in a directory of the case; in words why one cannot be read."""
    for path in sorted(directory.glob(pattern)) if directory.is_dir() else ():
        name = path.relative_to(case.root)
        try:
            signed = read_signed_as(kind, path)
        except ExciseError as error:
            yield f"{name}: {shown(error.message.removeprefix(f'{path}: '), 300)}"
            continue
        if path.name != f"{signed.sha256[:16]}.json":
            yield f"{name}: it is not the statement that had this name, by its SHA-256"
        else:
            yield signed


def approval_checks(case: Case, plan: Plan) -> Iterator[tuple[str, bool | None, str]]:
    """Of each statement about ``plan``: its name, whether it is one about this plan with a signature over it, and more.

    Whose key it is, and whether that counted, the allowed signers say; they are not part of a case.
    """
    expected = (plan.header["case"], plan.sha256, plan.action, disposal_of(plan), plan.header.get("policy_sha256"))
    for found in approvals(case, plan.number):
        if isinstance(found, str):
            name, _, why = found.partition(": ")
            yield name, False, f"{case.root / name}: {why}"
            continue
        name, said = found.path.relative_to(case.root).as_posix(), found.statement
        if (said.case, said.plan_sha256, said.action, said.disposal, said.policy_sha256) != expected:
            yield name, False, f"{found.path}: a statement about another plan"
            continue
        yield name, *signature_state(found, NAMESPACE)


def second_person_checks(
    case: Case, plan: Plan, records: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, bool | None, str]]:
    """Of a plan without evidence: that nothing but hashes was kept, and that a second person approved it if it was run.

    Whether their signature counted, the allowed signers say, as of every approval.
    """
    if not plan.hashes_only:
        return
    yield (
        f"evidence of {plan.name}",
        None,
        "not kept (--no-evidence): hashes and envelopes alone; what was removed can be neither shown nor put back",
    )
    if not any(record["type"] == "run-started" and record.get("plan") == plan.number for record in records):
        return
    made_by = case.facts.get("authorisation", {}).get("user")
    others = [
        found.statement.user
        for found in approvals(case, plan.number)
        if not isinstance(found, str)
        and found.statement.plan_sha256 == plan.sha256
        and found.statement.role != OPERATOR
        and found.statement.user != made_by
    ]
    told = ", ".join(shown(user, 60) for user in others)
    missing = f"{approvals_dir(case, plan.number)}: without evidence, a second person has to approve; nobody did"
    yield f"second person of {plan.name}", bool(others), told or missing


def signature_state(found: Signed[Said], namespace: str) -> tuple[bool | None, str]:
    """Whether a statement's signature is one over its bytes, and more; None where that cannot be told."""
    try:
        check(found.data, found.signature.data, namespace)
    except BadSignature as error:
        return False, f"{found.path}: {error.message}"
    except UsageError as error:
        return None, error.message
    return True, f"by {found.statement.user} as {found.statement.role}, with the key {found.signature.fingerprint}"
