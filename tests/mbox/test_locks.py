"""Mailbox locks against real other processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from excise.core.errors import SourceUnavailable
from excise.core.locks import LockLost, MailboxLock, MailboxLocked, lock_holder, nobody_writes, try_lock, writers

HOLD = """
import fcntl, sys
f = open(sys.argv[1], "r+b")
fcntl.lockf(f, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
WAIT = """
import fcntl, os, sys
f = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
print("open", flush=True)
fcntl.lockf(f, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A real process that runs ``code`` with ``path``; it ends when its input does."""
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        yield running
        assert running.stdin is not None
        running.stdin.close()


@pytest.fixture
def box(tmp_path: Path) -> Path:
    path = tmp_path / "ann"
    path.write_bytes(b"")
    return path


def dotlock(box: Path) -> Path:
    return box.with_name("ann.lock")


def test_both_locks_are_taken_and_let_go(box: Path) -> None:
    """While it is held, the dotlock names this process and fcntl keeps others out; afterwards nothing is left."""
    with MailboxLock(box) as lock:
        assert dotlock(box).read_text() == f"{os.getpid()}:{socket.gethostname()}"
        with process(WAIT, box) as other:
            time.sleep(0.2)
            assert other.poll() is None
            lock.release()
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
    assert list(box.parent.iterdir()) == [box]


def test_an_fcntl_lock_of_another_process_is_waited_for_and_named(box: Path) -> None:
    """The error says which process; no dotlock is left meanwhile, so that an agent of the other order can go on."""
    with process(HOLD, box) as other:
        with pytest.raises(MailboxLocked, match=f"process {other.pid} "):
            MailboxLock(box, timeout=0.3).__enter__()
        assert not dotlock(box).exists()
    with MailboxLock(box, timeout=5):
        pass


def test_a_dotlock_of_a_living_process_is_never_taken_away(box: Path) -> None:
    """Of this host, however old; of another host; without a name, while it is young."""
    for text, age in (
        (f"{os.getppid()}:{socket.gethostname()}", time.time() - 10),
        ("1:elsewhere", 0.0),
        ("", time.time()),
    ):
        dotlock(box).write_text(text)
        os.utime(dotlock(box), (age, age))
        with pytest.raises(MailboxLocked):
            MailboxLock(box, timeout=0.2).__enter__()
        assert dotlock(box).read_text() == text


def dead_pid() -> int:
    with subprocess.Popen(["/bin/true"]) as gone:
        pass
    return gone.pid


@pytest.mark.parametrize(
    ("text", "age"),
    [("{dead}:{host}", 0), ("{dead}", 301), ("", 301), ("garbage", 301), ("{alive}:{host}", 10**8)],
)
def test_a_dead_dotlock_is_taken_away(box: Path, text: str, age: int) -> None:
    """A dead process of this host; an old nameless one; one whose number was given to a later process."""
    filled = text.format(dead=dead_pid(), host=socket.gethostname(), alive=os.getppid())
    dotlock(box).write_text(filled)
    os.utime(dotlock(box), (time.time() - age, time.time() - age))
    with MailboxLock(box, timeout=1):
        assert dotlock(box).read_text().startswith(f"{os.getpid()}:")
    assert list(box.parent.iterdir()) == [box]


def test_s19_the_lock_is_on_the_file_that_the_path_names(box: Path) -> None:
    """Where the file is replaced while one waits, the new file is locked."""
    with process(HOLD, box) as other:
        new = box.with_name("new")
        new.write_bytes(b"new")

        def replace() -> None:
            time.sleep(0.2)
            new.rename(box)
            assert other.stdin is not None
            other.stdin.close()

        thread = threading.Thread(target=replace)
        thread.start()
        with MailboxLock(box, timeout=5) as lock:
            assert os.pread(lock.fd, 3, 0) == b"new"
        thread.join()


def test_two_threads_exclude_each_other(box: Path) -> None:
    """The locks belong to the open file, not to the process."""
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with MailboxLock(box, timeout=20):
                inside += 1
                most = max(most, inside)
                time.sleep(0.005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_lock_that_was_taken_away_is_noticed_and_not_removed(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``refresh`` raises, and letting go leaves the other program's lock alone."""
    monkeypatch.setattr("excise.core.locks.REFRESH_SECONDS", 0)
    with MailboxLock(box) as lock:
        lock.refresh()
        dotlock(box).unlink()
        dotlock(box).write_text("1:elsewhere")
        with pytest.raises(LockLost, match=r"ann\.lock"):
            lock.refresh()
    assert dotlock(box).read_text() == "1:elsewhere"


def test_s19_no_link_is_followed_and_nothing_but_files_is_locked(box: Path) -> None:
    """A symbolic link, a FIFO and a missing file are clear errors."""
    link = box.with_name("link")
    link.symlink_to(box)
    fifo = box.with_name("fifo")
    os.mkfifo(fifo)
    for path in (link, fifo, box.with_name("missing")):
        with pytest.raises(SourceUnavailable, match=path.name):
            MailboxLock(path, timeout=0).__enter__()
    with pytest.raises(SourceUnavailable, match=r"symbolic|regular|Too many"):
        MailboxLock(link, timeout=0, create=True).__enter__()
    with MailboxLock(box.with_name("fresh"), create=True) as lock:
        assert os.fstat(lock.fd).st_size == 0


def test_writers_are_seen_and_readers_are_none(box: Path) -> None:
    """A lease tells whether anybody has the file open for writing; /proc tells who."""
    fd = os.open(box, os.O_RDONLY)
    other_reader = os.open(box, os.O_RDONLY)
    assert nobody_writes(fd) is True
    with process(WAIT, box) as other:
        assert nobody_writes(fd) is False
        assert list(writers(os.fstat(fd))) == [other.pid]
    assert nobody_writes(fd) is True
    os.close(fd)
    os.close(other_reader)


def test_fcntl_locks_exclude_process_owned_ones(box: Path) -> None:
    """``try_lock`` and other programs' lockf see each other."""
    fd = os.open(box, os.O_RDWR)
    with process(HOLD, box) as other:
        assert not try_lock(fd)
        assert str(other.pid) in lock_holder(fd)
    assert try_lock(fd)
    assert lock_holder(fd) == ""
    os.close(fd)
