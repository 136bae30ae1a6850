"""S19, with real agents: 1,000 messages come from Postfix and Dovecot into spools that are purged over and over.

Four routes at once: Postfix's local(8) and Dovecot's LDA into one mbox, Postfix's virtual(8) and Dovecot's LDA into one
Maildir. Meanwhile ``excise move`` takes messages out of both, in a new case each time; every other time ``excise
restore`` puts them back, else new ones are delivered in their stead.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import excise_process
from engine.mail_files import write_maildir, write_mbox
from live.servers import (
    NOBODY,
    Dovecot,
    Postfix,
    give_to_nobody,
    needs_dovecot,
    needs_postfix,
    needs_root,
    private_directory,
)

WORM = "Your parcel could not be delivered"
#: Messages by route; together 1,000.
COUNTS = {"local": 275, "virtual": 275, "lda mbox": 225, "lda Maildir": 225}
OLD, PLANTED = 60, 3
#: Seconds over which each route's deliveries are spread, and seconds that all may take.
DELIVERING, TIME = 75.0, 165.0
#: Purges that there must be meanwhile at least, however busy the machine is.
ROUNDS = 4
#: Fields that Dovecot writes into an mbox and Postfix before a message.
_ADDED = re.compile(
    rb"(?im)^(?:status|x-status|x-uid|x-keywords|x-imap|x-imapbase|content-length|return-path|received|delivered-to|"
    rb"x-original-to):[^\n]*\n(?:[ \t][^\n]*\n)*"
)


def message(subject: str, number: int) -> bytes:
    """A message of a size of its own, with lines in its body that an mbox has to quote or may take for a From_ line."""
    lines = [sha256(f"{subject} {number} {line}".encode()).hexdigest() for line in range(number * 37 % 90)]
    head = f"From: agent@example.com\nTo: you@example.org\nSubject: {subject}\nMessage-ID: <{_id(subject, number)}>\n"
    head += "Date: Thu, 1 Jan 2026 10:00:00 +0000\n\n"
    return (head + "\n".join(["first", "From here on", "", *lines, "last"]) + "\n").encode()


def _id(subject: str, number: int) -> str:
    return f"{subject.replace(' ', '-')}.{number}@example.com"


@dataclass
class Mail:
    """The two mailboxes, the agents, and what has to be in the mailboxes."""

    base: Path
    postfix: Postfix
    dovecot: Dovecot
    expected: dict[str, Counter[bytes]] = field(default_factory=lambda: {"mbox": Counter(), "Maildir": Counter()})
    worms: dict[str, list[bytes]] = field(default_factory=lambda: {"mbox": [], "Maildir": []})
    removed: list[bytes] = field(default_factory=list)
    planted: int = 0

    def plant(self, place: str) -> None:
        """Have worms delivered into a mailbox; they are there when this returns."""
        user = "mboxer" if place == "mbox" else "maildirer"
        for _ in range(PLANTED):
            content = message(WORM, 10_000 + self.planted)
            self.planted += 1
            self.dovecot.deliver(user, content)
            self.worms[place].append(content)

    def now(self) -> dict[str, list[bytes]]:
        """The messages that are in the mailboxes, without what agents add."""
        return {
            "mbox": list(messages_in_mbox(self.dovecot.spool.read_bytes())),
            "Maildir": [stripped(p.read_bytes()) for d in ("new", "cur") for p in (self.dovecot.maildir / d).iterdir()],
        }


def messages_in_mbox(data: bytes) -> Iterator[bytes]:
    """The messages of an mbox, unquoted, split by a few lines that share nothing with Excise."""
    if data:
        assert data.startswith(b"From "), data[:100]
    for piece in re.split(rb"(?:\A|(?<=\n\n))From [^\n]+ \d\d:\d\d:\d\d [^\n]*\n", data)[1:]:
        yield stripped(re.sub(rb"(?m)^>From ", b"From ", piece))


def stripped(content: bytes) -> bytes:
    """A message as it was sent: without what agents put into its header, with one line end at its end."""
    head, _, body = content.partition(b"\n\n")
    return _ADDED.sub(b"", head + b"\n") + b"\n" + body.rstrip(b"\n") + b"\n"


@pytest.fixture
def mail() -> Iterator[Mail]:
    """Both mailboxes with old mail and worms in them, and Postfix running."""
    with private_directory() as base:
        dovecot = Dovecot(base)
        old = {"mbox": [message("old", n) for n in range(OLD)], "Maildir": [message("old", n) for n in range(OLD)]}
        write_mbox(dovecot.spool, old["mbox"])
        dovecot.spool.chmod(0o600)
        write_maildir(dovecot.maildir, [(content, "SFR"[: n % 4]) for n, content in enumerate(old["Maildir"])])
        for path in (dovecot.spool, dovecot.maildir):
            give_to_nobody(path)
        with Postfix(base).running() as postfix:
            mail = Mail(base, postfix, dovecot)
            for place in mail.expected:
                mail.expected[place].update(old[place])
                mail.plant(place)
            yield mail


def paced(count: int) -> Iterator[int]:
    """0 to ``count`` - 1, spread over ``DELIVERING`` seconds."""
    begun = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begun + number * DELIVERING / count - time.monotonic()))
        yield number


def by_smtp(mail: Mail, route: str, recipient: str) -> list[bytes]:
    """Send one route's messages to Postfix."""
    sent = []
    for number in paced(COUNTS[route]):
        content = message(route, number)
        with mail.postfix.session() as session:
            session.sendmail("agent@example.com", [recipient], content.replace(b"\n", b"\r\n"))
        sent.append(content)
    return sent


def by_lda(mail: Mail, route: str, user: str) -> list[bytes]:
    """Deliver one route's messages with Dovecot's LDA."""
    sent = []
    for number in paced(COUNTS[route]):
        content = message(route, number)
        mail.dovecot.deliver(user, content)
        sent.append(content)
    return sent


def purge(mail: Mail, case: Path, *, restore: bool) -> None:
    """Take the worms out of both mailboxes; put them back, or plant new ones."""
    sources = [f"mbox:{mail.dovecot.spool}", f"maildir:{mail.dovecot.maildir}"]
    count = sum(len(worms) for worms in mail.worms.values())
    done = excise_process(
        *("move", *sources, "--subject", WORM, "--case", case), *("--yes", "--expect-matches", str(count))
    )
    assert done.code == 0, (done, mail.dovecot.complaints())
    removed = {place: list(worms) for place, worms in mail.worms.items()}
    ids = [re.search(rb"Message-ID: (<[^>]+>)", worm)[1] for worms in removed.values() for worm in worms]
    spool = mail.dovecot.spool.read_bytes()
    assert [worm for worm in ids if worm in spool] == []
    if restore:
        back = excise_process("restore", case, "--yes", "--expect-matches", str(count))
        assert back.code == 0, back
        return
    mail.removed += [worm for worms in removed.values() for worm in worms]
    for place in removed:
        mail.worms[place].clear()
        mail.plant(place)


@needs_root
@needs_postfix
@needs_dovecot
def test_s19_a_thousand_messages_delivered_during_purges_all_arrive(mail: Mail, tmp_path: Path) -> None:
    begun = time.monotonic()
    rounds = 0
    with ThreadPoolExecutor(len(COUNTS)) as pool:
        routes = {
            pool.submit(by_smtp, mail, "local", "nobody@mail.test"): "mbox",
            pool.submit(by_smtp, mail, "virtual", "any@virtual.test"): "Maildir",
            pool.submit(by_lda, mail, "lda mbox", "mboxer"): "mbox",
            pool.submit(by_lda, mail, "lda Maildir", "maildirer"): "Maildir",
        }
        while (not all(route.done() for route in routes) or mail.postfix.queue()) and time.monotonic() < begun + TIME:
            purge(mail, tmp_path / f"case-{rounds}", restore=rounds % 2 == 0)
            rounds += 1
    for route, place in routes.items():
        mail.expected[place].update(route.result())
    assert mail.postfix.queue() == "", mail.postfix.log.read_text()[-3000:]
    assert sum(len(route.result()) for route in routes) == 1000
    assert rounds >= ROUNDS

    now = mail.now()
    for place, expected in mail.expected.items():
        expected.update(mail.worms[place])
        found = Counter(now[place])
        assert sorted(found - expected) == [], f"{place}: doubled, damaged, or there again"
        assert sorted(expected - found) == [], f"{place}: lost"
        assert not set(mail.removed) & set(now[place])
    check_nothing_is_left(mail)


def check_nothing_is_left(mail: Mail) -> None:
    """No lock, no note and no old file stays behind, and all belongs to its owner still."""
    assert sorted(p.name for p in (mail.base / "mail").iterdir()) == ["box", "nobody"]
    assert list((mail.dovecot.maildir / "tmp").iterdir()) == []
    found = [mail.dovecot.spool, *(p for d in ("new", "cur") for p in (mail.dovecot.maildir / d).iterdir())]
    assert {(p.stat().st_uid, p.stat().st_gid) for p in found} == {(NOBODY, NOBODY)}
    assert mail.dovecot.spool.stat().st_mode & 0o777 == 0o600
    # Dovecot, which guesses from the size that mail was only added, says so when it has to read an mbox again.
    complaints = [line for line in mail.dovecot.complaints() if "Next message unexpectedly corrupted" not in line]
    assert complaints == []
