"""``excise review`` at a terminal: groups, previews, and a new plan that takes the place of the old one."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cli.command import Done, excise_cli
from engine.mail_files import WORM, bytes_below, ids_in_eml, ids_in_mbox, message, stores, write_mbox
from excise import api
from excise.case.chain import read_chain
from excise.case.layout import Case
from excise.case.plan import iterate_excluded, read_plan
from excise.core.errors import Refused
from report.stage import plan_hash


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    return stores(tmp_path / "mail")


@pytest.fixture
def case(mail: Path, tmp_path: Path) -> Path:
    """A plan to move six messages."""
    place = tmp_path / "case"
    done = excise_cli("plan", "move", mail, "--subject", WORM, "--case", place, "--jobs", "1", "--evidence", "mbox")
    assert done.code == 0, done.text
    return place


def review(case: Path, *options: str | Path) -> Done:
    done = excise_cli("review", case, *options)
    assert done.code == 0, done.text
    return done


def group_of(case: Path, kind: str, label: str) -> str:
    """The id of the group of a kind whose label ends so."""
    groups = review(case, "--json").lines()
    return next(g["group"] for g in groups if g.get("kind") == kind and g["label"].endswith(label))


def test_it_lists_groups_and_their_messages(case: Path) -> None:
    groups = review(case, "--json").lines()
    assert [(g["kind"], g["items"]) for g in groups[:2]] == [("subject", 6), ("sender", 6)]
    assert sorted(g["items"] for g in groups if g.get("kind") == "mailbox") == [1, 2, 3]
    listed = review(case, "--group", group_of(case, "mailbox", "anna.mbox"), "--json").lines()
    assert [entry["id"] for entry in listed] == ["00001-000001", "00001-000002", "00001-000003"]
    text = review(case).text
    assert WORM in text
    assert "eve@example.net" in text


def test_the_groups_have_the_same_ids_each_time(case: Path) -> None:
    assert review(case, "--json").out == review(case, "--json").out


def test_s06_what_was_taken_out_stays_and_the_old_plan_cannot_be_run(case: Path, mail: Path) -> None:
    old = plan_hash(case)
    mailbox = group_of(case, "mailbox", "anna.mbox")
    done = review(case, "--exclude-group", mailbox, "--exclude", "00002-000001", "--reason", "on leave")
    new = plan_hash(case)
    assert new != old
    assert "2 matches, 4 taken out" in done.text
    assert excise_cli("run", case, "--confirm", old).code == 4
    assert ids_in_mbox(mail / "anna.mbox")["1"] == 1
    done = excise_cli("run", case, "--confirm", new, "--jobs", "1", "--json")
    assert done.code == 0, done.text
    summary = done.lines()[-1]["summary"]
    assert summary["outcomes"] == {"removed": 2}
    assert summary["late"] == 0  # what was taken out did not come late
    assert ids_in_mbox(mail / "anna.mbox") == Counter("01234567")
    assert ids_in_eml(mail / "carla") == Counter(["40", "41", "43"])
    assert excise_cli("verify", case).code == 0
    assert excise_cli("restore", case, "--yes", "--jobs", "1").code == 0
    assert ids_in_eml(mail / "carla") == Counter(["40", "41", "42", "43"])


def test_s06_a_confirmation_of_the_old_plan_is_none_of_the_new_one(case: Path, mail: Path) -> None:
    before = bytes_below(mail)
    with api.open_case(case) as work:
        work.confirm(work.newest_plan(), "by the test")
    review(case, "--exclude", "00001-000002", "--reason", "x")
    assert excise_cli("run", case).code == 4
    assert excise_cli("resume", case).code != 0
    with api.open_case(case) as work, pytest.raises(Refused, match="another one has taken its place"):
        work.run(read_plan(work.case, 1))
    assert bytes_below(mail) == before


def test_s06_the_old_plan_cannot_come_back_by_taking_the_new_one_away(case: Path, mail: Path) -> None:
    before = bytes_below(mail)
    old = plan_hash(case)
    review(case, "--exclude", "00001-000002", "--reason", "x")
    shutil.rmtree(case / "plan/0002")
    done = excise_cli("run", case, "--confirm", old)
    assert done.code == 3, done.text
    assert "newer plan" in done.text
    assert bytes_below(mail) == before
    assert excise_cli("verify", case).code == 5


def test_the_record_says_what_was_taken_out_why_and_by_whom(case: Path) -> None:
    old = plan_hash(case)
    review(case, "--exclude", "00001-000002", "--reason", "first")
    review(case, "--exclude", "00005-000001", "--reason", "second")
    plan = read_plan(Case(case))
    assert plan.number == 3
    lines = [(u.source_unit, e["from_unit"], e["from_item"], e["reason"]) for u in plan.units
             for e in iterate_excluded(plan, u)]  # fmt: skip
    assert sorted(lines) == [(5, 1, 2, "first"), (5, 5, 1, "second")]
    made = [r for r in read_chain(case / "audit.jsonl").records if r["type"] == "plan-made"]
    assert [r.get("replaces") for r in made] == [None, 1, 2]
    assert all(r["who"]["uid"] >= 0 for r in made[1:])
    assert read_plan(Case(case), 2).header["review"]["replaces_sha256"] == old
    status = excise_cli("status", case).text
    assert status.count("replaced") == 2
    assert excise_cli("report", case).code == 0
    page = (case / "report.html").read_text()
    assert "Replaced by plan 2" in page
    assert "second" in page


def test_what_a_review_took_out_is_bound_by_the_plan(case: Path) -> None:
    review(case, "--exclude", "00001-000002", "--reason", "x")
    (path,) = case.glob("plan/0002/matches/*.excluded.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"reason":"x"', b'"reason":"y"'))
    done = excise_cli("verify", case)
    assert done.code == 5
    assert path.name in done.text
    alone = subprocess.run([sys.executable, "-I", case / "verify_case.py", case], capture_output=True, text=True)
    assert alone.returncode == 5, alone.stdout
    assert path.name in alone.stdout


def test_the_verifier_that_lies_in_the_case_knows_reviews_and_reports(case: Path) -> None:
    review(case, "--exclude", "00001-000002", "--reason", "x")
    assert excise_cli("run", case, "--confirm", plan_hash(case), "--jobs", "1").code == 0
    assert excise_cli("report", case).code == 0
    alone = subprocess.run([sys.executable, "-I", case / "verify_case.py", case], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stdout
    assert "in no record of the case" not in alone.stdout


def test_s04_a_cap_is_applied_to_what_is_left(tmp_path: Path) -> None:
    mail, case = tmp_path / "mail", tmp_path / "case"
    mail.mkdir()
    write_mbox(mail / "a.mbox", [message(n, WORM if n < 4 else f"Note {n}") for n in range(10)])
    options = ("--max-per-mailbox", "3", "--max-total", "3", "--jobs", "1")
    assert excise_cli("plan", "move", mail, "--subject", WORM, "--case", case, *options).code == 3
    assert excise_cli("run", case, "--confirm", plan_hash(case)).code == 3
    review(case, "--exclude", "00001-000001", "--reason", "x")
    done = excise_cli("run", case, "--confirm", plan_hash(case), "--jobs", "1", "--json")
    assert done.code == 0, done.text
    assert done.lines()[-1]["summary"]["outcomes"] == {"removed": 3}


def test_an_exclusion_needs_a_reason_a_known_id_and_a_plan_that_was_not_run(case: Path) -> None:
    assert excise_cli("review", case, "--exclude", "00001-000001").code == 2
    assert excise_cli("review", case, "--exclude", "00001-000001", "--reason", " ").code == 2
    for unknown in ("00001-000004", "00009-000001", "1", "../../x", "00001-00000\u0661"):
        assert excise_cli("review", case, "--exclude", unknown, "--reason", "x").code == 2
    assert excise_cli("review", case, "--exclude-group", "s7", "--reason", "x").code == 2
    assert len(Case(case).plan_numbers()) == 1
    assert excise_cli("run", case, "--confirm", plan_hash(case), "--jobs", "1").code == 0
    assert excise_cli("review", case, "--exclude", "00001-000001", "--reason", "x").code == 2
    assert len(Case(case).plan_numbers()) == 1


def views(case: Path) -> list[tuple[str, int, int]]:
    return [(r["origin"], r["unit"], r["item"]) for r in read_chain(case / "audit.jsonl").records
            if r["type"] == "item-viewed"]  # fmt: skip


def test_s22_each_look_at_a_message_is_logged_and_s23_without_its_content(case: Path, mail: Path) -> None:
    before = bytes_below(mail)
    done = review(case, "--show", "00001-000002")
    assert "body 4" in done.text
    assert "From: eve@example.net" in done.text
    assert views(case) == [("mailbox", 1, 2)]
    assert bytes_below(mail) == before
    log = (case / "audit.jsonl").read_text()
    assert "eve@" not in log
    assert WORM not in log
    assert excise_cli("run", case, "--confirm", plan_hash(case), "--jobs", "1").code == 0
    assert "body 4" in review(case, "--show", "00001-000002", "--json").lines()[0]["text"]
    assert views(case)[1:] == [("evidence", 1, 2)]
    assert excise_cli("verify", case).code == 0


def test_a_message_that_changed_or_a_mailbox_that_was_replaced_is_not_shown_but_the_try_is_logged(
    case: Path, mail: Path
) -> None:
    path = mail / "carla/inbox/002.eml"
    path.write_bytes(message(42, WORM) + b"more\n")
    carla = next(e for e in review(case, "--group", "s1", "--json").lines() if e["mailbox"].endswith("inbox"))
    done = excise_cli("review", case, "--show", carla["id"])
    assert done.code in (6, 9)
    assert "more" not in done.out
    shutil.copy(mail / "anna.mbox", mail / "other")
    (mail / "other").rename(mail / "anna.mbox")
    assert excise_cli("review", case, "--show", "00001-000001").code != 0
    assert len(views(case)) == 2


HTML = (
    b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n"
    b"<p>Read <b>this</b><script>alert(1)</script><img src=http://example.com/x></p>\x1b[31m\n"
    b'--b\nContent-Disposition: attachment; filename="../=x\x1b.exe"\n\nabc\n--b--\n'
)


def test_s27_a_preview_is_plain_text(tmp_path: Path) -> None:
    mail, case = tmp_path / "mail", tmp_path / "case"
    mail.mkdir()
    head = b"From: eve@example.net\nSubject: zqx =?utf-8?q?=1B[31m=E2=80=AE?=\nMessage-ID: <1@x>\n"
    write_mbox(mail / "a.mbox", [head + HTML])
    done = excise_cli("plan", "move", mail, "--subject-contains", "zqx", "--case", case, "--max-share", "100")
    assert done.code == 0, done.text
    text = review(case, "--show", "00001-000001").text
    assert "Read this" in text
    assert "<script" not in text
    assert "alert(1)" not in text
    for char in "\x1b\u202e":
        assert char not in text + review(case).text + review(case, "--group", "s1").text
    assert "3 bytes" in text


def test_the_tables_of_a_reviewed_case_are_those_of_the_new_plan(case: Path) -> None:
    review(case, "--exclude", "00001-000002", "--reason", "x")
    assert excise_cli("run", case, "--confirm", plan_hash(case), "--jobs", "1").code == 0
    with (case / "outcome.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 5
    assert json.loads((case / "bag-0002/data/records/plan/header.json").read_text())["review"]["excluded"] == 1
    assert list((case / "bag-0002/data/records/plan/matches").glob("*.excluded.jsonl"))
