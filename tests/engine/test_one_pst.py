"""``--pst-per case``: one PST for a whole case, made of what the units preserved (S13, S14, S15)."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

import excise.pst
from case import other_verifier
from cli.command import excise_cli
from engine.mail_files import WORM, message, stores, write_mbox
from engine.test_move_pst import mail
from pst.oracles import libpff_folders
from stores.pst_samples import DIRECTORY, needs_samples

ONE = ("--pst-per", "case")


def copy_all(sources: Path, case: Path, *options: str) -> Path:
    """A case of copies of the worms; the directory of its one PST."""
    done = excise_cli("copy", sources, "--subject", WORM, "--case", case, *ONE, *options)
    assert done.code == 0, done.text
    assert excise_cli("verify", case).code == 0
    return case / "bag-0001/data/evidence/case"


def subjects(path: Path) -> Counter[tuple[str, ...]]:
    """How many messages are in each folder of a PST file below the top of its mailbox, as libpff sees it."""
    found = libpff_folders(path)
    return Counter({names[1:]: len(held) for names, held in found.items() if names[1:] and held})


def test_one_pst_with_a_folder_for_each_mailbox(tmp_path: Path) -> None:
    place = copy_all(stores(tmp_path / "mail"), tmp_path / "case")
    (part,) = place.iterdir()
    assert subjects(part / "messages.pst") == {
        (str(tmp_path / "mail/anna.mbox"), "Messages"): 3,
        (str(tmp_path / "mail/ben"), "INBOX"): 2,
        (str(tmp_path / "mail/carla/inbox"), "Messages"): 1,
    }
    assert not excise.pst.check(part / "messages.pst").findings
    assert excise_cli("custody", tmp_path / "case").code == 0
    custody = (tmp_path / "case/custody.md").read_text()
    assert "data/evidence/case/part-001/messages.pst" in custody.replace("\\", "") and "6 messages" in custody
    # No mailbox has a PST of its own beside it: MIME is whole in the mbox.
    assert sorted(tmp_path.rglob("messages.pst")) == [part / "messages.pst"]
    assert len(list(tmp_path.rglob("messages.mbox"))) == 3


def test_items_that_are_properties_keep_a_pst_of_their_own_too(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    mail(tmp_path / "mail/mine.pst")
    write_mbox(tmp_path / "mail/anna.mbox", [message(70, WORM)])
    place = copy_all(tmp_path / "mail", tmp_path / "case")
    lines = [json.loads(line) for line in (place / "part-001/items.jsonl").read_bytes().splitlines()]
    assert Counter(line["pst"]["form"] for line in lines) == {"mapi": 3, "mime": 1}
    assert [line["item"] for line in lines] == [1, 2, 3, 4]
    assert Counter(line["evidence"][:5] for line in lines) == {"00001": 1, "00002": 3}
    units = {path.parent.parent.name for path in tmp_path.rglob("messages.pst")} - {"case"}
    assert units == {"00002"}


@needs_samples
def test_samples_come_into_it_property_for_property(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    for name in ("submessage.pst", "dist-list.pst", "testPST.pst"):
        shutil.copyfile(DIRECTORY / name, tmp_path / "mail" / name)
    options = ("--larger", "1", "--case", tmp_path / "case", *ONE, "--evidence", "pst")
    done = excise_cli("copy", tmp_path / "mail", *options)
    assert done.code in (0, 9), done.text
    assert excise_cli("verify", tmp_path / "case").code == 0
    (part,) = (tmp_path / "case/bag-0001/data/evidence/case").iterdir()
    lines = [json.loads(line) for line in (part / "items.jsonl").read_bytes().splitlines()]
    assert lines and {line["pst"]["form"] for line in lines} == {"mapi"}


def test_parts_are_split_by_size_between_mailboxes_too(tmp_path: Path) -> None:
    place = copy_all(stores(tmp_path / "mail"), tmp_path / "case", "--part-size", "300kB")
    assert [path.name for path in sorted(place.iterdir())] == [f"part-{n:03}" for n in range(1, 7)]
    held = Counter(subjects(part / "messages.pst").total() for part in place.iterdir())
    assert held == {1: 6}
    assert excise_cli("verify", tmp_path / "case").code == 0


def test_two_mailboxes_of_one_name_get_two_folders(tmp_path: Path) -> None:
    for name in ("A.mbox", "a.mbox"):
        (tmp_path / "mail").mkdir(exist_ok=True)
        write_mbox(tmp_path / "mail" / name, [message(ord(name[0]), WORM)])
    place = copy_all(tmp_path / "mail", tmp_path / "case")
    assert sorted(subjects(place / "part-001/messages.pst").values()) == [1, 1]


def test_it_is_restored_and_handed_back_like_any_evidence(tmp_path: Path) -> None:
    sources = stores(tmp_path / "mail")
    before = (sources / "anna.mbox").read_bytes()
    done = excise_cli(
        "purge", sources, "--subject", WORM, "--case", tmp_path / "case", *ONE, "--yes", "--expect-matches", "6"
    )
    assert done.code == 0, done.text
    assert before.count(WORM.encode()) == 3 and WORM.encode() not in (sources / "anna.mbox").read_bytes()
    place = tmp_path / "case/bag-0001/data/evidence/case"
    into = tmp_path / "back.mbox"
    write_mbox(into, [message(99, "Mine")])
    done = excise_cli("import", place, "--into", into, "--case", tmp_path / "second", "--yes", "--expect-matches", "6")
    assert done.code == 0, done.text
    assert into.read_bytes().count(b"Subject: " + WORM.encode()) == 6
    shutil.copyfile(place / "part-001/messages.pst", tmp_path / "handed.pst")
    done = excise_cli("search", tmp_path / "handed.pst", "--subject", WORM, "--json")
    assert done.lines()[-1]["summary"]["matches"] == 6
    done = excise_cli("restore", tmp_path / "case", "--yes", "--expect-matches", "6")
    assert done.code == 0, done.text
    assert (sources / "anna.mbox").read_bytes().count(WORM.encode()) == 3


def test_the_case_imports_each_message_once(tmp_path: Path) -> None:
    copy_all(stores(tmp_path / "mail"), tmp_path / "case")
    into = tmp_path / "back.mbox"
    write_mbox(into, [message(99, "Mine")])
    confirmed = ("--yes", "--expect-matches", "6")
    done = excise_cli("import", tmp_path / "case", "--into", into, "--case", tmp_path / "second", *confirmed)
    assert done.code == 0, done.text
    assert into.read_bytes().count(b"Subject: " + WORM.encode()) == 6


@pytest.mark.parametrize("options", [("--evidence", "mbox"), ("--evidence", "eml", "--evidence", "mbox")])
def test_it_wants_a_pst_among_the_evidence(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = excise_cli("copy", stores(tmp_path / "mail"), "--subject", WORM, "--case", tmp_path / "case", *ONE, *options)
    assert (done.code, (tmp_path / "case").exists()) == (2, False)
    assert "--evidence pst" in done.text


@pytest.mark.parametrize("what", ["byte", "gone", "added", "swapped"])
def test_s14_what_was_done_to_it_is_told(tmp_path: Path, what: str) -> None:
    case = tmp_path / "case"
    place = copy_all(stores(tmp_path / "mail"), case)
    part = place / "part-001"
    if what == "byte":
        data = bytearray((part / "messages.pst").read_bytes())
        data[len(data) // 3] ^= 1
        (part / "messages.pst").write_bytes(data)
    elif what == "gone":
        shutil.rmtree(part)
    elif what == "added":
        shutil.copytree(part, place / "part-002")
    else:
        items = (part / "items.jsonl").read_text()
        (part / "items.jsonl").write_text(items.replace("00001-000001", "00001-000009"))
    done = excise_cli("verify", case)
    assert done.code == 5, done.text
    assert "the PST of plan 1" in done.text
    assert other_verifier.alone(case).code == 5


def interrupted(tmp_path: Path) -> tuple[Path, Path]:
    """A case whose run was stopped when its PST was about to be sealed; its bag and the PST's place."""
    case = tmp_path / "case"
    place = copy_all(stores(tmp_path / "mail"), case, "--part-size", "300kB")
    bag = case / "bag-0001"
    for path in (*bag.glob("*.txt"), case / "outcome.csv", case / "scope.csv", case / "audit.head"):
        path.unlink()
    shutil.rmtree(bag / "data/records")
    records = (case / "audit.jsonl").read_bytes().splitlines(keepends=True)
    kept = [line for line in records if json.loads(line)["type"] not in ("bag-sealed", "run-finished")]
    (case / "audit.jsonl").write_bytes(b"".join(kept))
    return case, place


def test_s15_it_goes_on_with_what_no_committed_part_has(tmp_path: Path) -> None:
    case, place = interrupted(tmp_path)
    before = {path: sha256(path.read_bytes()).digest() for path in place.rglob("*") if path.is_file()}
    shutil.copytree(place / "part-006", case / "units/case-part-007.partial")
    shutil.rmtree(place / "part-006")
    done = excise_cli("resume", case)
    assert done.code == 0, done.text
    assert not list(case.rglob("*.partial"))
    after = {path: sha256(path.read_bytes()).digest() for path in place.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    assert {path for path in after if after[path] != before[path]} <= set((place / "part-006").iterdir())
    assert excise_cli("verify", case).code == 0


def test_s15_a_part_that_is_not_what_was_committed_stops_the_run(tmp_path: Path) -> None:
    case, place = interrupted(tmp_path)
    with (place / "part-002/messages.pst").open("r+b") as stream:
        stream.seek(20_000)
        stream.write(b"changed")
    assert excise_cli("resume", case).code == 5
    assert excise_cli("resume", case, "--finish").code == 5
    assert not (case / "bag-0001/bagit.txt").exists()


def test_s15_a_run_is_finished_without_it_where_it_cannot_be_made(tmp_path: Path) -> None:
    case, place = interrupted(tmp_path)
    shutil.rmtree(place)
    place.write_bytes(b"in the way")
    stopped = excise_cli("resume", case)
    assert stopped.code == 1 or stopped.code in (6, 7, 9), stopped.text
    assert "the PST of the case" in stopped.text
    assert not (case / "bag-0001/bagit.txt").exists()
    place.unlink()
    assert excise_cli("resume", case).code == 0
    assert excise_cli("verify", case).code == 0
