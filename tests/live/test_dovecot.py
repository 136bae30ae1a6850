"""Dovecot, running, over an mbox and a Maildir from which ``excise move`` takes messages: right messages, same UIDs.

The mail comes in by IMAP, with flags and keywords of Dovecot's making; what is there afterwards is asked by IMAP, in a
session that is open all the while and in a new one, and by doveadm.
"""

from __future__ import annotations

import contextlib
import imaplib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.command import excise_cli
from live.servers import Dovecot, give_to_nobody, needs_dovecot, needs_root, private_directory

pytestmark = [needs_root, needs_dovecot]

WORM = "You have won"
USERS = ("mboxer", "maildirer")
#: A folder as IMAP names it, and as people and doveadm do.
FOLDER, FOLDER_NAME = "Entw&APw-rfe", "Entwürfe"


@dataclass(frozen=True)
class Shown:
    """A message as Dovecot shows it."""

    uid: int
    flags: frozenset[str]
    body: bytes


class Account:
    """A user of the server, and the sources in which Excise finds that user's mail."""

    def __init__(self, server: Dovecot, user: str) -> None:
        self.server, self.user = server, user
        self.is_maildir = user == "maildirer"
        folder = server.maildir if self.is_maildir else server.base / "home" / "folders"
        inbox = server.maildir if self.is_maildir else server.spool
        self.sources = sorted({inbox, folder})

    @contextlib.contextmanager
    def session(self) -> Iterator[imaplib.IMAP4]:
        """An IMAP session, logged in."""
        with imaplib.IMAP4("127.0.0.1", self.server.port, timeout=30) as imap:
            imap.login(self.user, "secret")
            yield imap

    def append(self, folder: str, subject: str, flags: str) -> None:
        """Have Dovecot store a message."""
        with self.session() as imap:
            imap.create(folder)
            content = f"From: a@example.com\r\nSubject: {subject}\r\n\r\nThis is {subject}.\r\nFrom here on\r\n"
            answer = imap.append(folder, f"({flags})", None, content.encode())
            assert answer[0] == "OK", answer

    def listing(self, folder: str) -> tuple[str, dict[str, Shown]]:
        """UIDVALIDITY, and the messages by their subjects."""
        with self.session() as imap:
            assert imap.select(folder, readonly=True)[0] == "OK"
            validity = imap.response("UIDVALIDITY")[1][0].decode()
            _, answers = imap.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
        found: dict[str, Shown] = {}
        for answer in answers:
            if isinstance(answer, tuple):
                uid = re.search(rb"UID (\d+)", answer[0])[1]
                flags = re.search(rb"FLAGS \(([^)]*)\)", answer[0])[1].decode().split()
                head, _, body = answer[1].partition(b"\r\n\r\n")
                subject = re.search(rb"(?m)^Subject: (.*?)\r$", head + b"\r\n")[1].decode()
                assert subject not in found
                found[subject] = Shown(int(uid), frozenset(flags) - {r"\Recent"}, body)
        return validity, found


@pytest.fixture
def server() -> Iterator[Dovecot]:
    """Dovecot, running."""
    with private_directory() as base:
        dovecot = Dovecot(base)
        (base / "home" / "folders").mkdir()
        dovecot.spool.touch(0o600)
        dovecot.maildir.mkdir()
        for path in (base / "home", dovecot.spool, dovecot.maildir):
            give_to_nobody(path)
        with dovecot.running():
            yield dovecot


@pytest.fixture(params=USERS)
def account(request: pytest.FixtureRequest, server: Dovecot) -> Account:
    """A user with nine messages in the inbox and three in a folder; three of them all, and one flagged, are worms."""
    account = Account(server, request.param)
    subjects = [WORM if n in (2, 5) else f"Letter {n}" for n in range(9)]
    for number, subject in enumerate(subjects):
        flags = (r"\Seen", r"\Flagged project-x", "", r"\Answered \Seen", r"$Forwarded project-y")[number % 5]
        account.append("INBOX", subject if subject != WORM else f"{WORM} {number}", flags)
    for subject, flags in (("Old 1", r"\Seen project-x"), (f"{WORM} 9", r"\Flagged"), ("Old 2", "")):
        account.append(FOLDER, subject, flags)
    return account


def move(account: Account, case: Path, matches: int) -> None:
    """Take the worms out of all of the user's mail."""
    done = excise_cli(
        *("move", *account.sources, "--subject-prefix", WORM, "--case", case, "--jobs", "1"),
        *("--yes", "--expect-matches", str(matches)),
    )
    assert done.code == 0, done


def kept(shown: dict[str, Shown]) -> dict[str, Shown]:
    """What is no worm."""
    return {subject: message for subject, message in shown.items() if not subject.startswith(WORM)}


def doveadm_name(folder: str) -> str:
    """A folder's name as doveadm takes it."""
    return FOLDER_NAME if folder == FOLDER else folder


def by_doveadm(account: Account, folder: str) -> dict[str, int]:
    """UIDs by subject, as doveadm fetches them."""
    text = account.server.doveadm(
        *("-f", "tab", "fetch", "-u", account.user, "uid hdr.subject", "mailbox", doveadm_name(folder), "all")
    )
    return {subject: int(uid) for uid, subject in (line.split("\t") for line in text.splitlines()[1:])}


def uids_in_uidlist(maildir: Path) -> dict[str, int]:
    """UIDs by base name in Dovecot's own list."""
    head, *lines = (maildir / "dovecot-uidlist").read_text().splitlines()
    assert re.match(r"3 V\d+ N\d+ ", head), head
    parsed = [re.fullmatch(r"(\d+)(?: [A-Z]\S*)* :(\S+)", line) for line in lines]
    assert all(parsed), lines
    return {found[2].partition(":")[0]: int(found[1]) for found in parsed if found}


def check_uidlists(account: Account) -> None:
    """Every file of the Maildir stands in Dovecot's list once, and nothing of the list is missing on disk."""
    for maildir in (account.server.maildir, account.server.maildir / f".{FOLDER}"):
        files = {p.name.partition(":")[0] for d in ("new", "cur") for p in (maildir / d).iterdir()}
        listed = uids_in_uidlist(maildir)
        assert listed.keys() == files
        assert len(set(listed.values())) == len(listed)


def test_s18_dovecot_shows_the_right_messages_after_a_move(account: Account, tmp_path: Path) -> None:
    """Others keep UIDs, flags, keywords and bodies; an open session is told of the removed ones only; all come back."""
    before = {folder: account.listing(folder) for folder in ("INBOX", FOLDER)}
    assert [len(shown) for _, shown in before.values()] == [9, 3]
    if account.is_maildir:
        check_uidlists(account)

    with account.session() as watching:
        watching.select("INBOX", readonly=True)
        move(account, tmp_path / "case", 3)
        watching.noop()
        expunged = [int(number) for number in watching.response("EXPUNGE")[1]]
    # Sequence numbers 3 and 6; each counts those that went before it, whichever Dovecot tells first.
    assert sorted(expunged) in ([3, 5], [3, 6])

    after = {folder: account.listing(folder) for folder in before}
    for folder, (validity, shown) in before.items():
        assert after[folder] == (validity, kept(shown))
        assert by_doveadm(account, folder) == {subject: message.uid for subject, message in kept(shown).items()}
    for folder in before:
        found = account.server.doveadm("search", "-u", account.user, "mailbox", doveadm_name(folder), "subject", WORM)
        assert found == ""

    back = excise_cli("restore", tmp_path / "case", "--yes", "--jobs", "1")
    assert back.code == 0, back
    for folder, (validity, shown) in before.items():
        now_validity, now = account.listing(folder)
        assert now_validity == validity
        assert kept(now) == kept(shown)
        assert {s: (m.flags, m.body) for s, m in now.items()} == {s: (m.flags, m.body) for s, m in shown.items()}
    if account.is_maildir:
        check_uidlists(account)
    # A restored file has its old name again, which Dovecot knows to be gone: it gets a UID of its own, and a note.
    complaints = [line for line in account.server.complaints() if "reappeared, giving a new UID" not in line]
    assert complaints == []


def test_s19_mail_that_dovecot_stores_after_a_move_gets_uids_of_its_own(account: Account, tmp_path: Path) -> None:
    """A UID of a removed message is never given to another one."""
    _, before = account.listing("INBOX")
    move(account, tmp_path / "case", 3)
    account.append("INBOX", "New", r"\Seen")
    _, after = account.listing("INBOX")
    assert after.keys() == {*kept(before), "New"}
    assert after["New"].uid > max(message.uid for message in before.values())
    with account.session() as imap:
        imap.select("INBOX")
        imap.uid("STORE", str(after["Letter 7"].uid), "+FLAGS", r"(\Deleted)")
        imap.expunge()
    _, last = account.listing("INBOX")
    assert last == {subject: message for subject, message in after.items() if subject != "Letter 7"}
    assert account.server.complaints() == []
