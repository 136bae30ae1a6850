"""Mail put into PST files: the conformance suite over own files and a sample, and restore and import end to end."""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest import SkipTest

import pytest

import excise.pst
from cli.command import excise_cli
from excise.core.errors import DamagedInput
from excise.model.item import Deposit, Outcome
from excise.pst_mapi.new_message import new_message
from excise.store_api.conformance import PuttingConformance
from excise.stores import pst_put
from excise.stores.pst import STORE, PstMailbox
from stores.pst_samples import DIRECTORY, needs_samples


@contextmanager
def opened(path: Path) -> Iterator[PstMailbox]:
    box = STORE.open(f"pst:{path}", writable=True)
    assert isinstance(box, PstMailbox)
    try:
        yield box
    finally:
        box.close()


HTML = (
    b"From: Ada <ada@example.org>\nTo: bob@example.org, Bo <bo@example.org>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n"
    b"Date: Mon, 3 Nov 2025 10:00:00 +0100\nMessage-ID: <h@example.org>\nMIME-Version: 1.0\n"
    b'Content-Type: multipart/mixed; boundary="x"\n\n--x\nContent-Type: text/html; charset=utf-8\n\n<p>Hi</p>\n'
    b"--x\nContent-Type: application/octet-stream\nContent-Disposition: attachment; filename=a.bin\n\nraw\0\n"
    b"--x\nContent-Type: message/rfc822\n\nFrom: eve@example.org\nSubject: Inside\n\nInner text\n--x--\n"
)
BARE = b"Subject: no date, no sender\n\ntext"
NOTHING = b"\xff\0 no message at all"


class TestPutIntoAnOwnFile(PuttingConformance):
    """Files of ``excise.pst.create``."""

    store = STORE
    main_folder = "Inbox"
    kept_flags = frozenset({"seen", "answered", "flagged", "draft"})
    content_is_original = True

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "box"
        self.directory.mkdir()

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        path = self.directory / "own.pst"
        if path.exists():
            path.unlink()
        with excise.pst.create(path) as pst:
            for each in messages:
                names = [name.replace("%2F", "/") for name in each.folder.split("/")]
                pst.folder(names).add(new_message(pst_put.item_of(each)))
        return f"pst:{path}"

    def drop_folder(self, locator: str, folder: str) -> None:
        raise SkipTest("folders are not taken out of PST files")


@needs_samples
@pytest.mark.parametrize("content", [HTML, BARE, NOTHING, b""])
@pytest.mark.parametrize("name", ["outlook2019", "dist-list", "enron", "own"])
def test_mail_comes_back_as_it_was_from_a_folder_of_its_own(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.pst"
    if name == "own":
        excise.pst.create(path).close()
    else:
        shutil.copyfile(DIRECTORY / path.name, path)
    moment = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    deposits = [
        Deposit(content, "Brand new/a%2Fb", frozenset({"seen", "flagged", "forwarded", "Work", "Häuser"}), moment),
        Deposit(content, "", frozenset({"draft", "answered"})),
        Deposit(content, "Brand new", attributes={"associated": True}),
    ]
    with opened(path) as box:
        before = {node.id: box.fetch(node.id).version for node in box._nodes.values()}
        assert not box.count({box.version_of(each) for each in deposits})
        answers = list(box.put(deposits))
        assert [each.outcome for each in answers] == [Outcome.RESTORED] * 3, answers
        for answer, deposit in zip(answers, deposits, strict=True):
            found = box.fetch(answer.id or "")
            assert (found.content, found.folder, found.flags) == (content, deposit.folder, deposit.flags)
            assert found.version == box.version_of(deposit)
            assert found.delivered == deposit.delivered or deposit.delivered is None
            assert bool(found.attributes) is bool(deposit.attributes)
        assert box.count({box.version_of(each) for each in deposits}) == Counter(
            (each.folder, box.version_of(each)) for each in deposits
        )
        new = {each.id for each in answers}
        after = {node.id: box.fetch(node.id).version for node in box._nodes.values()}
        assert {item_id: version for item_id, version in after.items() if item_id not in new} == before


def test_a_large_original_is_kept_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excise.pst_mapi.content.PIECE", 1000)
    path = tmp_path / "own.pst"
    excise.pst.create(path).close()
    content = b"Subject: large\n\n" + b"0123456789\n" * 400
    with opened(path) as box:
        (answer,) = box.put([Deposit(content, "Inbox")])
        assert box.fetch(answer.id or "").content == content


def test_a_folder_that_cannot_be_is_told_and_the_others_are_put(tmp_path: Path) -> None:
    path = tmp_path / "own.pst"
    excise.pst.create(path).close()
    folders = ["Inbox", "INBOX", "a//b", "x" * 300, "a/" * 150 + "a", "(root)/SPAM Search Folder 2", "\0"]
    with opened(path) as box:
        answers = list(box.put([Deposit(BARE, folder) for folder in folders]))
        assert [each.outcome for each in answers] == [Outcome.RESTORED] + [Outcome.FAILED] * 6
        assert all(each.detail for each in answers[1:])
        assert sum(folder.count or 0 for folder in box.folders()) == 1


@needs_samples
def test_a_file_of_the_old_format_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.pst"
    shutil.copyfile(DIRECTORY / "test_ansi.pst", path)
    with opened(path) as box, pytest.raises(DamagedInput, match="cannot be changed in place"):
        box.put([Deposit(BARE, "Inbox")])
    assert path.read_bytes() == (DIRECTORY / "test_ansi.pst").read_bytes()


def test_a_change_that_was_broken_off_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "own.pst"
    with excise.pst.create(path) as pst:
        pst.folder(["Inbox"]).add(new_message(pst_put.item_of(Deposit(HTML))))
    pid = os.fork()
    if pid == 0:
        with excise.pst.append(path) as pst_file:
            pst_file.folder(["Inbox"]).add(new_message(pst_put.item_of(Deposit(BARE))))
            os._exit(0)
    os.waitpid(pid, 0)
    assert path.with_name("own.pst.excise-journal").exists()
    with opened(path) as box:
        (said,) = box.recover()
        assert "undone" in said
        assert box.recover() == ()
        (answer,) = box.put([Deposit(BARE, "Inbox")])
        assert box.fetch(answer.id or "").content == BARE
    assert contents_of(path) == Counter([HTML, BARE])
    assert not path.with_name("own.pst.excise-journal").exists()
    assert not excise.pst.check(path).damaged


def outcomes(case: Path) -> Counter[str]:
    with (case / "outcome.csv").open(encoding="utf-8", newline="") as stream:
        return Counter(row["outcome"] for row in csv.DictReader(stream))


def maildir(path: Path, contents: Sequence[bytes]) -> Path:
    for part in ("cur", "new", "tmp"):
        (path / part).mkdir(parents=True)
    for number, content in enumerate(contents):
        (path / "cur" / f"{number}.a.b:2,S").write_bytes(content)
    return path


def contents_of(path: Path) -> Counter[bytes]:
    with opened(path) as box:
        return Counter(box.fetch(node.id).content for node in box._nodes.values())


def test_an_import_into_a_pst_puts_each_message_once(tmp_path: Path) -> None:
    source, target = maildir(tmp_path / "source", [HTML, BARE, BARE]), tmp_path / "target.pst"
    excise.pst.create(target).close()
    for case, outcome in (("first", "imported"), ("second", "already there")):
        done = excise_cli("import", source, "--into", f"pst:{target}", "--case", tmp_path / case, "--yes")
        assert done.code == 0, done.text
        assert outcomes(tmp_path / case) == {outcome: 3}, done.text
        assert contents_of(target) == Counter([HTML, BARE, BARE])
        assert excise_cli("verify", tmp_path / case).code == 0


def test_what_was_purged_is_restored_into_a_pst_once(tmp_path: Path) -> None:
    source, target, case = maildir(tmp_path / "source", [HTML, BARE]), tmp_path / "target.pst", tmp_path / "case"
    excise.pst.create(target).close()
    done = excise_cli(
        "purge", source, "--subject", "no date, no sender", "--case", case, "--yes", "--expect-matches", "1"
    )
    assert done.code == 0, done.text
    for _ in range(2):
        done = excise_cli("restore", case, "--into", f"pst:{target}", "--yes")
        assert done.code == 0, done.text
        assert contents_of(target) == Counter([BARE])
        assert not excise.pst.check(target).damaged
    assert excise_cli("verify", case).code == 0
