"""``--rewrite``: ANSI, OST and damaged PST files are made anew, and the old file is in the evidence."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import excise.pst
from case.other_verifier import alone
from case.other_verifier import excise as verdict_of_excise
from cli.command import excise_cli
from engine.mail_files import WORM
from engine.test_move_pst import as_ost, everything, hash_of, mail, open_for_writing, outcomes, purge, secrets, subjects
from excise.pst.file.salvage import as_written
from excise.stores.pst import STORE
from excise.stores.pst_same import difference
from pst.purged import found_in, libpff_items
from stores.pst_samples import DIRECTORY, needs_samples


def damage(path: Path, nid: int) -> None:
    """Flip a bit in the subnodes of the message ``nid``."""
    with excise.pst.open(path) as pst:
        place = pst.ndb.block_entry(pst.message(nid).node.bid_sub).ib
    data = bytearray(path.read_bytes())
    data[place + 12] ^= 1
    path.write_bytes(data)


def reports(path: Path) -> dict[str, int]:
    """NIDs of messages that stay by their subjects."""
    return {told: nid for nid, told in subjects(path).items() if told.startswith("Report")}


def assert_made_anew(path: Path, before: Path, gone: set[int], lost: set[int]) -> None:
    """All items of ``before`` but those are in the new file under their NIDs, as they were, and nothing is wrong."""
    with excise.pst.open(before) as old, excise.pst.open(path) as new:
        kept = everything(path).keys()
        assert kept == everything(before).keys() - gone - lost
        assert not any(difference(as_written(old, nid), as_written(new, nid)) for nid in kept)
        assert new.record_key == old.record_key
    assert not excise.pst.check(path).damaged
    assert libpff_items(path).keys() == {nid for nid in libpff_items(before) if nid in kept}
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def original(case: Path, before: Path) -> dict[str, Any]:
    """The kept original is the file as it was, and bound by bag and journal; what is told of it."""
    (place,) = case.glob("bag-0001/data/evidence/*/original-001")
    assert (place / "original.pst").read_bytes() == before.read_bytes()
    told = json.loads((place / "about.json").read_text())
    assert told["sha256"] == sha256(before.read_bytes()).hexdigest()
    assert f"{told['sha256']}  data/evidence/00001/original-001/original.pst" in (
        (case / "bag-0001/manifest-sha256.txt").read_text()
    )
    assert excise_cli("verify", case).code == 0
    return dict(told)


def test_s18_a_damaged_file_is_made_anew_without_what_goes_and_the_old_one_is_evidence(tmp_path: Path) -> None:
    path, case, before = tmp_path / "mail" / "mine.pst", tmp_path / "case", tmp_path / "before"
    path.parent.mkdir()
    gone = mail(path)
    lost = reports(path)["Report 5"]
    damage(path, lost)
    os.setxattr(path, "user.mark", b"kept")
    path.chmod(0o640)
    shutil.copyfile(path, before)
    status, identity = path.stat(), STORE.open(f"pst:{path}").info.identity
    refused = purge(path, tmp_path / "refused", 3)
    assert refused.code == 7 and "--rewrite" in refused.err, refused.text
    assert path.read_bytes() == before.read_bytes()
    planned = excise_cli("plan", "purge", path, "--subject", WORM, "--rewrite", "--case", case)
    assert planned.code in (0, 9), planned.text
    assert "is made anew, with 4 items" in planned.out and "1 item cannot be read" in planned.out, planned.text
    done = excise_cli("run", case, "--confirm", hash_of(case), "--jobs", "1")
    assert done.code == 9 and "1 item could not be read" in done.out, done.text
    assert dict(outcomes(case)) == {f"{nid:#x}": "removed" for nid in gone}
    assert_made_anew(path, before, set(gone), {lost})
    assert not found_in(secrets(), path.read_bytes())
    after = path.stat()
    assert (after.st_mode, after.st_uid, os.getxattr(path, "user.mark")) == (status.st_mode, status.st_uid, b"kept")
    assert STORE.open(f"pst:{path}").info.identity == identity
    original(case, before)
    (row,) = csv.DictReader((case / "bag-0001/data/records/lost.csv").read_text().splitlines())
    assert (row["id"], row["original"]) == (f"{lost:#x}", "original-001")
    assert row["folder"] == "Top of Outlook data file/Old/2026"
    # Folders' names are in no log (S23).
    assert all("Old/2026" not in log.read_text() for log in (case / "units").rglob("*.jsonl"))
    lines = [json.loads(line) for line in (case / "plan/0001/matches/00001.lost.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"{lost:#x}"]


@pytest.mark.parametrize("command", ["move", "purge"])
def test_an_ost_is_made_anew_and_what_went_can_be_restored(tmp_path: Path, command: str) -> None:
    path, case, before = tmp_path / "mail" / "mine.ost", tmp_path / "case", tmp_path / "before"
    path.parent.mkdir()
    gone = mail(path)
    as_ost(path)
    shutil.copyfile(path, before)
    options = ("--subject", WORM, "--rewrite", "--case", case, "--yes", "--expect-matches", "3", "--jobs", "1")
    done = excise_cli(command, path, *options)
    assert (done.code, done.out.splitlines()[-1]) == (0, "Done."), done.text
    assert_made_anew(path, before, set(gone), set())
    original(case, before)
    restored = excise_cli("restore", case, "--yes")
    assert restored.code == 0, restored.text
    assert Counter(subjects(path).values()) == Counter(subjects(before).values())


@needs_samples
@pytest.mark.parametrize("name", ["test_ansi", "sample2", "contacts97-2002"])
def test_real_files_that_cannot_be_changed_in_place(tmp_path: Path, name: str) -> None:
    path, case, before = tmp_path / "mail" / "mine.pst", tmp_path / "case", DIRECTORY / f"{name}.pst"
    path.parent.mkdir()
    shutil.copyfile(before, path)
    told = list(subjects(path).values())
    subject = "contact name 1" if "contact name 1" in told else told[0]
    planned = excise_cli("plan", "purge", path, "--subject", subject, "--rewrite", "--case", case)
    assert planned.code == 0 and "Everything in it can be read" in planned.out, planned.text
    done = excise_cli("run", case, "--confirm", hash_of(case), "--jobs", "1")
    gone = {int(item, 16) for item, outcome in outcomes(case) if outcome == "removed"}
    # Items that belong to a folder's settings stay.
    assert gone and done.code in (0, 3), done.text
    assert_made_anew(path, before, gone, set())
    original(case, before)
    searches = {"test_ansi": [], "sample2": ["ItemProcSearch"], "contacts97-2002": ["Contact Search"]}[name]
    assert [row["reason"].split("'")[1] for row in lost_rows(case) if row["where"] == "search folder"] == searches


def lost_rows(case: Path) -> list[dict[str, str]]:
    """The rows of lost.csv; none where there is no such file."""
    path = case / "bag-0001/data/records/lost.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def test_s06_rewrite_is_a_part_of_the_plan_and_not_of_copies(tmp_path: Path) -> None:
    path = tmp_path / "mine.pst"
    mail(path)
    assert excise_cli("plan", "copy", path, "--subject", WORM, "--rewrite", "--case", tmp_path / "case").code == 2
    profile = tmp_path / "job.toml"
    profile.write_text('rewrite = true\n[criteria]\nsubject = ["' + WORM + '"]\n')
    done = excise_cli("plan", "purge", path, "--profile", profile, "--case", tmp_path / "case")
    assert done.code == 0, done.text
    header = json.loads((tmp_path / "case/plan/0001/header.json").read_text())
    # A sound file is changed in place all the same.
    assert header["rewrite"] is True and header["units"][0]["rewrite"] == ""
    profile.write_text('rewrite = "yes"\n')
    assert excise_cli("plan", "purge", path, "--profile", profile, "--case", tmp_path / "other").code == 2


def test_s06_what_became_unreadable_since_the_plan_is_not_lost(tmp_path: Path) -> None:
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    mail(path)
    damage(path, reports(path)["Report 5"])
    planned = excise_cli("plan", "purge", path, "--subject", WORM, "--rewrite", "--case", case)
    assert planned.code in (0, 9), planned.text
    damage(path, reports(path)["Report 2"])
    now = path.read_bytes()
    done = excise_cli("run", case, "--confirm", hash_of(case), "--jobs", "1")
    assert done.code == 3 and "1 item cannot be read that could when the plan was made" in done.err, done.text
    assert path.read_bytes() == now
    assert [each.name for each in tmp_path.glob("*mine*")] == ["mine.pst"]


def test_s11_a_damaged_tree_of_nodes_is_told(tmp_path: Path) -> None:
    """How many items stood in the page that cannot be read, nobody knows: the plan and the outcome say so."""
    path, case, before = tmp_path / "mail" / "mine.pst", tmp_path / "case", tmp_path / "before"
    path.parent.mkdir()
    gone = mail(path)
    with excise.pst.open(path) as pst:
        root = pst.header.root.ibNBT
    data = bytearray(path.read_bytes())
    # The last leaf: the child that the last entry of the root names.
    count = data[root + 488]
    leaf = int.from_bytes(data[root + 24 * (count - 1) + 16 : root + 24 * count], "little")
    data[leaf + 3] ^= 0x40
    path.write_bytes(data)
    shutil.copyfile(path, before)
    there = everything(before).keys()
    planned = excise_cli("plan", "purge", path, "--subject", WORM, "--rewrite", "--case", case)
    assert planned.code == 9 and "TREE OF NODES IS DAMAGED" in planned.out, planned.text
    done = excise_cli("run", case, "--confirm", hash_of(case), "--jobs", "1")
    assert done.code == 9 and "How many more is not known" in done.out, done.text
    removed = {int(item, 16) for item, outcome in outcomes(case) if outcome == "removed"}
    assert removed and removed <= set(gone)
    assert everything(path).keys() == there - removed
    assert not excise.pst.check(path).damaged
    original(case, before)


def test_s06_a_review_takes_the_losses_along(tmp_path: Path) -> None:
    path, case, before = tmp_path / "mail" / "mine.pst", tmp_path / "case", tmp_path / "before"
    path.parent.mkdir()
    gone = mail(path)
    lost = reports(path)["Report 5"]
    damage(path, lost)
    shutil.copyfile(path, before)
    planned = excise_cli("plan", "purge", path, "--subject", WORM, "--rewrite", "--case", case)
    assert "with 4 items" in planned.out, planned.text
    done = excise_cli("review", case, "--exclude", "00001-000002", "--reason", "not this one")
    assert done.code in (0, 9), done.text
    header = case / "plan/0002/header.json"
    (unit,) = json.loads(header.read_text())["units"]
    assert (unit["kept"], unit["lost"]) == (5, 1)
    done = excise_cli("run", case, "--confirm", sha256(header.read_bytes()).hexdigest(), "--jobs", "1")
    assert done.code == 9 and "1 item could not be read" in done.out, done.text
    removed = {int(item, 16) for item, _ in outcomes(case)}
    assert len(removed) == 2 and removed < set(gone)
    assert_made_anew(path, before, removed, {lost})
    assert excise_cli("verify", case).code == 0
    restored = excise_cli("restore", case, "--yes")
    assert restored.code == 0, restored.text
    assert len(everything(path)) == 7
    for verdict in (alone(case), verdict_of_excise(case)):
        assert verdict.code == 0, verdict.wrong


def test_s19_a_file_that_another_program_writes_to_is_not_made_anew(tmp_path: Path) -> None:
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    mail(path)
    as_ost(path)
    before = path.read_bytes()
    with open_for_writing(path):
        done = purge(path, case, 3, "--subject", WORM, "--rewrite")
    assert done.code == 6 and "open for writing in" in done.err, done.text
    assert path.read_bytes() == before
    assert excise_cli("resume", case, "--jobs", "1").code == 0
    assert len(everything(path)) == 5


def test_s19_a_file_with_two_names_is_refused_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "mine.pst"
    mail(path)
    os.link(path, tmp_path / "other")
    done = purge(path, tmp_path / "case", 3, "--subject", WORM, "--rewrite")
    assert done.code == 2 and "hard links" in done.err, done.text


def test_s14_both_verifiers_know_originals_and_losses(tmp_path: Path) -> None:
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    mail(path)
    damage(path, reports(path)["Report 5"])
    purged = purge(path, case, 3, "--subject", WORM, "--rewrite")
    assert purged.code == 9 and "1 item could not be read" in purged.out, purged.text
    for verdict in (alone(case), alone(case / "bag-0001"), verdict_of_excise(case)):
        assert verdict.code == 0, verdict.wrong
        assert not any("other files" in line for line in verdict.unchecked), verdict.unchecked
    (kept,), (lost,) = case.rglob("original.pst"), case.glob("plan/*/matches/*.lost.jsonl")
    for changed in (kept, lost):
        data = changed.read_bytes()
        changed.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
        for verdict in (alone(case), verdict_of_excise(case)):
            assert verdict.code == 5 and verdict.names(changed.name), verdict.wrong
        changed.write_bytes(data)
    kept.parent.rename(kept.parent.with_name("original-002"))
    for verdict in (alone(case), verdict_of_excise(case)):
        assert verdict.code == 5 and verdict.names("original-002"), verdict.wrong


def rows(case: Path) -> list[dict[str, str]]:
    """The rows of outcome.csv."""
    with (case / "outcome.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_s16_a_planned_item_that_is_damaged_is_in_the_original_alone(tmp_path: Path) -> None:
    path, case, before = tmp_path / "mail" / "mine.pst", tmp_path / "case", tmp_path / "before"
    path.parent.mkdir()
    gone = mail(path)
    damage(path, gone[1])
    shutil.copyfile(path, before)
    planned = excise_cli("plan", "purge", path, "--subject", WORM, "--rewrite", "--case", case)
    assert planned.code in (0, 9) and "1 item cannot be read" in planned.out, planned.text
    done = excise_cli("run", case, "--confirm", hash_of(case), "--jobs", "1")
    assert done.code == 9, done.text
    assert Counter(row["outcome"] for row in rows(case)) == {"removed": 2, "failed": 1}
    assert_made_anew(path, before, {gone[0], gone[2]}, {gone[1]})
    original(case, before)
