"""S27: what mail and file names say is escaped wherever it is shown, and a CSV cell is no formula."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

import pytest

from cli.command import Done, excise_cli
from engine.mail_files import message, write_eml, write_mbox

TAG = "zqx"
HOSTILE = (
    f"{TAG} \x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J",
    f"{TAG} \u202egnp.exe\u2066 \u200b\u200f",
    f"../../../etc/{TAG}",
    f"=cmd|'/c calc'!A1 {TAG}",
    f"@SUM(1+1) {TAG}\r\n\tBcc: x",
    f"{TAG} \x00\x08\x7f\u2028\u2029\U000e0041",
)


def encoded(subject: str) -> str:
    """A subject as an RFC 2047 word, so that it may hold anything."""
    from base64 import b64encode

    return f"=?utf-8?b?{b64encode(subject.encode()).decode()}?="


def escaped(done: Done) -> None:
    """Nothing that was shown can move a cursor, turn text round or hide."""
    for char in done.text:
        assert char == "\n" or unicodedata.category(char)[0] not in "C" or char == " ", (hex(ord(char)), done.text)
        assert char not in "\u2028\u2029\u200b\u202e", done.text


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """An mbox whose subjects, senders and attachment names are hostile, in a directory with a hostile name."""
    mail = tmp_path / "mail \x1b[2J\u202e=1+1"
    mail.mkdir()
    messages = [
        message(n, encoded(text), sender=f'"{encoded(text)}" <eve@example.net>') for n, text in enumerate(HOSTILE)
    ]
    write_mbox(mail / "=anna\x1b[1m.mbox", messages)
    write_eml(mail / "\u202elme", messages[:2])
    return mail


def test_s27_every_command_escapes(mail: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    criteria = ("--subject-contains", TAG)
    found = excise_cli("search", mail, *criteria, "--jobs", "1")
    assert found.code == 0, found.text
    assert found.out.count(TAG) >= 8
    commands: list[tuple[str | Path, ...]] = [
        ("mailboxes", mail),
        ("search", mail, *criteria, "--json"),
        ("search", mail, "--subject-contains", "nothing \x1b[1m\u202e"),
        ("search", mail / "no\x1b[1msuch", *criteria),
        ("plan", "move", mail, *criteria, "--case", tmp_path / "case \x1b[2J", "--reason", "\x1b[1m=1"),
        ("move", mail, *criteria, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "8"),
        ("status", case),
        ("verify", case),
        ("restore", case, "--yes"),
        ("resume", case),
        ("status", tmp_path / "case \x1b[2J"),
        ("verify", tmp_path / "case \x1b[2J"),
        ("run", tmp_path / "case \x1b[2J"),
        ("check", next(mail.glob("*.mbox"))),
    ]
    for command in commands:
        escaped(excise_cli(*command))
    assert excise_cli("status", case).code == 0


def test_s27_no_cell_is_a_formula(mail: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    done = excise_cli(
        *("move", mail, "--subject-contains", TAG, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "8")
    )
    assert done.code == 0, done.text
    tables = [*case.glob("*.csv"), *case.glob("bag-*/data/records/*.csv")]
    assert len(tables) >= 5
    for table in tables:
        with table.open(encoding="utf-8", newline="") as stream:
            for row in csv.reader(stream):
                for cell in row:
                    assert not cell.startswith(("=", "+", "-", "@", "|", "%")), (table, row)
                    assert not [c for c in cell if unicodedata.category(c)[0] == "C"], (table, row)


def test_s27_no_name_from_mail_becomes_a_path(mail: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    excise_cli("move", mail, "--subject-contains", TAG, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "8")
    for path in case.rglob("*"):
        assert path.relative_to(case).as_posix().isascii()
        assert TAG not in str(path.relative_to(case))
    assert (case.stat().st_mode & 0o777) == 0o700
    assert {path.stat().st_mode & 0o777 for path in case.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in case.rglob("*") if path.is_dir()} == {0o700}


def test_s27_a_link_in_a_source_is_not_followed(tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    mail.mkdir()
    write_mbox(tmp_path / "outside.mbox", [message(1, f"{TAG} secret")])
    (mail / "inside.mbox").symlink_to(tmp_path / "outside.mbox")
    write_mbox(mail / "own.mbox", [message(2, TAG)])
    found = excise_cli("search", mail, "--subject-contains", TAG, "--json")
    assert found.lines()[-1]["summary"]["matches"] == 1, found.text
