"""The EWS server under exchangelib's public API: a client that believes it talks to Exchange."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ews.worlds import PASSWORD, START, mail, serving, small_world
from ews_server import Server, World, part

exchangelib = pytest.importorskip("exchangelib", reason="exchangelib is not installed")


def account(server: Server, address: str = "anna@example.test", user: str = "admin@example.test") -> object:
    """An account of exchangelib's: impersonated by the administrator, or opened by its owner."""
    configuration = exchangelib.Configuration(
        service_endpoint=server.url,
        credentials=exchangelib.Credentials(user, PASSWORD),
        auth_type=exchangelib.BASIC,
    )
    access = exchangelib.DELEGATE if user == address else exchangelib.IMPERSONATION
    return exchangelib.Account(address, config=configuration, access_type=access, autodiscover=False)


@pytest.fixture
def world() -> Iterator[tuple[Server, World]]:
    """Anna's mailbox served."""
    made, anna = small_world()
    made.deliver(anna, "inbox", mail(50, "Invoice 17", attachment="invoice.pdf"), categories=["Red", "Blue"])
    made.deliver(anna, made.folder(anna, "inbox", "a/b"), mail(60, "Deeper"))
    with serving(made) as server:
        yield server, made


def test_the_version_is_guessed_and_all_folders_are_walked(world: tuple[Server, World]) -> None:
    server, _ = world
    opened = account(server)
    names = {folder.name for folder in opened.root.walk()}
    assert {"Inbox", "Recoverable Items", "Purges", "a/b"} <= names
    assert str(opened.version.build) == "15.1.2507.37"
    assert server.log.count["FindFolder"] == 1
    assert {request.anchor for request in server.log.requests} == {"", "anna@example.test"}
    assert not server.log.complaints


def test_messages_are_found_by_subject_and_read(world: tuple[Server, World]) -> None:
    server, _ = world
    inbox = account(server).inbox
    assert [found.subject for found in inbox.filter(subject__contains="Message").order_by("datetime_received")] == [
        f"Message {number}" for number in range(5)
    ]
    found = inbox.get(subject="Invoice 17")
    assert (found.sender.email_address, found.to_recipients[0].email_address) == (
        "bob@example.org",
        "anna@example.test",
    )
    assert found.message_id == "<m50@example.org>"
    assert found.categories == ["Red", "Blue"]
    assert found.datetime_sent.isoformat() == START.replace(minute=50).isoformat()
    assert [(attachment.name, attachment.content) for attachment in found.attachments] == [
        ("invoice.pdf", bytes(range(256)))
    ]
    assert not server.log.complaints


def test_mime_is_made_anew_at_each_fetch_and_keeps_no_trace_headers(world: tuple[Server, World]) -> None:
    server, _ = world
    inbox = account(server).inbox
    first, second = (inbox.get(subject="Invoice 17").mime_content for _ in range(2))
    assert first != second
    assert b"Received:" not in first
    assert b"X-Odd" not in first


def test_the_archive_and_recoverable_items_are_reached(world: tuple[Server, World]) -> None:
    server, made = world
    anna = made.find_mailbox("anna@example.test")
    made.deliver(anna, "archiveinbox", mail(70, "Old"))
    made.deliver(anna, "recoverableitemspurges", mail(71, "Gone"), item_class="IPM.Odd")
    opened = account(server)
    assert [item.subject for item in opened.archive_inbox.all()] == ["Old"]
    assert [(type(item).__name__, item.subject) for item in opened.recoverable_items_purges.all()] == [("Item", "Gone")]


def test_items_are_removed_moved_copied_and_marked(world: tuple[Server, World]) -> None:
    server, made = world
    anna = made.find_mailbox("anna@example.test")
    opened = account(server, user="anna@example.test")
    first, second, third, fourth, *_ = opened.inbox.filter(subject__startswith="Message").order_by("datetime_received")
    first.move_to_trash()
    second.soft_delete()
    third.delete()
    fourth.is_read = True
    fourth.save(update_fields=["is_read"])
    fourth.move(opened.drafts)
    folders = ("inbox", "deleteditems", "recoverableitemsdeletions", "drafts")
    assert [len(made.items_in(anna, name)) for name in folders] == [2, 1, 1, 1]
    assert made.items_in(anna, "drafts")[0].read
    assert not made.sent


def test_a_queryset_is_removed_with_all_its_pages(world: tuple[Server, World]) -> None:
    server, made = world
    anna = made.find_mailbox("anna@example.test")
    assert account(server).inbox.filter(subject__contains="Message").delete() == [True] * 5
    assert [item.subject for item in account(server).inbox.all()] == ["Invoice 17"]
    assert len(made.items_in(anna, "inbox")) == 1


def test_export_streams_go_back_in(world: tuple[Server, World]) -> None:
    server, made = world
    opened = account(server)
    streams = list(opened.export(opened.inbox.all().only("id", "changekey")))
    before = [vars(item).copy() for item in made.items_in(made.find_mailbox("anna@example.test"), "inbox")]
    opened.upload((opened.drafts, stream) for stream in streams)
    after = [vars(item) for item in made.items_in(made.find_mailbox("anna@example.test"), "drafts")]
    assert {item["mime"] for item in after} == {item["mime"] for item in before}
    assert not server.log.complaints


def test_messages_are_made_with_attachments_and_sent_to_nobody(world: tuple[Server, World]) -> None:
    server, made = world
    opened = account(server)
    message = exchangelib.Message(
        account=opened, folder=opened.drafts, subject="Made", body="Text", to_recipients=["bob@example.test"]
    )
    message.attach(exchangelib.FileAttachment(name="a.bin", content=b"\x00\x01"))
    message.attach(exchangelib.ItemAttachment(name="inner", item=exchangelib.Message(subject="Inner", body="x")))
    message.save()
    found = opened.drafts.get(subject="Made")
    attachments = {attachment.name: attachment for attachment in found.attachments}
    assert set(attachments) == {"a.bin", "Inner"}
    assert (attachments["a.bin"].content, attachments["Inner"].item.subject) == (b"\x00\x01", "Inner")
    found.detach(attachments["a.bin"])
    assert [attachment.name for attachment in opened.drafts.get(subject="Made").attachments] == ["Inner"]
    assert not made.sent
    opened.drafts.get(subject="Made").send()
    assert [(sent.what, sent.subject) for sent in made.sent] == [("message", "Made")]
    assert [item.subject for item in opened.sent.all()] == ["Made"]
    assert not server.log.complaints


def test_calendar_contacts_and_tasks_are_what_they_are(world: tuple[Server, World]) -> None:
    server, made = world
    anna = made.find_mailbox("anna@example.test")
    opened = account(server)
    exchangelib.CalendarItem(
        account=opened, folder=opened.calendar, subject="Meet", start=_time(9), end=_time(10), location="Room"
    ).save()
    exchangelib.Contact(account=opened, folder=opened.contacts, given_name="Carol", display_name="Carol C.").save()
    exchangelib.Task(account=opened, folder=opened.tasks, subject="Do it").save()
    meeting = opened.calendar.get(subject="Meet")
    assert (meeting.start, meeting.location) == (_time(9), "Room")
    assert opened.contacts.all().get().display_name == "Carol C."
    opened.tasks.get(subject="Do it").delete(affected_task_occurrences="AllOccurrences")
    assert [len(made.items_in(anna, name)) for name in ("calendar", "contacts", "tasks")] == [1, 1, 0]
    assert not server.log.complaints
    assert not made.sent


def _time(hour: int) -> object:
    return exchangelib.EWSDateTime(2026, 1, 5, hour, tzinfo=exchangelib.EWSTimeZone("UTC"))


def test_folders_are_made_renamed_emptied_and_removed(world: tuple[Server, World]) -> None:
    server, made = world
    opened = account(server)
    folder = exchangelib.Folder(parent=opened.inbox, name="New").save()
    folder.name = "Renamed"
    folder.save()
    exchangelib.Message(account=opened, folder=folder, subject="x").save()
    assert [child.name for child in opened.inbox.children] == ["a/b", "Renamed"]
    folder.empty()
    assert folder.all().count() == 0
    folder.delete()
    assert "Renamed" not in {found.name for found in made.folders.values()}


def test_the_address_book_answers(world: tuple[Server, World]) -> None:
    server, made = world
    made.distribution_list("team@example.test", ["anna@example.test", "bob@example.test"])
    protocol = account(server).protocol
    assert str(protocol.version.build) == "15.1.2507.37"
    assert [found.email_address for found in protocol.resolve_names(["anna"])] == ["anna@example.test"]
    assert [found.email_address for found in protocol.expand_dl("team@example.test")] == [
        "anna@example.test",
        "bob@example.test",
    ]


def test_changes_are_synchronised(world: tuple[Server, World]) -> None:
    server, made = world
    inbox = account(server).inbox
    assert {kind for kind, _ in inbox.sync_items()} == {"create"}
    made.drop_item(made.items_in(made.find_mailbox("anna@example.test"), "inbox")[0])
    assert [kind for kind, _ in inbox.sync_items(sync_state=inbox.item_sync_state)] == ["delete"]


def test_what_exchangelib_loses_of_a_batch_is_there_to_be_lost(world: tuple[Server, World]) -> None:
    """An item that is denied in mid-batch: the others went, and exchangelib tells of none."""
    server, made = world
    server.faults.add(part("ErrorAccessDenied", operation="DeleteItem", place=2))
    opened = account(server)
    with pytest.raises(exchangelib.errors.ErrorAccessDenied):
        opened.bulk_delete(opened.inbox.all().only("id", "changekey"))
    assert len(made.items_in(made.find_mailbox("anna@example.test"), "inbox")) == 1
