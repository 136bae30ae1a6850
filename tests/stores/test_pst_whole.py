"""Items that go back into PST files property for property: after a move from real files, and from evidence."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

import excise.pst
from cli.command import excise_cli
from excise.case.part_item import names_of_file
from excise.case.pst_held import held_by_us
from excise.case.reread_mapi import differences
from excise.mapi.content_digest import content_digest
from excise.model.item import Deposit, Outcome
from excise.pst import NewMessage, NewProperty
from excise.store_api.errors import ItemDamaged
from excise.stores.pst import STORE, PstMailbox
from excise.stores.pst_whole import version_in_any_file
from pst.purged import libpff_items
from stores.pst_samples import DIRECTORY, every_sample, needs_samples, scan

Told = Counter[tuple[str, str, str]]


@contextmanager
def opened(path: Path) -> Iterator[PstMailbox]:
    box = STORE.open(f"pst:{path}", writable=True)
    assert isinstance(box, PstMailbox)
    try:
        yield box
    finally:
        box.close()


def told(path: Path) -> Told:
    """Of each item of the file: folder, the digest of all its properties, the digest of what a user sees."""
    with opened(path) as box:
        items = [(node.folder, box._at(node.id)[1]) for node in box._nodes.values()]
        return Counter((folder, version_in_any_file(item), content_digest(item)) for folder, item in items)


def libpff_told(path: Path) -> Counter[str]:
    """What libpff has of each item, without the NIDs in it."""
    return Counter(repr(found) for found in libpff_items(path).values())


def rows(case: Path) -> list[dict[str, str]]:
    with (case / "outcome.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@needs_samples
@every_sample
def test_every_item_of_a_real_file_is_the_same_in_another(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.pst"
    excise.pst.create(target).close()
    put = 0
    with opened(path) as source, opened(target) as box:
        for candidate in scan(source)[0]:
            try:
                fetched = source.fetch(candidate.id)
            except ItemDamaged:
                continue
            assert fetched.item is not None
            deposit = Deposit(fetched.content, "Put", attributes=fetched.attributes, item=fetched.item)
            version = box.version_of(deposit)
            before = box.count({version})[("Put", version)] if put < 40 else 0
            (answer,) = box.put([deposit])
            if answer.outcome is Outcome.FAILED and "two types" in answer.detail:
                continue
            assert answer.outcome is Outcome.RESTORED, answer
            item = box._at(answer.id or "")[1]
            assert (version_in_any_file(item), content_digest(item)) == (version, content_digest(fetched.item))
            assert put >= 40 or box.count({version}) == {("Put", version): before + 1}
            message = box._file.reader.message(int(answer.id or "", 16))
            held = held_by_us(message, names_of_file(box._file.reader))
            assert fetched.properties is not None
            assert not list(differences(fetched.properties, held))
            put += 1
    assert not excise.pst.check(target).damaged
    assert put or not fetched_any(path)


def fetched_any(path: Path) -> bool:
    """Whether any item of the file can be fetched."""
    with opened(path) as source:
        for candidate in scan(source)[0]:
            try:
                return bool(source.fetch(candidate.id).content)
            except ItemDamaged:
                continue
    return False


NAMES = (
    *("enron", "sample1", "msgInMsg", "outlook2019", "test_unicode", "testPST", "contacts", "submessage"),
    *("200_recipients", "attachAndInline", "testPST_variousBodyTypes", "alpha-beta-gamma-delta"),
)
FEW = 6


def subjects(path: Path) -> list[str]:
    """Options that name some messages of the file, by their subjects."""
    with opened(path) as box:
        fetched = [box.fetch(one.id) for one in scan(box)[0]]
    found = [one.item.subject for one in fetched if one.item is not None and not one.attributes.get("associated")]
    return [
        option for subject in list(dict.fromkeys(filter(str.strip, found)))[:FEW] for option in ("--subject", subject)
    ]


def move(path: Path, case: Path, *options: str) -> int:
    """Move some messages into the case; how many those were."""
    plan = ("plan", "move", path, *subjects(path), "--case", case, "--max-share", "100", "--jobs", "1", *options)
    planned = excise_cli(*plan)
    assert planned.code == 0, planned.text
    header = (case / "plan/0001/header.json").read_bytes()
    done = excise_cli("run", case, "--confirm", sha256(header).hexdigest(), "--jobs", "1")
    assert done.code == 0, done.text
    return int(json.loads(header)["totals"]["matches"])


@needs_samples
@pytest.mark.parametrize("name", NAMES)
def test_s21_what_was_moved_out_of_a_real_file_comes_back_property_for_property(name: str, tmp_path: Path) -> None:
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    shutil.copyfile(DIRECTORY / f"{name}.pst", path)
    before, seen = told(path), libpff_told(path)
    count = move(path, case)
    assert (told(path) - before, (before - told(path)).total()) == (Counter(), count)
    for expected in ("restored", "already there"):
        done = excise_cli("restore", case, "--yes", "--jobs", "1")
        assert done.code == 0, done.text
        assert told(path) == before
        assert Counter(row["outcome"] for row in rows(case)) == {expected: count}
        assert expected != "restored" or {row["detail"] for row in rows(case)} == {"property for property"}
    assert libpff_told(path) == seen
    assert not excise.pst.check(path).damaged
    assert excise_cli("verify", case).code == 0


@needs_samples
@pytest.mark.parametrize("name", ["outlook2019", "msgInMsg", "sample2"])
def test_evidence_is_imported_property_for_property_and_once(name: str, tmp_path: Path) -> None:
    source, case, target = tmp_path / "mine.pst", tmp_path / "case", tmp_path / "target.pst"
    shutil.copyfile(DIRECTORY / f"{name}.pst", source)
    copied = excise_cli("copy", source, *subjects(source), "--case", case)
    assert copied.code == 0, copied.text
    excise.pst.create(target).close()
    for number, evidence in enumerate([case, case, source]):
        done = excise_cli("import", evidence, "--into", f"pst:{target}", "--case", tmp_path / f"{number}", "--yes")
        assert done.code == 0, done.text
        outcome = "already there" if number else "imported"
        assert {row["outcome"] for row in rows(tmp_path / f"{number}")} == {outcome}, done.text
        assert told(target) == told(source)
    assert {row["detail"] for row in rows(tmp_path / "0")} == {"property for property"}


@needs_samples
def test_evidence_without_a_pst_goes_back_as_its_mime_tells_it_and_the_record_says_so(tmp_path: Path) -> None:
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    shutil.copyfile(DIRECTORY / "outlook2019.pst", path)
    before = told(path)
    count = move(path, case, "--evidence", "mbox")
    for outcome in ("restored", "already there"):
        done = excise_cli("restore", case, "--yes", "--jobs", "1")
        assert done.code == 0, done.text
        assert {row["outcome"] for row in rows(case)} == {outcome}
        assert outcome != "restored" or all("as its MIME tells it" in row["detail"] for row in rows(case))
    assert told(path).total() == before.total() and (told(path) - before).total() == count


@needs_samples
def test_s13_properties_that_are_not_those_of_the_evidence_go_nowhere(tmp_path: Path) -> None:
    """A record that was changed with its line, and the bag's manifests with them: the journal knows the lines."""
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    shutil.copyfile(DIRECTORY / "outlook2019.pst", path)
    move(path, case)
    after = path.read_bytes()
    assert excise_cli("restore", case).code == 4
    part = next(case.rglob("part-001"))
    record = (part / "properties.jsonl").read_bytes()
    forged = record.replace(b"Good Morning", b"Evil Morning")
    lines = (part / "items.jsonl").read_bytes()
    for old, new in zip(record.splitlines(keepends=True), forged.splitlines(keepends=True), strict=True):
        lines = lines.replace(sha256(old).hexdigest().encode(), sha256(new).hexdigest().encode())
    (part / "properties.jsonl").write_bytes(forged)
    (part / "items.jsonl").write_bytes(lines)
    plan = sorted((case / "plan").iterdir())[-1] / "header.json"
    done = excise_cli("run", case, "--confirm", sha256(plan.read_bytes()).hexdigest(), "--jobs", "1")
    assert done.code == 5 and "not the lines that were written" in done.err, done.text
    assert path.read_bytes() == after


def test_twins_that_differ_in_one_property_both_come_back(tmp_path: Path) -> None:
    """Their MIME is the same, so that a restore that looked at that alone would put one of them back."""
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    with excise.pst.create(path) as pst:
        for key in (b"1" * 16, b"1" * 16, b"2" * 16):
            values = [(0x001A, 0x1F, "IPM.Note".encode("utf-16-le")), (0x0037, 0x1F, "Twin".encode("utf-16-le"))]
            known = [*values, (0x300B, 0x102, key), (0x3007, 0x40, bytes(8)), (0x3008, 0x40, bytes(8))]
            pst.folder(["Inbox"]).add(NewMessage([NewProperty(*each) for each in known]))
    before = told(path)
    for kind in ("pst", "mbox"):
        assert move(path, case / kind, "--evidence", kind) == 3
        assert not told(path)
        for _ in range(2):
            assert excise_cli("restore", case / kind, "--yes", "--jobs", "1").code == 0
            assert told(path).total() == 3
            assert kind == "mbox" or told(path) == before
