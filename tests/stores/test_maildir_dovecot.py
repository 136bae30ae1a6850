"""Dovecot itself, on a Maildir that Excise has removed from and restored to: right messages, UIDs and keywords.

Dovecot's imap program is run by itself, logged in already (PREAUTH), as a server would start it.
"""

from __future__ import annotations

import imaplib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from excise.criteria import Criteria, Matcher
from excise.model.item import Deposit, Disposal, Outcome, Target
from excise.store_api.protocols import Tally, Unreadable
from excise.stores.maildir import MaildirStore

IMAP = Path("/usr/lib/dovecot/imap")
USER = "mail"
STORE = MaildirStore()

pytestmark = pytest.mark.skipif(
    not IMAP.exists() or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs Dovecot's imap program, and root to run it as the user mail",
)


class Account:
    """A user's home with a Maildir, and Dovecot sessions on it."""

    def __init__(self, home: Path) -> None:
        self.home, self.maildir = home, home / "Maildir"
        self.config, self.log = home.parent / "dovecot.conf", home.parent / "log"
        self.config.write_text(
            f"base_dir = {home.parent}/run\nstate_dir = {home.parent}/state\n"
            "mail_location = maildir:~/Maildir\nfirst_valid_uid = 1\n"
            "namespace inbox {\n  inbox = yes\n  separator = /\n}\n"
        )
        for name in ("run", "state"):
            (home.parent / name).mkdir()
        home.mkdir()
        shutil.chown(home, USER, USER)

    def session(self) -> imaplib.IMAP4:
        command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", str(IMAP), "-c", str(self.config)]
        return imaplib.IMAP4_stream(f"USER={USER} HOME={self.home} exec {shlex.join(command)} 2>>{self.log}")

    def append(self, folder: str, subjects: list[str]) -> None:
        with self.session() as imap:
            if folder != "INBOX":
                imap.create(folder)
            for subject in subjects:
                content = f"Subject: {subject}\r\nMessage-ID: <{subject}@x>\r\n\r\nHello.\r\n".encode()
                assert imap.append(folder, r"(\Seen)", None, content)[0] == "OK"

    def listing(self, folder: str) -> dict[str, tuple[int, frozenset[str]]]:
        """UID and flags of each message by its subject."""
        with self.session() as imap:
            assert imap.select(folder, readonly=True)[0] == "OK"
            _, answers = imap.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        found = {}
        for answer in answers:
            if isinstance(answer, tuple):
                uid = int(re.search(rb"UID (\d+)", answer[0])[1])
                flags = re.search(rb"FLAGS \(([^)]*)\)", answer[0])[1].decode().split()
                subject = answer[1].decode().partition(":")[2].strip()
                found[subject] = (uid, frozenset(flags) - {r"\Recent"})
        return found


@pytest.fixture
def account() -> Iterator[Account]:
    place = Path(tempfile.mkdtemp(prefix="excise-dovecot-"))
    try:
        place.chmod(0o755)
        yield Account(place / "home")
    finally:
        shutil.rmtree(place)


def search(maildir: Path, subject: str) -> list[Target]:
    mailbox = STORE.open(f"maildir:{maildir}")
    matcher = Matcher(Criteria.from_options(subject_contains=[subject]))
    found = [
        c for c in mailbox.find(matcher, Tally()) if not isinstance(c, Unreadable) and matcher.test(c.view).matched
    ]
    mailbox.close()
    return [Target(one.id, one.version, one.view.folder) for one in found]


def test_s18_dovecot_shows_the_right_messages_with_their_uids_and_keywords(account: Account) -> None:
    account.append("INBOX", [f"keep {n}" for n in range(5)] + ["phish a"] + [f"keep {n}" for n in range(5, 9)])
    account.append("Entw&APw-rfe", ["phish x"])
    account.append("Projects/Old", ["phish b", "keep old"])
    with account.session() as imap:
        imap.select("INBOX")
        imap.uid("STORE", "3", "+FLAGS", r"(\Flagged project-x)")
        imap.uid("STORE", "6", "+FLAGS", "(project-x)")
    inbox, old = account.listing("INBOX"), account.listing("Projects/Old")
    assert inbox["phish a"] == (6, {r"\Seen", "project-x"})

    targets = search(account.maildir, "phish")
    assert len(targets) == 3
    mailbox = STORE.open(f"maildir:{account.maildir}", writable=True)
    items = [mailbox.fetch(target.id) for target in targets]
    assert {answer.outcome for answer in mailbox.remove(targets, Disposal.HARD)} == {Outcome.REMOVED}

    after = account.listing("INBOX")
    assert after == {subject: seen for subject, seen in inbox.items() if subject != "phish a"}
    assert account.listing("Projects/Old") == {"keep old": old["keep old"]}

    deposits = [Deposit(i.content, i.folder, i.flags, i.delivered, i.attributes) for i in items]
    assert {placed.outcome for placed in mailbox.put(deposits)} == {Outcome.RESTORED}
    mailbox.close()
    again = account.listing("INBOX")
    assert again.keys() == inbox.keys()
    assert again["phish a"][1] == inbox["phish a"][1]
    assert {subject: seen for subject, seen in again.items() if subject != "phish a"} == after
    assert account.listing("Projects/Old").keys() == old.keys()
    assert "rror" not in account.log.read_text(), "Dovecot finds nothing wrong"


def test_s20_dovecot_finds_trashed_mail_in_trash(account: Account) -> None:
    account.append("INBOX", ["keep", "phish"])
    targets = search(account.maildir, "phish")
    mailbox = STORE.open(f"maildir:{account.maildir}", writable=True)
    assert [answer.outcome for answer in mailbox.remove(targets, Disposal.TRASH)] == [Outcome.REMOVED]
    mailbox.close()
    assert account.listing("INBOX").keys() == {"keep"}
    assert account.listing("Trash")["phish"][1] == {r"\Seen"}
    assert "rror" not in account.log.read_text()


def test_s21_dovecot_shows_a_folder_that_was_made_again(account: Account) -> None:
    account.append("INBOX", ["keep"])
    mailbox = STORE.open(f"maildir:{account.maildir}", writable=True)
    deposit = Deposit(b"Subject: back\n\nHello.\n", "Entwürfe & Co/Unter", frozenset({"seen", "answered"}))
    [placed] = mailbox.put([deposit])
    mailbox.close()
    assert placed.outcome is Outcome.RESTORED
    with account.session() as imap:
        names = [line.decode().rpartition(' "/" ')[2].strip('"') for line in imap.list()[1]]
        assert "Entw&APw-rfe &- Co/Unter" in names
    assert account.listing('"Entw&APw-rfe &- Co/Unter"') == {"back": (1, {r"\Seen", r"\Answered"})}
