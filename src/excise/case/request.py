"""A plan on its way to those who approve it, in one file (S25; docs/reference/case-format.md, "Requests for approval").

The approver needs no right on the case, which stays its operator's own: the request holds case.json, the plan's header
and its matches, byte for byte. It is input (S27): what does not have the hashes in the header is refused, and what the
header tells in words and numbers is held against the criteria and the lines that it tells of.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from excise.case.layout import Case
from excise.case.plan import HEADER, Plan, matches_path, read_matches, read_plan
from excise.case.standing import TERMS, Standing, read_standing, standing_dir
from excise.core.digests import canonical_json
from excise.core.errors import DamagedInput, DoesNotVerify, UsageError
from excise.core.files import durable_file, open_nofollow, os_error, read_regular
from excise.core.marker import CASE_FILE
from excise.criteria import Criteria

_MARKER = "excise_approval_request"
_STANDING_MARKER = "excise_standing_request"
_LINE_LIMIT = 1 << 30
_STANDING_LIMIT = 128 << 20


def write_request(case: Case, plan: Plan, path: Path) -> None:
    """Write the request for ``plan`` to the new file ``path``."""
    _write(_lines(case, plan), path)


def write_standing_request(case: Case, standing: Standing, path: Path) -> None:
    """Write the request for the standing approval ``standing`` to the new file ``path``."""
    told = {"case": _text(case.root / CASE_FILE), "terms": _text(standing.path), "standing": standing.number}
    _write(iter([{_STANDING_MARKER: 1, **told}]), path)


def _write(lines: Iterator[dict[str, Any]], path: Path) -> None:
    """Write the lines of a request to a new file.

    Only its owner may read it; in a directory that gives its group to its files (setgid), that group too.
    """
    try:
        with durable_file(path, 0o600) as stream:
            shared = path.absolute().parent.stat().st_mode & 0o2000
            os.fchmod(stream.fileno(), 0o640 if shared else 0o600)
            for line in lines:
                stream.write(canonical_json(line) + b"\n")
    except FileExistsError as error:
        raise UsageError(f"{path}: is there already", hint="Name a new file.") from error
    except OSError as error:
        raise os_error(error, path, "writing the request") from error


def _lines(case: Case, plan: Plan) -> Iterator[dict[str, Any]]:
    yield {
        _MARKER: 1,
        "case": _text(case.root / CASE_FILE),
        "header": _text(plan.directory / HEADER),
        "plan": plan.number,
    }
    for unit in plan.units:
        if unit.matches_sha256:
            yield {"unit": unit.unit, "matches": _text(matches_path(plan.directory, unit.unit))}


def _text(path: Path) -> str:
    return read_regular(path).decode("ascii")


@contextmanager
def opened_request(path: Path) -> Iterator[tuple[Case, Plan]]:
    """The case and the plan of a request, unpacked in a temporary directory and checked against each other."""
    with tempfile.TemporaryDirectory(prefix="excise-request-") as place:
        root = Path(place)
        try:
            number = _unpack(path, root)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedInput(f"{path}: expected a request for approval, found something else") from error
        case = Case(root)
        plan = read_plan(case, number)
        check_told(case, plan)
        yield case, plan


@contextmanager
def opened_standing(path: Path) -> Iterator[tuple[Case, Standing]]:
    """The case and the terms of a request for a standing approval, unpacked in a temporary directory and checked."""
    with tempfile.TemporaryDirectory(prefix="excise-request-") as place:
        root = Path(place)
        try:
            number = _unpack_standing(path, root)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedInput(f"{path}: expected a request for a standing approval, found something else") from error
        case = Case(root)
        standing = read_standing(case, number)
        terms = standing.terms
        criteria = Criteria.from_canonical(terms.criteria)
        if (criteria.sha256, criteria.words()) != (terms.criteria_sha256, terms.rule):
            raise DoesNotVerify(f"{path}: the rule in words is not the one of its criteria")
        yield case, standing


def _unpack_standing(path: Path, root: Path) -> int:
    """Write what the request holds where a case has it; the number of the standing approval."""
    try:
        told = json.loads(read_regular(path, _STANDING_LIMIT))
    except OSError as error:
        raise os_error(error, path, "reading the request") from error
    number = told["standing"]
    if told[_STANDING_MARKER] != 1 or type(number) is not int or not 0 < number < 10_000:
        raise ValueError(number)
    case_text, terms = told["case"].encode("ascii"), told["terms"].encode("ascii")
    (root / CASE_FILE).write_bytes(case_text)
    directory = standing_dir(Case(root), number)
    directory.mkdir(parents=True)
    (directory / TERMS).write_bytes(terms)
    return number


def _unpack(path: Path, root: Path) -> int:
    """Write what the request holds where a case has it; the plan's number."""
    try:
        stream = os.fdopen(open_nofollow(path), "rb")
    except OSError as error:
        raise os_error(error, path, "reading the request") from error
    with stream:
        first = json.loads(stream.readline(_LINE_LIMIT))
        number = first["plan"]
        if first[_MARKER] != 1 or type(number) is not int or not 0 < number < 10_000:
            raise ValueError(number)
        directory = root / "plan" / f"{number:04}"
        (directory / "matches").mkdir(parents=True)
        (root / CASE_FILE).write_bytes(first["case"].encode("ascii"))
        (directory / HEADER).write_bytes(first["header"].encode("ascii"))
        while line := stream.readline(_LINE_LIMIT):
            entry = json.loads(line)
            if type(entry["unit"]) is not int or not 0 < entry["unit"] < 100_000:
                raise ValueError(entry["unit"])
            matches_path(directory, entry["unit"]).write_bytes(entry["matches"].encode("ascii"))
    return number


def check_told(case: Case, plan: Plan) -> None:
    """DoesNotVerify where what a plan's header tells is not what its criteria and its lines say.

    Who approves decides by the header's words and numbers; a plan that Excise made has the right ones.
    """
    header, where = plan.header, plan.directory / HEADER
    if header.get("case_sha256") != case.sha256:
        raise DoesNotVerify(f"{where}: the plan was made for another {CASE_FILE}")
    totals: Counter[str] = Counter()
    for unit in plan.units:
        lines = read_matches(plan, unit)
        held = sum(not line.get("doubt") for line in lines) if unit.hold.startswith("held") else None
        counted = {
            "matches": len(lines),
            "doubtful": sum(bool(line.get("doubt")) for line in lines),
            "held": held
            if held is not None
            else sum(bool(line.get("hold")) and not line.get("doubt") for line in lines),
        }
        wrong = [name for name, count in counted.items() if getattr(unit, name) != count]
        if wrong and (plan.action.removes or wrong == ["matches"]):
            raise DoesNotVerify(
                f"{where}: unit {unit.unit}: {wrong[0]} is {getattr(unit, wrong[0])}, its lines say otherwise"
            )
        totals["matches"] += len(lines)
    if header["totals"].get("matches") != totals["matches"]:
        raise DoesNotVerify(f"{where}: the total of matches is not that of its lines")
    if header.get("criteria") is not None:
        criteria = Criteria.from_canonical(header["criteria"])
        told = header.get("rule", criteria.words())
        if criteria.sha256 != header.get("criteria_sha256") or told != criteria.words():
            raise DoesNotVerify(f"{where}: the rule in words is not the one of its criteria")
