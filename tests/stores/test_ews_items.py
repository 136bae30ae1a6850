"""Items of every class, odd ones among them: found, preserved, removed and put back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import excise
from ews.worlds import PASSWORD, START, mail
from ews_server import Mailbox, Quirks, World
from excise.criteria import Criteria, Matcher
from excise.model.item import INCOMPLETE, Deposit, Disposal, Fetched, Outcome, Target
from excise.store_api.protocols import Candidate, Tally, Unreadable
from excise.stores.ews import STORE
from excise.stores.ews.mailbox import EwsMailbox
from stores.ews_place import ADMIN, ANNA, client_of, log_in, place_of, serving

CLASSES = ["IPM.Appointment", "IPM.Contact", "IPM.Task", "IPM.StickyNote", "IPM.Post", "IPM.Schedule.Meeting.Request"]


def _item(subject: str) -> bytes:
    date = START.strftime("%a, %d %b %Y %H:%M:%S +0000")
    return f"Subject: {subject}\r\nDate: {date}\r\nMIME-Version: 1.0\r\n\r\nText of it.\r\n".encode()


class Box:
    """Anna's mailbox."""

    def __init__(self, world: World, anna: Mailbox, mailbox: EwsMailbox) -> None:
        self.world, self.anna, self.mailbox = world, anna, mailbox

    def found(self, **options: object) -> list[Candidate]:
        got = list(self.mailbox.find(Matcher(Criteria.from_options(**options)), Tally()))
        assert not [one for one in got if isinstance(one, Unreadable)], got
        matcher = Matcher(Criteria.from_options(**options))
        return [one for one in got if not isinstance(one, Unreadable) and matcher.test(one.view).matched]

    def fetched(self, **options: object) -> Fetched:
        [one] = self.found(**options)
        return self.mailbox.fetch(one.id)


def _open(monkeypatch: pytest.MonkeyPatch, quirks: Quirks | None = None) -> Iterator[Box]:
    log_in(monkeypatch)
    world = World()
    world.user(ADMIN, PASSWORD, impersonates=["*"])
    anna = world.mailbox(ANNA)
    with serving(world, quirks) as server:
        client_of(server)
        mailbox = STORE.open(place_of(server).locator, writable=True)
        assert isinstance(mailbox, EwsMailbox)
        yield Box(world, anna, mailbox)
        mailbox.close()
        assert not [one for request in server.log.requests for one in request.complaints]
        assert not world.sent


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    yield from _open(monkeypatch)


@pytest.fixture
def poor_box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """On a server without export streams."""
    yield from _open(monkeypatch, Quirks(export_items=False))


@pytest.mark.parametrize("item_class", CLASSES)
def test_s21_an_item_of_any_class_goes_and_comes_back(box: Box, item_class: str) -> None:
    """By its export stream, with its class; it is no other item afterwards."""
    box.world.deliver(box.anna, "inbox", _item("Of a class"), item_class=item_class, received=START)
    before = box.fetched(subject=["Of a class"])
    assert before.attributes["item_class"] == item_class
    assert not [note for note in before.notes if note.startswith(INCOMPLETE)]
    [removal] = box.mailbox.remove([Target(before.id, before.version, before.folder)], Disposal.HARD)
    assert removal.outcome is Outcome.REMOVED
    deposit = Deposit(before.content, before.folder, before.flags, before.delivered, before.attributes)
    [placed] = box.mailbox.put([deposit])
    assert placed.outcome is Outcome.RESTORED, placed
    [back] = box.world.items_in(box.anna, "inbox")
    assert back.item_class == item_class
    assert box.mailbox.fetch(placed.id or "").version == before.version


@pytest.mark.parametrize("item_class", ["IPM.Contact", "IPM.Task", "IPM.StickyNote"])
def test_s13_what_mime_does_not_hold_is_incomplete_without_an_export_stream(poor_box: Box, item_class: str) -> None:
    """Such a copy is shown as incomplete, and so the engine removes nothing by it."""
    poor_box.world.deliver(poor_box.anna, "inbox", _item("Of a class"), item_class=item_class, received=START)
    copy = poor_box.fetched(subject=["Of a class"])
    assert [note for note in copy.notes if note.startswith(INCOMPLETE)]
    assert b"Of a class" in copy.content
    deposit = Deposit(copy.content, copy.folder, copy.flags, copy.delivered, copy.attributes)
    [placed] = poor_box.mailbox.put([deposit])
    assert placed.outcome is Outcome.FAILED
    assert "export stream" in placed.detail


def test_s09_a_subject_that_a_listing_cuts_is_judged_whole(box: Box) -> None:
    """FindItem cuts at 255 characters; the end decides here."""
    long = "Re: " + "very " * 60 + "long tail"
    assert len(long) > 255
    box.world.deliver(box.anna, "inbox", mail(1, long), received=START)
    box.world.deliver(box.anna, "inbox", mail(2, long[:-4] + "head"), received=START)
    assert len(box.found(subject_contains=["long tail"])) == 1


def test_s07_what_a_server_would_not_find_is_found(box: Box) -> None:
    """Invisible marks, full-width letters and encoded words within the subject."""
    for number, subject in enumerate(["Sal\u200baries", "\uff33alaries", "SALARIES", "=?utf-8?q?S=61laries?="]):
        box.world.deliver(box.anna, "inbox", mail(number, subject), received=START)
    assert len(box.found(subject=["salaries"])) == 4


def test_s02_times_of_receipt_narrow_to_the_second(box: Box) -> None:
    """Half-open: since is in, before is out; the server was given more than that."""
    for second in (0, 1, 2, 3):
        when = datetime(2026, 1, 5, 9, 0, second, tzinfo=UTC)
        box.world.deliver(box.anna, "inbox", mail(second, "Timed"), received=when)
    found = box.found(subject=["Timed"], received_since="2026-01-05T09:00:01Z", received_before="2026-01-05T09:00:03Z")
    assert sorted(one.view.received.second for one in found if one.view.received) == [1, 2]


def test_s10_attachments_of_all_kinds_are_found(box: Box) -> None:
    """By the list of attachments, and inside attached messages, which the list does not show."""
    inner = mail(5, "Inner", attachment="virus.exe").replace(b'"B"', b'"I"').replace(b"--B", b"--I")
    outer = (
        b"Subject: Outer\r\nFrom: a@example.org\r\nDate: Mon, 05 Jan 2026 09:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="O"\r\n\r\n--O\r\nContent-Type: message/rfc822\r\n\r\n' + inner
        + b"\r\n--O--\r\n"
    )  # fmt: skip
    box.world.deliver(box.anna, "inbox", mail(1, "Direct", attachment="virus.exe"), received=START)
    box.world.deliver(box.anna, "inbox", outer, received=START)
    box.world.deliver(box.anna, "inbox", mail(2, "Other", attachment="report.pdf"), received=START)
    found = box.found(attachment=["virus.exe"])
    assert sorted(one.view.subject or "" for one in found) == ["Direct", "Outer"]


@pytest.mark.parametrize("sign", ["header", "sender"])
def test_a_journal_report_is_judged_by_the_message_in_it(box: Box, sign: str) -> None:
    """Its row shows another subject and Message-ID; its header field, or its sender, says that it is one."""
    system = "MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@example.test"
    sender = system if sign == "sender" else "journal@example.test"
    value = "yes" if sign == "header" else ""  # an empty field is no property
    head = f"From: <{sender}>\r\nSubject: Report\r\nMessage-ID: <report@example.test>\r\n"
    head += f"X-MS-Journal-Report: {value}\r\n"
    report = (
        head.encode()
        + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="J"\r\n\r\n'
        + b"--J\r\nContent-Type: text/plain\r\n\r\n"
        + b"Sender: bob@example.org\r\nMessage-Id: <m7@example.org>\r\nRecipient: hidden@example.test\r\n\r\n"
        + b"--J\r\nContent-Type: message/rfc822\r\n\r\n"
        + mail(7, "The real one")
        + b"\r\n--J--\r\n"
    )
    box.world.deliver(box.anna, "inbox", report, received=START)
    assert len(box.found(subject=["The real one"])) == 1
    assert len(box.found(recipient=["hidden@example.test"])) == 1
    assert len(box.found(message_id=["<m7@example.org>"])) == 1


def test_exchangelib_stays_behind_one_module() -> None:
    """Nothing else imports it, or requests, or lxml at the top of a module that every command loads."""
    root = Path(excise.__file__).parent
    for path in root.rglob("*.py"):
        names = {name.partition(".")[0] for name in _imports(path)}
        if "exchangelib" in names:
            assert path == root / "stores" / "ews" / "sessions.py"
        if names & {"lxml", "requests"}:
            assert path.parent == root / "stores" / "ews"


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
