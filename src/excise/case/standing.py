"""Standing approvals: what the passes of a sweep may remove before a person saw it (docs/reference/case-format.md).

``standing/NNNN/terms.json`` is what the operator asked for: criteria, scope, action, disposal, a cap an hour, an end
time. ``standing/NNNN/NAME.json`` with ``.sig`` is a signed statement about just these terms, by their SHA-256, and
``standing/NNNN/pass-PPPP.json`` says of plan PPPP that it was run under them. Whether a statement counts is judged
elsewhere; here stands what terms and plans have to be to each other, for who runs and who verifies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from excise.case.approvals import Said, Signed, read_as, signature_state, signer, statement_bytes, statements_in
from excise.case.layout import Case, account, who
from excise.case.plan import Plan, disposals_of
from excise.case.removals import Removals
from excise.core.clock import iso, now, parse_iso
from excise.core.digests import sha256_hex
from excise.core.errors import DoesNotVerify, ExciseError, UsageError
from excise.core.files import os_error, read_regular, write_durably

#: What a signature is made for; one for a single plan is none for these.
NAMESPACE = "excise-standing"
DIRECTORY = "standing"
TERMS = "terms.json"
HOUR = timedelta(hours=1)
_LIMIT = 64 << 20
_STATEMENTS = "[0-9a-f]" * 16 + ".json"
_Number = Annotated[int, Field(ge=1, le=9999)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ApprovedScope(_Strict):
    """Sources, mailboxes and parts as they were asked for, and every mailbox that they were when it was asked."""

    sources: tuple[str, ...]
    mailboxes: tuple[str, ...]
    parts: tuple[str, ...]
    locators: Annotated[tuple[str, ...], Field(min_length=1)]


class Terms(_Strict):
    """What is approved beforehand. ``per_hour``: items that may be removed in any 60 minutes; ``until``: the end."""

    excise_standing: Literal[1]
    case: str
    case_sha256: str
    standing: _Number
    made: AwareDatetime
    until: AwareDatetime
    per_hour: Annotated[int, Field(ge=1)]
    action: Literal["move", "purge"]
    disposal: str | None
    disposals: Annotated[tuple[str, ...], Field(min_length=1)]
    evidence: Annotated[tuple[str, ...], Field(min_length=1)]
    compact: bool
    rewrite: bool
    caps: dict[str, int | float | None]
    criteria: dict[str, Any]
    criteria_sha256: str
    rule: str
    scope: ApprovedScope
    policy_sha256: str
    policy: dict[str, Any]


class StandingStatement(Said):
    """What is signed of terms: who, in which role, says yes to exactly which ones."""

    excise_standing_statement: Literal[1]
    standing: _Number
    terms_sha256: str
    action: str
    criteria_sha256: str
    per_hour: int


class PassStatement(_Strict):
    """That a plan was run under terms. ``counted``: items that passes had removed in the 60 minutes before ``time``."""

    excise_pass: Literal[1]
    case: str
    standing: _Number
    terms_sha256: str
    plan: _Number
    plan_sha256: str
    action: str
    criteria_sha256: str
    policy_sha256: str
    removable: int
    counted: int
    per_hour: int
    until: AwareDatetime
    time: AwareDatetime
    user: str
    uid: int
    host: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Terms as they stand in a case. ``header``: their values as JSON has them; ``sha256``: of their bytes."""

    number: int
    terms: Terms
    header: Mapping[str, Any] = field(repr=False)
    sha256: str
    directory: Path = field(compare=False)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"standing approval {self.number}"

    @property
    def path(self) -> Path:
        """Where the terms stand."""
        return self.directory / TERMS


def standing_dir(case: Case, number: int) -> Path:
    """The directory of standing approval ``number``."""
    return case.root / DIRECTORY / f"{number:04}"


def standing_numbers(case: Case) -> list[int]:
    """The numbers of the standing approvals that were asked for, ascending."""
    return sorted(int(path.parent.name) for path in case.root.glob(f"{DIRECTORY}/[0-9][0-9][0-9][0-9]/{TERMS}"))


def draft_terms(case: Case, base: Plan, policy: Mapping[str, Any], per_hour: int, until: datetime) -> Standing:
    """Terms for what the search of ``base`` finds, not written yet. ``policy``: as a plan's header has it."""
    number, header = (standing_numbers(case) or [0])[-1] + 1, base.header
    scope = header["scope"]
    values = {
        "excise_standing": 1,
        "case": case.id,
        "case_sha256": case.sha256,
        "standing": number,
        "made": iso(now().replace(microsecond=0)),
        "until": iso(until),
        "per_hour": per_hour,
        "action": base.action,
        "disposal": header["disposal"],
        "disposals": sorted({unit.disposal for unit in base.units if unit.locator}),
        "evidence": header["evidence"],
        "compact": bool(header.get("compact")),
        "rewrite": bool(header.get("rewrite")),
        "caps": header["caps"],
        **{key: header[key] for key in ("criteria", "criteria_sha256", "rule")},
        "scope": {
            "sources": scope["sources"],
            "mailboxes": scope["mailboxes"],
            "parts": scope.get("parts", []),
            "locators": sorted({unit.locator for unit in base.units if unit.locator}),
        },
        **policy,
    }
    data = statement_bytes(values)
    directory = standing_dir(case, number)
    terms = read_as(Terms, data, directory / TERMS, "a standing approval's terms")
    return Standing(number, terms, json.loads(data), sha256_hex(data), directory)


def write_terms(case: Case, standing: Standing) -> None:
    """Put drafted terms into the case."""
    try:
        write_durably(case.make(standing.directory) / TERMS, statement_bytes(dict(standing.header)))
    except OSError as error:
        raise os_error(error, standing.path, "writing the terms") from error


def read_standing(case: Case, number: int) -> Standing:
    """Standing approval ``number`` of the case; DoesNotVerify where it is not one of this case."""
    path = standing_dir(case, number) / TERMS
    try:
        data = read_regular(path, _LIMIT)
    except FileNotFoundError:
        raise UsageError(f"{case.root}: there is no standing approval {number}") from None
    except OSError as error:
        raise os_error(error, path, "reading the terms") from error
    terms = read_as(Terms, data, path, "a standing approval's terms")
    if (terms.case, terms.case_sha256, terms.standing) != (case.id, case.sha256, number):
        raise DoesNotVerify(f"{path}: expected standing approval {number} of case {case.id}, found that of another")
    return Standing(number, terms, json.loads(data), sha256_hex(data), path.parent)


def newest_standing(case: Case) -> Standing:
    """The newest standing approval; a UsageError where none was asked for."""
    numbers = standing_numbers(case)
    if not numbers:
        raise UsageError(
            f"{case.root}: no standing approval was asked for",
            hint=f"To ask: excise standing {case.root} --per-hour N --until TIME --request-out FILE",
        )
    return read_standing(case, numbers[-1])


def new_standing_statement(standing: Standing, role: str, principal: str) -> bytes:
    """The bytes of a statement about ``standing`` by the user who runs this, from now on to its end."""
    terms = standing.terms
    return statement_bytes(
        {
            "excise_standing_statement": 1,
            "case": terms.case,
            "standing": standing.number,
            "terms_sha256": standing.sha256,
            "action": terms.action,
            "criteria_sha256": terms.criteria_sha256,
            "per_hour": terms.per_hour,
            "policy_sha256": terms.policy_sha256,
            **signer(role, principal),
            "from": iso(now().replace(microsecond=0)),
            "until": iso(terms.until),
        }
    )


def standing_statements(case: Case, number: int) -> Iterator[Signed[StandingStatement] | str]:
    """Each statement about standing approval ``number``; in words why one cannot be read."""
    return statements_in(case, standing_dir(case, number), StandingStatement, _STATEMENTS)


def pass_path(case: Case, number: int, plan: int) -> Path:
    """Where the statement about the pass of plan ``plan`` stands."""
    return standing_dir(case, number) / f"pass-{plan:04}.json"


def write_pass(case: Case, standing: Standing, plan: Plan, counted: int) -> Path:
    """Put down that ``plan`` is about to be run under ``standing``; where that stands."""
    machine, terms = who(), standing.terms
    values = {
        "excise_pass": 1,
        "case": case.id,
        "standing": standing.number,
        "terms_sha256": standing.sha256,
        "plan": plan.number,
        "plan_sha256": plan.sha256,
        "action": plan.action,
        "criteria_sha256": plan.header["criteria_sha256"],
        "policy_sha256": plan.header["policy_sha256"],
        "removable": plan.removable,
        "counted": counted,
        "per_hour": terms.per_hour,
        "until": iso(terms.until),
        "time": iso(now()),
        "user": account(),
        "uid": machine["uid"],
        "host": machine["host"],
    }
    path = pass_path(case, standing.number, plan.number)
    try:
        write_durably(path, statement_bytes(values))
    except OSError as error:
        raise os_error(error, path, "writing the statement of a pass") from error
    return path


def pass_records(records: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The record of each pass under a standing approval, by the number of its plan."""
    return {record["plan"]: record for record in records if record["type"] == "standing-pass"}


def outside(terms: Terms, plan: Plan) -> str:
    """What of ``plan`` is not as the terms have it, in words; empty where it is within them."""
    header, scope = plan.header, plan.header.get("scope", {})
    same = {
        "case": (header.get("case"), header.get("case_sha256")) == (terms.case, terms.case_sha256),
        "action": plan.action == terms.action,
        "disposal": header.get("disposal") == terms.disposal and disposals_of(plan) <= set(terms.disposals),
        "evidence": tuple(header.get("evidence", ())) == terms.evidence and not header.get("no_evidence"),
        "criteria": header.get("criteria_sha256") == terms.criteria_sha256
        and header.get("criteria") == terms.criteria
        and "replaces_for" not in header,
        "scope": all(
            tuple(scope.get(key, ())) == getattr(terms.scope, key) for key in ("sources", "mailboxes", "parts")
        ),
        "policy": header.get("policy_sha256") == terms.policy_sha256,
        "caps": _no_looser(header.get("caps", {}), terms.caps),
        "treatment of PST files": (bool(header.get("compact")), bool(header.get("rewrite")))
        == (terms.compact, terms.rewrite),
    }
    for name, fits in same.items():
        if not fits:
            return f"its {name} is another than was approved"
    approved = set(terms.scope.locators)
    strange = [unit.name for unit in plan.units if unit.locator and unit.locator not in approved]
    return f"{strange[0]} is none of the mailboxes that were approved" if strange else ""


def _no_looser(found: Mapping[str, Any], approved: Mapping[str, Any]) -> bool:
    """True where no cap of a plan is looser than the one that was approved."""
    smaller = ("max_per_mailbox", "max_total", "max_share")
    return found.keys() == approved.keys() and all(
        found[name] == limit or (name in smaller and found[name] is not None and (limit is None or found[name] < limit))
        for name, limit in approved.items()
    )


# Verifying


def standing_checks(
    case: Case, plans: Mapping[int, Plan], records: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, bool | None, str]]:
    """Of each standing approval, statement and pass: its name, whether it holds, and more. ``plans``: those that there
    are, by number.

    Whose keys they are, and whether that was enough, the allowed signers and the policy say, as of a plan's approvals.
    """
    passes, removals = pass_records(records), Removals()
    for number in standing_numbers(case):
        where = f"{DIRECTORY}/{number:04}"
        try:
            standing = read_standing(case, number)
        except ExciseError as error:
            yield f"{where}/{TERMS}", False, error.message
            continue
        told = [r for r in records if r["type"] == "standing-asked" and r.get("standing") == number]
        fits = [r.get("terms_sha256") for r in told] == [standing.sha256]
        detail = standing.sha256 if fits else f"{standing.path}: not the terms that the audit log tells of"
        yield f"{where}/{TERMS}", fits, detail
        yield from _statement_checks(case, standing)
    for plan_number, record in passes.items():
        name = f"pass of plan {plan_number}"
        try:
            standing = read_standing(case, record["standing"])
            plan = plans[plan_number]
            data = read_regular(pass_path(case, standing.number, plan_number), 1 << 20)
            said = read_as(PassStatement, data, pass_path(case, standing.number, plan_number))
            problem = _pass_problem(standing, plan, said, record)
            removals.add(case, plan)
        except KeyError:
            yield (
                name,
                False,
                f"{case.audit_path}: line {record['seq'] + 1}: expected a plan, found none of that number",
            )
            continue
        except OSError as error:
            yield name, False, f"{error.filename}: cannot be read: {error.strerror}"
            continue
        except ExciseError as error:
            yield name, False, error.message
            continue
        problem = problem or removals.problem(plan, standing.terms.per_hour, standing.terms.made, standing.terms.until)
        yield name, not problem, problem or f"{removals.of(plan):,} removed, under {standing.name}"


def _statement_checks(case: Case, standing: Standing) -> Iterator[tuple[str, bool | None, str]]:
    terms = standing.terms
    expected = (terms.case, standing.sha256, terms.action, terms.criteria_sha256, terms.per_hour, terms.policy_sha256)
    for found in standing_statements(case, standing.number):
        if isinstance(found, str):
            name, _, why = found.partition(": ")
            yield name, False, f"{case.root / name}: {why}"
            continue
        name, said = found.path.relative_to(case.root).as_posix(), found.statement
        given = (said.case, said.terms_sha256, said.action, said.criteria_sha256, said.per_hour, said.policy_sha256)
        if given != expected or said.standing != standing.number or said.until > terms.until:
            yield name, False, f"{found.path}: a statement about other terms"
        else:
            yield name, *signature_state(found, NAMESPACE)


def _pass_problem(standing: Standing, plan: Plan, said: PassStatement, record: Mapping[str, Any]) -> str:
    terms, path = standing.terms, standing.directory / f"pass-{plan.number:04}.json"
    expected = (terms.case, standing.number, standing.sha256, plan.number, plan.sha256, terms.per_hour, terms.until)
    if (
        said.case,
        said.standing,
        said.terms_sha256,
        said.plan,
        said.plan_sha256,
        said.per_hour,
        said.until,
    ) != expected or (record.get("plan_sha256"), record.get("terms_sha256")) != (plan.sha256, standing.sha256):
        return f"{path}: about another plan, or under other terms"
    why = outside(terms, plan)
    if why:
        return f"{plan.path}: {why} ({standing.path})"
    if not terms.made <= said.time < terms.until:
        return f"{path}: at {iso(said.time)}, which is not before the end of {standing.name}"
    if said.removable != plan.removable or said.counted + said.removable > terms.per_hour:
        return f"{path}: {said.counted} + {said.removable} items, and {terms.per_hour} an hour were approved"
    told = parse_iso(record["time"])
    if told is None or told < said.time:
        return f"{path}: its time is after that of the record that tells of it"
    return ""
