"""Whether each plan that was run had the approvals that the policy in its header asks for (S25), by the case alone.

The log's record ``authority-checked`` before a run names the statements that counted. Each has to be in the case, as
one that could count at that time, by whom the frozen policy lets sign; all of them together have to satisfy its rules.
Whose keys they are the allowed signers say: with them each signature has to be its principal's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from excise.case.approvals import NAMESPACE, approvals, disposal_of
from excise.case.layout import Case
from excise.case.plan import HEADER, Plan
from excise.case.verify_proofs import Check, Trust
from excise.core.clock import parse_iso
from excise.core.digests import sha256_hex
from excise.core.errors import ExciseError, UsageError
from excise.core.files import os_error, read_regular
from excise.core.signatures import BadSignature, read_signature, verify

_OPERATOR = "operator"
_CHECKED = "authority-checked"
_ACTING = ("plan-made", "confirmed", "run-started", "run-resumed")
Records = Sequence[Mapping[str, Any]]


def check_approved(case: Case, plan: Plan, records: Records) -> Iterator[Check]:
    """A check for a plan that was run and needed approval; none for any other."""
    name, path = f"approvals of plan {plan.number}", plan.directory / HEADER
    try:
        asked = _rules(plan)
        runs = [r for r in records if r.get("plan") == plan.number and r["type"] in ("run-started", "run-resumed")]
        if not runs or not any(asked.values()):
            return
        problems = [problem for record in runs for problem in _run_problems(case, plan, records, record, asked)]
    except (KeyError, TypeError, ValueError, AttributeError):
        yield Check(
            name, False, f"{path}: the policy in it, or what the audit log says of approvals, is not in its form"
        )
        return
    yield Check(name, not problems, "; ".join(dict.fromkeys(problems[:3])))


def _rules(plan: Plan) -> dict[str, Any]:
    """The rules of the frozen policy that are for ``plan``, and whether the operator has to sign."""
    frozen = (plan.header.get("policy") or {}).get("rules") or {}
    approval = frozen.get("approval") or {}
    used = set(disposal_of(plan).split(","))
    rules = [
        rule
        for rule in approval.get("rules") or ()
        if plan.action in rule["actions"] and (not rule["disposals"] or used & set(rule["disposals"]))
    ]
    return {"rules": rules, "operator": bool(approval.get("operator_signs") and (rules or plan.action.removes))}


def _run_problems(
    case: Case, plan: Plan, records: Records, run: Mapping[str, Any], asked: Mapping[str, Any]
) -> Iterator[str]:
    place = f"{case.audit_path}: line {run['seq'] + 1}: {run['type']} of plan {plan.number}"
    before = [r for r in records[: run["seq"]] if r.get("plan") == plan.number and r["type"] in (*_ACTING, _CHECKED)]
    checked = before[-1] if before and before[-1]["type"] == _CHECKED else None
    if checked is None:
        # A run that lost its approval can be closed (resume --finish), which removes nothing and ends it.
        if run["type"] == "run-started" or not _closes(records, run):
            yield f"{place}: expected a record of the approvals that it had before, found none"
        return
    good = []
    for told in checked["statements"]:
        problem, said = _statement(case, plan, told, checked["time"])
        if problem:
            yield f"{place}: {problem}"
        elif said:
            good.append(said)
    yield from (f"{place}: {problem}" for problem in _lacking(case, plan, records, run, good, asked))


def _closes(records: Records, run: Mapping[str, Any]) -> bool:
    after = [r for r in records[run["seq"] + 1 :] if r.get("plan") == run["plan"]]
    return not any(r["type"] == "unit-finished" for r in after)


def _statement(case: Case, plan: Plan, told: Mapping[str, Any], at: str) -> tuple[str, dict[str, Any] | None]:
    """The statement that the log calls counted: why it cannot have, or what it says."""
    name = f"{str(told['sha256'])[:16]}.json"
    places = [f"approvals/{plan.number:04}/{name}", *sorted(_below(case, f"standing/*/{name}"))]
    path = case.root / next((place for place in places if (case.root / place).is_file()), places[0])
    try:
        data, signature = read_regular(path), read_signature(read_regular(path.with_name(f"{name}.sig")))
    except OSError as error:
        return os_error(error, error.filename or path, "reading the statement").message, None
    except ExciseError as error:
        return f"{path}.sig: {error.message}", None
    said = json.loads(data)
    if sha256_hex(data) != told["sha256"]:
        return f"{path}: not the statement that counted, by its SHA-256", None
    if signature.fingerprint != told["key"]:
        return f"{path}.sig: by the key {signature.fingerprint}, and what counted was by {told['key']}", None
    if (said["role"], said["user"]) != (told["role"], told["user"]):
        return f"{path}: by another person, or in another role, than the audit log says", None
    begins, until, moment = (parse_iso(value) for value in (said["from"], said["until"], at))
    if begins is None or until is None or moment is None or not begins <= moment < until:
        return f"{path}: it did not hold at {at}", None
    return "", said | {"path": str(path), "lasts": until - begins}


def _below(case: Case, pattern: str) -> Iterator[str]:
    return (path.relative_to(case.root).as_posix() for path in case.root.glob(pattern))


def _lacking(
    case: Case,
    plan: Plan,
    records: Records,
    run: Mapping[str, Any],
    good: Sequence[Mapping[str, Any]],
    asked: Mapping[str, Any],
) -> Iterator[str]:
    """What the statements together lack, by the rules of the frozen policy."""
    people = plan.header["policy"]["rules"]["people"]
    acting = {str(case.facts.get("authorisation", {}).get("user"))}
    until_then = [r for r in records[: run["seq"] + 1] if r.get("plan") == plan.number and r["type"] in _ACTING]
    acting |= {r["who"]["user"] for r in until_then if "who" in r}
    for said in good:
        person = people.get(said["principal"])
        if person is None or person["user"] != said["user"]:
            yield f"{said['path']}: its signer is not under people in the policy"
        elif said["role"] != _OPERATOR and said["role"] not in person["roles"]:
            yield f"{said['path']}: its signer may not sign in this role"
        elif said["role"] != _OPERATOR and said["user"] in acting:
            yield f"{said['path']}: who approves is who operates"
    for rule in asked["rules"]:
        lasting = [s for s in good if s["role"] in rule["roles"] and s["lasts"] <= timedelta(hours=rule["hours"])]
        have = min(len({said[key] for said in lasting}) for key in ("principal", "user"))
        if have < rule["count"]:
            yield f"{have} of {rule['count']} approvals as {' or '.join(rule['roles'])} were there"
    if asked["operator"] and not any(s["role"] == _OPERATOR and s["user"] == run["who"]["user"] for s in good):
        yield "the operator's own signature was missing"


def check_signers(case: Case, plan: Plan, trust: Trust) -> Iterator[Check]:
    """Each statement about ``plan`` against the allowed signers, as of when it began; nothing without these."""
    if trust.allowed_signers is None:
        return
    for found in approvals(case, plan.number):
        if isinstance(found, str):
            continue  # told already
        path = Path(f"{found.path}.sig")
        name, said = path.relative_to(case.root).as_posix(), found.statement
        try:
            verify(
                found.data,
                found.signature.data,
                principal=said.principal,
                namespace=NAMESPACE,
                allowed_signers=trust.allowed_signers.read_bytes(),
                at=said.begins,
            )
        except BadSignature as error:
            yield Check(name, False, f"{path}: not by {said.principal}, by {trust.allowed_signers}: {error.message}")
        except UsageError as error:
            yield Check(name, None, error.message)
        else:
            yield Check(name, True, f"by {said.principal}")
