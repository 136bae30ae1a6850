"""S21, S29: what was removed can be put back, with flags and dates, and nothing is doubled."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

from cli.command import Done, excise_cli
from engine.mail_files import (
    WORM,
    ids_in_eml,
    ids_in_maildir,
    ids_in_mbox,
    message,
    stores,
    write_maildir,
    write_mbox,
)
from stores.msg_file import msg_file


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """The four stores."""
    return stores(tmp_path / "mail")


@pytest.fixture
def case(mail: Path, tmp_path: Path) -> Path:
    """A case whose run removed all six."""
    case = tmp_path / "case"
    done = excise_cli(
        *("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6")
    )
    assert done.code == 0, done.text
    return case


def restore(case: Path, *options: str | Path) -> Done:
    """Restore without a question."""
    return excise_cli("restore", case, "--yes", "--jobs", "1", *options)


def evidence_ids(case: Path) -> dict[str, str]:
    """Evidence ids by mailbox name and item."""
    with (case / "bag-0001/data/records/outcome.csv").open(encoding="utf-8", newline="") as stream:
        return {f"{Path(row['mailbox']).name}/{row['item']}": row["evidence"] for row in csv.DictReader(stream)}


def all_there(mail: Path) -> None:
    """Every message of the stores is there, once."""
    assert ids_in_mbox(mail / "anna.mbox") == Counter("01234567")
    assert ids_in_maildir(mail / "ben") == Counter(str(20 + n) for n in range(5))
    assert ids_in_eml(mail / "carla") == Counter(str(40 + n) for n in range(4))


def test_s21_restore_puts_all_back(mail: Path, case: Path) -> None:
    done = restore(case)
    assert done.code == 0, done.text
    all_there(mail)
    assert excise_cli("verify", case).code == 0


def test_s21_flags_names_and_dates_come_back(tmp_path: Path) -> None:
    mail = stores(tmp_path / "mail")
    before = {path.relative_to(mail): (path.stat().st_mtime, path.read_bytes()) for path in mail.rglob("*M*P1*")}
    case = tmp_path / "case"
    assert excise_cli("move", mail, "--subject", WORM, "--case", case, "--yes", "--expect-matches", "6").code == 0
    assert restore(case).code == 0
    after = {path.relative_to(mail): (path.stat().st_mtime, path.read_bytes()) for path in mail.rglob("*M*P1*")}
    assert {(p.name, v) for p, v in after.items()} == {(p.name, v) for p, v in before.items()}


@pytest.mark.parametrize("kind", ["mbox", "eml", "pst"])
def test_s21_each_kind_of_evidence_gives_all_bytes_back(mail: Path, tmp_path: Path, kind: str) -> None:
    before = {path.name: path.read_bytes() for path in mail.rglob("*") if path.is_file()}
    case = tmp_path / "case"
    move = ("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6")
    assert excise_cli(*move, "--evidence", kind).code == 0
    kinds = {"mbox": "messages.mbox", "eml": "eml", "pst": "messages.pst"}
    assert {path.name for path in case.rglob("part-001/*")} == {"items.jsonl", kinds[kind]}
    assert restore(case).code == 0
    all_there(mail)
    after = {path.name: path.read_bytes() for path in mail.rglob("*") if path.is_file()}
    assert {name: sorted(data.split(b"From eve@")) for name, data in after.items()} == {
        name: sorted(data.split(b"From eve@")) for name, data in before.items()
    }
    assert excise_cli("verify", case).code == 0


def test_s21_a_pst_that_is_damaged_gives_nothing_back(mail: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    move = ("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6")
    assert excise_cli(*move, "--evidence", "pst").code == 0
    gone = {path: path.read_bytes() for path in mail.rglob("*") if path.is_file()}
    path = case / "bag-0001/data/evidence/00001/part-001/messages.pst"
    data = bytearray(path.read_bytes())
    data[40_000] ^= 1
    path.write_bytes(data)
    assert restore(case).code == 5
    assert {path: path.read_bytes() for path in mail.rglob("*") if path.is_file()} == gone


def test_s21_a_msg_file_comes_back_from_a_pst(tmp_path: Path) -> None:
    mail, case = tmp_path / "mail", tmp_path / "case"
    mail.mkdir()
    data = msg_file(WORM, attachments={"a.bin": b"1" * 9000})
    (mail / "a.msg").write_bytes(data)
    move = ("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "1")
    done = excise_cli(*move, "--evidence", "pst", "--max-share", "100")
    assert done.code == 0, done.text
    assert not (mail / "a.msg").exists()
    assert restore(case).code == 0
    assert (mail / "a.msg").read_bytes() == data


def test_s21_twice_doubles_nothing(mail: Path, case: Path) -> None:
    assert restore(case).code == 0
    first = (mail / "anna.mbox").read_bytes()
    done = restore(case)
    assert done.code == 0, done.text
    assert "already there" in done.out
    assert (mail / "anna.mbox").read_bytes() == first
    all_there(mail)
    assert excise_cli("verify", case).code == 0


def test_s21_after_the_folder_was_deleted(tmp_path: Path) -> None:
    mail, case = tmp_path / "ben", tmp_path / "case"
    write_maildir(mail, [(message(1, "no"), "S")])
    write_maildir(mail / ".Lists.Worms", [(message(2, WORM), "S"), (message(3, WORM), "F")])
    assert excise_cli("move", mail, "--subject", WORM, "--case", case, "--yes", "--expect-matches", "2").code == 0
    shutil.rmtree(mail / ".Lists.Worms")
    done = restore(case)
    assert done.code == 0, done.text
    assert len(list((mail / ".Lists.Worms" / "cur").iterdir())) == 2
    assert ids_in_maildir(mail) == Counter("123")


def test_s21_after_the_mbox_was_deleted_says_what_to_do(mail: Path, case: Path) -> None:
    (mail / "anna.mbox").unlink()
    done = restore(case)
    assert done.code in (0, 6), done.text
    if done.code:
        assert "--into" in done.err
    assert ids_in_maildir(mail / "ben") == Counter(str(20 + n) for n in range(5))


def test_s21_after_the_mailbox_filled_with_other_mail(mail: Path, case: Path) -> None:
    with (mail / "anna.mbox").open("ab") as stream:
        for number in range(100, 160):
            stream.write(b"From eve@example.net Thu Jan  1 10:00:00 2026\n" + message(number, "new") + b"\n")
    before = (mail / "anna.mbox").read_bytes()
    assert restore(case).code == 0
    assert (mail / "anna.mbox").read_bytes().startswith(before)
    assert ids_in_mbox(mail / "anna.mbox") == Counter([*"01234567", *map(str, range(100, 160))])


def test_s21_with_the_same_message_id_already_there(mail: Path, case: Path) -> None:
    """Another message that bears the same Message-ID is no reason to leave the removed one out."""
    with (mail / "anna.mbox").open("ab") as stream:
        stream.write(b"From eve@example.net Thu Jan  1 10:00:00 2026\n" + message(1, "forged") + b"\n")
    assert restore(case).code == 0
    assert ids_in_mbox(mail / "anna.mbox") == Counter([*"01234567", "1"])
    assert restore(case).code == 0
    assert ids_in_mbox(mail / "anna.mbox") == Counter([*"01234567", "1"])


def test_s21_the_same_message_put_back_by_hand_is_not_doubled(mail: Path, case: Path) -> None:
    with (mail / "anna.mbox").open("ab") as stream:
        stream.write(
            b"From eve@example.net Thu Jan  1 10:00:00 2026\n"
            + message(1, WORM).replace(b"\n>From", b"\n>>From")
            + b"\n"
        )
    assert restore(case).code == 0
    all_there(mail)


def test_s21_twins_come_back_both(tmp_path: Path) -> None:
    box, case = tmp_path / "twins.mbox", tmp_path / "case"
    write_mbox(box, [message(1, WORM), message(2, "no"), message(1, WORM)])
    before = ids_in_mbox(box)
    assert excise_cli("move", box, "--subject", WORM, "--case", case, "--yes", "--expect-matches", "2").code == 0
    assert ids_in_mbox(box) == Counter("2")
    assert restore(case).code == 0
    assert ids_in_mbox(box) == before
    assert restore(case).code == 0
    assert ids_in_mbox(box) == before


def test_s21_only_some(mail: Path, case: Path) -> None:
    ids = evidence_ids(case)
    done = restore(case, "--only", ids["anna.mbox/2"], "--only", ids["ben/1"])
    assert done.code == 0, done.text
    assert ids_in_mbox(mail / "anna.mbox") == Counter("023456")
    assert ids_in_maildir(mail / "ben").total() == 4
    assert ids_in_eml(mail / "carla").total() == 3
    assert restore(case, "--only", "00009-000001").code == 2
    assert restore(case).code == 0
    all_there(mail)
    assert excise_cli("verify", case).code == 0


def test_s21_into_another_mailbox(mail: Path, case: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mbox"
    write_mbox(other, [message(500, "mine")])
    before = (mail / "anna.mbox").read_bytes()
    done = restore(case, "--into", f"mbox:{other}")
    assert done.code == 0, done.text
    assert ids_in_mbox(other) == Counter(["500", "1", "4", "7", "21", "23", "42"])
    assert (mail / "anna.mbox").read_bytes() == before
    assert restore(case, "--into", f"mbox:{other}").code == 0
    assert ids_in_mbox(other).total() == 7
    assert restore(case, "--into", mail).code == 2


def test_s05_restore_without_confirmation_puts_nothing_back(mail: Path, case: Path) -> None:
    before = (mail / "anna.mbox").read_bytes()
    assert excise_cli("restore", case).code == 4
    assert excise_cli("restore", case, "--yes", "--expect-matches", "5").code == 4
    assert (mail / "anna.mbox").read_bytes() == before


def test_s13_restore_trusts_no_damaged_evidence(mail: Path, case: Path) -> None:
    for path in case.glob("bag-0001/data/evidence/00001/part-001/messages.mbox"):
        data = path.read_bytes()
        path.write_bytes(data.replace(b"body 4", b"bodY 4"))
    before = (mail / "anna.mbox").read_bytes()
    done = restore(case)
    assert done.code == 5, done.text
    assert (mail / "anna.mbox").read_bytes() == before


def test_s30_another_mailbox_gets_nothing(mail: Path, case: Path) -> None:
    path = mail / "anna.mbox"
    write_mbox(mail / "new", [message(900, "somebody else's")])
    (mail / "new").replace(path)
    before = path.read_bytes()
    done = restore(case)
    assert done.code == 6, done.text
    assert "--into" in done.err
    assert path.read_bytes() == before


def test_moved_again_after_a_restore(mail: Path, case: Path, tmp_path: Path) -> None:
    assert restore(case).code == 0
    second = tmp_path / "second"
    done = excise_cli("move", mail, "--subject", WORM, "--case", second, "--yes", "--expect-matches", "6")
    assert done.code == 0, done.text
    assert excise_cli("verify", second).code == 0
    assert excise_cli("verify", case).code == 0
