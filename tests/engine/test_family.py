"""S12: replies and forwards are a search of their own, apart from what they belong to."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from pathlib import Path

import pytest

from cli.command import Done, excise_cli
from engine.mail_files import WORM, ids_in_maildir, ids_in_mbox, write_maildir, write_mbox
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
