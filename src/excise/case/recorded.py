"""Files of a case that its audit log has hashes of, and the order of what the log tells.

Any record of the coordinator's log may have ``files``: SHA-256 by path below the case. The last record that names a
file counts; ``report-written`` has that of the report. So the verifier's copy, checkpoints, time stamps and signatures
are bound without a manifest of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from excise.case.layout import Case
from excise.core.digests import sha256_hex
from excise.core.errors import ExciseError
from excise.core.files import PARTIAL, read_regular
from excise.model.item import Action

#: The type of the last record of a case.
CLOSED = "case-closed"
#: The report, whose hash has a key of its own in the record of it.
REPORT = "report.html"
#: Directories of a case in which every file is to be named by a record.
PROOFS = ("checkpoints", "stamps", "approvals", "standing")


def recorded_files(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """SHA-256 by path, as the last record that names each file has it."""
    found: dict[str, Any] = {}
    for record in records:
        files = record.get("files")
        if isinstance(files, dict):
            found |= files
        if record["type"] == "report-written":
            found[REPORT] = record.get("sha256")
    return found


def file_problem(case: Case, name: str, expected: Any) -> str:
    """Why the file ``name`` of the case is not the recorded one; empty where it is."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        return f"{case.audit_path}: {name!r}: not the name of a file in a case"
    path = case.root.joinpath(*parts)
    try:
        found = sha256_hex(read_regular(path))
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"
    except ExciseError as error:
        return error.message
    return "" if found == expected else f"{path}: expected SHA-256 {str(expected)[:16]}…, found {found[:16]}…"


def unrecorded_files(case: Case, recorded: Mapping[str, Any]) -> Iterator[Path]:
    """Files below ``PROOFS`` that no record names: the command that made them was interrupted, or they are strange."""
    for top in PROOFS:
        for path in sorted((case.root / top).rglob("*")):
            if path.is_file() and path.suffix != PARTIAL and path.relative_to(case.root).as_posix() not in recorded:
                yield path


def order_problems(case: Case, records: Iterable[Mapping[str, Any]], actions: Mapping[Any, Action]) -> Iterator[str]:
    """Where the log tells of something before what it needs; ``actions``: the action of each plan by its number."""
    made: dict[str, Any] = {}
    confirmed: set[tuple[str, str]] = set()
    started: set[str] = set()
    finished: set[str] = set()
    sealed: set[str] = set()
    seals: dict[str, Any] = {}
    as_sealed: dict[str, Any] = {}
    closed = False
    for record in records:
        kind, number, digest = record["type"], record.get("plan"), str(record.get("plan_sha256"))
        plan = str(number)
        place = f"{case.audit_path}: line {record['seq'] + 1}: {kind} of plan {plan}"
        if closed:
            yield f"{case.audit_path}: line {record['seq'] + 1}: {kind}: a record after the case was closed"
        if kind == CLOSED:
            closed = True
            if record.get("seals") != seals:
                yield f"{case.audit_path}: line {record['seq'] + 1}: {kind}: not the seals that were recorded before"
        elif kind == "case-created" and record["seq"]:
            yield f"{case.audit_path}: line {record['seq'] + 1}: a second case-created"
        elif kind == "plan-made":
            if plan in made:
                yield f"{place}: it was made before"
            made[plan] = digest
        elif kind == "confirmed":
            confirmed.add((plan, digest))
        elif kind in ("run-started", "run-resumed"):
            if made.get(plan) != digest:
                yield f"{place}: expected a plan that was made with this hash before, found none"
            elif actions.get(number) is not Action.COPY and (plan, digest) not in confirmed:
                yield f"{place}: expected a confirmation of this hash before, found none"
            if (kind == "run-resumed") != (plan in started) or plan in finished:
                yield f"{place}: the run was {'ended' if plan in finished else 'not begun so'} before"
            started.add(plan)
        elif kind in ("unit-finished", "bag-sealed", "run-stopped", "run-finished"):
            if plan not in started or plan in finished:
                yield f"{place}: expected a run of it that had begun and not ended, found none"
            if kind == "run-finished":
                if plan not in sealed:
                    yield f"{place}: expected its bag to have been sealed before, found no record of it"
                finished.add(plan)
            elif kind == "bag-sealed":
                sealed.add(plan)
                seals[str(record.get("bag"))] = record.get("tagmanifest_sha256")
                as_sealed[str(record.get("bag"))] = record.get("tagmanifest_sha256")
        elif kind == "bag-encrypted":
            bag = str(record.get("bag"))
            if bag not in as_sealed or record.get("plain_tagmanifest_sha256") != as_sealed[bag]:
                yield f"{place}: expected a seal of the plain bag before, found none that it names"
            seals[bag] = record.get("tagmanifest_sha256")
