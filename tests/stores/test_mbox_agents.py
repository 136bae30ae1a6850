"""The mbox store beside real Postfix (local and virtual) and real Dovecot, each in a private instance (S19).

Skipped where they are not installed or this is not root, who alone can start Postfix.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from excise.model.item import Deposit, Disposal, Outcome
from excise.store_api.conformance.base import matcher, search
from excise.stores.mbox import MboxMailbox

NOBODY = 65534
LDA = Path("/usr/lib/dovecot/dovecot-lda")
IMAP = Path("/usr/lib/dovecot/imap")
DAEMONS = Path("/usr/lib/postfix/sbin")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_postfix = pytest.mark.skipif(not (DAEMONS / "master").exists(), reason="needs Debian's postfix")
needs_dovecot = pytest.mark.skipif(not LDA.exists() or not IMAP.exists(), reason="needs Debian's dovecot-imapd")

MAIN_CF = """
compatibility_level = 3.6
queue_directory = {base}/spool
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
mail_spool_directory = {base}/mail
inet_interfaces = loopback-only
myhostname = mail.test
mydestination = mail.test
virtual_mailbox_domains = virtual.test
virtual_mailbox_base = {base}/mail
virtual_mailbox_maps = static:nobody
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_mailbox_lock = fcntl
local_recipient_maps =
alias_maps =
maillog_file = {base}/maillog
maillog_file_prefixes = {base}
default_process_limit = 6
in_flow_delay = 0
queue_run_delay = 2
minimal_backoff_time = 2
maximal_backoff_time = 4
"""

MASTER_CF = """
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
"""

# Postfix takes the dotlock first. Dovecot in Debian's order (fcntl first) and Postfix lock each other up when both wait
# for one mbox; in this order they do not.
DOVECOT_CONF = """
base_dir = {base}/run
state_dir = {base}/state
protocols = imap
log_path = {base}/dovecot.log
first_valid_uid = 1
mail_location = mbox:{base}/home:INBOX={base}/mail/nobody:INDEX={base}/index
mail_privileged_group =
mbox_write_locks = dotlock fcntl
ssl = no
"""


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that other users can reach, with a mail spool that they can write."""
    path = Path(tempfile.mkdtemp(prefix="excise-agents-"))
    path.chmod(0o755)
    for name in ("mail", "home", "index", "run", "state", "spool", "data", "conf"):
        (path / name).mkdir()
    (path / "mail").chmod(0o1777)
    for name in ("home", "index"):
        os.chown(path / name, NOBODY, NOBODY)
    (path / "dovecot.log").touch()
    (path / "dovecot.log").chmod(0o666)
    (path / "dovecot.conf").write_text(DOVECOT_CONF.format(base=path))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def postfix(base: Path) -> Iterator[Path]:
    """Postfix, running."""
    conf = base / "conf"
    (conf / "main.cf").write_text(MAIN_CF.format(base=base, daemons=DAEMONS))
    (conf / "master.cf").write_text(MASTER_CF)
    shutil.chown(base / "data", "postfix")
    command = ["postfix", "-c", str(conf)]
    subprocess.run([*command, "start"], check=True, capture_output=True, timeout=30)
    yield conf
    subprocess.run([*command, "stop"], check=True, capture_output=True, timeout=30)


def mailbox_with(base: Path, count: int) -> Path:
    path = base / "mail" / "nobody"
    made = [
        b"From ann@example.com Mon Jan  6 10:00:%02d 2020\nFrom: ann@example.com\nSubject: old %d\n\nold\n\n" % (n, n)
        for n in range(count)
    ]
    path.write_bytes(b"".join(made))
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o600)
    return path


def subjects(path: Path) -> list[str]:
    return re.findall(r"^Subject: (.*)$", path.read_text(), re.MULTILINE)


def as_nobody(command: Sequence[str], base: Path, data: bytes) -> str:
    """Run ``command`` as nobody with ``data`` as its input; what it prints."""
    whole = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    environment = {"HOME": str(base / "home"), "USER": "nobody", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        whole, input=data, env=environment, cwd=base / "home", capture_output=True, timeout=300, check=True
    )
    return done.stdout.decode("utf-8", "replace")


def lda(base: Path, subject: str) -> None:
    message = f"From: x@example.com\nSubject: {subject}\n\nbody\nFrom here\n".encode()
    as_nobody([str(LDA), "-c", str(base / "dovecot.conf"), "-f", "x@example.com", "-e"], base, message)


def sendmail(conf: Path, recipient: str, subject: str) -> None:
    message = f"From: x@example.com\nTo: {recipient}\nSubject: {subject}\n\nbody\nFrom here\n".encode()
    command = ["sendmail", "-C", str(conf), "-f", "x@example.com", recipient]
    subprocess.run(command, input=message, check=True, timeout=30)


def purge_over_and_over(path: Path, stop: threading.Event) -> list[str]:
    """Take one old message out and put it back, again and again, until told to stop; what went wrong."""
    wrong = []
    while not stop.is_set():
        box = MboxMailbox(path, writable=True)
        try:
            targets = search(box, matcher(subject=["old 1"]))
            item = box.fetch(targets[0].id)
            answers = list(box.remove(targets, Disposal.HARD))
            wrong += [f"{a.outcome} {a.detail}" for a in answers if a.outcome is not Outcome.REMOVED or a.detail]
            placed = list(box.put([Deposit(item.content, "", item.flags, item.delivered, item.attributes)]))
            wrong += [p.detail for p in placed if p.outcome is not Outcome.RESTORED]
        finally:
            box.close()
    return wrong


@needs_root
@needs_postfix
@needs_dovecot
def test_s19_mail_that_real_agents_deliver_meanwhile_survives(base: Path, postfix: Path) -> None:
    """Postfix local (dotlock, fcntl), Postfix virtual (fcntl alone) and Dovecot's LDA (dotlock, fcntl), all at once."""
    path = mailbox_with(base, 5)
    count = 12
    stop = threading.Event()
    wrong: list[str] = []
    purger = threading.Thread(target=lambda: wrong.extend(purge_over_and_over(path, stop)))
    purger.start()
    sent = []
    try:
        for number in range(count):
            for kind, recipient in (("local", "nobody@mail.test"), ("virtual", "any@virtual.test")):
                sendmail(postfix, recipient, f"{kind} {number}")
                sent.append(f"{kind} {number}")
            lda(base, f"lda {number}")
            sent.append(f"lda {number}")
            deadline = time.monotonic() + 120
        while not set(sent) <= set(subjects(path)) and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        stop.set()
        purger.join()
    log = (base / "maillog").read_text() + (base / "dovecot.log").read_text()
    assert wrong == []
    assert sorted(subjects(path)) == sorted([*sent, *(f"old {n}" for n in range(5))]), log[-3000:]
    assert [p.name for p in path.parent.iterdir()] == ["nobody"]
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (NOBODY, 0o600)


def imap(base: Path) -> dict[str, str]:
    """UIDs by subject, as Dovecot's IMAP server shows the inbox."""
    commands = b"1 SELECT INBOX\r\n2 UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\n3 LOGOUT\r\n"
    text = as_nobody([str(IMAP), "-c", str(base / "dovecot.conf")], base, commands)
    found = re.findall(r"FETCH \(UID (\d+) .*?Subject: ([^\r\n]*)", text, re.DOTALL)
    assert "2 OK" in text, text
    return {subject: uid for uid, subject in found}


@needs_root
@needs_dovecot
def test_dovecot_shows_the_right_messages_after_a_purge_and_a_restore(base: Path) -> None:
    """What Dovecot wrote into the mailbox stays valid: kept messages keep their UIDs, restored ones are there."""
    path = mailbox_with(base, 6)
    before = imap(base)
    assert list(before) == [f"old {n}" for n in range(6)]
    for chosen in ("old 3", "old 0"):
        box = MboxMailbox(path, writable=True)
        targets = search(box, matcher(subject=[chosen]))
        item = box.fetch(targets[0].id)
        assert [a.outcome for a in box.remove(targets, Disposal.HARD)] == [Outcome.REMOVED]
        after = imap(base)
        assert after.items() >= {s: uid for s, uid in before.items() if s != chosen}.items()
        assert chosen not in after
        list(box.put([Deposit(item.content, "", item.flags, item.delivered, item.attributes)]))
        again = imap(base)
        assert sorted(again) == sorted(before)
        assert {s: u for s, u in again.items() if s != chosen} == {s: u for s, u in before.items() if s != chosen}
        before = again
        box.close()
