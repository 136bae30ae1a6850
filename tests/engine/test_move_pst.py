"""``excise move`` and ``excise purge`` on PST files, by the command line: what goes leaves nothing in the file."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import excise.pst
from cli.command import Done, excise_cli
from engine.mail_files import WORM, message
from excise.model.item import Deposit
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import CLIENT_OST, header_crcs
from excise.pst.ndb.edit import edit_nodes
from excise.stores.pst import STORE
from programs import needs_program
from pst.purged import findings, found_in, libpff_items, markers, messages, messages_of, pffexport_marks
from stores.pst_made import SUBMITTED, change_property, make_pst
from stores.pst_samples import DIRECTORY, needs_samples

#: What stands in the planned messages alone: in 8 bits in an attachment, in UTF-16 in a body.
SECRET = "Quetzalcoatl-7491"
_ATTACHED = (
    b'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n--b\nContent-Type: text/plain\n\n%s body\n'
    b'--b\nContent-Type: application/octet-stream\nContent-Disposition: attachment; filename="%s.exe"\n\n%s\n--b--\n'
)


def secret_message(number: int, bulk: int) -> bytes:
    """A worm with the secret in body, attachment and attachment's name."""
    head, _, _ = message(number, WORM).partition(b"\n\n")
    secret = SECRET.encode()
    return head + b"\n" + _ATTACHED % (secret, secret, secret * (bulk // len(secret)))


def mail(path: Path, bulk: int = 12_000) -> list[int]:
    """A PST file with 3 of 8 messages planned, each with an attachment of about ``bulk`` bytes; their NIDs."""
    planned = (1, 4, 7)
    contents = [secret_message(n, bulk) if n in planned else message(n, f"Report {n}") for n in range(8)]
    nids = make_pst(path, [Deposit(content, ("Inbox", "Old/2026")[n % 2]) for n, content in enumerate(contents)])
    assert found_in(secrets(), path.read_bytes()) == set(secrets())
    return [nids[number] for number in planned]


def secrets() -> tuple[bytes, ...]:
    """The secret as it is stored."""
    return SECRET.encode(), SECRET.encode("utf-16-le")


def everything(path: Path) -> dict[int, Any]:
    """Every message by NID, as ``excise.pst`` reads it now."""
    with excise.pst.open(path) as pst:
        return messages(pst)


def purge(source: Path, case: Path, matches: int, *options: str | Path) -> Done:
    """``excise purge`` of the worm, confirmed."""
    criteria = options or ("--subject", WORM)
    confirmed = ("--yes", "--expect-matches", str(matches))
    return excise_cli("purge", source, *criteria, "--case", case, "--jobs", "1", *confirmed)


def outcomes(case: Path) -> list[tuple[str, str]]:
    """Id and outcome of each item, in the order of the plan."""
    with (case / "outcome.csv").open(encoding="utf-8", newline="") as stream:
        return [(row["id"], row["outcome"]) for row in csv.DictReader(stream)]


def assert_gone(path: Path, before: Path, gone: list[int], marks: Any) -> None:
    """Nothing of the messages ``gone`` is left, all others are as in ``before``, and nothing new is wrong."""
    assert not found_in(marks, path.read_bytes())
    assert everything(path) == {nid: told for nid, told in everything(before).items() if nid not in gone}
    assert not libpff_items(path).keys() & set(gone)
    assert findings(path) <= findings(before)
    assert not list(path.parent.glob("*excise*")) and not list(path.parent.glob("*.lock"))


@pytest.mark.parametrize("command", ["move", "purge"])
def test_s18_nothing_of_the_planned_messages_is_left_and_all_others_stay(tmp_path: Path, command: str) -> None:
    path, case, before = tmp_path / "mail" / "mine.pst", tmp_path / "case", tmp_path / "before"
    path.parent.mkdir()
    nids = mail(path)
    os.setxattr(path, "user.mark", b"kept")
    path.chmod(0o640)
    shutil.copyfile(path, before)
    status = path.stat()
    confirmed = ("--yes", "--expect-matches", "3")
    done = excise_cli(command, path, "--subject", WORM, "--case", case, "--jobs", "1", *confirmed)
    assert (done.code, done.out.splitlines()[-1]) == (0, "Done."), done.text
    assert_gone(path, before, nids, secrets())
    after = path.stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (status.st_ino, status.st_mode, status.st_uid)
    assert os.getxattr(path, "user.mark") == b"kept"
    assert after.st_mtime_ns > status.st_mtime_ns
    assert sorted(outcomes(case)) == sorted((f"{nid:#x}", "removed") for nid in nids)
    assert excise_cli("verify", case).code == 0
    assert excise_cli("status", case).code == 0
    part = next(case.rglob("messages.mbox")).read_bytes()
    assert part.count(f"{SECRET} body".encode()) == 3


def test_compact_writes_the_file_anew_without_its_free_space(tmp_path: Path) -> None:
    path, case, before = tmp_path / "mail" / "mine.pst", tmp_path / "case", tmp_path / "before"
    path.parent.mkdir()
    nids = mail(path, bulk=400_000)
    os.setxattr(path, "user.mark", b"kept")
    path.chmod(0o640)
    shutil.copyfile(path, before)
    status, identity = path.stat(), STORE.open(f"pst:{path}").info.identity
    done = purge(path, case, 3, "--subject", WORM, "--compact")
    assert (done.code, done.out.splitlines()[-1]) == (0, "Done."), done.text
    assert "written anew without its free space" in done.out
    assert_gone(path, before, nids, secrets())
    after = path.stat()
    assert after.st_ino != status.st_ino and after.st_size < status.st_size
    assert (after.st_mode, after.st_uid, os.getxattr(path, "user.mark")) == (status.st_mode, status.st_uid, b"kept")
    assert STORE.open(f"pst:{path}").info.identity == identity
    assert "compacted from" in next(case.rglob("journal.jsonl")).read_text()
    assert excise_cli("verify", case).code == 0


def test_s06_compact_is_a_part_of_the_plan_and_of_nothing_else(tmp_path: Path) -> None:
    mail(tmp_path / "mine.pst")
    options = (tmp_path / "mine.pst", "--subject", WORM, "--compact", "--case", tmp_path / "case")
    assert excise_cli("plan", "copy", *options).code == 2
    assert excise_cli("plan", "purge", *options).code == 0
    assert json.loads((tmp_path / "case/plan/0001/header.json").read_text())["compact"] is True
    assert "No such option" in excise_cli("run", tmp_path / "case", "--compact").err


def test_s15_a_copy_that_was_not_finished_is_thrown_away(tmp_path: Path) -> None:
    path, before = tmp_path / "mail" / "mine.pst", tmp_path / "before"
    path.parent.mkdir()
    nids = mail(path)
    shutil.copyfile(path, before)
    shutil.copyfile(path, path.with_name(".mine.pst.excise-new"))
    done = purge(path.parent, tmp_path / "case", 3, "--subject", WORM, "--compact")
    assert done.code == 0, done.text
    assert_gone(path, before, nids, secrets())
    assert [each.name for each in path.parent.iterdir()] == ["mine.pst"]


@needs_samples
@needs_program("pffexport")
@pytest.mark.parametrize("name", ["enron", "sample1", "test_unicode"])
def test_s18_real_files(tmp_path: Path, name: str) -> None:
    source, path, case = DIRECTORY / f"{name}.pst", tmp_path / "mail" / "copy.pst", tmp_path / "case"
    path.parent.mkdir()
    shutil.copyfile(source, path)
    nid, subject = next(
        (nid, told) for nid, told in subjects(source).items() if list(subjects(source).values()).count(told) == 1
    )
    marks = markers(source, nid)
    assert found_in(marks, source.read_bytes())
    done = purge(path, case, 1, "--subject", subject)
    assert done.code == 0 and outcomes(case) == [(f"{nid:#x}", "removed")], done.text
    assert_gone(path, source, [nid], marks)
    (tmp_path / "export").mkdir()
    assert not pffexport_marks(path, tmp_path / "export" / "all", marks)
    assert excise_cli("verify", case).code == 0


def subjects(path: Path) -> dict[int, str]:
    """The subjects of the messages, without the mark of a prefix."""
    with excise.pst.open(path) as pst:
        found = {nid: pst.message(nid).subject for nid in messages_of(path) if nid & 0x1F == 4}
    return {nid: told for nid, told in found.items() if told}


def test_s13_an_item_that_changed_after_the_evidence_stays(tmp_path: Path) -> None:
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    nids = mail(path)
    planned = excise_cli("plan", "purge", path, "--subject", WORM, "--case", case)
    assert planned.code == 0, planned.text
    change_property(path, nids[1], SUBMITTED, (1 << 56).to_bytes(8, "little"))
    changed = everything(path)
    done = excise_cli("run", case, "--confirm", hash_of(case), "--jobs", "1")
    assert done.code == 9, done.text
    assert dict(outcomes(case)) == {f"{nid:#x}": "changed" if nid == nids[1] else "removed" for nid in nids}
    assert everything(path) == {nid: told for nid, told in changed.items() if nid not in (nids[0], nids[2])}


def hash_of(case: Path) -> str:
    """The hash of the case's plan."""
    return sha256((case / "plan/0001/header.json").read_bytes()).hexdigest()


@contextmanager
def open_for_writing(path: Path) -> Iterator[None]:
    """The file open in another program, which keeps to no lock."""
    read, write = os.pipe()
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.open(path, os.O_RDWR)
        os.write(told, b"x")
        os.read(read, 1)
        os._exit(0)
    os.read(ready, 1)
    try:
        yield
    finally:
        os.close(write)
        os.waitpid(pid, 0)
        for fd in (read, ready, told):
            os.close(fd)


def test_s19_a_file_that_another_program_writes_to_is_left_alone(tmp_path: Path) -> None:
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    nids, before = mail(path), path.read_bytes()
    with open_for_writing(path):
        done = purge(path, case, 3)
    assert done.code == 6 and "open for writing in" in done.err, done.text
    assert path.read_bytes() == before
    resumed = excise_cli("resume", case, "--jobs", "1")
    assert resumed.code == 0, resumed.text
    assert not everything(path).keys() & set(nids)


def test_what_cannot_be_changed_in_place_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    """ANSI, OST and a file with two names: nothing is written to them, and the plan says why."""
    directory, case = tmp_path / "mail", tmp_path / "case"
    directory.mkdir()
    nids = mail(directory / "mine.pst")
    mail(directory / "linked.pst")
    os.link(directory / "linked.pst", tmp_path / "other")
    mail(directory / "old.ost")
    as_ost(directory / "old.ost")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    planned = excise_cli("plan", "purge", directory, "--subject", WORM, "--case", case)
    assert planned.code == 3, planned.text
    assert "hard links" in planned.out and "Remove the messages on the server" in planned.out
    done = excise_cli("run", case, "--confirm", hash_of(case), "--jobs", "1")
    assert done.code == 3, done.text
    assert sorted(outcome for _, outcome in outcomes(case)) == ["refused"] * 6 + ["removed"] * 3
    assert not everything(directory / "mine.pst").keys() & set(nids)
    assert all((directory / name).read_bytes() == before[name] for name in ("linked.pst", "old.ost"))


def as_ost(path: Path) -> None:
    """Make it say that it is an OST file, with its checksums right."""
    data = bytearray(path.read_bytes())
    data[8:10] = CLIENT_OST
    partial, _ = header_crcs(bytes(data), UNICODE)
    data[4:8] = partial.to_bytes(4, "little")
    _, full = header_crcs(bytes(data), UNICODE)
    data[524:528] = full.to_bytes(4, "little")
    path.write_bytes(data)


@needs_samples
def test_where_nothing_can_be_removed_no_case_is_made(tmp_path: Path) -> None:
    shutil.copyfile(DIRECTORY / "contacts97-2002.pst", tmp_path / "old.pst")
    done = purge(tmp_path / "old.pst", tmp_path / "case", 1)
    assert done.code == 2 and "cannot be changed in place: its format is ANSI" in done.err, done.text
    assert "into a new PST file" in done.err
    assert not (tmp_path / "case").exists()


@needs_samples
@pytest.mark.parametrize("name", ["passworded", "dist-list"])
def test_a_message_that_a_search_of_outlook_2003_names_goes_with_its_row(tmp_path: Path, name: str) -> None:
    path, before = tmp_path / "copy.pst", tmp_path / "before"
    shutil.copyfile(DIRECTORY / f"{name}.pst", path)
    shutil.copyfile(path, before)
    gone = [nid for nid, subject in subjects(path).items() if subject == subjects(path)[0x200044]]
    done = purge(path, tmp_path / "case", len(gone), "--subject", subjects(path)[0x200044], "--max-share", "100")
    assert done.code == 0, done.text
    assert everything(path) == {nid: told for nid, told in everything(before).items() if nid not in gone}
    assert findings(path) <= findings(before)
    assert excise_cli("verify", tmp_path / "case").code == 0


def test_s19_a_change_that_was_broken_off_is_undone_first(tmp_path: Path) -> None:
    path, case = tmp_path / "mine.pst", tmp_path / "case"
    nids, before = mail(path), tmp_path / "before"
    shutil.copyfile(path, before)
    break_off(path)
    assert list(tmp_path.glob("mine.pst.excise-journal"))
    done = purge(path, case, 3)
    assert done.code == 0, done.text
    assert_gone(path, before, nids, secrets())
    assert "broken off was undone" in next(case.rglob("journal.jsonl")).read_text()


def break_off(path: Path) -> None:
    """Begin a change of the file, and be killed."""
    pid = os.fork()
    if pid == 0:
        with edit_nodes(path) as editor:
            editor.bytes_tree(b"never used" * 1000)
            os._exit(0)
    os.waitpid(pid, 0)
