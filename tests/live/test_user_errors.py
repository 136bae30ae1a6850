"""What a user meets: each trouble gives one clear message with what to do, the right exit status, and loses nothing.

Each test takes the trouble away afterwards and finishes the work, which shows that nothing was lost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.command import Done, command_line, environment, excise_cli
from engine.mail_files import bytes_below, ids_in_maildir, ids_in_mbox, message, write_maildir, write_mbox
from excise.stores.mbox.mailbox import MboxMailbox
from programs import find_program, needs_program

WORM = "Please confirm your password"
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run(prefix: list[str], *args: str | Path) -> Done:
    """``excise args`` in a new process, started by ``prefix``; no traceback may show."""
    command = [*prefix, *command_line(*args)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL, timeout=120, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr, done
    assert "unexpected error" not in done.stdout + done.stderr, done
    return Done(done.returncode, done.stdout, done.stderr)


def move_args(source: Path | str, case: Path, matches: int) -> list[str | Path]:
    """The arguments that move the worms."""
    confirmed = ["--yes", "--expect-matches", str(matches), "--jobs", "1"]
    return ["move", source, "--subject", WORM, "--case", case, *confirmed]


def told(done: Done, code: int, *words: str) -> None:
    """The command ended with ``code``, and said ``words``, the first of them once."""
    assert done.code == code, done
    for word in words:
        assert word in done.err, (word, done.err)
    assert done.err.count(words[0]) == 1, done.err


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """An mbox with 2 of 12 messages planned, in a directory of its own."""
    path = tmp_path / "mail" / "anna"
    path.parent.mkdir()
    write_mbox(path, [message(n, WORM if n in (2, 7) else f"Report {n}") for n in range(12)])
    return path


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Where the case will be."""
    return tmp_path / "case"


KEPT = {str(n): 1 for n in range(12) if n not in (2, 7)}


def check_resumed(case: Path, spool: Path) -> None:
    """With the trouble gone, the run is finished as planned."""
    done = excise_cli("resume", case, "--jobs", "1")
    assert done.code == 0, done
    assert dict(ids_in_mbox(spool)) == KEPT
    assert excise_cli("verify", case).code == 0
    evidence = case / "bag-0001" / "data" / "evidence" / "00001" / "part-001" / "messages.mbox"
    assert dict(ids_in_mbox(evidence)) == {"2": 1, "7": 1}
    assert sorted(p.name for p in spool.parent.iterdir()) == [spool.name]


# No permission


@pytest.fixture
def without_rights() -> list[str]:
    """How to start a program that has no right over what others own: root's powers over files are taken away."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files to another user")
    if find_program("setpriv") is None:
        pytest.skip("setpriv is not installed")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-chown", "--inh-caps=-all"]


def test_a_source_that_may_not_be_read(spool: Path, case: Path, without_rights: list[str]) -> None:
    os.chown(spool, NOBODY, NOBODY)
    spool.chmod(0o600)
    before = spool.read_bytes()
    told(run(without_rights, "search", spool, "--subject", WORM), 6, "Permission denied", str(spool), "Run as a user")
    told(run(without_rights, *move_args(spool, case, 2)), 6, "Permission denied", str(spool), "Run as a user")
    assert spool.read_bytes() == before
    assert not case.exists()


def test_one_of_two_sources_that_may_not_be_read(spool: Path, case: Path, without_rights: list[str]) -> None:
    """The other one is worked on; the mailbox that was not searched is named, in scope.csv too (S08, S22)."""
    closed = spool.with_name("ben")
    shutil.copy(spool, closed)
    os.chown(closed, NOBODY, NOBODY)
    closed.chmod(0o600)
    before = closed.read_bytes()
    found = run(without_rights, "search", spool.parent, "--subject", WORM, "--json")
    told(found, 6, "Permission denied", f"{closed}: not searched")
    assert '"matches": 2' in found.out
    assert '"not_searched": 1' in found.out
    done = run(without_rights, *move_args(spool.parent, case, 2))
    told(done, 6, "Permission denied", f"{closed}: not searched")
    assert dict(ids_in_mbox(spool)) == KEPT
    assert closed.read_bytes() == before
    assert "Permission denied" in (case / "scope.csv").read_text()


def test_a_mailbox_that_may_be_read_but_not_changed(spool: Path, case: Path, without_rights: list[str]) -> None:
    """The directory belongs to somebody else, so no lock can be made in it."""
    os.chown(spool.parent, NOBODY, NOBODY)
    before = bytes_below(spool.parent)
    done = run(without_rights, *move_args(spool, case, 2))
    told(done, 6, "Permission denied", str(spool), "Run as a user")
    assert "excise resume" in done.out
    assert bytes_below(spool.parent) == before
    check_resumed(case, spool)


def test_a_maildir_that_may_be_read_but_not_changed(tmp_path: Path, case: Path, without_rights: list[str]) -> None:
    box = tmp_path / "box"
    write_maildir(box, [(message(n, WORM if n == 1 else f"Note {n}"), "S") for n in range(5)])
    os.chown(box / "cur", NOBODY, NOBODY)
    before = bytes_below(box)
    done = run(without_rights, *move_args(box, case, 1))
    told(done, 9, "Permission denied", str(box), "excise resume")
    assert bytes_below(box) == before
    assert excise_cli("resume", case, "--jobs", "1").code == 0
    assert dict(ids_in_maildir(box)) == {str(n): 1 for n in (0, 2, 3, 4)}


def test_a_case_that_may_not_be_made(spool: Path, tmp_path: Path, without_rights: list[str]) -> None:
    place = tmp_path / "others"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    before = spool.read_bytes()
    done = run(without_rights, *move_args(spool, place / "case", 2))
    told(done, 6, "Permission denied", f"{place / 'case'}: making the case directory failed", "Run as a user")
    assert spool.read_bytes() == before
    assert list(place.iterdir()) == []


# A file in use

_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as stream:
    fcntl.lockf(stream, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""
_WAIT = "import sys; print('there', flush=True); sys.stdin.read()"


@contextlib.contextmanager
def other_program(code: str, *args: str | Path) -> Iterator[int]:
    """Another process that runs ``code`` until the end of the block; its number, once it has said that it is ready."""
    command = [sys.executable, "-c", code, *(str(arg) for arg in args)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process.pid
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second's patience with others' locks instead of a minute's."""
    monkeypatch.setattr(MboxMailbox, "lock_timeout", 0.5)


@pytest.mark.usefixtures("impatient")
def test_s19_a_mailbox_that_another_program_has_locked(spool: Path, case: Path) -> None:
    before = bytes_below(spool.parent)
    with other_program(_LOCK, spool) as pid:
        done = excise_cli(*move_args(spool, case, 2))
        told(done, 6, f"process {pid}", str(spool), "Wait until that program has finished")
        assert "excise resume" in done.out
        again = excise_cli("resume", case, "--jobs", "1")
        told(again, 6, f"process {pid}", "Wait until that program has finished")
        assert bytes_below(spool.parent) == before
    check_resumed(case, spool)


@pytest.mark.usefixtures("impatient")
def test_s19_a_mailbox_with_a_dotlock_that_is_alive(spool: Path, case: Path) -> None:
    dotlock = spool.with_name(spool.name + ".lock")
    with other_program(_WAIT) as pid:
        dotlock.write_text(f"{pid}:{socket.gethostname()}")
        before = bytes_below(spool.parent)
        done = excise_cli(*move_args(spool, case, 2))
        told(done, 6, f"process {pid}", str(spool), "Wait until that program has finished")
        assert bytes_below(spool.parent) == before
    # The process is gone, its lock is not: it is dead, and taken away.
    assert dotlock.exists()
    check_resumed(case, spool)


@pytest.mark.usefixtures("impatient")
def test_s19_restoring_into_a_mailbox_that_another_program_has_locked(spool: Path, case: Path) -> None:
    original = ids_in_mbox(spool)
    assert excise_cli(*move_args(spool, case, 2)).code == 0
    before = spool.read_bytes()
    with other_program(_LOCK, spool) as pid:
        done = excise_cli("restore", case, "--yes", "--jobs", "1")
        told(done, 6, f"process {pid}", "Wait until that program has finished")
        assert spool.read_bytes() == before
    assert excise_cli("resume", case, "--jobs", "1").code == 0
    assert ids_in_mbox(spool) == original


# A file that changes while it is read

#: So long that a mailbox of a dozen such messages is read where it stands, not copied to memory first.
LONG = b"".join(b"line %d of a long message\n" % n for n in range(60_000))

_REWRITE = """
import os, select, sys
path = sys.argv[1]
one = open(path, "rb").read()
two = one.replace(b"\\nSubject:", b"\\nX-UID: 1\\nSubject:")
fd = os.open(path, os.O_RDWR)
print("rewriting", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for data in (two, one):
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
"""


def test_a_mailbox_that_changes_while_it_is_read(tmp_path: Path, case: Path) -> None:
    """A program that keeps to no lock rewrites it again and again: said, and nothing is removed."""
    path = tmp_path / "busy"
    write_mbox(path, [message(n, WORM if n == 2 else f"Report {n}") + LONG for n in range(12)])
    before = path.read_bytes()
    with other_program(_REWRITE, path):
        found = excise_cli("search", path, "--subject", WORM, "--body-contains", "no such text")
        told(found, 6, "while it was read", str(path), "nother program rewrote", "Run the command again")
        # Noticed while it searches (the mailbox is then not searched) or, where that went well, while it preserves.
        done = excise_cli(*move_args(path, case, 1))
        told(done, 6, "while it was read", str(path))
    assert path.read_bytes() == before
    assert excise_cli(*move_args(path, case.with_name("second"), 1)).code == 0
    assert dict(ids_in_mbox(path)) == {str(n): 1 for n in range(12) if n != 2}


@pytest.mark.parametrize("times", [1, 100])
def test_s08_a_mailbox_that_is_written_while_it_is_copied_to_memory(
    spool: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A program that keeps to no lock puts the messages into another order, size and messages the same, just then."""
    data, left = spool.read_bytes(), times
    middle = data.index(b"From eve", len(data) // 2)
    make_memory = os.memfd_create

    def write_and_make(name: str, flags: int) -> int:
        nonlocal data, left
        if left:
            left -= 1
            data = data[middle:] + data[:middle]
            spool.write_bytes(data)
        return make_memory(name, flags)

    monkeypatch.setattr(os, "memfd_create", write_and_make)
    found = excise_cli("search", spool, "--subject", WORM, "--jobs", "1", "--json")
    if times == 1:
        assert found.code == 0, found
        assert '"matches": 2,' in found.out
    else:
        told(found, 6, "while it was read", str(spool), "Run the command again")


# A full disk


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """A file system of ``size`` bytes at ``place``; a skip where none can be mounted."""
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "excise-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True, timeout=30)


def enlarge(place: Path, size: int) -> None:
    """Make the small file system larger."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True, timeout=30)


@needs_root
@needs_program("mount", "umount")
@pytest.mark.parametrize(("kind", "sizes"), [("eml", range(16, 400, 24)), ("pst", range(16, 1000, 48))])
def test_s15_a_disk_that_is_full_at_any_time(tmp_path: Path, kind: str, sizes: range) -> None:
    """Cases on disks from far too small to large enough: refused, stopped on the way, or done; then finished."""
    codes = []
    for size in (kilobytes << 10 for kilobytes in sizes):
        spool = tmp_path / f"mail-{size}" / "anna"
        spool.parent.mkdir()
        body = b"x" * 70 + b"\n"
        write_mbox(spool, [message(n, WORM if n in (2, 7) else f"Report {n}") + body * 300 for n in range(12)])
        before = bytes_below(spool.parent)
        place = tmp_path / "disk"
        with small_disk(place, size):
            done = excise_cli(*move_args(spool, place / "case", 2), "--evidence", "mbox", "--evidence", kind)
            codes.append(done.code)
            if done.code != 0:
                assert done.code in (2, 6), (size, done)
                assert "No space left" in done.err or "free" in done.err, (size, done.err)
                assert bytes_below(spool.parent) == before or dict(ids_in_mbox(spool)) == KEPT
            enlarge(place, 16 << 20)
            if done.code == 6 and (place / "case" / "units").is_dir():
                check_resumed(place / "case", spool)
            elif done.code != 0:
                assert bytes_below(spool.parent) == before
    assert codes[0] != 0
    assert codes[-1] == 0
    assert 6 in codes


@needs_program("prlimit")
def test_s19_a_mailbox_that_cannot_be_written_anew(spool: Path, case: Path) -> None:
    """The evidence can be written, the mailbox's new file cannot: the mailbox stays as it was."""
    write_mbox(
        spool, [message(n, WORM if n in (2, 7) else f"Report {n}") + LONG * (n not in (2, 7)) for n in range(12)]
    )
    assert spool.stat().st_size > 10_000_000
    before = bytes_below(spool.parent)
    done = run(["prlimit", "--fsize=10000000"], *move_args(spool, case, 2))
    told(done, 6, "File too large", str(spool), "ulimit -f")
    assert bytes_below(spool.parent) == before
    check_resumed(case, spool)


@needs_program("prlimit")
@pytest.mark.parametrize("limit", [100, 1000, 2400])
def test_s13_a_case_that_cannot_be_written(spool: Path, case: Path, limit: int) -> None:
    before = bytes_below(spool.parent)
    done = run(["prlimit", f"--fsize={limit}"], *move_args(spool, case, 2))
    told(done, 6, "File too large", "ulimit -f")
    assert bytes_below(spool.parent) == before or dict(ids_in_mbox(spool)) == KEPT
    if (case / "units").is_dir():
        check_resumed(case, spool)


# Damage, no mail, a case that is there, a charset that nobody knows


def test_a_file_that_is_no_mbox(tmp_path: Path, case: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(bytes(range(256)) * 40)
    told(excise_cli("search", f"mbox:{path}", "--subject", WORM), 7, "expected an mbox", str(path), "leave the word")
    told(excise_cli("search", path, "--subject", WORM), 7, "found no mail store", str(path), "Name its kind")
    assert excise_cli("check", path).code == 7
    assert path.read_bytes() == bytes(range(256)) * 40


def test_s11_a_damaged_mbox(spool: Path, case: Path) -> None:
    """What belongs to no message is listed as not tested; the planned ones are moved; every damaged byte stays."""
    junk = b"the end of a message whose beginning is lost\n" * 3 + b"\x00" * 600 + b"\n\n"
    spool.write_bytes(junk + spool.read_bytes())
    found = excise_cli("search", f"mbox:{spool}", "--subject", WORM)
    told(found, 9, "belong to no message", f"{spool}: offset 0: not tested")
    done = excise_cli(*move_args(f"mbox:{spool}", case, 2))
    assert done.code == 9, done
    assert spool.read_bytes().startswith(junk)
    assert dict(ids_in_mbox(spool)) == KEPT
    assert excise_cli("check", spool).code == 7


def test_an_mbox_whose_end_is_missing(spool: Path, case: Path) -> None:
    spool.write_bytes(spool.read_bytes()[:-9])
    cut = spool.read_bytes()
    assert excise_cli("check", spool).code == 7
    assert excise_cli(*move_args(spool, case, 2)).code == 0
    assert dict(ids_in_mbox(spool)) == KEPT
    assert spool.read_bytes()[-300:] == cut[-300:]


def test_a_directory_without_mail(tmp_path: Path, case: Path) -> None:
    place = tmp_path / "nothing"
    place.mkdir()
    (place / "notes.txt").write_text("buy milk\n")
    patch = f"From {'0b' * 20} Mon Sep 17 00:00:00 2001\nFrom: a@example.com\nSubject: [PATCH] mend\n\n---\n"
    (place / "0001.patch").write_text(patch)
    before = bytes_below(place)
    for args in (["search", place, "--subject", WORM], move_args(place, case, 0)):
        told(excise_cli(*args), 7, "found no mail store", str(place), "Name its kind")
    assert bytes_below(place) == before
    assert not case.exists()


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    done = excise_cli("search", tmp_path / "absent", "--subject", WORM)
    told(done, 6, "No such file or directory", str(tmp_path / "absent"), "Check the path")


def test_s14_a_case_directory_that_is_there_already(spool: Path, case: Path) -> None:
    """Somebody's own directory, and an earlier case: both stay as they are, and so does the mail."""
    case.mkdir()
    (case / "mine.txt").write_text("keep")
    before = bytes_below(spool.parent)
    told(excise_cli(*move_args(spool, case, 2)), 2, "found something in it", str(case), "Choose another directory")
    assert bytes_below(case) == {"mine.txt": b"keep"}
    earlier = case.with_name("earlier")
    assert excise_cli("plan", "move", spool, "--subject", WORM, "--case", earlier).code == 0
    planned = bytes_below(earlier)
    told(excise_cli(*move_args(spool, earlier, 2)), 2, "found something in it", f"excise status {earlier}")
    assert bytes_below(earlier) == planned
    assert bytes_below(spool.parent) == before


def test_s11_a_charset_that_nobody_knows(tmp_path: Path, case: Path) -> None:
    """Its text cannot be tested, which is said; its subject can, and its bytes are preserved as they are."""
    kind = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=x-klingon\nContent-Transfer-Encoding: 8bit\n"
    odd = message(1, WORM, extra=kind).replace(b"body 1", b"\xa1\xc2\xe3\xf4")
    path = tmp_path / "anna"
    write_mbox(path, [odd, *(message(n, f"Report {n}") for n in range(2, 9))])
    before = path.read_bytes()
    found = excise_cli("search", path, "--body-contains", "qapla")
    told(found, 9, "is not in the charset that it names", f"{path}: ", "not tested: body-contains")
    assert path.read_bytes() == before
    assert excise_cli(*move_args(path, case, 1), "--evidence", "eml").code == 0
    (evidence,) = (case / "bag-0001" / "data" / "evidence" / "00001" / "part-001" / "eml").iterdir()
    assert evidence.read_bytes() == odd.replace(b"\n>From", b"\n>>From"), "as the mbox holds it"
    assert "1" not in ids_in_mbox(path)
