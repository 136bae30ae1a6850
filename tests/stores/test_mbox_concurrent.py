"""The mbox store beside other programs, and after being stopped at any point (S15, S19)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from excise import mbox as mbox_format
from excise.core.locks import MailboxLock
from excise.model.item import Deposit, Disposal, Outcome
from excise.store_api.conformance.base import everything, search
from excise.store_api.errors import MailboxBusy
from excise.stores.mbox import MboxMailbox
from excise.stores.mbox import append as adding
from excise.stores.mbox import replace as replacing
from excise.stores.mbox.beside import Beside

LINE = b"From ann@example.com Mon Jan  6 10:00:00 2020\n"

# A delivery agent like Postfix's virtual(8), or an older one: it opens the mailbox, waits for the fcntl lock, and
# appends to the file that it opened, whatever the path names by then.
AGENT = """
import fcntl, os, sys, time
path, subject, hold = sys.argv[1:4]
fd = os.open(path, os.O_WRONLY | os.O_APPEND)
print("open", flush=True)
fcntl.lockf(fd, fcntl.LOCK_EX)
time.sleep(float(hold))
os.write(fd, b"From agent@example.com Mon Jan  6 11:00:00 2020\\nSubject: " + subject.encode() + b"\\n\\nlate\\n\\n")
os.fsync(fd)
"""

# Keeps the mailbox open for writing without writing, as an IMAP session may.
SITTER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
print("open", flush=True)
sys.stdin.read()
"""

REMOVE = """
import sys
from pathlib import Path
from excise.model.item import Disposal
from excise.store_api.conformance.base import everything, search
from excise.stores.mbox import MboxMailbox
box = MboxMailbox(Path(sys.argv[1]), writable=True)
targets = search(box, everything())[1:2]
for answer in box.remove(targets, Disposal.HARD):
    print(answer.outcome.value, answer.detail, flush=True)
"""

PUT = """
import sys
from pathlib import Path
from excise.model.item import Deposit
from excise.stores.mbox import MboxMailbox
box = MboxMailbox(Path(sys.argv[1]), writable=True)
for answer in box.put([Deposit(b"Subject: put\\n\\n" + b"x" * 3000 + b"\\n")]):
    print(answer.outcome.value, flush=True)
"""


def entry(number: int) -> bytes:
    return LINE + b"Subject: s%d\n\nbody %d\n\n" % (number, number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    box = tmp_path / "ann"
    box.write_bytes(b"".join(entry(n) for n in range(4)))
    return box


@contextmanager
def running(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A real process that has printed its first line; its input is closed at the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


def opened(path: Path, patience: float = 10.0) -> MboxMailbox:
    box = MboxMailbox(path, writable=True)
    box.patience = patience
    return box


def subjects(path: Path) -> list[str]:
    """The subjects in the file, found without the code under test."""
    return re.findall(r"^Subject: (.*)$", path.read_text(), re.MULTILINE)


def prints(path: Path) -> list[str]:
    """The fingerprints of the messages in the file."""
    data = path.read_bytes()
    return [mbox_format.fingerprint(data, entry) for entry in mbox_format.scan(data)]


def left_beside(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if p != path)


@pytest.mark.parametrize("exchange", [True, False])
def test_s19_an_agent_that_waits_on_the_old_file_loses_nothing(path: Path, exchange: bool) -> None:
    """It opened the old file, waits for our lock, and writes after the new file is in place."""
    beside = Beside(path)
    with MailboxLock(path) as lock, running(AGENT, path, "late", 0.3) as agent:
        old = replacing.replace(lock, beside, [(0, len(entry(0)) * 2)], prints(path)[2:], exchange=exchange)
        lock.release()
        assert old.finish(20.0) == ""
        agent.wait()
    assert subjects(path) == ["s0", "s1", "late"]
    assert left_beside(path) == []
    assert path.read_bytes() == entry(0) + entry(1) + path.read_bytes()[len(entry(0)) * 2 :]


def test_s19_many_agents_wait_and_none_is_lost(path: Path) -> None:
    """Ten at once, of both orders of locks, while a removal goes on."""
    commands = [[sys.executable, "-c", AGENT, str(path), f"late{n}", "0.01"] for n in range(10)]
    box = opened(path)
    targets = search(box, everything())
    agents = []
    with MailboxLock(path):
        agents = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
        time.sleep(0.5)
    answers = list(box.remove(targets[:2], Disposal.HARD))
    for agent in agents:
        assert agent.wait() == 0
    assert [a.outcome for a in answers] == [Outcome.REMOVED] * 2
    assert sorted(subjects(path)) == sorted(["s2", "s3", *(f"late{n}" for n in range(10))])
    assert box.recover() == []
    assert left_beside(path) == []


def test_s19_the_old_file_is_kept_while_somebody_may_write_to_it(path: Path) -> None:
    """The answer says who; ``recover`` finishes it afterwards; a second removal waits for that."""
    box = opened(path, patience=0.2)
    targets = search(box, everything())
    with running(SITTER, path) as sitter:
        (answer,) = box.remove(targets[1:2], Disposal.HARD)
        assert answer.outcome is Outcome.REMOVED
        assert f"process {sitter.pid}" in answer.detail
        assert ".ann.excise-new" in left_beside(path)
        box.lock_timeout = 0.5
        with pytest.raises(MailboxBusy, match="not finished"):
            list(box.remove(targets[2:3], Disposal.HARD))
    assert box.recover() == [f"{path}: finished a removal: the file that was replaced is gone"]
    assert box.recover() == []
    assert subjects(path) == ["s0", "s2", "s3"]
    assert left_beside(path) == []


def test_s19_readers_do_not_hold_up_a_removal(path: Path) -> None:
    """Whoever has the old file open only to read cannot write to it."""
    box = opened(path)
    with path.open("rb") as reader:
        begun = time.monotonic()
        (answer,) = box.remove(search(box, everything())[:1], Disposal.HARD)
        assert answer.detail == ""
        assert time.monotonic() - begun < 2
        assert reader.read() == b"".join(entry(n) for n in range(4))
    assert left_beside(path) == []


def test_s19_mail_in_an_old_file_that_was_rewritten_in_place_is_brought_over(path: Path) -> None:
    """Dovecot adds fields to every message, so that all bytes move, and then its own mail: only that comes over."""
    before = path.read_bytes()
    with MailboxLock(path) as lock:
        fd = os.open(path, os.O_RDWR)
        old = replacing.replace(lock, Beside(path), [(0, len(entry(0)))], prints(path)[1:])
    rewritten = before.replace(b"\nSubject", b"\nStatus: O\nX-UID: 1\nSubject") + LINE + b"Subject: late\n\nlate\n"
    os.pwrite(fd, rewritten, 0)
    os.close(fd)
    assert old.finish(5.0) == ""
    assert path.read_bytes() == entry(0) + LINE + b"Subject: late\n\nlate\n"
    assert left_beside(path) == []


def test_two_removals_at_once_take_turns(path: Path) -> None:
    """Two of our own processes on one mailbox."""
    boxes = [opened(path), opened(path)]
    targets = search(boxes[0], everything())
    results: list[Outcome] = []

    def work(box: MboxMailbox, number: int) -> None:
        results.extend(a.outcome for a in box.remove([targets[number]], Disposal.HARD))

    threads = [threading.Thread(target=work, args=(box, n)) for n, box in enumerate(boxes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The second one finds another file in the place of the one that it opened, which bears its identity.
    assert results == [Outcome.REMOVED] * 2
    assert subjects(path) == ["s2", "s3"]


def traced(code: str, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(path.parent.parent / "trace"),
        *options,
        sys.executable,
        "-c",
        code,
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def points(code: str, path: Path, calls: str) -> list[tuple[str, int]]:
    """Each call of ``calls`` that ``code`` makes on the mailbox's directory, as (name, which one of its name)."""
    copy = path.read_bytes()
    result = traced(code, path, "-y", "-e", f"trace={calls}")
    assert result.returncode == 0, result.stderr
    path.write_bytes(copy)
    counts: dict[str, int] = {}
    found = []
    for line in (path.parent.parent / "trace").read_text().splitlines():
        name = line.split(maxsplit=1)[1].split("(")[0]
        counts[name] = counts.get(name, 0) + 1
        if str(path.parent) in line:
            found.append((name, counts[name]))
    return found


CALLS = (
    "write,pwrite64,fsync,ftruncate,fallocate,rename,renameat2,link,linkat,unlink,copy_file_range,fchown,fchmod,fsetxattr,"
    "openat"
)

# Every point takes half a second under strace: the quick run takes every twelfth one, ``make soak`` all of them.
SHARES = [pytest.param(12, id="some"), pytest.param(1, id="all", marks=pytest.mark.soak)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A mailbox in a directory of its own, traces elsewhere."""
    directory = tmp_path / "spool"
    directory.mkdir()
    box = directory / "ann"
    box.write_bytes(b"".join(entry(n) for n in range(4)))
    return box


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("code", [REMOVE, PUT], ids=["remove", "put"])
def test_s15_killed_at_any_call_leaves_old_or_new(place: Path, code: str, share: int) -> None:
    """SIGKILL at each system call that changes something; an agent delivers; ``recover`` makes it whole."""
    before = place.read_bytes()
    late = LINE + b"Subject: late\n\nlate\n\n"
    stops = [p for p in points(code, place, CALLS) if p[0] != "openat"]
    assert len(stops) > 8
    stops = stops[os.getpid() % share :: share]
    for name, number in stops:
        for private in place.parent.iterdir():
            private.unlink()
        place.write_bytes(before)
        killed = traced(code, place, "-e", f"trace={name}", "-e", f"inject={name}:signal=SIGKILL:when={number}")
        assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), (name, number, killed)
        with MailboxLock(place, timeout=5) as lock:
            os.pwrite(lock.fd, late, os.fstat(lock.fd).st_size)
        box = opened(place)
        box.recover()
        assert box.recover() == [], (name, number)
        found = place.read_bytes()
        assert found.count(b"Subject: late") == 1, (name, number, found)
        rest = found.replace(late, b"")
        if code is REMOVE:
            assert rest in (before, before.replace(entry(1), b"")), (name, number, rest)
        else:
            assert rest.startswith(before)
            assert rest.count(b"Subject: put") == len(rest[len(before) :]) // 3000, (name, number, rest[len(before) :])
            assert not any(e.doubt for e in mbox_format.scan(found))
            assert b"\0" not in found
        assert left_beside(place) == [], (name, number)
        box.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("code", [REMOVE, PUT], ids=["remove", "put"])
def test_s19_a_full_or_broken_disk_leaves_the_mailbox_as_it_was(place: Path, code: str, fault: str, share: int) -> None:
    """Each call fails once: one clear error, or success; the mailbox is old or new; ``recover`` clears the rest."""
    before = place.read_bytes()
    for name, number in points(code, place, CALLS)[os.getpid() % share :: share]:
        for private in place.parent.iterdir():
            private.unlink()
        place.write_bytes(before)
        result = traced(code, place, "-e", f"trace={name}", "-e", f"inject={name}:error={fault}:when={number}")
        if result.returncode:
            last = result.stderr.strip().splitlines()[-2:]
            assert any(str(place) in line or "excise" in line for line in last), (name, number, result.stderr)
            assert "excise.core.errors" in result.stderr or "excise.store_api" in result.stderr, (
                name,
                number,
                result.stderr,
            )
        box = opened(place)
        box.recover()
        assert box.recover() == []
        found = place.read_bytes()
        new = before.replace(entry(1), b"") if code is REMOVE else found
        assert found in (before, new)
        if code is PUT:
            assert found.startswith(before)
            assert found.count(b"Subject: put") == (len(found) > len(before))
            assert b"\0" not in found
        assert left_beside(place) == [], (name, number)
        box.close()


def test_s15_an_addition_is_finished_wherever_it_stopped(path: Path) -> None:
    """The room half written, others' mail after it; or the mailbox rewritten meanwhile: there once, and whole."""
    before = path.read_bytes()
    new = LINE + b"Subject: new\n\n" + b"y" * 5000 + b"\n\n"
    late = LINE + b"Subject: late\n\nlate\n\n"
    torn = [
        before,
        before + new[:10] + bytes(len(new) - 10),
        before + bytes(len(new)) + late,
        before + new[:4000] + bytes(len(new) - 4000) + late,
        before + new + late,
        before + late,
        before[len(entry(0)) :] + new,
        before[len(entry(0)) :] + late,
        late,
    ]
    for state in torn:
        path.write_bytes(before)
        beside = Beside(path)
        with MailboxLock(path) as lock:
            adding._write_redo(lock, beside, len(before), [new], None)
        path.write_bytes(state)
        box = opened(path)
        assert len(box.recover()) == 1
        assert box.recover() == []
        data = path.read_bytes()
        assert data.count(new) == 1, state
        assert data.count(late) == state.count(late)
        assert b"\0" not in data
        assert left_beside(path) == []
        box.close()


def test_s27_private_files_of_others_are_not_believed(path: Path) -> None:
    """In a spool anybody may make files: a planted redo file is refused, a planted new file is thrown away."""
    redo = path.parent / ".ann.excise-redo"
    before = path.read_bytes()
    redo.write_bytes(b"From evil Mon Jan  6 10:00:00 2020\nSubject: forged\n\nx\n\n" + b"{}".ljust(512))
    redo.chmod(0o666)
    box = opened(path)
    with pytest.raises(Exception, match="another user"):
        box.recover()
    redo.chmod(0o600)
    with pytest.raises(Exception, match="damaged"):
        box.recover()
    redo.unlink()
    (path.parent / ".ann.excise-new").symlink_to("/etc/passwd")
    assert len(box.recover()) == 1
    assert Path("/etc/passwd").exists()
    assert path.read_bytes() == before
    assert left_beside(path) == []
    assert next(iter(box.put([Deposit(b"Subject: x\n\nx\n")]))).outcome is Outcome.RESTORED
