"""What is counted has the right number, in words too."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.command import excise_cli
from engine.mail_files import WORM, message, write_mbox
from excise.core.text import count_of


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "match", "0 matches"),
        (1, "match", "1 match"),
        (2, "match", "2 matches"),
        (1234, "message", "1,234 messages"),
        (1, "mailbox", "1 mailbox"),
        (3, "mailbox", "3 mailboxes"),
        (2, "copy", "2 copies"),
        (1, "pass", "1 pass"),
        (5, "pass", "5 passes"),
        (1, "distinct subject", "1 distinct subject"),
        (1.0, "hour", "1 hour"),
        (0.5, "hour", "0.5 hours"),
        (24.0, "hour", "24 hours"),
    ],
)
def test_one_is_singular(number: float, noun: str, said: str) -> None:
    assert count_of(number, noun) == said


def test_one_match_in_one_mailbox(tmp_path: Path) -> None:
    write_mbox(tmp_path / "anna.mbox", [message(n, WORM if n == 1 else f"Report {n}") for n in range(8)])
    found = excise_cli("search", tmp_path / "anna.mbox", "--subject", WORM)
    assert (
        "1 match in 1 of 1 mailbox searched, 8 messages; 0 messages not tested, 0 mailboxes not searched" in found.out
    )
    options = ("--case", tmp_path / "case", "--evidence", "eml", "--jobs", "1")
    planned = excise_cli("plan", "move", tmp_path / "anna.mbox", "--subject", WORM, *options)
    assert "1 match in 1 mailbox, 1 distinct subject:" in planned.out, planned.text
    refused = excise_cli("plan", "move", tmp_path / "anna.mbox", "--subject", WORM, "--case", tmp_path / "other",
                         "--evidence", "eml", "--jobs", "1", "--max-total", "0")  # fmt: skip
    assert "1 match, more than --max-total 0" in refused.text
    assert "hold, 0 do not hold, 1 is not proven" in excise_cli("verify", tmp_path / "case").out
    report = excise_cli("report", tmp_path / "case", "--out", tmp_path / "report")
    assert report.code == 0, report.text
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<b>1</b>mailbox</li>" in page and "<b>1</b>match</li>" in page


def test_files_that_nobody_searches_are_told_by_every_look(tmp_path: Path) -> None:
    """A Maildir that lost its ``new`` and ``tmp`` is none: that its mail was not looked at is said."""
    (tmp_path / "mail/ben/cur").mkdir(parents=True)
    write_mbox(tmp_path / "mail/anna", [message(1, WORM)])
    (tmp_path / "mail/ben/cur/1.M1P1.host:2,S").write_bytes(b"\0\1\2" * 100)
    for command in (("search",), ("mailboxes",), ("plan", "copy")):
        more = () if command == ("mailboxes",) else ("--subject", WORM)
        case = ("--case", tmp_path / "case") if command[0] == "plan" else ()
        done = excise_cli(*command, tmp_path / "mail", *more, *case)
        assert (done.code, "Passed over: 1 file that is not mail" in done.text) == (0, True), done.text
