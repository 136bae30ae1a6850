"""What the EWS server's operations do to its world, told by bare requests."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ews.worlds import NAMES, PASSWORD, START, Client, mail, serving, small_world
from ews_server import Mailbox, World, gromox
from ews_server.shapes import folder_id, item_id


@pytest.fixture
def anna() -> Iterator[tuple[Client, World, Mailbox]]:
    """Anna's own client."""
    world, mailbox = small_world()
    with serving(world) as server:
        yield Client(server), world, mailbox
        assert not server.log.complaints


def ids_of(world: World, mailbox: Mailbox, folder: str = "inbox") -> list[str]:
    """The ItemId elements of a folder's items."""
    return [_text(item_id(world, item)) for item in world.items_in(mailbox, folder)]


def _text(element: object) -> str:
    attributes = " ".join(f'{name}="{value}"' for name, value in element.attrib.items())  # type: ignore[attr-defined]
    return f"<t:ItemId {attributes}/>"


def delete(ids: list[str], how: str = "HardDelete", extra: str = "") -> str:
    """A DeleteItem."""
    rest = 'SendMeetingCancellations="SendToNone" AffectedTaskOccurrences="AllOccurrences" SuppressReadReceipts="true"'
    return f'<m:DeleteItem DeleteType="{how}" {extra or rest}><m:ItemIds>{"".join(ids)}</m:ItemIds></m:DeleteItem>'


def create(mime: bytes, *, disposition: str = "SaveOnly", folder: str = "inbox", more: str = "") -> str:
    """A CreateItem of MIME."""
    data = base64.b64encode(mime).decode()
    return (
        f'<m:CreateItem MessageDisposition="{disposition}">'
        f'<m:SavedItemFolderId><t:DistinguishedFolderId Id="{folder}"/></m:SavedItemFolderId>'
        f"<m:Items><t:Message><t:MimeContent>{data}</t:MimeContent>{more}</t:Message></m:Items>"
        "</m:CreateItem>"
    )


def counts(world: World, mailbox: Mailbox, *folders: str) -> list[int]:
    """How many items lie in folders."""
    return [len(world.items_in(mailbox, folder)) for folder in folders]


def test_each_way_of_removing_ends_where_it_should(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    first, second, third = ids_of(world, mailbox)[:3]
    assert client.codes(delete([first], "MoveToDeletedItems")) == ["NoError"]
    assert client.codes(delete([second], "SoftDelete")) == ["NoError"]
    assert client.codes(delete([third], "HardDelete")) == ["NoError"]
    folders = ("inbox", "deleteditems", "recoverableitemsdeletions", "recoverableitemspurges")
    assert counts(world, mailbox, *folders) == [2, 1, 1, 0]


def test_a_batch_answers_item_by_item_and_acts_on_the_good_ones(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    first, second, *_ = ids_of(world, mailbox)
    client.codes(delete([second]))
    bad = '<t:ItemId Id="nonsense"/>'
    assert client.codes(delete([first, bad, second])) == ["NoError", "ErrorInvalidIdMalformed", "ErrorItemNotFound"]
    assert counts(world, mailbox, "inbox") == [3]


def test_a_hold_keeps_what_is_removed_and_refuses_to_purge_it(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    mailbox.hold = "litigation"
    assert client.codes(delete(ids_of(world, mailbox)[:1])) == ["NoError"]
    assert counts(world, mailbox, "recoverableitemspurges") == [1]
    assert client.codes(delete(ids_of(world, mailbox, "recoverableitemspurges"))) == ["ErrorCannotDeleteObject"]
    mailbox.hold = "inplace"
    client.codes(delete(ids_of(world, mailbox)[:1]))
    assert counts(world, mailbox, "recoverableitemspurges", "recoverableitemsdiscoveryholds") == [1, 1]


def test_a_held_message_that_is_changed_leaves_its_former_state(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    mailbox.hold = "litigation"
    identity = ids_of(world, mailbox)[0]
    for uri, element in (
        ("message:IsRead", "<t:IsRead>true</t:IsRead>"),
        ("item:Subject", "<t:Subject>New</t:Subject>"),
    ):
        change = f'<t:SetItemField><t:FieldURI FieldURI="{uri}"/><t:Message>{element}</t:Message></t:SetItemField>'
        codes = client.codes(
            '<m:UpdateItem ConflictResolution="AlwaysOverwrite" MessageDisposition="SaveOnly">'
            f"<m:ItemChanges><t:ItemChange>{identity}<t:Updates>{change}</t:Updates></t:ItemChange></m:ItemChanges></m:UpdateItem>"
        )
        assert codes == ["NoError"]
    (kept,) = world.items_in(mailbox, "recoverableitemsversions")
    assert (kept.values, kept.read) == ({}, True)


def test_full_recoverable_items_refuse_more(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    mailbox.quota_on_delete = 2
    assert client.codes(delete(ids_of(world, mailbox), "SoftDelete")) == [
        *["NoError"] * 2,
        *["ErrorInternalServerError"] * 3,
    ]
    answer = client.ask(delete(ids_of(world, mailbox)[:1], "SoftDelete"))
    inner = answer.find(".//t:Value[@Name='InnerErrorResponseCode']", NAMES)
    assert inner.text == "ErrorQuotaExceededOnDelete"


def test_a_stale_change_key_is_refused(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    identity = ids_of(world, mailbox)[0]
    world.touch(world.items_in(mailbox, "inbox")[0])
    change = '<t:SetItemField><t:FieldURI FieldURI="message:IsRead"/><t:Message><t:IsRead>1</t:IsRead></t:Message>'
    update = (
        '<m:UpdateItem ConflictResolution="AutoResolve" MessageDisposition="SaveOnly"><m:ItemChanges><t:ItemChange>'
        f"{identity}<t:Updates>{change}</t:SetItemField></t:Updates></t:ItemChange></m:ItemChanges></m:UpdateItem>"
    )
    assert client.codes(update) == ["ErrorIrresolvableConflict"]
    client.server.quirks.check_change_keys_on_delete = True
    assert client.codes(delete([identity])) == ["ErrorStaleObject"]
    client.server.quirks.check_change_keys_on_delete = False
    assert client.codes(delete([identity])) == ["NoError"]


def test_a_message_is_created_of_mime_as_sent_mail_or_draft(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    flags = (
        '<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag="0x0E07" PropertyType="Integer"/><t:Value>1</t:Value>'
        "</t:ExtendedProperty>"
        '<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag="0x0E06" PropertyType="SystemTime"/>'
        "<t:Value>2020-02-02T02:02:02Z</t:Value></t:ExtendedProperty>"
    )
    assert client.codes(create(mail(80), folder="drafts")) == ["NoError"]
    assert client.codes(create(mail(81), folder="drafts", more=flags)) == ["NoError"]
    draft, done = world.items_in(mailbox, "drafts")
    assert (draft.draft, done.draft, done.read) == (True, False, True)
    assert draft.received == START.replace(hour=10, minute=20)
    assert done.received.isoformat() == "2020-02-02T02:02:02+00:00"
    assert not world.sent


def test_what_would_be_sent_is_written_down(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    client.codes(create(mail(90, "To the world"), disposition="SendAndSaveCopy", folder="sentitems"))
    receipt = mail(91).replace(b"MIME-Version", b"Disposition-Notification-To: bob@example.org\r\nMIME-Version")
    world.deliver(mailbox, "drafts", receipt)
    client.codes(delete(ids_of(world, mailbox, "drafts"), extra='SuppressReadReceipts="false"'))
    assert [(sent.what, sent.subject) for sent in world.sent] == [
        ("message", "To the world"),
        ("not-read receipt", "Message 91"),
    ]


def test_an_item_moves_to_another_id_and_a_copy_has_its_own(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    first, second = ids_of(world, mailbox)[:2]
    target = '<m:ToFolderId><t:DistinguishedFolderId Id="drafts"/></m:ToFolderId>'
    moved = client.ask(f"<m:MoveItem>{target}<m:ItemIds>{first}</m:ItemIds></m:MoveItem>")
    assert _text(moved.find(".//t:ItemId", NAMES)) == ids_of(world, mailbox, "drafts")[0] != first
    assert client.codes(delete([first])) == ["ErrorItemNotFound"]
    assert client.codes(f"<m:CopyItem>{target}<m:ItemIds>{second}</m:ItemIds></m:CopyItem>") == ["NoError"]
    assert counts(world, mailbox, "inbox", "drafts") == [4, 2]


def test_an_export_stream_restores_all_and_a_cut_one_nothing(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    item = world.items_in(mailbox, "inbox")[0]
    item.read, item.categories, item.extended = True, ["Red"], {"tag:8001:String": ("String", "odd")}
    item.item_class = "IPM.Note.Odd"
    data = client.ask(f"<m:ExportItems><m:ItemIds>{ids_of(world, mailbox)[0]}</m:ItemIds></m:ExportItems>")
    stream = data.findtext(".//m:Data", namespaces=NAMES)
    parent = folder_id(world, world.find_folder(mailbox, "drafts"))

    def upload(text: str) -> list[str]:
        return client.codes(
            f'<m:UploadItems><m:Items><t:Item CreateAction="CreateNew"><t:ParentFolderId Id="{parent.get("Id")}"/>'
            f"<t:Data>{text}</t:Data></t:Item></m:Items></m:UploadItems>"
        )

    assert upload(stream[: len(stream) // 8 * 4]) == ["ErrorCorruptData"]
    assert upload(stream) == ["NoError"]
    (made,) = world.items_in(mailbox, "drafts")
    own = ("number", "folder", "version")
    assert {name: value for name, value in vars(made).items() if name not in own} == {
        name: value for name, value in vars(item).items() if name not in own
    }


def test_emptying_a_folder_empties_what_lies_below(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    below = world.folder(mailbox, "inbox", "below")
    world.deliver(mailbox, below, mail(95))
    body = (
        '<m:EmptyFolder DeleteType="SoftDelete" DeleteSubFolders="{}">'
        '<m:FolderIds><t:DistinguishedFolderId Id="inbox"/></m:FolderIds>'
        "</m:EmptyFolder>"
    )
    assert client.codes(body.format("false")) == ["NoError"]
    assert counts(world, mailbox, "inbox", "recoverableitemsdeletions") == [0, 5]
    assert client.codes(body.format("true")) == ["NoError"]
    assert counts(world, mailbox, "recoverableitemsdeletions") == [6]
    assert below.number not in world.folders


def test_changes_are_synchronised_from_state_to_state(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna

    def changes(state: str) -> tuple[list[str], str]:
        answer = client.ask(
            "<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>"
            f'<m:SyncFolderId><t:DistinguishedFolderId Id="inbox"/></m:SyncFolderId>{state}'
            "<m:MaxChangesReturned>3</m:MaxChangesReturned></m:SyncFolderItems>"
        )
        text = answer.findtext(".//m:SyncState", namespaces=NAMES)
        return [change.tag.split("}")[1] for change in answer.find(".//m:Changes", NAMES)], (
            f"<m:SyncState>{text}</m:SyncState>"
        )

    found, state = changes("")
    assert found == ["Create"] * 3
    found, state = changes(state)
    assert found == ["Create"] * 2
    items = world.items_in(mailbox, "inbox")
    world.drop_item(items[0])
    world.touch(items[1])
    assert changes(state)[0] == ["Delete", "Update"]


def test_tasks_and_meetings_want_to_be_told_what_becomes_of_the_rest(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    world.deliver(mailbox, "tasks", b"Subject: a task\r\n\r\n", item_class="IPM.Task")
    world.deliver(mailbox, "calendar", b"Subject: a meeting\r\n\r\n", item_class="IPM.Appointment")
    for folder, code in (("tasks", "AffectedTaskOccurrences"), ("calendar", "SendMeetingCancellations")):
        ids = ids_of(world, mailbox, folder)
        assert client.codes(delete(ids, extra='SuppressReadReceipts="true"')) == [f"Error{code}Required"]
        assert client.codes(delete(ids)) == ["NoError"]


def test_nothing_but_post_and_only_with_a_password(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    assert client.raw(b"", "GET")[0] == 200
    assert client.raw(b"", "GET", "/ews/exchange.asmx")[0] == 200
    assert client.raw(b"x", path="/elsewhere")[0] == 404
    assert client.raw(b"no XML")[0] == 500
    client.password = "wrong"
    assert client.raw(b"", "GET")[0] == 401
    assert client.raw(b"")[0] == 401
    assert client.server.log.refused == 2


def test_servers_differ() -> None:
    world, _ = small_world()
    with serving(world, quirks=gromox()) as server:
        status, data = Client(server).post("<m:ExportItems/>")
        assert (status, b"<faultcode>ErrorInvalidRequest" in data, b"<?xml" in data) == (200, True, False)


def test_many_connections_act_at_once_and_nothing_is_lost() -> None:
    world, _ = small_world(0)
    addresses = [f"user{number}@example.test" for number in range(8)]
    boxes = [world.mailbox(address, PASSWORD) for address in addresses]
    with serving(world, latency=0.01) as server, ThreadPoolExecutor(8) as pool:

        def work(address: str) -> list[str]:
            client = Client(server, address)
            found = [code for number in range(5) for code in client.codes(create(mail(number)))]
            mailbox = world.mailboxes[address]
            return found + client.codes(delete(ids_of(world, mailbox)[:2], "SoftDelete"))

        assert [set(codes) for codes in pool.map(work, addresses)] == [{"NoError"}] * 8
        assert server.log.count == {"CreateItem": 40, "DeleteItem": 8}
        assert server.log.per_mailbox() == {address: {"CreateItem": 5, "DeleteItem": 1} for address in addresses}
        assert 1 < server.log.peak <= 8
    assert [counts(world, box, "inbox", "recoverableitemsdeletions") for box in boxes] == [[3, 2]] * 8
    assert len({item.number for item in world.items.values()}) == 40
