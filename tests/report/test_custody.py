"""The custody record and the draft certificate: the facts of the case, nothing made up, nothing signed."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from case.other_verifier import alone, excise
from cli.command import excise_cli
from engine.mail_files import WORM, stores
from excise.report.custody import cell


@pytest.fixture
def case(tmp_path: Path) -> Path:
    words = ("move", stores(tmp_path / "mail"), "--subject", WORM, "--case", tmp_path / "case", "--evidence", "mbox")
    said = ("--ticket", "T-1 | `x` <b> $head", "--reason", "a worm\n# not a heading", "--operator", "J. Doe")
    assert excise_cli(*words, *said, "--yes", "--expect-matches", "6", "--jobs", "1").code == 0
    return tmp_path / "case"


def rows(text: str) -> list[list[str]]:
    return [re.split(r"(?<!\\) \| ", line[2:-2]) for line in text.splitlines() if line.startswith("| ")]


def test_it_has_every_step_and_every_container_with_its_hash(case: Path) -> None:
    head = (case / "audit.head").read_text().strip()
    done = excise_cli("custody", case)
    assert done.code == 0, done.text
    text = (case / "custody.md").read_text()
    log = [json.loads(line) for line in (case / "audit.jsonl").read_bytes().splitlines()]
    steps = [r for r in log if r["type"] in ("case-created", "plan-made", "confirmed", "run-started", "bag-sealed")]
    found = {row[0]: row[1] for row in rows(text) if row[0].isdigit()}
    assert all(found[str(r["seq"] + 1)] == r["time"] for r in steps)
    parts = sorted((case / "bag-0001").rglob("messages.mbox"))
    assert len(parts) == 3
    for path in parts:
        assert sha256(path.read_bytes()).hexdigest() in text
    assert sha256((case / "bag-0001" / "tagmanifest-sha256.txt").read_bytes()).hexdigest() in text
    assert sha256((case / "plan" / "0001" / "header.json").read_bytes()).hexdigest() in text
    assert f"`{head}`" in text
    assert ["messages preserved", "6"] in rows(text)


def test_it_is_bound_by_the_audit_log(case: Path) -> None:
    assert excise_cli("custody", case).code == 0
    for found in (excise(case), alone(case)):
        assert found.code == 0
        assert any(line.startswith("custody.md") for line in found.holds)
    for name in ("custody.md", "certificate-902-14.md"):
        path = case / name
        before = path.read_bytes()
        path.write_bytes(before.replace(b"6", b"7", 1))
        for found in (excise(case), alone(case)):
            assert (found.code, found.names(name)) == (5, True)
        path.write_bytes(before)


def test_elsewhere_the_case_is_only_read(case: Path, tmp_path: Path) -> None:
    before = (case / "audit.jsonl").read_bytes()
    assert excise_cli("custody", case, "--output", tmp_path / "papers").code == 0
    assert (tmp_path / "papers" / "custody.md").is_file()
    assert not (case / "custody.md").exists()
    assert (case / "audit.jsonl").read_bytes() == before


def test_s23_no_subject_and_no_correspondent_is_in_them(case: Path) -> None:
    assert excise_cli("custody", case).code == 0
    for name in ("custody.md", "certificate-902-14.md"):
        text = (case / name).read_text()
        assert "eve@example.net" not in text
        assert "Report 0" not in text


def test_s27_what_was_said_is_no_markup(case: Path) -> None:
    assert excise_cli("custody", case).code == 0
    text = (case / "custody.md").read_text()
    assert "\n# not a heading" not in text
    assert ["ticket", r"T-1 \| \`x\` \<b\> $head"] in rows(text)
    assert cell("a|b\n\x1b[2J") == r"a\|b\\u\{a\}\\u\{1b\}\[2J"


def test_the_certificate_is_a_draft_with_facts_and_blanks(case: Path) -> None:
    assert excise_cli("custody", case).code == 0
    text = (case / "certificate-902-14.md").read_text()
    assert text.startswith("# DRAFT – not signed")
    assert "902(14)" in text and "28 U.S.C. § 1746" in text
    assert (
        f"bag-0001, 6 messages: `{sha256((case / 'bag-0001' / 'tagmanifest-sha256.txt').read_bytes()).hexdigest()}`"
        in text
    )
    assert "Signature: ____" in text
    facts = json.loads((case / "case.json").read_bytes())
    assert cell(facts["id"]) in text


def test_a_case_without_evidence_certifies_nothing(tmp_path: Path) -> None:
    words = ("plan", "move", stores(tmp_path / "mail"), "--subject", WORM, "--case", tmp_path / "case")
    assert excise_cli(*words).code == 0
    assert excise_cli("custody", tmp_path / "case").code == 0
    assert "none has been sealed so far" in (tmp_path / "case" / "certificate-902-14.md").read_text()


def test_a_bag_that_is_not_the_recorded_one_is_not_certified(case: Path) -> None:
    path = case / "bag-0001" / "tagmanifest-sha256.txt"
    path.write_bytes(path.read_bytes() + b"\n")
    assert excise_cli("custody", case).code == 5
    assert not (case / "custody.md").exists()
