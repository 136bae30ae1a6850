"""The EWS server under exchangelib's public API: a client that believes it talks to Exchange."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ews.worlds import PASSWORD, START, mail, serving, small_world
from ews_server import Server, World

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
