"""What DavMail's IMAP shows of a mailbox before and after ``excise move`` and ``excise restore``: a witness that nobody
here wrote, in sessions of its own.
"""

from __future__ import annotations

import imaplib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ews.worlds import PASSWORD, mail, serving, small_world
from ews_server import Server
from live.test_davmail import JAR, davmail, subjects
from programs import needs_program
from stores.ews_place import ADMIN, ANNA

SECRET = "Salaries 2026"
pytestmark = [
    needs_program("java"),
    pytest.mark.skipif(not JAR.exists(), reason="davmail-server is not installed (make test-programs)"),
]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Server, imaplib.IMAP4]]:
    """A server where Anna has the message twice, and her IMAP session."""
    world, anna = small_world()
    world.deliver(anna, "inbox", mail(90, SECRET, attachment="salaries.xlsx"), read=True)
    world.deliver(anna, world.folder(anna, "inbox", "Projects"), mail(91, SECRET))
    with serving(world) as server, davmail(server, tmp_path) as session:
        yield server, session
        assert not world.sent


def excise(server: Server, place: Path, *arguments: str) -> str:
    """Run a command that has to do what it is told."""
    environment = {
        **os.environ,
        "EXCISE_ACCESS_LOG": str(place / "access.jsonl"),
        "EXCISE_EWS_USER": ADMIN,
        "EXCISE_EWS_PASSWORD": PASSWORD,
        "EXCISE_EWS_AUTH": "basic",
    }
    command = [sys.executable, "-m", "excise", *(part.replace("PORT", str(server.port)) for part in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=place, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shown(session: imaplib.IMAP4) -> dict[str, list[tuple[str, bytes]]]:
    """Subject and flag of every message, by folder, as IMAP shows them."""
    found = {}
    for folder in ("INBOX", "INBOX/Projects", "Trash"):
        names = subjects(session, folder)
        _, flags = session.fetch("1:*", "(FLAGS)") if names else ("", [])
        seen = [b"\\Seen" if b"\\Seen" in bytes(line) else b"" for line in flags if isinstance(line, bytes)]
        found[folder] = sorted(zip(names, seen, strict=True))
    return found


@pytest.mark.parametrize(("disposal", "trash"), [("trash", 2), ("soft", 0)])
def test_imap_shows_what_was_moved_and_put_back(
    watched: tuple[Server, imaplib.IMAP4], tmp_path: Path, disposal: str, trash: int
) -> None:
    """All before, all but the moved ones after, and all again, in their folders, read or unread as they were."""
    server, session = watched
    before = shown(session)
    assert [subject for subject, _ in before["INBOX"]].count(SECRET) == 1
    assert (SECRET, b"\\Seen") in before["INBOX"]
    assert before["INBOX/Projects"] == [(SECRET, b"")]
    what = ("--mailbox", ANNA, "--subject", SECRET, "--disposal", disposal, "--evidence", "mbox", "--case", "case")
    excise(server, tmp_path, "move", "ews://127.0.0.1:PORT/?plain=1", *what, "--yes", "--expect-matches", "2")
    moved = shown(session)
    assert moved["INBOX"] == [line for line in before["INBOX"] if line[0] != SECRET]
    assert moved["INBOX/Projects"] == []
    assert [subject for subject, _ in moved["Trash"]] == [SECRET] * trash
    excise(server, tmp_path, "restore", "case", "--yes")
    again = shown(session)
    assert {folder: again[folder] for folder in ("INBOX", "INBOX/Projects")} == {
        folder: before[folder] for folder in ("INBOX", "INBOX/Projects")
    }
