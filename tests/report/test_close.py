"""``excise close``: nothing is written into a closed case, and both verifiers know it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from case.other_verifier import alone, excise
from cli.command import excise_cli
from excise.case.chain import ChainedLog
from report.stage import START, SUBJECT, body


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A finished copy of two messages."""
    mail = tmp_path / "mail.mbox"
    line = b"From x@example.com Tue Jan 13 09:00:00 2026\n"
    mail.write_bytes(b"".join(line + body(number, SUBJECT, START) + b"\n" for number in range(2)))
    place = tmp_path / "case"
    done = excise_cli("copy", mail, "--subject", SUBJECT, "--case", place, "--evidence", "mbox", "--jobs", "1")
    assert done.code == 0, done.text
    return place


def test_a_closed_case_takes_nothing_more(case: Path, tmp_path: Path) -> None:
    done = excise_cli("close", case, "--statement", "handed over")
    assert done.code == 0, done.text
    last = json.loads((case / "audit.jsonl").read_text().splitlines()[-1])
    assert (last["type"], last["statement"], list(last["seals"])) == ("case-closed", "handed over", ["bag-0001"])
    head = (case / "audit.head").read_text().strip()
    assert f"Audit head: {head}" in done.out
    before = {path: path.read_bytes() for path in case.rglob("*") if path.is_file() and path.name != "lock"}
    production = tmp_path / "production"
    for words in (
        ("close", case),
        ("run", case),
        ("resume", case),
        ("restore", case, "--yes"),
        ("sweep", case),
        ("stamp", case),
        ("report", case),
        ("custody", case),
        ("loadfile", case, "--output", production),
    ):
        refused = excise_cli(*words)
        assert (refused.code, "case-closed" in refused.err) == (3, True), (words, refused.text)
    assert {path: path.read_bytes() for path in case.rglob("*") if path.is_file() and path.name != "lock"} == before
    assert excise_cli("report", case, "--out", tmp_path / "out").code == 0
    assert "The case was closed" in (tmp_path / "out" / "report.html").read_text()
    assert (excise(case, head).code, alone(case, "--expect-head", head).code) == (0, 0)


def test_what_follows_the_last_record_is_named(case: Path) -> None:
    assert excise_cli("close", case).code == 0
    with ChainedLog(case / "audit.jsonl") as log:
        head = log.append({"type": "report-written", "sha256": "0" * 64, "revealed": False, "who": {}})
        line = len(log.records)
    (case / "audit.head").write_text(f"{head}\n")
    for found in (excise(case), alone(case)):
        assert (found.code, found.names(f"line {line}: report-written: a record after the case was closed")) == (
            5,
            True,
        )


def test_seals_that_were_not_recorded_are_named(case: Path) -> None:
    with ChainedLog(case / "audit.jsonl") as log:
        head = log.append({"type": "case-closed", "statement": "", "seals": {"bag-0001": "0" * 64}, "who": {}})
    (case / "audit.head").write_text(f"{head}\n")
    for found in (excise(case), alone(case)):
        assert (found.code, found.names("case-closed: not the seals that were recorded before")) == (5, True)


def test_a_case_with_a_run_that_has_not_ended_is_not_closed(case: Path) -> None:
    path = case / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    types = [json.loads(line)["type"] for line in lines]
    path.write_bytes(b"".join(lines[: types.index("run-started") + 1]))
    refused = excise_cli("close", case)
    assert (refused.code, "excise resume" in refused.err) == (2, True), refused.text
