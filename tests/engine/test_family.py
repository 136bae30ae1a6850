"""S12: replies and forwards are a search of their own, apart from what they belong to."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import Counter
from pathlib import Path

import pytest

from case.other_verifier import alone
from cli.command import Done, excise_cli
from engine.mail_files import WORM, ids_in_maildir, ids_in_mbox, write_maildir, write_mbox
from excise.case.chain import read_chain
from excise.case.layout import Case
from excise.case.plan import all_matches, read_plan
from excise.core.errors import UsageError
from excise.engine import family

THREAD = bytes([1]) + bytes(range(60, 81))
LIST = b"name;salary\n" + b"somebody;1\n" * 120


def mail_of(
    number: int, subject: str, *, head: str = "", attachment: bytes = b"", name: str = "list.csv", thread: bytes = b""
) -> bytes:
    """A message with what ties it to others."""
    if thread:
        head += f"Thread-Index: {b64encode(thread).decode()}\n"
    lines = (
        f"From: eve@example.net\nTo: you@example.org\nSubject: {subject}\nMessage-ID: <{number}@example.net>\n{head}"
    )
    if not attachment:
        return f"{lines}\nbody {number}\n".encode()
    coded = b64encode(attachment).decode()
    return (
        f"{lines}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nbody {number}\n--b\n"
        f'Content-Disposition: attachment; filename="{name}"\nContent-Transfer-Encoding: base64\n\n{coded}\n--b--\n'
    ).encode()


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """The original in one mailbox; in the other what belongs to it, and what does not."""
    mail = tmp_path / "mail"
    mail.mkdir()
    original = mail_of(1, WORM, attachment=LIST, thread=THREAD)
    write_mbox(mail / "anna.mbox", [original, *(mail_of(n, f"Note {n}") for n in range(2, 6))])
    sent = [
        mail_of(10, "Re: overdue", head="In-Reply-To: <1@example.net>\n"),
        mail_of(11, "AW: overdue", head="References: <0@x>\n <1@example.net> <7@y>\n"),
        mail_of(12, "Fwd: have a look", attachment=LIST, name="other.csv"),
        mail_of(13, "WG: look", thread=THREAD + bytes(5)),
        mail_of(14, "Re: other", head="In-Reply-To: <11@example.net>\n"),
        mail_of(15, "its logo", attachment=b"\x89PNG" + bytes(2000), name="logo.png"),
        mail_of(16, "another thread", thread=bytes([1]) + bytes(21)),
        mail_of(17, "quotes <1@example.net> in the text"),
    ]
    write_maildir(mail / "ben", [(content, "S") for content in sent])
    return mail


def planned(case: Path) -> set[str]:
    """Message-IDs of the newest plan."""
    return {
        match["envelope"]["message_id"].strip("<>").split("@")[0] for _, match in all_matches(read_plan(Case(case)))
    }


def sweep(case: Path, *options: str) -> Done:
    return excise_cli("sweep", case, "--jobs", "1", "--interval", "0s", "--json", *options)


@pytest.fixture
def case(mail: Path, tmp_path: Path) -> Path:
    case = tmp_path / "case"
    done = excise_cli(
        *("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "1"),
        *("--evidence", "mbox", "--max-share", "100"),
    )
    assert done.code == 0, done.text
    return case


def test_s12_replies_are_not_touched_unless_they_are_asked_for(case: Path, mail: Path) -> None:
    assert sweep(case).code == 0
    assert ids_in_maildir(mail / "ben") == Counter(str(n) for n in range(10, 18))


def test_s12_replies_forwards_and_copies_of_the_attachment_are_a_plan_of_their_own(case: Path, mail: Path) -> None:
    done = sweep(case, "--with-replies")
    assert done.code == 4, done.text
    assert planned(case) == {"10", "11", "12", "13"}
    assert ids_in_maildir(mail / "ben") == Counter(str(n) for n in range(10, 18))
    plan = read_plan(Case(case))
    assert plan.header["criteria_sha256"] != read_plan(Case(case), 1).header["criteria_sha256"]
    done = excise_cli("run", case, "--confirm", plan.sha256, "--jobs", "1")
    assert done.code == 0, done.text
    assert ids_in_maildir(mail / "ben") == Counter(str(n) for n in range(14, 18))
    assert ids_in_mbox(mail / "anna.mbox") == Counter("2345")
    assert excise_cli("verify", case).code == 0
    assert sweep(case, "--with-replies").code == 0


def plan(mail: Path, case: Path, *options: str) -> Done:
    """A plan to move the original with what belongs to it."""
    words = ("--subject", WORM, "--with-replies", "--case", case, "--jobs", "1", "--evidence", "mbox")
    return excise_cli("plan", "move", mail, *words, "--max-share", "100", *options)


def test_s12_one_plan_has_them_too_and_tells_them_apart(mail: Path, tmp_path: Path) -> None:
    case = tmp_path / "one"
    done = plan(mail, case)
    assert done.code == 0, done.text
    assert "5 matches in 2 mailboxes, 5 distinct subjects:" in done.out
    told = done.out.partition("4 of them are replies to and forwards of the others (--with-replies):")[2]
    assert all(f"1 × {subject}\n" in told for subject in ("Re: overdue", "AW: overdue", "WG: look"))
    assert WORM not in told.partition("Space:")[0]
    frozen = read_plan(Case(case))
    matched = {m["envelope"]["message_id"]: m["matched"] for _, m in all_matches(frozen)}
    assert matched["<1@example.net>"] == ["subject"]
    assert matched["<10@example.net>"] == matched["<13@example.net>"] == ["with-replies", "header"]
    assert matched["<12@example.net>"] == ["with-replies", "attachment-sha256"]
    assert {**frozen.header["family"], "rule": 0} == {
        "rule": 0,
        "rule_sha256": frozen.header["family"]["rule_sha256"],
        "words": f'subject is "{WORM}"',
        "originals": 1,
        "message_ids": 1,
        "conversations": 1,
        "attachments": 1,
        "not_searched": [],
    }
    done = excise_cli("run", case, "--confirm", frozen.sha256, "--jobs", "1")
    assert done.code == 0, done.text
    assert ids_in_maildir(mail / "ben") == Counter(str(n) for n in range(14, 18))
    assert ids_in_mbox(mail / "anna.mbox") == Counter("2345")
    assert excise_cli("verify", case).code == 0
    assert alone(case).code == 0
    assert sweep(case).code == 0
    assert excise_cli("restore", case, "--yes", "--jobs", "1").code == 0
    assert ids_in_maildir(mail / "ben") == Counter(str(n) for n in range(10, 18))


def test_s06_a_reply_that_changed_since_the_plan_stays(mail: Path, tmp_path: Path) -> None:
    case = tmp_path / "one"
    assert plan(mail, case).code == 0
    (reply,) = (path for path in (mail / "ben").rglob("*") if path.is_file() and b"AW: overdue" in path.read_bytes())
    reply.write_bytes(reply.read_bytes().replace(b"body 11", b"Body 11"))
    done = excise_cli("run", case, "--confirm", read_plan(Case(case)).sha256, "--jobs", "1")
    assert done.code == 9, done.text
    assert ids_in_maildir(mail / "ben") == Counter(["11", *(str(n) for n in range(14, 18))])


def test_s04_replies_count_for_every_limit(mail: Path, tmp_path: Path) -> None:
    done = plan(mail, tmp_path / "one", "--max-total", "4")
    assert (done.code, "5 matches, more than --max-total 4" in done.text) == (3, True), done.text


def test_s08_mailboxes_whose_originals_are_not_known_are_told(mail: Path, tmp_path: Path) -> None:
    (mail / "broken.pst").write_bytes(b"!BDN" + bytes(600))
    done = plan(mail, tmp_path / "one")
    assert done.code == 7, done.text
    assert re.search(r"NOT LOOKED FOR: replies to and forwards of what \S*/broken.pst holds", done.out)
    assert planned(tmp_path / "one") == {"1", "10", "11", "12", "13"}


def test_s22_the_first_search_is_in_the_log_too(mail: Path, tmp_path: Path) -> None:
    assert plan(mail, tmp_path / "one").code == 0
    kinds = [record["type"] for record in read_chain(tmp_path / "one/audit.jsonl").records]
    assert kinds == ["case-created", "originals-looked-for", "search-started", *["mailbox-searched"] * 2, "plan-made"]


def test_without_a_match_nothing_else_is_planned(mail: Path, tmp_path: Path) -> None:
    words = ("plan", "move", mail, "--subject", "nowhere", "--with-replies", "--case", tmp_path / "one")
    assert (excise_cli(*words).code, planned(tmp_path / "one")) == (0, set())


def test_a_copy_takes_them_and_a_search_shows_them_apart(mail: Path, tmp_path: Path) -> None:
    words = (mail, "--subject", WORM, "--with-replies")
    assert excise_cli("copy", *words, "--case", tmp_path / "one", "--jobs", "1").code == 0
    assert planned(tmp_path / "one") == {"1", "10", "11", "12", "13"}
    done = excise_cli("search", *words)
    assert done.code == 0, done.text
    rule, _, replies = done.out.partition("4 of them are replies to and forwards of the others (--with-replies):")
    assert rule.count(WORM) == 1
    assert all(subject in replies for subject in ("Re: overdue", "AW: overdue", "WG: look"))
    assert "5 matches in 2 of 2 mailboxes searched" in replies
    found = [json.loads(line) for line in excise_cli("search", *words, "--json").out.splitlines()[:-1]]
    assert sum("with-replies" in each["matched"] for each in found) == 4


def test_after_it_a_sweep_looks_for_the_first_rule_again(case: Path, mail: Path) -> None:
    done = sweep(case, "--with-replies", "--yes", "--max-total", "9")
    assert done.code == 0, done.text
    (mail / "ben/new/1769999999.M1P9.host").write_bytes(mail_of(20, WORM))
    (mail / "ben/new/1769999999.M2P9.host").write_bytes(mail_of(21, "x", head="References: <1@example.net>\n"))
    assert sweep(case).code == 4
    assert planned(case) == {"20"}


def test_what_is_kept_by_the_rule_itself_is_no_reply(case: Path) -> None:
    assert excise_cli("restore", case, "--yes", "--jobs", "1").code == 0
    assert sweep(case, "--with-replies").code == 4
    assert planned(case) == {"10", "11", "12", "13"}


def test_too_many_or_no_keys_are_refused(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = family.Keys()
    with pytest.raises(UsageError, match="nothing that was preserved"):
        family.family_criteria(Case(case), keys)
    monkeypatch.setattr(family, "MOST_KEYS", 2)
    with pytest.raises(UsageError, match="more than 2"):
        family.add_keys(Case(case), read_plan(Case(case), 1), keys)


@pytest.mark.parametrize("wrong", ["", "<>", "1@x", "<a b@x>", "<a@x"])
def test_a_message_id_that_is_none_ties_nothing_together(wrong: str) -> None:
    from excise.model.mime import MimeView

    keys = family.Keys()
    keys.add(MimeView(f"Message-ID: {wrong}\nThread-Index: AQ==\n\nx\n".encode()))
    assert len(keys) == 0
