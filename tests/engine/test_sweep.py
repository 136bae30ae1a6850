"""S21, S12 and late arrivals: sweeping removes what came late, leaves what is known, and is not clean by mistake."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.command import Done, excise_cli
from engine.mail_files import WORM, ids_in_maildir, ids_in_mbox, message, stores, write_mbox
from excise.case.chain import read_chain
from excise.case.layout import Case
from excise.case.plan import read_plan


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    return stores(tmp_path / "mail")


@pytest.fixture
def case(mail: Path, tmp_path: Path) -> Path:
    """A case whose run removed all six."""
    case = tmp_path / "case"
    done = excise_cli(
        *("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6"),
        *("--evidence", "mbox"),
    )
    assert done.code == 0, done.text
    return case


def deliver(mail: Path, number: int, subject: str = WORM) -> None:
    """One more message for Ben."""
    (mail / f"ben/new/176{number:07}.M{number}P9.host").write_bytes(message(number, subject))


def sweep(case: Path, *options: str) -> Done:
    return excise_cli("sweep", case, "--jobs", "1", "--interval", "0s", "--json", *options)


def passes(done: Done) -> list[tuple[int, int]]:
    """New and left out, pass by pass."""
    return [(line["matches"], line["left_out"]) for line in done.lines() if "pass" in line]


def verifies(case: Path) -> None:
    done = excise_cli("verify", case)
    assert done.code == 0, done.text


def test_a_clean_pass_ends_it(case: Path) -> None:
    done = sweep(case)
    assert done.code == 0, done.text
    assert passes(done) == [(0, 0)]
    assert done.lines()[-1]["summary"]["why"] == "clean"
    verifies(case)


def test_late_arrivals_are_removed_and_the_passes_go_on_until_they_are_clean(case: Path, mail: Path) -> None:
    deliver(mail, 901)
    deliver(mail, 902, "harmless")
    done = sweep(case, "--until-clean", "2", "--yes", "--max-total", "5")
    assert done.code == 0, done.text
    assert passes(done) == [(1, 0), (0, 0), (0, 0)]
    assert "901" not in ids_in_maildir(mail / "ben")
    assert "902" in ids_in_maildir(mail / "ben")
    verifies(case)
    kinds = [record["type"] for record in read_chain(case / "audit.jsonl").records]
    assert kinds.count("sweep-pass") == 3
    assert kinds[-1] == "sweep-ended"
    assert excise_cli("restore", case, "--yes", "--jobs", "1").code == 0
    assert "901" in ids_in_maildir(mail / "ben")


def test_s05_without_a_confirmation_nothing_is_removed(case: Path, mail: Path) -> None:
    deliver(mail, 901)
    done = sweep(case)
    assert done.code == 4, done.text
    assert "901" in ids_in_maildir(mail / "ben")
    assert sweep(case).code == 2  # the plan waits
    plan = read_plan(Case(case))
    assert excise_cli("run", case, "--confirm", plan.sha256, "--jobs", "1").code == 0
    assert "901" not in ids_in_maildir(mail / "ben")
    assert sweep(case).code == 0


def test_s04_a_pass_with_more_than_it_may_remove_is_refused(case: Path, mail: Path) -> None:
    assert sweep(case, "--yes").code == 2
    for number in (901, 902, 903):
        deliver(mail, number)
    done = sweep(case, "--yes", "--max-total", "2")
    assert done.code == 3, done.text
    assert {"901", "902", "903"} <= set(ids_in_maildir(mail / "ben"))


def test_s21_what_was_restored_is_left_out_and_what_came_later_is_not(case: Path, mail: Path) -> None:
    assert excise_cli("restore", case, "--yes", "--jobs", "1").code == 0
    deliver(mail, 901)
    done = sweep(case, "--yes", "--max-total", "5")
    assert done.code == 0, done.text
    assert passes(done) == [(1, 6), (0, 6)]
    assert done.lines()[-1]["summary"]["matches"] == 1
    assert ids_in_mbox(mail / "anna.mbox") == Counter("01234567")
    assert ids_in_maildir(mail / "ben") == Counter(str(20 + n) for n in range(5))
    late = [line["summary"]["late"] for line in done.lines() if "late" in line.get("summary", {})]
    assert late == [0]
    plan = read_plan(Case(case))
    assert {entry["reason"] for entry in plan.header["review"]["exclusions"]} == {"restored by plan 2"}
    verifies(case)
    done = excise_cli("restore", case, "--yes", "--jobs", "1")  # a restore is still possible, and doubles nothing
    assert done.code == 0, done.text
    assert ids_in_mbox(mail / "anna.mbox") == Counter("01234567")
    assert passes(sweep(case)) == [(0, 7)]


def test_what_a_review_took_out_stays_out_of_later_passes(mail: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    assert excise_cli("plan", "move", mail, "--subject", WORM, "--case", case, "--jobs", "1").code == 0
    assert excise_cli("review", case, "--exclude", "00001-000002", "--reason", "hers").code == 0
    plan = read_plan(Case(case))
    assert excise_cli("run", case, "--confirm", plan.sha256, "--jobs", "1").code == 0
    done = sweep(case)
    assert done.code == 0, done.text
    assert passes(done) == [(0, 1)]
    assert ids_in_mbox(mail / "anna.mbox")["4"] == 1


def test_copies_are_made_once(mail: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    copy = ("copy", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--evidence", "mbox")
    assert excise_cli(*copy).code == 0
    deliver(mail, 901)
    done = sweep(case)
    assert done.code == 0, done.text
    assert passes(done) == [(1, 6), (0, 7)]
    verifies(case)


def test_s08_a_mailbox_that_is_gone_or_cannot_be_read_is_not_clean(case: Path, mail: Path) -> None:
    (mail / "dora.mbox").unlink()
    shutil.rmtree(mail / "carla")
    until = (datetime.now(UTC) + timedelta(seconds=8)).isoformat()
    done = sweep(case, "--until-clean", "1", "--until", until, "--interval", "1s")
    assert done.code == 6, done.text
    assert {line["not_searched"] for line in done.lines() if "pass" in line} == {2}
    assert len(passes(done)) > 1
    assert done.lines()[-1]["summary"]["why"] == "the time is over"


def test_s08_a_mailbox_that_the_run_emptied_is_searched_again(tmp_path: Path) -> None:
    """An mbox of no bytes looks like no mail, and is none that is gone: what comes into it is found."""
    mail, case = tmp_path / "mail", tmp_path / "case"
    mail.mkdir()
    write_mbox(mail / "anna.mbox", [message(1, WORM)])
    write_mbox(mail / "ben.mbox", [message(n, "Note") for n in range(2, 4)])
    words = ("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--evidence", "mbox")
    assert excise_cli(*words, "--yes", "--expect-matches", "1").code == 0
    assert (mail / "anna.mbox").read_bytes() == b""
    end = ("--until", "2020-01-01T00:00:00Z")
    done = sweep(case, *end)
    assert (done.code, passes(done)) == (0, [(0, 0)]), done.text
    write_mbox(mail / "anna.mbox", [message(4, WORM)])
    assert sweep(case, "--yes", "--max-total", "1").code == 0
    (mail / "anna.mbox").unlink()
    done = sweep(case, *end)
    assert (done.code, "it was there at the last search and is gone" in (case / "audit.jsonl").read_text()) == (
        6,
        True,
    ), done.text
    verifies(case)


def test_a_new_mailbox_of_the_sources_is_swept_too(case: Path, mail: Path) -> None:
    shutil.copytree(mail / "ben", mail / "emil")
    (mail / "emil/new/1769999999.M1P9.host").write_bytes(message(905, WORM))
    done = sweep(case, "--yes", "--max-total", "5")
    assert done.code == 0, done.text
    assert passes(done)[0] == (1, 0)
    assert "905" not in ids_in_maildir(mail / "emil")


def test_what_comes_while_it_waits_is_found_by_a_later_pass(case: Path, mail: Path) -> None:
    def later() -> None:
        time.sleep(2)
        deliver(mail, 903)

    thread = threading.Thread(target=later)
    thread.start()
    until = (datetime.now(UTC) + timedelta(seconds=9)).isoformat()
    done = excise_cli(
        *("sweep", case, "--jobs", "1", "--json", "--until", until, "--interval", "1s", "--yes", "--max-total", "9")
    )
    thread.join()
    assert done.code == 0, done.text
    found = passes(done)
    assert (1, 0) in found[1:]
    assert found[-1] == (0, 0)


@pytest.mark.parametrize("wrong", [("--interval", "soon"), ("--until", "tomorrow"), ("--until-clean", "0")])
def test_wrong_usage_does_nothing(case: Path, wrong: tuple[str, ...]) -> None:
    before = (case / "audit.jsonl").read_bytes()
    assert excise_cli("sweep", case, *wrong).code == 2
    assert (case / "audit.jsonl").read_bytes() == before


def test_a_sweep_is_for_a_case_with_a_search_that_was_run(mail: Path, case: Path, tmp_path: Path) -> None:
    planned = tmp_path / "planned"
    assert excise_cli("plan", "move", mail, "--subject-contains", "Report", "--case", planned).code in (0, 3)
    assert sweep(planned).code == 2
    header = json.loads((case / "plan/0001/header.json").read_text())
    assert header["scope"]["sources"] == [os.fspath(mail)]
