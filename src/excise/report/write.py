"""Writing the report's files, into the case or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from excise.case.bag import is_sealed
from excise.case.layout import Case
from excise.case.plan import Plan, read_plan
from excise.case.records import OUTCOME, SCOPE, csv_bytes
from excise.core.files import make_directories, os_error, write_durably
from excise.engine.run import outcome_rows, scope_rows
from excise.model.item import Action
from excise.report.case_facts import gather_case
from excise.report.page import render
from excise.report.privacy import may_show_content

PAGE = "report.html"


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a report, the SHA-256 of its page, and whether it shows subjects and senders."""

    files: tuple[Path, ...]
    sha256: str
    content: bool


def write_report(case: Case, place: Path, *, reveal: bool) -> Written:
    """Write report.html, scope.csv and outcome.csv into ``place``, which may be the case itself.

    The tables are those of the newest plan that was run to its end, else of the newest; a restore has no scope. In the
    case, tables that a run has left stay as they are: they are bound by its bag.
    """
    content = may_show_content(case, reveal)
    facts = gather_case(case, content=content)
    digest = sha256()

    def page() -> Iterator[bytes]:
        for piece in render(facts):
            data = piece.encode("utf-8", "backslashreplace")
            digest.update(data)
            yield data

    written = []
    try:
        make_directories(place)
        for path, data in _tables(case, place):
            write_durably(path, data)
            written.append(path)
        write_durably(place / PAGE, page())
    except OSError as error:
        raise os_error(error, place, "writing the report") from error
    return Written((place / PAGE, *written), digest.hexdigest(), content)


def _tables(case: Case, place: Path) -> Iterator[tuple[Path, bytes]]:
    plans = [read_plan(case, number) for number in case.plan_numbers()]
    ended = [plan for plan in plans if is_sealed(case.bag_dir(plan.number))]
    inside = place.resolve() == case.root.resolve()
    if not plans or (inside and ended):
        return
    yield place / "outcome.csv", csv_bytes(OUTCOME, outcome_rows(case, (ended or plans)[-1]))
    searched = [plan for plan in ended or plans if _searched(plan)]
    if searched:
        yield place / "scope.csv", csv_bytes(SCOPE, scope_rows(searched[-1]))


def _searched(plan: Plan) -> bool:
    return plan.action is not Action.RESTORE
