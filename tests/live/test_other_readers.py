"""Programs that share nothing with Excise read what it leaves: the purged mailbox, the evidence, and the bags.

Python's mailbox module, formail and grepmail count the messages; BagIt's own validator and sha256sum check the bags.
"""

from __future__ import annotations

import email
import mailbox
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import excise_cli
from engine.mail_files import WORM, ids_in_eml, ids_in_maildir, ids_in_mbox, message, write_maildir, write_mbox
from programs import find_program, needs_program
from pst.oracles import readpst

#: Message-IDs in each source, and those of the planned messages among them.
NUMBERS = {"anna.mbox": range(40), "ben": range(100, 130)}
PLANNED = {"anna.mbox": {3, 4, 17, 39}, "ben": {100, 121}}


def content(number: int) -> bytes:
    """A message; some are such as mbox readers stumble over."""
    subject = WORM if any(number in numbers for numbers in PLANNED.values()) else f"Letter {number}"
    plain = message(number, subject)
    return {
        0: plain + b"\n\nFrom the sea\nFrom: not a header\n",
        1: plain.replace(b"\n\n", b"\n\nFrom the first line on\n", 1),
        2: message(number, subject, extra=b"X-Long: " + b"x" * 5000 + b"\n\tfolded\n"),
        3: plain + b">From quoted\n>>From twice\n\n\n\n",
        4: plain.rstrip(b"\n") + b"\n\nFrom here to there Thu Jan  1 10:00:00 2026 and on\n",
    }.get(number % 10, plain)


def move(tmp_path: Path) -> Path:
    """An mbox and a Maildir out of which planned messages were moved; the directory of mail, case and originals."""
    mail = tmp_path / "mail"
    mail.mkdir()
    write_mbox(mail / "anna.mbox", [content(number) for number in NUMBERS["anna.mbox"]])
    write_maildir(mail / "ben", [(content(number), "S" * (number % 2)) for number in NUMBERS["ben"]])
    count = sum(len(numbers) for numbers in PLANNED.values())
    done = excise_cli(
        *("move", mail, "--subject", WORM, "--case", tmp_path / "case", "--jobs", "1"),
        *("--yes", "--expect-matches", str(count)),
        *("--evidence", "mbox", "--evidence", "eml", "--evidence", "pst"),
    )
    assert done.code == 0, done
    return tmp_path


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main job, done once for all readers."""
    return move(tmp_path_factory.mktemp("readers"))


def evidence(moved: Path) -> dict[str, Path]:
    """The evidence mbox of each source."""
    found = {}
    for path in sorted((moved / "case" / "bag-0001" / "data" / "evidence").glob("*/part-001/messages.mbox")):
        ids = ids_in_mbox(path)
        name = next(name for name, numbers in NUMBERS.items() if int(next(iter(ids))) in numbers)
        found[name] = path
    assert found.keys() == PLANNED.keys()
    return found


def as_counter(numbers: set[int]) -> Counter[str]:
    """Each of ``numbers`` once, as Message-IDs are counted."""
    return Counter(str(number) for number in numbers)


def run(*command: str | Path, cwd: Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run another program."""
    environment = {**os.environ, "HOME": str(cwd), "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, cwd=cwd, input=data, env=environment, capture_output=True, timeout=60, check=False)


def counted_by_mailbox(path: Path, _: Path) -> int:
    """As Python's mailbox module counts."""
    box = mailbox.mbox(path, create=False)
    try:
        return len(box)
    finally:
        box.close()


def counted_by_formail(path: Path, scratch: Path) -> int:
    """As formail splits (a From_ line after a blank one, as it is by default)."""
    done = run("formail", "-s", "sh", "-c", "cat >/dev/null; echo message", cwd=scratch, data=path.read_bytes())
    assert done.returncode == 0, done.stderr
    return done.stdout.split(b"\n").count(b"message")


def counted_by_grepmail(path: Path, scratch: Path) -> int:
    """As grepmail counts the messages with a sender."""
    done = run("grepmail", "-h", "-r", "-e", "^From:", path, cwd=scratch)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition(b":")[2])


READERS = [
    pytest.param(counted_by_mailbox, id="mailbox"),
    pytest.param(counted_by_formail, id="formail", marks=needs_program("formail")),
    pytest.param(counted_by_grepmail, id="grepmail", marks=needs_program("grepmail")),
]


@pytest.mark.parametrize("count", READERS)
def test_s18_counts_of_other_readers_agree(moved: Path, tmp_path: Path, count: Callable[[Path, Path], int]) -> None:
    kept = len(NUMBERS["anna.mbox"]) - len(PLANNED["anna.mbox"])
    assert count(moved / "mail" / "anna.mbox", tmp_path) == kept
    for name, path in evidence(moved).items():
        assert count(path, tmp_path) == len(PLANNED[name])


def test_s18_the_mailbox_module_finds_each_message_in_one_place(moved: Path) -> None:
    found = {"anna.mbox": ids_in_mbox(moved / "mail" / "anna.mbox"), "ben": ids_in_maildir(moved / "mail" / "ben")}
    for name, path in evidence(moved).items():
        assert found[name] == as_counter(set(NUMBERS[name]) - PLANNED[name])
        assert ids_in_mbox(path) == as_counter(PLANNED[name])
        assert ids_in_eml(path.parent / "eml") == as_counter(PLANNED[name])


def test_s13_readpst_shows_the_messages_of_the_evidence(moved: Path, tmp_path: Path) -> None:
    for name, path in evidence(moved).items():
        shown = readpst(path.with_name("messages.pst"), tmp_path / name)
        ids = [str(email.message_from_bytes(mail)["Message-ID"]).strip("<>").partition("@")[0] for mail in shown]
        assert Counter(ids) == as_counter(PLANNED[name])


def test_s13_the_evidence_holds_the_original_bytes(moved: Path) -> None:
    """The EML files are what went in, and so is the evidence mbox once its quoting is undone, as mailbox does not."""
    for name, path in evidence(moved).items():
        files = {p.read_bytes() for p in (path.parent / "eml").glob("*.eml")}
        if name == "ben":
            assert files == {content(number) for number in PLANNED[name]}
        parsed = {email.message_from_bytes(data)["Message-ID"]: data for data in files}
        box = mailbox.mbox(path, create=False)
        for key in box.iterkeys():
            raw = box.get_bytes(key)
            unquoted = b"\n".join(line[1:] if line.lstrip(b">").startswith(b"From ") and line[:1] == b">" else line
                                  for line in raw.split(b"\n"))  # fmt: skip
            assert unquoted.rstrip(b"\n") == parsed[email.message_from_bytes(raw)["Message-ID"]].rstrip(b"\n")
        box.close()


def test_the_validator_of_bagit_accepts_every_bag(moved: Path, tmp_path: Path) -> None:
    bags = sorted((moved / "case").glob("bag-*"))
    assert len(bags) == 1
    script = Path(sys.executable).with_name("bagit.py")
    if not script.exists():
        pytest.skip("bagit.py is not installed")
    for bag in bags:
        done = run(sys.executable, script, "--validate", bag, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert b"is valid" in done.stderr


@needs_program("sha256sum")
def test_sha256sum_accepts_every_manifest(moved: Path) -> None:
    for bag in (moved / "case").glob("bag-*"):
        for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
            done = run(str(find_program("sha256sum")), "--strict", "-c", manifest, cwd=bag)
            assert done.returncode == 0, (done.stdout, done.stderr)
        lines = (bag / "manifest-sha256.txt").read_text("utf-8").splitlines()
        named = {line.split("  ", 1)[1] for line in lines}
        assert named == {p.relative_to(bag).as_posix() for p in (bag / "data").rglob("*") if p.is_file()}


def test_bagit_and_sha256sum_see_a_flipped_byte(tmp_path: Path) -> None:
    """The two checks above can fail."""
    moved = move(tmp_path)
    path = evidence(moved)["ben"]
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    bag = moved / "case" / "bag-0001"
    script = Path(sys.executable).with_name("bagit.py")
    if script.exists():
        assert run(sys.executable, script, "--validate", bag, cwd=tmp_path).returncode == 1
    if find_program("sha256sum"):
        assert run("sha256sum", "-c", "manifest-sha256.txt", cwd=bag).returncode == 1
    assert excise_cli("verify", moved / "case").code == 5


def test_s21_other_readers_find_all_messages_again_after_a_restore(tmp_path: Path) -> None:
    moved = move(tmp_path)
    done = excise_cli("restore", moved / "case", "--yes", "--jobs", "1")
    assert done.code == 0, done
    assert ids_in_mbox(moved / "mail" / "anna.mbox") == as_counter(set(NUMBERS["anna.mbox"]))
    assert ids_in_maildir(moved / "mail" / "ben") == as_counter(set(NUMBERS["ben"]))
    for name, count in (("formail", counted_by_formail), ("grepmail", counted_by_grepmail)):
        if find_program(name):
            assert count(moved / "mail" / "anna.mbox", tmp_path) == len(NUMBERS["anna.mbox"])
    script = Path(sys.executable).with_name("bagit.py")
    if script.exists():
        for bag in sorted((moved / "case").glob("bag-*")):
            assert run(sys.executable, script, "--validate", bag, cwd=tmp_path).returncode == 0
