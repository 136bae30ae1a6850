"""Where content of mail is found after all that can be done with a case (S22, S23): in plan and evidence alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.mail_files import write_eml, write_maildir, write_mbox
from excise.model.item import Deposit
from policy.organisation import Organisation
from report.stage import plan_hash
from stores.pst_made import make_pst

#: A mark in each thing that tells of people; no rule names any of them.
MARKS = {
    "subject": "Zugspitze",
    "sender": "quetzal@example.net",
    "name": "Kookaburra",
    "recipient": "numbat@example.org",
    "copied": "wombat@example.org",
    "attachment": "Popocatepetl",
    "content": "Titicaca",
    "body": "Ngorongoro",
    "header": "Kilimanjaro",
}
#: Files of a case that hold mail, or the plan with its envelopes.
PRIVATE = re.compile(
    r"(bag-\d+/data/records/)?plan/(\d+/)?matches/\d+(\.excluded)?\.jsonl"
    r"|bag-\d+/data/evidence/\d+/part-\d+/(items\.jsonl|properties\.jsonl|messages\.(mbox|pst)|eml/[\d-]+\.eml)"
)


def marked(number: int) -> bytes:
    """A message with every mark."""
    said = MARKS
    return (
        f"From: {said['name']} <{said['sender']}>\nTo: {said['recipient']}\nCc: {said['copied']}\n"
        f"Subject: {said['subject']} {number}\nMessage-ID: <{number}@example.net>\nX-Secret: {said['header']}\n"
        "Date: Thu, 1 Jan 2026 10:00:00 +0000\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        f"--b\nContent-Type: text/plain\n\n{said['body']}\n--b\nContent-Type: text/plain\n"
        f'Content-Disposition: attachment; filename="{said["attachment"]}.txt"\n\n{said["content"]}\n--b--\n'
    ).encode()


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """One such message in a store of every kind of file."""
    root = tmp_path / "mail"
    root.mkdir()
    write_mbox(root / "anna.mbox", [marked(1)])
    write_maildir(root / "ben", [(marked(2), "S")])
    write_eml(root / "carla", [marked(3)])
    make_pst(root / "erik.pst", [Deposit(marked(4), "Inbox")])
    return root


def found_in(data: bytes) -> set[str]:
    """The marks in ``data``, in 8 bits or UTF-16."""
    return {what for what, mark in MARKS.items() if mark.encode() in data or mark.encode("utf-16-le") in data}


def test_s23_nothing_of_a_message_is_anywhere_but_in_plan_and_evidence(mail: Path, tmp_path: Path) -> None:
    org, case, ids, sink = Organisation(tmp_path), tmp_path / "case", tmp_path / "ids", tmp_path / "sink"
    org.rules("reveal = false\n")
    ids.write_text("".join(f"<{number}@example.net>\n" for number in range(1, 5)))
    kinds = ("--evidence", "mbox", "--evidence", "eml", "--evidence", "pst")
    sinks = ("--audit-sink", f"file:{sink}")

    def does(*words: str | Path, code: int = 0) -> str:
        done = org.excise(*words)
        assert done.code == code, (words, done.text)
        return done.text

    does("plan", "move", mail, "--message-ids", ids, "--case", case, "--jobs", "1", *kinds, *sinks)
    does("review", case, "--exclude", "00003-000001", "--reason", "none of ours")
    told = [does("run", case, "--confirm", plan_hash(case), "--jobs", "1", "--verbose", *sinks)]
    told += [does("sweep", case, "--jobs", "1"), does("restore", case, "--yes", "--jobs", "1", "--verbose")]
    told += [does("status", case), does("status", case, "--json"), does("report", case), does("custody", case)]
    told += [does("notice", case), does("verify", case), does("close", case, "--statement", "done")]
    told.append(does("verify", case, "--json"))
    assert found_in("".join(told).encode()) == set()
    assert found_in(sink.read_bytes()) == set()
    where = {
        path.relative_to(case).as_posix(): found_in(path.read_bytes()) for path in case.rglob("*") if path.is_file()
    }
    holding = {name for name, marks in where.items() if marks}
    assert {name for name in holding if not PRIVATE.fullmatch(name)} == set()
    assert set().union(*where.values()) == set(MARKS)  # the marks can be found where they are


def test_s22_the_access_log_tells_of_a_search_and_s23_of_nothing_that_it_found(
    mail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "access.jsonl"
    monkeypatch.setenv("EXCISE_ACCESS_LOG", str(log))
    done = Organisation(tmp_path).excise("search", mail, "--subject-prefix", MARKS["subject"])
    assert done.code == 0 and found_in(done.out.encode()), done.text
    assert [name in log.read_text() for name in ("anna.mbox", "ben", "carla", "erik.pst")] == [True] * 4
    assert found_in(log.read_bytes()) <= {"subject"}  # what was looked for
