"""The main job on mbox, Maildir and EML stores, by the command line: plan, confirm, preserve, remove, prove."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import Done, excise_cli, excise_process
from engine.mail_files import (
    WORM,
    bytes_below,
    ids_in_eml,
    ids_in_maildir,
    ids_in_mbox,
    message,
    stores,
    write_maildir,
    write_mbox,
)
from excise.case import part_pst
from excise.engine.states import TRANSITIONS, Event, State
from excise.engine.unit import UnitRun
from excise.model.item import Outcome, Removal
from excise.stores.mbox.mailbox import MboxMailbox


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """The four stores."""
    return stores(tmp_path / "mail")


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Where the case will be."""
    return tmp_path / "case"


def plan_hash(case: Path, number: int = 1) -> str:
    """The hash of a plan, as ``sha256sum`` would give it."""
    return sha256((case / "plan" / f"{number:04}" / "header.json").read_bytes()).hexdigest()


def plan(mail: Path, case: Path, *options: str) -> Done:
    """Make a plan to move the worm."""
    return excise_cli("plan", "move", mail, "--subject", WORM, "--case", case, "--jobs", "1", *options)


def run(case: Path, number: int = 1) -> Done:
    """Run a plan, confirmed by its hash."""
    return excise_cli("run", case, "--confirm", plan_hash(case, number), "--jobs", "1")


def move(mail: Path, case: Path, matches: int, *options: str) -> Done:
    """Plan and run at once."""
    return excise_cli(
        *("move", mail, "--subject", WORM, "--case", case, "--jobs", "1"),
        *("--yes", "--expect-matches", str(matches), *options),
    )


def outcomes(case: Path) -> Counter[str]:
    """The outcomes in outcome.csv."""
    with (case / "outcome.csv").open(encoding="utf-8", newline="") as stream:
        return Counter(row["outcome"] for row in csv.DictReader(stream))


def audit(case: Path) -> list[dict[str, object]]:
    """The coordinator's audit log."""
    return [json.loads(line) for line in (case / "audit.jsonl").read_text().splitlines()]


def test_move_takes_exactly_the_planned_messages(mail: Path, case: Path) -> None:
    before = {name: data for name, data in bytes_below(mail).items() if name.endswith(".mbox")}
    done = move(mail, case, 6)
    assert done.code == 0, done.text
    assert done.out.endswith("Done.\n")
    assert ids_in_mbox(mail / "anna.mbox") == Counter("02356")
    assert ids_in_maildir(mail / "ben") == Counter(["20", "22", "24"])
    assert ids_in_eml(mail / "carla") == Counter(["40", "41", "43"])
    assert outcomes(case) == {"removed": 6}
    pieces = before["anna.mbox"].split(b"From eve@")[1:]
    kept = b"".join(b"From eve@" + piece for number, piece in enumerate(pieces) if number not in (1, 4, 7))
    assert (mail / "anna.mbox").read_bytes() == kept
    assert (mail / "dora.mbox").read_bytes() == before["dora.mbox"]
    assert excise_cli("verify", case).code == 0
    assert not [path for path in mail.rglob("*") if ".excise" in path.name or path.name.endswith(".lock")]


def test_the_evidence_holds_the_original_bytes(mail: Path, case: Path) -> None:
    assert move(mail, case, 6, "--evidence", "mbox", "--evidence", "eml").code == 0
    found = sorted(path.read_bytes() for path in case.glob("bag-0001/data/evidence/*/part-001/eml/*.eml"))
    quoted = [message(n, WORM).replace(b"\n>From", b"\n>>From") for n in (1, 4, 7)]  # as the mbox holds them
    expected = quoted + [message(n, WORM) for n in (21, 23, 42)]
    assert found == sorted(expected)
    boxes = [ids_in_mbox(path) for path in case.glob("bag-0001/data/evidence/*/part-001/messages.mbox")]
    assert sum(boxes, Counter()) == Counter(["1", "4", "7", "21", "23", "42"])


def test_copy_changes_nothing(mail: Path, case: Path) -> None:
    before = bytes_below(mail)
    done = excise_cli("copy", mail, "--subject", WORM, "--case", case, "--jobs", "1")
    assert done.code == 0, done.text
    assert bytes_below(mail) == before
    assert outcomes(case) == {"copied": 6}
    assert excise_cli("verify", case).code == 0


def test_purge_is_a_move_that_keeps_evidence(mail: Path, case: Path) -> None:
    done = excise_cli(
        *("purge", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6")
    )
    assert done.code == 0, done.text
    assert ids_in_maildir(mail / "ben") == Counter(["20", "22", "24"])
    assert sum((ids_in_mbox(path) for path in case.rglob("messages.mbox")), Counter()).total() == 6
    assert len(list(case.rglob("messages.pst"))) == 3


def test_trash_of_a_maildir(tmp_path: Path, case: Path) -> None:
    write_maildir(tmp_path / "ben", [(message(1, WORM), "S"), (message(2, "no"), "S")])
    done = move(tmp_path / "ben", case, 1, "--disposal", "trash")
    assert done.code == 0, done.text
    assert len(list((tmp_path / "ben" / ".Trash" / "cur").iterdir())) == 1
    assert ids_in_maildir(tmp_path / "ben") == Counter("12")


def test_a_disposal_that_a_store_lacks_is_refused(mail: Path, case: Path) -> None:
    before = bytes_below(mail)
    done = move(mail / "anna.mbox", case, 3, "--disposal", "trash")
    assert done.code != 0
    assert bytes_below(mail) == before


def test_parallel_units_in_processes(mail: Path, case: Path) -> None:
    done = excise_process(
        *("move", mail, "--subject", WORM, "--case", case, "--jobs", "2", "--yes", "--expect-matches", "6")
    )
    assert done.code == 0, done.text
    assert outcomes(case) == {"removed": 6}
    assert excise_cli("verify", case).code == 0


def test_parts_stay_below_the_size_asked_for(mail: Path, case: Path) -> None:
    assert move(mail / "anna.mbox", case, 3, "--part-size", "400").code == 0
    assert len(list(case.glob("bag-0001/data/evidence/00001/part-*"))) == 3
    assert excise_cli("verify", case).code == 0


def test_s03_expect_mailboxes_stops_before_anything_is_opened(mail: Path, case: Path) -> None:
    done = plan(mail, case, "--expect-mailboxes", "3")
    assert done.code == 3
    assert "S03" in done.err
    assert not case.exists()
    assert plan(mail, case, "--expect-mailboxes", "4").code == 0


def test_s04_caps_refuse_the_mailbox_and_never_truncate(mail: Path, case: Path) -> None:
    done = move(mail, case, 6, "--max-per-mailbox", "2")
    assert done.code == 3, done.text
    assert "REFUSED" in done.out
    assert "S04" in done.out
    assert outcomes(case) == {"refused": 3, "removed": 3}
    assert ids_in_mbox(mail / "anna.mbox") == Counter("01234567")
    assert ids_in_maildir(mail / "ben") == Counter(["20", "22", "24"])


def test_s04_max_total_refuses_the_whole(mail: Path, case: Path) -> None:
    before = bytes_below(mail)
    done = move(mail, case, 6, "--max-total", "5")
    assert done.code == 3, done.text
    assert "S04" in done.text
    assert bytes_below(mail) == before
    assert run(case).code == 3
    assert bytes_below(mail) == before


def test_s04_a_quarter_of_a_mailbox_of_forty(tmp_path: Path) -> None:
    for count, wanted, code in ((40, 11, 3), (40, 10, 0), (39, 30, 0)):
        box = tmp_path / f"{count}-{wanted}.mbox"
        write_mbox(box, [message(n, WORM if n < wanted else "no") for n in range(count)])
        done = move(box, tmp_path / f"case-{count}-{wanted}", wanted)
        assert done.code == code, done.text
        assert sum(ids_in_mbox(box).values()) == (count if code else count - wanted)
    more = tmp_path / "more.mbox"
    write_mbox(more, [message(n, WORM if n < 11 else "no") for n in range(40)])
    assert move(more, tmp_path / "case-more", 11, "--max-share", "50").code == 0


def test_s05_without_confirmation_nothing_is_removed(mail: Path, case: Path) -> None:
    before = bytes_below(mail)
    done = excise_cli("move", mail, "--subject", WORM, "--case", case)
    assert done.code == 4
    assert "dry run" in done.err
    assert f"{6} matches in 3 mailboxes, 1 distinct subject" in done.out
    assert "Rule: " in done.out
    assert "Space: " in done.out
    assert bytes_below(mail) == before
    assert run(case).code == 0
    assert outcomes(case) == {"removed": 6}


def test_s05_a_wrong_number_or_hash_removes_nothing(mail: Path, tmp_path: Path) -> None:
    before = bytes_below(mail)
    case = tmp_path / "one"
    assert move(mail, case, 5).code == 4
    assert excise_cli("move", mail, "--subject", WORM, "--case", tmp_path / "two", "--yes").code == 4
    assert excise_cli("run", case, "--confirm", "0" * 64).code == 4
    assert excise_cli("run", case, "--confirm", plan_hash(case)[:11]).code == 4
    assert excise_cli("run", case).code == 4
    assert bytes_below(mail) == before
    assert excise_cli("run", case, "--confirm", plan_hash(case)[:12]).code == 0


@pytest.mark.parametrize("name", ["header.json", "matches/00001.jsonl"])
def test_s06_a_changed_plan_is_refused(mail: Path, case: Path, name: str) -> None:
    assert plan(mail, case).code == 0
    good = plan_hash(case)
    before = bytes_below(mail)
    path = case / "plan/0001" / name
    path.write_bytes(path.read_bytes().replace(b'"mbox', b'"mb0x') if name == "header.json" else path.read_bytes()[:-9])
    for confirm in (good, plan_hash(case)):
        done = excise_cli("run", case, "--confirm", confirm, "--jobs", "1")
        assert done.code in (3, 5), done.text
        assert "header.json" in done.text or "0001" in done.text
    assert (mail / "anna.mbox").read_bytes() == before["anna.mbox"]


def test_s06_a_plan_that_lists_something_else_is_refused(mail: Path, case: Path) -> None:
    """A match file replaced together with its hash in the header: the audit log still knows the plan."""
    assert plan(mail, case).code == 0
    matches, header = case / "plan/0001/matches/00001.jsonl", case / "plan/0001/header.json"
    lines = matches.read_bytes().splitlines(keepends=True)
    old = sha256(matches.read_bytes()).hexdigest()
    matches.write_bytes(b"".join(lines[:2]))
    header.write_bytes(header.read_bytes().replace(old.encode(), sha256(matches.read_bytes()).hexdigest().encode()))
    done = run(case)
    assert done.code == 3
    assert "S06" in done.err
    assert excise_cli("verify", case).code == 5


def test_s06_a_plan_that_changes_while_it_runs_is_not_followed(
    mail: Path, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mailbox reads the plan anew, and takes nothing but the one that was confirmed."""
    assert plan(mail, case, "--disposal", "hard").code == 0
    header, before = case / "plan/0001/header.json", bytes_below(mail)
    first = UnitRun.run

    def changed(unit: UnitRun) -> None:
        header.write_bytes(header.read_bytes().replace(b'"max_share":25.0', b'"max_share":95.0'))
        first(unit)

    monkeypatch.setattr(UnitRun, "run", changed)
    done = run(case)
    assert done.code == 5, done.text
    assert "expected the plan" in done.text
    touched = {name for name, content in bytes_below(mail).items() if before[name] != content}
    assert len(touched) == 1  # the one mailbox that had read it before


def test_s06_an_item_that_changed_is_skipped(mail: Path, case: Path) -> None:
    assert plan(mail, case).code == 0
    path = next(path for path in (mail / "ben").rglob("*M1P1*"))
    path.write_bytes(path.read_bytes() + b"another line\n")
    box = (mail / "anna.mbox").read_bytes()
    (mail / "anna.mbox").write_bytes(box.replace(b"body 4", b"BODY 4"))
    done = run(case)
    assert done.code == 9, done.text
    found = outcomes(case)
    assert found["removed"] == 4
    assert found.total() == 6
    assert set(found) <= {"removed", "changed", "already absent"}
    assert path.exists()
    assert ids_in_mbox(mail / "anna.mbox") == Counter("023456")
    assert "Finished, but not all as planned" in done.out.splitlines()[-1]
    assert excise_cli("verify", case).code == 0


def test_s06_a_new_message_needs_a_new_plan(mail: Path, case: Path) -> None:
    assert plan(mail, case).code == 0
    with (mail / "anna.mbox").open("ab") as stream:
        stream.write(b"From eve@example.net Thu Jan  1 10:00:00 2026\n" + message(99, WORM) + b"\n")
    done = run(case)
    assert done.code == 0, done.text
    assert "came after the plan" in done.out
    assert ids_in_mbox(mail / "anna.mbox") == Counter(["0", "2", "3", "5", "6", "99"])


def test_s06_read_state_is_no_change(mail: Path, case: Path) -> None:
    assert plan(mail, case).code == 0
    path = next(path for path in (mail / "ben/cur").glob("*M1P1*"))
    path.rename(path.with_name(path.name + "T"))
    assert run(case).code == 0
    assert ids_in_maildir(mail / "ben") == Counter(["20", "22", "24"])


def test_s14_a_case_is_never_written_over(mail: Path, case: Path) -> None:
    assert move(mail, case, 6).code == 0
    before = bytes_below(case)
    again = excise_cli("move", mail, "--subject", WORM, "--case", case, "--yes", "--expect-matches", "0")
    assert again.code == 2
    assert excise_cli("run", case).code == 2
    assert excise_cli("resume", case).code == 2
    after = bytes_below(case)
    assert {k: v for k, v in after.items() if k != "lock"} == {k: v for k, v in before.items() if k != "lock"}


def test_s14_a_committed_part_is_never_replaced(mail: Path, case: Path) -> None:
    assert plan(mail, case).code == 0
    taken = case / "bag-0001/data/evidence/00001/part-001"
    taken.mkdir(parents=True)
    (taken / "items.jsonl").write_bytes(b"somebody's\n")
    before = (mail / "anna.mbox").read_bytes()
    done = run(case)
    assert (taken / "items.jsonl").read_bytes() == b"somebody's\n"
    assert list(taken.iterdir()) == [taken / "items.jsonl"]
    assert done.code == 5, done.text
    assert "part-001" in done.err
    assert (mail / "anna.mbox").read_bytes() == before


def test_s15_every_state_ends() -> None:
    """From each state of the table every item can come to its end, and nothing leaves the end."""
    for state in set(State) - {State.ENDED}:
        assert TRANSITIONS[state, Event.ENDED] is State.ENDED
    assert not [event for event in Event if (State.ENDED, event) in TRANSITIONS]
    assert (State.PRESERVED, Event.REMOVING) not in TRANSITIONS
    assert (State.FETCHED, Event.REMOVING) not in TRANSITIONS
    assert (State.PLANNED, Event.REMOVING) not in TRANSITIONS


def test_s16_outcomes_are_not_merged(mail: Path, case: Path) -> None:
    assert plan(mail, case).code == 0
    flagged = next((mail / "ben/cur").glob("*M1P1*"))
    flagged.unlink()
    other = next((mail / "ben").rglob("*M3P1*"))
    for name in ("cur", "new", "tmp"):
        (mail / "ben/.Saved" / name).mkdir(parents=True)
    other.rename(mail / "ben/.Saved/cur" / other.name)
    done = run(case)
    assert done.code == 9
    assert outcomes(case) == {"removed": 4, "already absent": 1, "moved elsewhere": 1}
    last = done.out.splitlines()[-1]
    assert "1 already absent" in last
    assert "1 moved elsewhere" in last


def test_s20_removal_is_proved(mail: Path, case: Path) -> None:
    assert move(mail, case, 6).code == 0
    for unit, removed in ((1, 3), (2, 2), (3, 1)):
        records = [json.loads(line) for line in (case / f"units/{unit:05}/journal.jsonl").read_text().splitlines()]
        proofs = [record for record in records if record["type"] == "proved"]
        assert [(proof["removed"], proof["late"]) for proof in proofs] == [(removed, 0)]


def test_s20_a_store_that_lies_is_found_out(mail: Path, case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that says "removed" and removes nothing: the run says that they are still there, and stays open."""
    assert plan(mail / "anna.mbox", case).code == 0
    monkeypatch.setattr(
        MboxMailbox, "remove", lambda self, targets, disposal: iter(Removal(t.id, Outcome.REMOVED) for t in targets)
    )
    done = run(case)
    assert done.code == 9, done.text
    assert "reported removed, but found" in done.err
    assert "3 items are open" in done.out
    finished = excise_cli("resume", case, "--finish", "--jobs", "1")
    assert finished.code == 9, finished.text
    assert outcomes(case) == {"unknown": 3}
    assert ids_in_mbox(mail / "anna.mbox") == Counter("01234567")


def test_s22_the_audit_log_has_every_mailbox(mail: Path, case: Path) -> None:
    (mail / "dora.mbox").chmod(0)
    (mail / "eric.mbox").symlink_to(mail / "anna.mbox")
    assert plan(mail, case).code in (0, 6)
    searched = {r["mailbox"]: r for r in audit(case) if r["type"] in ("mailbox-searched", "mailbox-not-searched")}
    names = {Path(str(name)).name for name in searched}
    assert {"anna.mbox", "ben", "dora.mbox"} <= names
    assert all("seen" in record and "matches" in record for record in searched.values())
    counts = {Path(str(name)).name: record["matches"] for name, record in searched.items()}
    assert counts["anna.mbox"] == 3
    assert counts["dora.mbox"] == 0


def test_s22_a_mailbox_that_cannot_be_searched_is_logged(mail: Path, case: Path) -> None:
    (mail / "dora.mbox").write_bytes(b"From eve@example.net Thu Jan  1 10:00:00 2026\n")
    done = excise_cli(
        *("plan", "move", f"mbox:{mail}/dora.mbox", f"mbox:{mail}/anna.mbox", "--subject", WORM, "--case", case)
    )
    assert done.code in (6, 7), done.text
    records = [r for r in audit(case) if r["type"] == "mailbox-not-searched"]
    assert len(records) == 1
    assert "dora.mbox" in str(records[0]["mailbox"])
    assert records[0]["reason"]
    assert "NOT SEARCHED" in done.out
    assert run(case).code in (6, 7)
    with (case / "scope.csv").open(encoding="utf-8", newline="") as stream:
        rows = {Path(row["mailbox"]).name: row for row in csv.DictReader(stream)}
    assert rows["dora.mbox"]["searched"] == "no"
    assert rows["dora.mbox"]["reason"]
    assert rows["anna.mbox"]["searched"] == "yes"


def test_s23_no_subject_or_address_in_the_logs(mail: Path, case: Path) -> None:
    assert move(mail, case, 6).code == 0
    for path in (case / "audit.jsonl", *case.glob("units/*/*.jsonl")):
        text = path.read_text()
        assert "invoice" not in text.lower(), path
        assert "eve@example.net" not in text, path
        assert "example.org" not in text, path
    assert "invoice" in (case / "plan/0001/matches/00001.jsonl").read_text()


def test_s23_reveal_writes_the_subjects(mail: Path, case: Path) -> None:
    assert move(mail, case, 6, "--reveal").code == 0
    assert WORM in (case / "audit.jsonl").read_text()


def test_s26_the_environment_does_not_reach_the_case(mail: Path, case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_PASSWORD", "hunter2-secret")
    monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2-secret@proxy")
    done = move(mail, case, 6)
    assert done.code == 0
    assert "hunter2" not in done.text
    assert not [name for name, data in bytes_below(case).items() if b"hunter2" in data]


def test_s28_a_case_is_never_a_source(mail: Path, tmp_path: Path) -> None:
    case = mail / "inside"
    assert plan(mail, case).code == 3
    assert not case.exists()
    first = tmp_path / "first"
    assert move(mail, first, 6).code == 0
    shutil.move(first, mail / "moved-in")
    found = excise_cli("search", mail, "--subject", WORM, "--json")
    assert found.code == 0, found.text
    assert found.lines()[-1]["summary"]["matches"] == 0
    inside = excise_cli("search", mail / "moved-in/bag-0001", "--subject", WORM)
    assert inside.code == 3, inside.text
    assert "S28" in inside.err
    onto = plan(mail / "anna.mbox", mail / "moved-in/new")
    assert onto.code == 3, onto.text


def test_s29_a_case_is_held_by_one_command(mail: Path, case: Path) -> None:
    assert plan(mail, case).code == 0
    before = bytes_below(mail)
    with (case / "lock").open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        for command in (("run", case, "--confirm", plan_hash(case)), ("resume", case), ("restore", case, "--yes")):
            done = excise_cli(*command)
            assert done.code == 3, done.text
            assert "case-locked" in done.err
        assert excise_cli("status", case).code == 0
        assert excise_cli("verify", case).code == 0
    assert bytes_below(mail) == before
    assert run(case).code == 0


def test_s30_another_mailbox_in_its_place_is_refused(mail: Path, case: Path) -> None:
    assert plan(mail, case).code == 0
    path = mail / "anna.mbox"
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    os.replace(copy, path)
    before = path.read_bytes()
    done = run(case)
    assert done.code != 0
    assert path.read_bytes() == before
    assert "anna.mbox" in done.err
    assert "another one" in done.err
    assert ids_in_maildir(mail / "ben") == Counter(["20", "22", "24"])
    assert excise_cli("resume", case).code != 0
    finished = excise_cli("resume", case, "--finish")
    assert finished.code == 9 or finished.code == done.code
    assert outcomes(case) == {"failed": 3, "removed": 3}
    assert path.read_bytes() == before
    assert excise_cli("verify", case).code == 0


def test_s14_items_that_a_pst_has_no_room_for_go_into_the_next_part(
    mail: Path, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_pst, "_MOST_ITEMS", 2)
    assert move(mail, case, 6, "--evidence", "pst").code == 0
    parts = sorted(path.relative_to(case / "bag-0001/data/evidence").as_posix() for path in case.rglob("part-???"))
    assert parts == ["00001/part-001", "00001/part-002", "00002/part-001", "00003/part-001"]
    assert excise_cli("restore", case, "--yes", "--jobs", "1").code == 0
    assert ids_in_mbox(mail / "anna.mbox") == Counter("01234567")


def test_s15_a_run_whose_last_word_was_not_written_is_told_by_resume(tmp_path: Path) -> None:
    """As on a disk that was full at the very end: all was done, and the file with the head of the log is older."""
    mail, case = stores(tmp_path / "mail"), tmp_path / "case"
    words = ("--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6", "--max-share", "100")
    done = excise_cli("move", mail, *words)
    assert done.code == 0, done.text
    head = (case / "audit.head").read_text()
    (case / "audit.head").write_text("f" * 64 + "\n")
    assert excise_cli("resume", case).code == 2  # no head of this log: that is for verify to tell
    last = json.loads((case / "audit.jsonl").read_bytes().splitlines()[-1])
    (case / "audit.head").write_text(last["prev"] + "\n")
    done = excise_cli("resume", case)
    assert (done.code, "removed" in done.out) == (0, True), done.text
    assert (case / "audit.head").read_text() == head
    assert excise_cli("verify", case).code == 0
    assert excise_cli("resume", case).code == 2
