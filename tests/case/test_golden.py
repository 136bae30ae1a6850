"""Cases of format 1 (docs/reference/case-format.md), frozen: today's code must read, verify and go on with them.

A test that fails here means that cases which people have kept can no longer be read. Do not make the golden files anew:
give the format another version number.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from excise import api
from excise.case.chain import read_chain
from excise.case.plan import all_matches, read_plan
from excise.case.records import ITEMS, OUTCOME, SCOPE
from excise.core.digests import canonical_json, json_sha256, sha256_hex
from excise.core.errors import ExciseError, UsageError
from excise.criteria import Criteria
from excise.engine.evidence import part_lines, read_content
from excise.engine.run import unit_counts
from excise.store_api import registry
from excise.store_api.discovery import find_mailboxes

GOLDEN = Path(__file__).resolve().parent / "golden"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text())
NAMES = sorted(EXPECTED)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of copies of both cases, which a test may write to."""
    for name in NAMES:
        shutil.copytree(GOLDEN / name, tmp_path / name)
    return tmp_path


def failures(root: Path, head: str | None = None) -> list[str]:
    return [f"{check.what}: {check.detail}" for check in api.verify(root, head) if check.ok is False]


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_case_verifies_with_its_head(name: str) -> None:
    assert failures(GOLDEN / name, EXPECTED[name]["head"]) == []


def test_everything_in_the_finished_case_is_proven() -> None:
    checks = list(api.verify(GOLDEN / "finished", EXPECTED["finished"]["head"]))
    assert [check.what for check in checks if not check.ok] == []
    assert {"bag-0001", "bag-0002", "plan 1", "plan 2", "tail of the audit log"} <= {check.what for check in checks}


def test_the_open_case_is_said_to_be_open() -> None:
    checks = {check.what: check for check in api.verify(GOLDEN / "open")}
    assert checks["bag-0001"].ok is None
    assert "excise resume" in checks["bag-0001"].detail


def test_another_head_does_not_verify() -> None:
    assert failures(GOLDEN / "finished", "0" * 64)


@pytest.mark.parametrize("name", NAMES)
def test_plans_and_outcomes_read_as_they_were(name: str) -> None:
    case = api.Case(GOLDEN / name)
    plans = [read_plan(case, number) for number in case.plan_numbers()]
    assert case.id == EXPECTED[name]["case"]
    assert [plan.sha256 for plan in plans] == EXPECTED[name]["plans"]
    counts = [[sorted(map(list, found.items())) for _, found in unit_counts(case, plan)] for plan in plans]
    assert counts == EXPECTED[name]["outcomes"]


@pytest.mark.parametrize("name", NAMES)
def test_criteria_have_the_canonical_form_and_digest_that_they_had(name: str) -> None:
    plan = read_plan(api.Case(GOLDEN / name), 1)
    criteria = Criteria.from_canonical(plan.header["criteria"])
    assert criteria.canonical() == plan.header["criteria"]
    assert criteria.sha256 == plan.header["criteria_sha256"] == json_sha256(plan.header["criteria"])


def json_files() -> list[Path]:
    return [path for name in NAMES for path in sorted((GOLDEN / name).rglob("*.json*"))]


@pytest.mark.parametrize("path", json_files(), ids=lambda path: str(path.relative_to(GOLDEN)))
def test_every_json_file_is_canonical(path: Path) -> None:
    for line in path.read_bytes().splitlines():
        assert canonical_json(json.loads(line)) == line


def evidence() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(GOLDEN.rglob("items.jsonl")):
        for line in part_lines(path.parent).values():
            yield path.parent, line


def test_the_evidence_of_every_kind_holds_the_bytes_that_were_fetched() -> None:
    lines = list(evidence())
    assert len(lines) == 14
    for part, line in lines:
        for kind in ("mbox", "eml"):
            other = {"eml": "mbox", "mbox": "eml"}[kind]
            content = read_content(part, line | {other: None})
            assert (sha256_hex(content), len(content)) == (line["sha256"], line["size"])


def test_the_cases_hold_what_the_format_tells_of() -> None:
    lines = [line for _, line in evidence()]
    assert any(line["mbox"]["newline_added"] for line in lines)
    assert any(line["properties"] for line in lines)
    assert any(line["headers"] for line in lines)
    assert any("flagged" in line["flags"] for line in lines)
    assert any(line["folder"] for line in lines)
    assert {path.name for path in GOLDEN.rglob("part-00*")} >= {"part-001", "part-002"}
    plan = read_plan(api.Case(GOLDEN / "finished"), 1)
    assert any(unit.not_searched for unit in plan.units)
    assert any(unit.untestable for unit in plan.units)
    assert any(not unit.matches and not unit.not_searched for unit in plan.units)
    assert any(match["doubt"] for _, match in all_matches(plan))


@pytest.mark.parametrize(("name", "columns"), [("scope", SCOPE), ("outcome", OUTCOME), ("items", ITEMS)])
def test_the_tables_have_the_columns_that_they_had(name: str, columns: tuple[str, ...]) -> None:
    found = GOLDEN / "finished" / "bag-0001" / "data" / "records" / f"{name}.csv"
    assert found.read_text().splitlines()[0] == ",".join(columns)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_covered_by_verification(name: str, place: Path) -> None:
    """One bit flipped in any file: something does not hold. Only the lock is for people alone.

    Until its bag is sealed, nothing binds the From_ lines, nor what items.jsonl says beside numbers, hashes and places.
    """
    root = place / name
    free = {"lock"} if name == "finished" else {"lock", "items.jsonl"}
    for path in sorted(path for path in root.rglob("*") if path.is_file() and path.name not in free):
        whole = path.read_bytes()
        at = len(whole) - 5 if path.name == "messages.mbox" else len(whole) // 2
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found: list[str] = failures(root)
        except ExciseError as error:
            found = [error.message]
        assert found, f"{path}: one bit was flipped, and nothing was said"
        path.write_bytes(whole)
    assert failures(root) == []


def restored_into(place: Path, name: str) -> list[bytes]:
    """What a restore of the case puts into a new Maildir."""
    target = place / f"target-{name}"
    for directory in ("cur", "new", "tmp"):
        (target / directory).mkdir(parents=True)
    (info,) = find_mailboxes([str(target)]).mailboxes
    with api.open_case(place / name, api.Setting(jobs=1)) as work:
        plan = work.plan_restore(api.RestoreOrder(into=info))
        work.confirm(plan, "by a test")
        result = work.run(plan)
    assert set(result.outcomes) == {"restored"}
    return [Path(root, file).read_bytes() for root, _, files in os.walk(target) for file in files if ":2," in file]


def test_a_restore_puts_back_what_was_removed(place: Path) -> None:
    removed = [line for part, line in evidence() if GOLDEN / "finished" in part.parents]
    case = api.Case(place / "finished")
    plan = read_plan(case, 1)
    gone = [
        line["sha256"] for line in removed if not next(m for u, m in all_matches(plan)
        if (u.unit, m["item"]) == (int(line["evidence"][:5]), line["item"]))["doubt"]
    ]  # fmt: skip
    assert len(gone) == 5
    assert sorted(map(sha256_hex, restored_into(place, "finished"))) == sorted(gone)
    assert failures(place / "finished") == []


def test_a_finished_plan_is_not_run_again(place: Path) -> None:
    with api.open_case(place / "finished") as work, pytest.raises(UsageError, match="run to its end"):
        work.run(work.newest_plan())


def test_an_open_case_is_closed_by_finish(place: Path) -> None:
    """Its mailboxes are gone, so what is open fails, is said, and the bag is sealed around the evidence."""
    with api.open_case(place / "open", api.Setting(jobs=1)) as work:
        plan = work.newest_plan()
        assert work.is_confirmed(plan)
        result = work.run(plan, finish=True)
    assert (dict(result.outcomes), result.open_items, result.sealed) == ({"failed": 7}, 0, True)
    assert result.exit_code != 0
    assert failures(place / "open") == []


def test_the_kinds_of_store_in_a_golden_case_are_still_there() -> None:
    for name in NAMES:
        kinds = {unit.kind for unit in read_plan(api.Case(GOLDEN / name), 1).units if unit.kind}
        assert kinds <= set(registry.kinds())


def test_the_logs_are_whole_chains_with_the_heads_that_they_had() -> None:
    for name in NAMES:
        reading = read_chain(GOLDEN / name / "audit.jsonl")
        assert reading.head == EXPECTED[name]["head"] == (GOLDEN / name / "audit.head").read_text().strip()
