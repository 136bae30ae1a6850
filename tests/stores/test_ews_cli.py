"""The commands over mailboxes of the test EWS server, from search to restore."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ews.worlds import PASSWORD, mail, small_world
from ews_server import Item, Server, World
from stores.ews_place import ADMIN, ANNA, serving

SECRET = "Salaries 2026"


class Place:
    """A server, a directory, and the command line with an administrator's login."""

    def __init__(self, world: World, server: Server, path: Path) -> None:
        self.world, self.server, self.path = world, server, path
        self.source = f"ews://127.0.0.1:{server.port}/?plain=1"
        self.environment = {
            **os.environ,
            "EXCISE_ACCESS_LOG": str(path / "access.jsonl"),
            "EXCISE_EWS_USER": ADMIN,
            "EXCISE_EWS_PASSWORD": PASSWORD,
            "EXCISE_EWS_AUTH": "basic",
        }

    def excise(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "excise", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment | environment,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
        )

    def subjects(self, address: str, folder: str = "inbox") -> list[str]:
        items = self.world.items_in(self.world.mailboxes[address], folder)
        return [_subject(item) for item in items]


def _subject(item: Item) -> str:
    [line] = [line for line in item.mime.decode().splitlines() if line.startswith("Subject: ")]
    return line.removeprefix("Subject: ")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    world, anna = small_world()
    bob = world.mailboxes["bob@example.test"]
    world.deliver(anna, "inbox", mail(90, SECRET, attachment="salaries.xlsx"), read=True, categories=["Red"])
    world.deliver(bob, world.folder(bob, "inbox", "From Anna"), mail(90, SECRET, attachment="salaries.xlsx"))
    with serving(world) as server:
        yield Place(world, server, tmp_path)
        assert not [one for request in server.log.requests for one in request.complaints]
        assert not world.sent


def test_mailboxes_and_their_parts_are_listed(place: Place) -> None:
    """Each part by itself; a part that a mailbox does not have is named and is no failure."""
    scope = ("--mailbox", ANNA, "--mailbox", "Bob@Example.test", "--parts", "primary,archive")
    done = place.excise("mailboxes", place.source, *scope, "--json")
    assert done.returncode == 0, done.stderr
    names = [json.loads(line)["mailbox"] for line in done.stdout.splitlines()]
    assert names == [ANNA, f"{ANNA} (archive)", "bob@example.test"]
    assert "bob@example.test (archive)" in done.stderr


def test_search_finds_by_subject_and_by_attachment(place: Place) -> None:
    """In every folder of every mailbox that is named."""
    scope = (place.source, "--mailbox", ANNA, "--mailbox", "bob@example.test", "--json")
    for terms in (
        ("--subject", SECRET),
        ("--attachment", "salaries.*"),
        ("--from", "bob@example.org", "--larger", "1"),
    ):
        done = place.excise("search", *scope, *terms)
        assert done.returncode == 0, done.stderr
        *found, summary = (json.loads(line) for line in done.stdout.splitlines())
        assert {(f["mailbox"], f["folder"]) for f in found if f["subject"] == SECRET} == {
            (ANNA, "Inbox"),
            ("bob@example.test", "Inbox/From Anna"),
        }
        assert summary["summary"]["messages"] == 7
        assert summary["summary"]["mailboxes_searched"] == 2


@pytest.mark.parametrize("disposal", ["trash", "soft", "hard"])
def test_s21_move_and_restore(place: Place, disposal: str) -> None:
    """What is moved is in the evidence and gone from its folder; a restore puts it back as it was, once."""
    done = place.excise(
        "move", place.source, "--mailbox", ANNA, "--mailbox", "bob@example.test", "--subject", SECRET, "--case", "case",
        "--disposal", disposal, "--yes", "--expect-matches", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert SECRET not in place.subjects(ANNA)
    assert place.subjects(ANNA, "deleteditems") == ([SECRET] if disposal == "trash" else [])
    assert place.subjects(ANNA, "recoverableitemsdeletions") == ([SECRET] if disposal == "soft" else [])
    assert place.excise("verify", "case").returncode == 0
    for _ in range(2):
        done = place.excise("restore", "case", "--yes")
        assert done.returncode == 0, done.stderr + done.stdout
        assert place.subjects(ANNA).count(SECRET) == 1
    [item] = [one for one in place.world.items_in(place.world.mailboxes[ANNA], "inbox") if _subject(one) == SECRET]
    assert item.read
    assert item.categories == ["Red"]


def test_s20_what_a_hold_keeps_is_told(place: Place) -> None:
    """Removed for good, and kept by the server all the same: the outcome says where."""
    place.world.mailboxes[ANNA].hold = "litigation"
    done = place.excise(
        "purge",
        place.source,
        "--mailbox",
        ANNA,
        "--subject",
        SECRET,
        "--case",
        "case",
        "--yes",
        "--expect-matches",
        "1",
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert place.subjects(ANNA, "recoverableitemspurges") == [SECRET]
    assert "until retention and holds end" in (place.path / "case" / "outcome.csv").read_text()


def test_s30_an_address_with_a_new_owner_is_left_alone(place: Place) -> None:
    """The plan was made for another mailbox: nothing is removed from the one that has its address now."""
    done = place.excise("plan", "move", place.source, "--mailbox", ANNA, "--subject", SECRET, "--case", "case")
    assert done.returncode in (0, 4), done.stderr
    new = place.world.mailbox(ANNA, guid="0" * 8 + "-0000-0000-0000-000000000000")
    place.world.deliver(new, "inbox", mail(90, SECRET, attachment="salaries.xlsx"))
    done = place.excise("run", "case", "--confirm", _hash_of(done.stdout))
    assert done.returncode == 6, done.stderr + done.stdout
    assert place.subjects(ANNA) == [SECRET]


def _hash_of(text: str) -> str:
    found = re.search(r"\b[0-9a-f]{64}\b", text)
    assert found, text
    return found[0]


def test_s21_mail_of_other_stores_is_imported_once(place: Place) -> None:
    """From files into a mailbox on the server: the second time there is nothing to do."""
    (place.path / "mail").mkdir()
    html = (
        b"From: Ann <ann@example.com>\nTo: Bob <bob@example.net>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n"
        b"Message-ID: <html@example.com>\nDate: Mon, 02 Feb 2026 10:00:00 +0000\nMIME-Version: 1.0\n"
        b"Content-Type: text/html; charset=utf-8\n\n<p>Hello <b>there</b>,</p><table><tr><td>x</td></tr></table>\n"
    )
    bare = b"Subject: Neither date nor id\n\nBody.\n"
    for number, content in enumerate((html, bare, mail(50, "Plain"), mail(51, "With a file", attachment="a.pdf"))):
        (place.path / "mail" / f"{number}.eml").write_bytes(content)
    into = f"ews://127.0.0.1:{place.server.port}/bob@example.test?plain=1"
    for number in range(2):
        done = place.excise("import", "mail", "--into", into, "--case", f"case-{number}", "--yes")
        assert done.returncode == 0, done.stderr + done.stdout
        bob = place.world.mailboxes["bob@example.test"]
        with place.world.lock:
            items = [item for item in place.world.items.values() if item.mailbox == bob.address]
        assert len(items) == 5, done.stdout


def test_s21_a_restore_into_another_mailbox(place: Place) -> None:
    """What was removed from one is put into the other, whose folders have names in another language."""
    place.world.mailbox("dora@example.test", language="de")
    what = (place.source, "--mailbox", ANNA, "--subject", SECRET, "--case", "case")
    assert place.excise("move", *what, "--yes", "--expect-matches", "1").returncode == 0
    into = f"ews://127.0.0.1:{place.server.port}/dora@example.test?plain=1"
    for _ in range(2):
        done = place.excise("restore", "case", "--into", into, "--yes")
        assert done.returncode == 0, done.stderr + done.stdout
        assert place.subjects("dora@example.test") == [SECRET]


def test_a_move_takes_as_many_requests_as_the_papers_say(place: Place) -> None:
    """From the look for the mailbox to the proof that the message is gone."""
    what = (place.source, "--mailbox", ANNA, "--subject", SECRET, "--case", "case")
    assert place.excise("move", *what, "--yes", "--expect-matches", "1").returncode == 0
    told = re.search(
        r"takes (\d+) requests in all", (Path(__file__).parents[2] / "docs/reference/stores.md").read_text()
    )
    assert told
    count = place.server.log.count
    folders = count["GetFolder"] + count["FindFolder"]
    assert count.total() - folders == 11, count
    # On a slow machine a reading of the folders is a moment old when it is needed again, and is made anew.
    assert int(told[1]) - 11 <= folders <= int(told[1]) - 11 + 4, count


def test_s12_a_sweep_looks_where_the_search_looked(place: Place) -> None:
    """The parts that were chosen are swept too, and no others: late mail in the archive goes, primary is left alone."""
    anna = place.world.mailboxes[ANNA]
    place.world.deliver(anna, "archiveinbox", mail(70, SECRET))
    what = (place.source, "--mailbox", ANNA, "--parts", "archive,recoverable", "--subject", SECRET, "--case", "case")
    done = place.excise("move", *what, "--yes", "--expect-matches", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert place.subjects(ANNA, "archiveinbox") == []
    place.world.deliver(anna, "archiveinbox", mail(71, SECRET))
    done = place.excise("sweep", "case", "--yes", "--max-total", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert place.subjects(ANNA, "archiveinbox") == []
    assert SECRET in place.subjects(ANNA)
    scope = (place.path / "case" / "scope.csv").read_text()
    assert f"{ANNA} (archive)" in scope
    assert f"{ANNA} (recoverable" in scope


def test_s12_replies_are_followed_by_the_conversation_id_of_the_server(place: Place) -> None:
    """A reply that names no message by its id, under another subject: the server alone knows what it belongs to."""
    anna, bob = place.world.mailboxes[ANNA], place.world.mailboxes["bob@example.test"]
    key, value = "tag:3013:Binary", ("Binary", base64.b64encode(bytes(range(16))).decode())
    first = place.world.deliver(anna, "inbox", mail(80, "The plans"))
    reply = place.world.deliver(bob, "inbox", mail(81, "Some answer"))
    first.extended[key] = reply.extended[key] = value
    place.world.deliver(bob, "inbox", mail(82, "Something else"))
    what = (
        place.source,
        "--mailbox",
        ANNA,
        "--mailbox",
        "bob@example.test",
        "--subject",
        "The plans",
        "--case",
        "case",
    )
    done = place.excise("move", *what, "--yes", "--expect-matches", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    done = place.excise("sweep", "case", "--with-replies", "--yes", "--max-total", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Some answer" not in place.subjects("bob@example.test")
    assert "Something else" in place.subjects("bob@example.test")
    header = json.loads((place.path / "case/plan/0002/header.json").read_text())
    assert f"the server's conversation id is {bytes(range(16)).hex()}" in header["rule"]
    scope = ("search", place.source, "--mailbox", ANNA, "--json", "--conversation-id")
    assert place.excise(*scope, bytes(range(16)).hex()).returncode == 0
    assert place.excise(*scope, "00").returncode == 2


def test_s24_a_plan_says_what_is_known_of_holds(place: Place) -> None:
    """That the server does not tell, and where DiscoveryHolds has something, that too; both stand in scope.csv."""
    place.world.deliver(place.world.mailboxes[ANNA], "recoverableitemsdiscoveryholds", mail(72))
    scope = ("--mailbox", ANNA, "--mailbox", "bob@example.test")
    done = place.excise("plan", "move", place.source, *scope, "--subject", SECRET, "--case", "case")
    anna, bob = (line for line in done.stdout.splitlines() if "disposal soft" in line)
    assert "no server requests" not in done.stdout
    assert ANNA in anna
    assert "hold not known; DiscoveryHolds has 1, which a hold keeps or kept" in anna
    assert bob.endswith("hold not known")
