"""DavMail, an EWS client that nobody here wrote, against the EWS server: what its IMAP shows and does is in the world.

Its session starts with a dozen requests of its own kind, so it tells whether the server is one to other clients too.
"""

from __future__ import annotations

import imaplib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ews.worlds import PASSWORD, mail, serving, small_world
from ews_server import Mailbox, Server, World
from programs import needs_program

JAR = Path("/usr/share/davmail/davmail.jar")
pytestmark = [
    needs_program("java"),
    pytest.mark.skipif(not JAR.exists(), reason="davmail-server is not installed (make test-programs)"),
]


@contextmanager
def davmail(server: Server, directory: Path) -> Iterator[imaplib.IMAP4]:
    """Anna's IMAP session through a DavMail of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "server": "true",
        "mode": "EWS",
        "url": server.url,
        "bindAddress": "127.0.0.1",
        "allowRemote": "false",
        "disableUpdateCheck": "true",
        "imapPort": str(port),
        "smtpPort": "",
        "popPort": "",
        "caldavPort": "",
        "ldapPort": "",
        "logFilePath": str(directory / "davmail.log"),
    }
    file = directory / "davmail.properties"
    file.write_text("".join(f"davmail.{name}={value}\n" for name, value in settings.items()))
    output = directory / "output"
    with output.open("wb") as out:
        command = [
            "java",
            "-Djava.awt.headless=true",
            f"-Duser.home={directory}",
            "-jar",
            str(JAR),
            "-server",
            str(file),
        ]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        session = _connected(port, process)
        session.login("anna@example.test", PASSWORD)
        yield session
        session.logout()
    finally:
        process.terminate()
        process.wait(30)


def _connected(port: int, process: subprocess.Popen[bytes]) -> imaplib.IMAP4:
    until = time.monotonic() + 60
    while True:
        try:
            return imaplib.IMAP4("127.0.0.1", port, timeout=60)
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[imaplib.IMAP4, World, Mailbox]]:
    """A session over Anna's mailbox."""
    world, mailbox = small_world()
    world.deliver(mailbox, "inbox", mail(50, "Invoice 17", attachment="invoice.pdf"), read=True)
    world.folder(mailbox, "inbox", "Projects")
    with serving(world) as server, davmail(server, tmp_path_factory.mktemp("davmail")) as session:
        yield session, world, mailbox


def subjects(session: imaplib.IMAP4, folder: str) -> list[str]:
    """The subjects that IMAP shows in a folder."""
    assert session.select(folder)[0] == "OK"
    _, found = session.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    return [part[1].decode().removeprefix("Subject: ").strip() for part in found if isinstance(part, tuple)]


def in_world(world: World, mailbox: Mailbox, folder: str) -> list[str]:
    """The subjects that the world has in a folder."""
    from ews_server.mime import view

    return [view(item.mime).subject for item in world.items_in(mailbox, folder)]


def test_imap_shows_folders_and_messages(anna: tuple[imaplib.IMAP4, World, Mailbox]) -> None:
    session, world, mailbox = anna
    names = [line.split(b'"')[-2].decode() for line in session.list()[1] if isinstance(line, bytes)]
    assert {"INBOX", "INBOX/Projects", "Trash", "Sent"} <= set(names)
    assert subjects(session, "INBOX") == in_world(world, mailbox, "inbox")
    _, found = session.fetch("6", "(FLAGS BODY[])")
    assert isinstance(found[0], tuple)
    assert b"\\Seen" in found[0][0]
    assert b'filename="invoice.pdf"' in found[0][1]


def test_imap_finds_marks_moves_and_removes(anna: tuple[imaplib.IMAP4, World, Mailbox]) -> None:
    session, world, mailbox = anna
    session.select("INBOX")
    assert session.search(None, "SUBJECT", "Invoice")[1] == [b"6"]
    session.store("1", "+FLAGS", "(\\Seen \\Flagged)")
    first = world.items_in(mailbox, "inbox")[0]
    assert (first.read, first.extended.get("tag:1090:Integer")) == (True, ("Integer", "2"))
    assert session.copy("2", "Trash")[0] == "OK"
    assert in_world(world, mailbox, "deleteditems") == ["Message 1"]
    session.store("3", "+FLAGS", "(\\Deleted)")
    session.expunge()
    assert "Message 2" not in in_world(world, mailbox, "inbox")
    assert subjects(session, "INBOX") == in_world(world, mailbox, "inbox")


def test_imap_puts_messages_in(anna: tuple[imaplib.IMAP4, World, Mailbox]) -> None:
    session, world, mailbox = anna
    assert session.append("Drafts", "(\\Seen)", imaplib.Time2Internaldate(0), mail(77, "Put in"))[0] == "OK"
    (made,) = world.items_in(mailbox, "drafts")
    assert (made.read, made.draft, made.received.timestamp()) == (True, False, 0)
    assert subjects(session, "Drafts") == ["Put in"]


def test_the_world_may_change_under_the_session(anna: tuple[imaplib.IMAP4, World, Mailbox]) -> None:
    session, world, mailbox = anna
    world.move_item(world.items_in(mailbox, "inbox")[-1], world.find_folder(mailbox, "deleteditems"))
    assert subjects(session, "INBOX") == in_world(world, mailbox, "inbox")
    assert "Invoice 17" in subjects(session, "Trash")
    assert not world.sent
